//! Credentials and methods that do not go together are refused when the manager is built, with a word on why.

use crate::support::{Endpoint, InMemory, SECRET};
use jeton::credentials::{AssertionAlgorithm, AssertionSettings};
use jeton::{BasicEncoding, BuildError, ClientAuthMethod, Secret, TokenManager, TokenManagerBuilder};
use std::sync::Arc;

fn refused(url: &str, change: impl FnOnce(TokenManagerBuilder) -> TokenManagerBuilder) -> BuildError {
    let exchange = Arc::new(InMemory(Endpoint::granting(60)));
    change(TokenManager::builder(url, "bil:ling").exchange(exchange)).build().unwrap_err()
}

fn told(change: impl FnOnce(TokenManagerBuilder) -> TokenManagerBuilder) -> String {
    refused("https://as.example/token", change).to_string()
}

fn secret() -> Secret<String> {
    Secret::from(SECRET)
}

#[test]
fn nothing_and_two_things_are_refused() {
    assert_eq!(refused("https://as.example/token", |builder| builder), BuildError::ClientSecret);
    assert_eq!(
        refused("https://as.example/token", |builder| builder
            .client_secret(secret())
            .client_secret(secret())),
        BuildError::TwoSecrets
    );
    let both = told(|builder| builder.client_secret(secret()).private_key(secret()));
    assert_eq!(both, "both a client secret and a private key were given; give one of them");
}

#[test]
fn a_method_that_does_not_go_with_what_was_given_is_refused() {
    use ClientAuthMethod as Method;
    for method in [Method::PrivateKeyJwt, Method::TlsClientAuth, Method::SelfSignedTlsClientAuth] {
        let told = told(|builder| builder.client_secret(secret()).auth_method(method));
        assert_eq!(told, format!("{method} does not go with a client secret"));
    }
    for method in [Method::ClientSecretBasic, Method::ClientSecretPost, Method::ClientSecretJwt] {
        let told = told(|builder| builder.private_key(secret()).auth_method(method));
        assert_eq!(told, format!("{method} does not go with a private key"));
    }
}

#[test]
fn a_credential_that_is_none_is_refused_and_not_told() {
    let canary = || Secret::from("canary");
    for told in [
        told(|builder| builder.private_key(canary())),
        told(|builder| builder.client_certificate(canary())),
        told(|builder| {
            let settings = AssertionSettings::default().algorithm(AssertionAlgorithm::Rs256);
            builder.private_key(canary()).assertion(settings)
        }),
        told(|builder| builder.client_secret(canary()).basic_encoding(BasicEncoding::Raw)),
    ] {
        assert!(told.starts_with("the credential is refused: "), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}

#[test]
fn mutual_tls_wants_tls() {
    let error = refused("http://localhost:1/token", |builder| builder.client_certificate(secret()));
    assert_eq!(error, BuildError::MutualTlsWithoutTls);
}
