//! The guard before an API whose tokens come from an issuer of others: `oidc-provider` of npm (R5.9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../testdata/foreign/programs.rs"]
mod programs;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jeton::{Clock, Secret, SystemClock, TokenKey, TokenManager};
use jeton_guard::{Algorithm, Guard, GuardBuilder, Principal, require_scope};
use programs::ForeignServer;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

const API: &str = "https://api.example";

fn issuer(arguments: &[&str]) -> ForeignServer {
    let client = json!({ "client_id": "billing", "client_secret": "s", "scope": "orders:read orders:write" });
    ForeignServer::oidc_provider(&json!([client]), arguments)
}

async fn token(issuer: &ForeignServer) -> String {
    let manager = TokenManager::builder(issuer.token_url(), "billing").client_secret(Secret::from("s"));
    let token = manager.build().unwrap().token(&TokenKey::scope("orders:read").unwrap()).await.unwrap();
    token.access_token().to_owned()
}

fn guard(issuer: &ForeignServer) -> GuardBuilder {
    Guard::builder(issuer.url(""), API)
}

/// An API with a route for whoever may read and one for whoever may write.
struct Guarded(Router);

impl Guarded {
    fn by(guard: GuardBuilder) -> Self {
        let route = |scope| get(greet).route_layer(require_scope(scope).unwrap());
        let router =
            Router::new().route("/read", route("orders:read")).route("/write", route("orders:write"));
        Self(router.layer(guard.build().unwrap().layer()))
    }

    /// Status, challenge and body.
    async fn call(&self, path: &str, token: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {token}"));
        let response = self.0.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge =
            response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, challenge.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    async fn refuses(&self, token: &str, description: &str) {
        let (status, challenge, _) = self.call("/read", token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{challenge}");
        let expected = format!(r#"error="invalid_token", error_description="{description}""#);
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&expected), "{challenge}");
    }
}

async fn greet(caller: Principal) -> String {
    format!("{} with {}", caller.client_id(), caller.scope())
}

/// The token with one part of it changed, and the old signature.
fn with_part(token: &str, part: usize, change: impl FnOnce(&mut Value)) -> String {
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    let mut value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
    change(&mut value);
    parts[part] = URL_SAFE_NO_PAD.encode(value.to_string());
    parts.join(".")
}

#[tokio::test]
async fn tokens_pass_in_every_algorithm_and_reach_what_their_scope_allows() {
    for algorithm in Algorithm::ALL {
        let issuer = issuer(&["--alg", algorithm.as_str()]);
        let api = Guarded::by(guard(&issuer).algorithms(&[algorithm]));
        let token = token(&issuer).await;
        for _ in 0..3 {
            let (status, challenge, body) = api.call("/read", &token).await;
            assert_eq!((status, &*body), (StatusCode::OK, "billing with orders:read"), "{challenge}");
        }
        let (status, challenge, _) = api.call("/write", &token).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
        assert!(challenge.contains(r#"scope="orders:write""#), "{challenge}");
        let others: Vec<_> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let elsewhere = Guarded::by(guard(&issuer).algorithms(&others));
        elsewhere.refuses(&token, "the signature algorithm is not allowed").await;
    }
}

#[tokio::test]
async fn t43_a_token_that_was_tampered_with_is_refused_in_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let issuer = issuer(&["--alg", algorithm.as_str()]);
        let api = Guarded::by(guard(&issuer));
        let token = token(&issuer).await;
        assert_eq!(api.call("/read", &token).await.0, StatusCode::OK, "what is tampered with is good");

        let greedy = with_part(&token, 1, |claims| claims["scope"] = json!("orders:read orders:write"));
        api.refuses(&greedy, "the signature is invalid").await;
        let lasting = with_part(&token, 1, |claims| claims["exp"] = json!(4_000_000_000_u64));
        api.refuses(&lasting, "the signature is invalid").await;
        let unsigned = with_part(&token, 0, |header| header["alg"] = json!("none"));
        api.refuses(&unsigned, "the token is malformed").await;
        let untyped = with_part(&token, 0, |header| header["typ"] = json!("JWT"));
        api.refuses(&untyped, "the token is not an access token").await;
        let foreign = with_part(&token, 0, |header| header["kid"] = json!("made-up"));
        api.refuses(&foreign, "the token is signed with an unknown key").await;
        let stripped = format!("{}.", token.rsplit_once('.').unwrap().0);
        let (status, challenge, _) = api.call("/read", &stripped).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{challenge}");
    }
}

#[tokio::test]
async fn a_token_for_another_api_or_of_another_issuer_is_refused() {
    let here = issuer(&[]);
    let api = Guarded::by(guard(&here));
    assert_eq!(api.call("/read", &token(&here).await).await.0, StatusCode::OK);
    let other_api = Guarded::by(Guard::builder(here.url(""), "https://other.example"));
    other_api.refuses(&token(&here).await, "the token is for another audience").await;
    let also_this_api = Guard::builder(here.url(""), "https://other.example").audience(API);
    assert_eq!(Guarded::by(also_this_api).call("/read", &token(&here).await).await.0, StatusCode::OK);
    let elsewhere = issuer(&[]);
    api.refuses(&token(&elsewhere).await, "the token is signed with an unknown key").await;
    let opaque = issuer(&["--format", "opaque"]);
    Guarded::by(guard(&opaque)).refuses(&token(&opaque).await, "the token is malformed").await;
}

#[tokio::test]
async fn a_token_passes_until_it_expires() {
    let issuer = issuer(&["--expires-in", "2"]);
    let guard = guard(&issuer).clock_skew(Duration::ZERO).build().unwrap();
    let token = token(&issuer).await;
    let principal = guard.check(&token).await.unwrap();
    tokio::time::sleep(principal.expires_at().saturating_since(SystemClock.now())).await;
    let refusal = guard.check(&token).await.unwrap_err();
    assert!(refusal.to_string().starts_with("the token expired at "), "{refusal}");
}

/// The metadata of `oidc-provider` says much that the guard has no use for, and its answers have headers of their own.
#[tokio::test]
async fn the_keys_are_found_through_the_metadata_and_a_wrong_issuer_is_told_at_start() {
    let issuer = issuer(&[]);
    guard(&issuer).build().unwrap().prefetch().await.unwrap();
    // Another name of the same host is another issuer (RFC 8414 §3.3).
    let misnamed = issuer.url("").replace("127.0.0.1", "localhost");
    let error = Guard::builder(&misnamed, API).build().unwrap().prefetch().await.unwrap_err();
    assert!(error.to_string().contains("issuer"), "{error}");
}
