//! What `oidc-provider` says of itself is all that has to be set besides the credential (RFC 8414, RFC 8705 §5).

use super::keys;
use super::programs::ForeignServer;
use super::stage::{CLIENT_SECRET, TlsStage, assertion_clients};
use crate::support::authority::Identity;
use jeton::credentials::AssertionAlgorithm;
use jeton::discovery::Discovery;
use jeton::{ClientAuthMethod, Secret, TokenKey, TokenManager, TokenManagerBuilder};
use serde_json::json;

async fn gets_a_token(builder: TokenManagerBuilder) {
    let token = builder.build().unwrap().token(&TokenKey::scope("orders:read").unwrap()).await.unwrap();
    assert_eq!(token.granted_scope().unwrap().to_string(), "orders:read");
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_1_the_method_and_the_audience_are_taken_from_the_metadata() {
    let server = ForeignServer::oidc_provider(&assertion_clients(), &[]);
    let metadata = Discovery::of(server.url("")).fetch().await.unwrap();
    for algorithm in keys::OF_KEYS {
        if algorithm == AssertionAlgorithm::Ps256 {
            // An RSA key signs PS256 where the server offers it: that is what RS256 below is asked with.
            continue;
        }
        let builder = TokenManager::builder(&metadata.token_endpoint, algorithm.as_str());
        gets_a_token(builder.metadata(metadata.clone()).private_key(keys::text(algorithm))).await;
    }
    let seen = server.seen();
    assert!(seen.iter().all(|each| each["claims"]["aud"] == json!(server.url(""))), "{seen:?}");
    let algorithms: Vec<_> = seen.iter().map(|each| each["header"]["alg"].as_str().unwrap()).collect();
    assert_eq!(algorithms, ["ES256", "PS256", "EdDSA"]);
    // A secret goes by Basic before any other way, which the client was not registered for; it has to say so.
    let builder = || {
        TokenManager::builder(&metadata.token_endpoint, "HS256").client_secret(Secret::from(CLIENT_SECRET))
    };
    let by_choice = builder().metadata(metadata.clone()).build().unwrap();
    by_choice.token(&TokenKey::scope("orders:read").unwrap()).await.unwrap_err();
    gets_a_token(builder().metadata(metadata.clone()).auth_method(ClientAuthMethod::ClientSecretJwt)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_1_a_certificate_goes_to_the_endpoint_that_the_metadata_name_for_it() {
    let stage = TlsStage::start();
    let metadata = Discovery::of(stage.server.url("")).tls_roots(stage.roots.clone()).fetch().await.unwrap();
    assert_eq!(metadata.token_endpoint, stage.server.token_url());
    let pem = |identity: &Identity| Secret::new(format!("{}{}", identity.pem, identity.key_pem));
    let builder = |client_id: &str| {
        let builder =
            TokenManager::builder(&metadata.token_endpoint, client_id).tls_roots(stage.roots.clone());
        builder.metadata(metadata.clone())
    };
    gets_a_token(builder("subject").client_certificate(pem(&stage.by_subject))).await;
    let pinned = builder("pinned").client_certificate(pem(&stage.pinned));
    gets_a_token(pinned.auth_method(ClientAuthMethod::SelfSignedTlsClientAuth)).await;
    assert!(stage.server.seen().iter().all(|seen| seen["error"].is_null()), "{:?}", stage.server.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_4_metadata_of_another_issuer_are_refused_before_anything_is_sent() {
    let server = ForeignServer::oidc_provider(&assertion_clients(), &[]);
    // The same server by another name: what it says of itself is not what it was asked as.
    let other_name = server.url("").replace("127.0.0.1", "localhost");
    let error = Discovery::of(other_name).fetch().await.unwrap_err();
    assert!(error.to_string().contains("issuer"), "{error}");
    assert_eq!(server.token_requests(), 0);
}
