//! What callers get over real sockets: an axum server behind the guard, keys from an issuer on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod issuer;

use axum::Router;
use axum::routing::get;
use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use issuer::{API, Behaviour, Issuer};
use jeton_guard::{Algorithm, Guard, Principal, require_scope};
use jeton_proto::jose::jwk::SigningKey;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{ServiceBuilder, ServiceExt, service_fn};

struct Api {
    issuer: Arc<Issuer>,
    key: SigningKey,
    url: String,
}

impl Api {
    async fn start() -> Self {
        let issuer = Issuer::on_loopback().await;
        let key = issuer.new_key(Algorithm::Es256);
        let guard = guard(&issuer);
        let app = Router::new()
            .route("/whoami", get(|caller: Principal| async move { format!("{caller:?}") }))
            .route("/orders", get(|| async { "orders" }).route_layer(require_scope("orders:read").unwrap()))
            .route(
                "/admin",
                get(|| async { "admin" }).route_layer(require_scope("admin orders:read").unwrap()),
            )
            .layer(guard.layer());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { issuer, key, url }
    }

    async fn get(&self, path: &str, authorization: &[&str]) -> Response<String> {
        let mut request = Request::get(format!("{}{path}", self.url));
        for field in authorization {
            request = request.header(AUTHORIZATION, *field);
        }
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let (parts, body) = client.request(request.body(Empty::new()).unwrap()).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn bearer(&self, path: &str, token: &str) -> Response<String> {
        self.get(path, &[&format!("Bearer {token}")]).await
    }

    /// Sends a head as it is, without a body, and gives the status and the whole answer.
    async fn raw(&self, method: &str, path: &str, fields: &str) -> (u16, String) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{fields}\r\n");
        let exchange = async {
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), exchange).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn token(&self) -> String {
        self.issuer.token(&self.key)
    }
}

fn guard(issuer: &Arc<Issuer>) -> Guard {
    Guard::builder(&issuer.url, API).realm("orders").clock(Arc::clone(&issuer.clock) as _).build().unwrap()
}

fn challenge(response: &Response<String>) -> &str {
    response.headers()[WWW_AUTHENTICATE].to_str().unwrap()
}

#[tokio::test]
async fn r6_1_a_good_token_reaches_the_handler_with_its_principal() {
    let api = Api::start().await;
    let token = api.token();
    let answer = api.bearer("/whoami", &token).await;
    assert_eq!(answer.status(), 200);
    let shown = answer.body();
    assert!(shown.contains(r#"client_id: "reporting""#) && shown.contains("scope: orders:read"), "{shown}");
    for part in token.split('.') {
        assert!(!shown.contains(part), "t34: {shown}");
    }
    assert_eq!(api.bearer("/orders", &token).await.body(), "orders");
    assert_eq!(api.get("/orders", &[&format!("bEARER {token}")]).await.status(), 200);
}

#[tokio::test]
async fn r6_2_without_credentials_there_is_a_challenge_without_detail() {
    let api = Api::start().await;
    let query = format!("/orders?access_token={}", api.token());
    for (path, fields) in [("/orders", &[][..]), ("/orders", &["Basic YTpi"]), (&query, &[])] {
        let answer = api.get(path, fields).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(challenge(&answer), r#"Bearer realm="orders""#);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert!(answer.body().is_empty());
    }
}

#[tokio::test]
async fn every_method_is_guarded() {
    let api = Api::start().await;
    let good = format!("Bearer {}", api.token());
    for method in ["HEAD", "OPTIONS", "POST", "DELETE", "TRACE", "PURGE"] {
        let (refused, _) = api.raw(method, "/orders", "").await;
        assert_eq!(refused, 401, "{method}");
        let (status, _) = api.raw(method, "/orders", &format!("Authorization: {good}\r\n")).await;
        assert_eq!(status, if method == "HEAD" { 200 } else { 405 }, "{method}");
    }
}

#[tokio::test]
async fn t36_the_field_is_read_as_rfc_9110_writes_it() {
    let api = Api::start().await;
    let token = api.token();
    for (field, expected) in [
        (format!("authorization:Bearer {token}"), 200),
        (format!("AUTHORIZATION: \t bearer    {token} \t "), 200),
        // RFC 9110 §11.4: one or more spaces after the scheme, and nothing else.
        (format!("Authorization: Bearer\t{token}"), 401),
        (format!("Authorization: Bearer{token}"), 401),
        (format!("Authorization: Bearer={token}"), 401),
        (format!("Authorization: \"Bearer\" {token}"), 401),
        (format!("Authorization: Token {token}"), 401),
        (format!("Authorization: {token}"), 401),
        (format!("Proxy-Authorization: Bearer {token}"), 401),
        (format!("Cookie: access_token={token}"), 401),
        (format!("X-Forwarded-Authorization: Bearer {token}"), 401),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}"), 400),
        (format!("Authorization: Basic YTpi\r\nauthorization: Bearer {token}"), 400),
        (format!("Authorization: Bearer {token}, Bearer {token}"), 400),
        (format!("Authorization: Bearer \u{e9}{token}"), 400),
    ] {
        let (status, answer) = api.raw("GET", "/orders", &format!("{field}\r\n")).await;
        assert_eq!(status, expected, "{field}: {answer}");
        assert!(!answer.contains(&token), "t37: {answer}");
    }
}

#[tokio::test]
async fn a_request_without_a_token_is_answered_before_its_body_comes() {
    let api = Api::start().await;
    let announced = "Content-Length: 100000000\r\nExpect: 100-continue\r\n";
    let (status, answer) = api.raw("POST", "/orders", announced).await;
    assert_eq!(status, 401, "not asked to go on: {answer}");
}

#[tokio::test]
async fn responses_of_every_common_body_can_be_guarded() {
    async fn check<B: Default + Send + 'static>(guard: &Guard) {
        let service = ServiceBuilder::new()
            .layer(guard.layer())
            .layer(require_scope("orders:read").unwrap())
            .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(B::default())) }));
        let answer = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    let guard = guard(&Issuer::in_memory());
    check::<axum::body::Body>(&guard).await;
    check::<http_body_util::Full<bytes::Bytes>>(&guard).await;
    check::<Empty<bytes::Bytes>>(&guard).await;
    check::<http_body_util::combinators::BoxBody<bytes::Bytes, Infallible>>(&guard).await;
    check::<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::io::Error>>(&guard).await;
    check::<Option<http_body_util::Full<bytes::Bytes>>>(&guard).await;
    check::<String>(&guard).await;
}

#[tokio::test]
async fn r6_2_an_expired_token_is_called_expired() {
    let api = Api::start().await;
    let token = api.token();
    api.issuer.clock.advance(Duration::from_secs(3605));
    let answer = api.bearer("/orders", &token).await;
    assert_eq!(answer.status(), 401);
    let expected = r#"Bearer realm="orders", error="invalid_token", error_description="the token expired""#;
    assert_eq!(challenge(&answer), expected);
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn r6_2_a_missing_scope_is_named() {
    let api = Api::start().await;
    let answer = api.bearer("/admin", &api.token()).await;
    assert_eq!(answer.status(), 403);
    assert!(challenge(&answer).starts_with(r#"Bearer realm="orders", error="insufficient_scope""#));
    assert!(challenge(&answer).ends_with(r#"scope="admin orders:read""#), "{}", challenge(&answer));
    for changes in [json!({ "scope": "" }), json!({ "scope": "Orders:Read" })] {
        let token = api.issuer.token_with(&api.key, &changes);
        assert_eq!(api.bearer("/orders", &token).await.status(), 403, "{changes}");
    }
    let both = api.issuer.token_with(&api.key, &json!({ "scope": "orders:read admin other" }));
    assert_eq!(api.bearer("/admin", &both).await.status(), 200);
}

#[tokio::test]
async fn t36_credentials_that_cannot_be_read_are_an_invalid_request() {
    let api = Api::start().await;
    let good = format!("Bearer {}", api.token());
    for fields in [&[good.as_str(), good.as_str()][..], &[&good, "Basic YTpi"], &["Bearer"], &["Bearer a b"]]
    {
        let answer = api.get("/orders", fields).await;
        assert_eq!(answer.status(), 400, "{fields:?}");
        assert!(challenge(&answer).contains(r#"error="invalid_request""#), "{}", challenge(&answer));
    }
}

#[tokio::test]
async fn r6_3_a_rotation_of_the_issuer_is_followed() {
    let api = Api::start().await;
    assert_eq!(api.bearer("/orders", &api.token()).await.status(), 200);
    let new = api.issuer.new_key(Algorithm::EdDsa);
    assert_eq!(api.bearer("/orders", &api.issuer.token(&new)).await.status(), 200);
    assert_eq!(api.issuer.key_set_requests(), 2);
}

#[tokio::test]
async fn without_keys_the_answer_is_503_with_retry_after_and_no_challenge() {
    let api = Api::start().await;
    api.issuer.behave(Behaviour::Fails(500));
    let answer = api.bearer("/orders", &api.token()).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers()[RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.headers().get(WWW_AUTHENTICATE), None);
    assert_eq!(
        api.get("/orders", &[]).await.status(),
        401,
        "no keys are needed to see that there is no token"
    );
}

#[tokio::test]
async fn a_route_that_nobody_guards_is_answered_with_500() {
    let forgotten = || Router::new().route("/", get(|_caller: Principal| async { "never" }));
    let scoped =
        || Router::new().route("/", get(|| async { "never" }).route_layer(require_scope("a").unwrap()));
    for app in [forgotten(), scoped()] {
        let answer = app.oneshot(Request::get("/").body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn any_tower_service_can_be_guarded_and_does_not_see_the_token_in_debug() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = Guard::builder(&issuer.url, API)
        .clock(Arc::clone(&issuer.clock) as _)
        .exchange(Arc::clone(&issuer) as _)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(guard.layer())
        .layer(require_scope("orders:read").unwrap())
        .service(service_fn(|request: Request<()>| async move {
            let caller = request.extensions().get::<Principal>().unwrap().client_id().to_owned();
            Ok::<_, Infallible>(Response::new(format!("{caller} {:?}", request.headers())))
        }));
    let token = issuer.token(&key);
    let request = |field: String| Request::builder().header(AUTHORIZATION, field).body(()).unwrap();
    let good = service.clone().oneshot(request(format!("Bearer {token}"))).await.unwrap();
    assert!(good.body().starts_with("reporting "), "{}", good.body());
    assert!(!good.body().contains(&token), "t34");
    let bad = service.oneshot(request("Bearer x.y.z".to_owned())).await.unwrap();
    assert_eq!(bad.status(), 401);
    assert_eq!(
        bad.headers()[WWW_AUTHENTICATE].to_str().unwrap().split(',').next(),
        Some(r#"Bearer realm="https://api.example""#)
    );
}
