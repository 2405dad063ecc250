//! `tls_client_auth` and `self_signed_tls_client_auth` at `oidc-provider` (RFC 8705).

use super::assertions::until_granted;
use super::stage::TlsStage;
use crate::support::authority::Identity;
use crate::support::secs;
use jeton::credentials::FileSource;
use jeton::{
    ClientAuthMethod, ErrorCode, Fault, Secret, TokenError, TokenErrorKind, TokenKey, TokenManager,
    TokenManagerBuilder,
};
use std::sync::Arc;

/// Certificate and key as one text, which is how they are given.
fn pem(identity: &Identity) -> Secret<String> {
    Secret::new(format!("{}{}", identity.pem, identity.key_pem))
}

impl TlsStage {
    fn builder(&self, client_id: &str) -> TokenManagerBuilder {
        TokenManager::builder(self.server.mutual_tls_token_url(), client_id).tls_roots(self.roots.clone())
    }
}

async fn ask(manager: &TokenManager, scope: &str) -> Result<(), TokenError> {
    manager.token(&TokenKey::scope(scope).unwrap()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_1_certificates_get_tokens_by_subject_by_name_and_by_themselves() {
    use ClientAuthMethod::{SelfSignedTlsClientAuth, TlsClientAuth};
    let stage = TlsStage::start();
    for (client_id, method, identity) in [
        ("subject", TlsClientAuth, &stage.by_subject),
        ("name", TlsClientAuth, &stage.by_name),
        ("pinned", SelfSignedTlsClientAuth, &stage.pinned),
    ] {
        let manager =
            stage.builder(client_id).client_certificate(pem(identity)).auth_method(method).build().unwrap();
        for scope in ["orders:read", "orders:write"] {
            ask(&manager, scope).await.unwrap();
            let seen = stage.server.seen().pop().unwrap();
            assert_eq!(
                (seen["client_id"].as_str(), &seen["error"]),
                (Some(client_id), &serde_json::Value::Null)
            );
            assert_eq!(seen["certificate"], stage.fingerprint(identity));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_a_certificate_that_is_not_the_registered_one_is_one_token_request() {
    let stage = TlsStage::start();
    for (client_id, identity, detail) in [
        ("subject", &stage.by_name, "certificate subject value does not match the registered one"),
        ("subject", &stage.impostor, "client certificate was not verified"),
        ("name", &stage.by_subject, "certificate subject value does not match the registered one"),
        ("pinned", &stage.by_subject, "unregistered client certificate provided"),
        ("nobody", &stage.by_subject, "client not found"),
    ] {
        let before = stage.server.token_requests();
        let manager = stage.builder(client_id).client_certificate(pem(identity)).build().unwrap();
        for _ in 0..5 {
            let error = ask(&manager, "orders:read").await.unwrap_err();
            let refused =
                matches!(error.kind(), TokenErrorKind::Refused { error: ErrorCode::InvalidClient, .. });
            assert!(refused && error.fault() == Fault::Credential && !error.is_retryable(), "{error}");
        }
        assert_eq!(stage.server.token_requests() - before, 1, "{client_id}");
        assert_eq!(stage.server.seen().pop().unwrap()["detail"], detail, "{client_id}");
    }
    // At the port that asks for no certificate none is shown.
    let manager = TokenManager::builder(stage.server.token_url(), "subject").tls_roots(stage.roots.clone());
    let manager = manager.client_certificate(pem(&stage.by_subject)).build().unwrap();
    ask(&manager, "orders:read").await.unwrap_err();
    assert_eq!(stage.server.seen().pop().unwrap()["detail"], "client certificate was not provided");
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_3_a_certificate_that_is_replaced_while_running_is_shown_from_then_on() {
    let stage = TlsStage::start();
    let path = stage.write("identity.pem", pem(&stage.by_name).expose());
    let replace = |identity: &Identity| {
        let next = stage.write("next.pem", pem(identity).expose());
        std::fs::rename(next, &path).unwrap();
    };
    let manager = stage
        .builder("subject")
        .client_certificate_source(Arc::new(FileSource::new(&path)))
        .credential_period(secs(1))
        .build()
        .unwrap();
    ask(&manager, "orders:read").await.unwrap_err();
    replace(&stage.by_subject);
    until_granted(&manager, "orders:read").await;
    let renewed = stage.subject_again();
    replace(&renewed);
    ask(&manager, "orders:write").await.unwrap();
    let shown: Vec<_> =
        stage.server.seen().iter().map(|seen| seen["certificate"].as_str().unwrap().to_owned()).collect();
    let expected = [&stage.by_name, &stage.by_subject, &renewed].map(|identity| stage.fingerprint(identity));
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_3_a_certificate_that_is_replaced_by_hand_is_shown_from_then_on() {
    let stage = TlsStage::start();
    let manager = stage.builder("subject").client_certificate(pem(&stage.by_subject)).build().unwrap();
    ask(&manager, "orders:read").await.unwrap();
    let renewed = stage.subject_again();
    manager.replace_credential(pem(&renewed)).unwrap();
    ask(&manager, "orders:write").await.unwrap();
    let seen = stage.server.seen();
    let shown: Vec<_> = seen.iter().map(|seen| seen["certificate"].as_str().unwrap()).collect();
    assert_eq!(shown, [stage.fingerprint(&stage.by_subject), stage.fingerprint(&renewed)]);
}
