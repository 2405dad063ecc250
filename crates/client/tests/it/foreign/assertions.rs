//! `client_secret_jwt` and `private_key_jwt` at servers of others (RFC 7523, traps T19 and T33).

use super::keys;
use super::programs::ForeignServer;
use super::stage::{CLIENT_SECRET, assertion_clients};
use crate::support::{millis, secs};
use jeton::Clock as _;
use jeton::credentials::{AssertionAlgorithm, AssertionSettings, FileSource};
use jeton::{
    ClientAuthMethod, ErrorCode, Fault, Secret, SystemClock, TokenError, TokenErrorKind, TokenKey,
    TokenManager, TokenManagerBuilder,
};
use jeton_proto::jose::assertion_key::AssertionKey;
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

fn both() -> [ForeignServer; 2] {
    [
        ForeignServer::oidc_provider(&assertion_clients(), &[]),
        ForeignServer::authlib(&assertion_clients(), &[]),
    ]
}

/// The client whose name is the algorithm, with what it proves itself by.
fn builder(server: &ForeignServer, algorithm: AssertionAlgorithm) -> TokenManagerBuilder {
    let builder = TokenManager::builder(server.token_url(), algorithm.as_str());
    match algorithm {
        AssertionAlgorithm::Hs256 => {
            builder.client_secret(Secret::from(CLIENT_SECRET)).auth_method(ClientAuthMethod::ClientSecretJwt)
        }
        AssertionAlgorithm::Es256
        | AssertionAlgorithm::Rs256
        | AssertionAlgorithm::Ps256
        | AssertionAlgorithm::EdDsa => builder.private_key(keys::text(algorithm)),
    }
}

async fn ask(manager: &TokenManager, scope: &str) -> Result<String, TokenError> {
    let token = manager.token(&TokenKey::scope(scope).unwrap()).await?;
    Ok(token.granted_scope().unwrap().to_string())
}

/// Asks until what was refused is seen to have been replaced, which the period of its source bounds.
pub(super) async fn until_granted(manager: &TokenManager, scope: &str) {
    let deadline = Instant::now() + secs(15);
    while let Err(error) = ask(manager, scope).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(millis(50)).await;
    }
}

#[track_caller]
fn is_refused(error: &TokenError) {
    let refused = matches!(error.kind(), TokenErrorKind::Refused { error: ErrorCode::InvalidClient, .. });
    assert!(refused && error.fault() == Fault::Credential && !error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_1_assertions_in_every_algorithm_get_tokens_of_both_servers() {
    for server in both() {
        for algorithm in AssertionAlgorithm::ALL {
            // A secret has no key id that the servers would know.
            let key_id = Some("first").filter(|_| algorithm != AssertionAlgorithm::Hs256);
            for key_id in [None, key_id] {
                let mut settings = AssertionSettings::default().algorithm(algorithm);
                if let Some(key_id) = key_id {
                    settings = settings.key_id(key_id);
                }
                let manager =
                    builder(&server, algorithm).assertion(settings).issuer(server.url("")).build().unwrap();
                for scope in ["orders:read", "orders:write"] {
                    assert_eq!(ask(&manager, scope).await.unwrap(), scope, "{algorithm} {key_id:?}");
                }
            }
        }
        assert_eq!(server.token_requests(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_each_assertion_is_another_and_its_audience_is_the_issuer_as_one_string() {
    let server = ForeignServer::oidc_provider(&assertion_clients(), &[]);
    let es256 = AssertionAlgorithm::Es256;
    let issuer = server.url("");
    let manager = builder(&server, es256).issuer(&*issuer).build().unwrap();
    let scopes = ["orders:read", "orders:write", "orders:read orders:write"];
    for scope in scopes {
        ask(&manager, scope).await.unwrap();
    }
    // Without the issuer it is the URL that is asked.
    ask(&builder(&server, es256).build().unwrap(), "orders:read").await.unwrap();
    let settings = AssertionSettings::default().key_id("first").with_thumbprint();
    let settings = settings.certificate(std::fs::read_to_string(keys::certificate()).unwrap());
    ask(&builder(&server, es256).assertion(settings).build().unwrap(), "orders:read").await.unwrap();

    let seen = server.seen();
    let audiences: Vec<_> = seen.iter().map(|each| each["claims"]["aud"].clone()).collect();
    let url = server.token_url();
    assert_eq!(audiences, [&issuer, &issuer, &issuer, &url, &url].map(|aud| json!(aud)));
    let ids: HashSet<_> = seen.iter().map(|each| each["claims"]["jti"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), seen.len());
    assert_eq!(seen[0]["header"], json!({ "alg": "ES256", "typ": "JWT" }));
    assert_eq!(seen[4]["header"]["kid"], "first");
    assert!(seen[4]["header"]["x5t#S256"].is_string(), "{}", seen[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_an_assertion_by_another_key_is_one_token_request_and_a_fault_of_the_credential() {
    for server in both() {
        for algorithm in keys::OF_KEYS {
            let before = server.token_requests();
            let manager = TokenManager::builder(server.token_url(), algorithm.as_str());
            let manager = manager.private_key(keys::another(algorithm)).issuer(server.url(""));
            let manager =
                manager.assertion(AssertionSettings::default().algorithm(algorithm)).build().unwrap();
            for _ in 0..5 {
                is_refused(&ask(&manager, "orders:read").await.unwrap_err());
            }
            assert_eq!(server.token_requests() - before, 1, "{algorithm}");
        }
        let wrong_secret = TokenManager::builder(server.token_url(), "HS256")
            .client_secret(Secret::from("another-secret-of-more-than-32-bytes!"))
            .auth_method(ClientAuthMethod::ClientSecretJwt)
            .build()
            .unwrap();
        is_refused(&ask(&wrong_secret, "orders:read").await.unwrap_err());
        let unknown = AssertionSettings::default().key_id("unknown");
        let unknown = builder(&server, AssertionAlgorithm::Es256).assertion(unknown).build().unwrap();
        is_refused(&ask(&unknown, "orders:read").await.unwrap_err());
        let elsewhere = builder(&server, AssertionAlgorithm::Es256).issuer("https://elsewhere.example");
        is_refused(&ask(&elsewhere.build().unwrap(), "orders:read").await.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_is_not_the_registered_one_is_refused_and_the_registered_one_taken() {
    let rsa = keys::text(AssertionAlgorithm::Rs256);
    let clients = json!([{
        "client_id": "billing", "scope": "orders:read", "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "PS256", "jwks": { "keys": [keys::public_jwk(&rsa, None)] },
    }]);
    let server = ForeignServer::oidc_provider(&clients, &[]);
    let builder = || TokenManager::builder(server.token_url(), "billing").private_key(rsa.clone());
    is_refused(&ask(&builder().build().unwrap(), "orders:read").await.unwrap_err());
    assert_eq!(server.seen()[0]["detail"], "alg mismatch");
    let settings = AssertionSettings::default().algorithm(AssertionAlgorithm::Ps256);
    ask(&builder().assertion(settings).build().unwrap(), "orders:read").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_a_private_key_that_is_replaced_in_its_file_is_taken_up_without_a_restart() {
    let es256 = AssertionAlgorithm::Es256;
    let second = keys::another(es256);
    let public =
        [keys::public_jwk(&keys::text(es256), Some("first")), keys::public_jwk(&second, Some("second"))];
    let clients = json!([{
        "client_id": "billing", "scope": "orders:read orders:write",
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": public },
    }]);
    // Without a key id, Authlib takes no assertion of a client with two keys.
    let server = ForeignServer::oidc_provider(&clients, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let replace = |key: &Secret<String>| {
        let next = folder.path().join("next.pem");
        std::fs::write(&next, key.expose()).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    replace(&keys::another(es256));
    let manager = TokenManager::builder(server.token_url(), "billing")
        .private_key_source(Arc::new(FileSource::new(&path)))
        .credential_period(secs(1))
        .build()
        .unwrap();
    is_refused(&ask(&manager, "orders:read").await.unwrap_err());
    replace(&keys::text(es256));
    until_granted(&manager, "orders:read").await;
    replace(&second);
    ask(&manager, "orders:write").await.unwrap();
    assert_eq!(server.token_requests(), 3);
    assert_eq!(manager.credential().generation, 2);
}

/// An assertion as a platform would write it into a file.
fn assertion(server: &ForeignServer, jwt_id: &str) -> Secret<String> {
    let key = AssertionKey::from_text(&keys::text(AssertionAlgorithm::Es256), None).unwrap();
    let audience = &server.url("");
    let (issued_at, lifetime) = (SystemClock.now(), AssertionLifetime::LONGEST);
    ClientAssertion { client_id: "ES256", audience, issued_at, lifetime, jwt_id }.sign(&key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_1_an_assertion_in_a_file_is_sent_as_it_is_and_taken_once_by_both_servers() {
    for server in both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), assertion(&server, "one").expose()).unwrap();
        let source = || Arc::new(FileSource::new(file.path()));
        let manager = TokenManager::builder(server.token_url(), "ES256").client_assertion_source(source());
        let manager = manager.credential_period(secs(1)).build().unwrap();
        ask(&manager, "orders:read").await.unwrap();
        // The same once more is a replay, to whoever keeps count.
        is_refused(&ask(&manager, "orders:write").await.unwrap_err());
        std::fs::write(file.path(), assertion(&server, "two").expose()).unwrap();
        until_granted(&manager, "orders:write").await;
        assert_eq!(server.token_requests(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_named_in_the_request_and_are_the_audience_of_the_token() {
    let arguments = ["--resource", "https://a.example", "--resource", "https://b.example"];
    let server = ForeignServer::oidc_provider(&assertion_clients(), &arguments);
    let manager = builder(&server, AssertionAlgorithm::EdDsa).build().unwrap();
    let key = || TokenKey::scope("orders:read").unwrap();
    for (key, audience) in [
        (key(), "https://a.example"),
        (key().with_resource("https://a.example"), "https://a.example"),
        (key().with_resource("https://b.example"), "https://b.example"),
    ] {
        let token = manager.token(&key).await.unwrap();
        let claims: Value = claims_of(token.access_token());
        assert_eq!(claims["aud"], audience);
    }
    for key in [
        key().with_resource("https://c.example"),
        key().with_resource("https://a.example").with_resource("https://b.example"),
    ] {
        let error = manager.token(&key).await.unwrap_err();
        assert!(error.to_string().contains("invalid_target"), "{error}");
    }
    assert_eq!(server.token_requests(), 5);
}

fn claims_of(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
