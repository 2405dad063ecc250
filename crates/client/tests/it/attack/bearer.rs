//! The bearer layer under APIs and services that behave badly.

use crate::support::{Endpoint, builder, key};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use jeton::bearer::{BearerLayer, OutgoingRequest, ReplayBody};
use jeton::http::PlainHttp;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower::{Layer, Service, ServiceExt};

type Sent = Request<Full<Bytes>>;

fn refused() -> Response<()> {
    let challenge = "Bearer error=\"invalid_token\"";
    Response::builder().status(401).header(WWW_AUTHENTICATE, challenge).body(()).unwrap()
}

fn status(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

fn request() -> Sent {
    Request::get("https://api.example/orders").body(Full::default()).unwrap()
}

fn layer(endpoint: &Arc<Endpoint>) -> BearerLayer {
    BearerLayer::new(builder(endpoint).build().unwrap().handle(&key()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn t24_a_gateway_that_fails_between_refusals_does_not_make_a_mint_per_refusal() {
    for between in [500, 502, 503, 429, 302, 407] {
        let endpoint = Endpoint::granting(3600);
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let api = tower::service_fn(move |_: Sent| {
            let call = counter.fetch_add(1, Ordering::SeqCst);
            ready(Ok::<_, Infallible>(if call.is_multiple_of(2) { refused() } else { status(between) }))
        });
        let service = layer(&endpoint).layer(api);
        for _ in 0..100 {
            service.clone().oneshot(request()).await.unwrap();
        }
        assert!(endpoint.requests() <= 3, "{} mints with {between} between", endpoint.requests());
    }
}

/// A service that may be called once for each time that it was found ready, as tower wants it.
struct Strict {
    is_ready: bool,
    refusals: Arc<AtomicU64>,
    seen: Arc<Mutex<Vec<Vec<HeaderValue>>>>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { is_ready: false, refusals: Arc::clone(&self.refusals), seen: Arc::clone(&self.seen) }
    }
}

impl Service<Sent> for Strict {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been polled ready");
        let values = request.headers().get_all(AUTHORIZATION).iter().cloned().collect();
        self.seen.lock().unwrap().push(values);
        let take_one = |left: u64| left.checked_sub(1);
        let refuse = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok();
        ready(Ok(if refuse { refused() } else { status(200) }))
    }
}

#[tokio::test(start_paused = true)]
async fn t22_each_call_and_the_replay_too_finds_the_inner_service_ready() {
    let endpoint = Endpoint::granting(3600);
    let (refusals, seen) = (Arc::new(AtomicU64::new(1)), Arc::new(Mutex::new(Vec::new())));
    let strict = Strict { is_ready: false, refusals: Arc::clone(&refusals), seen: Arc::clone(&seen) };
    let mut service = layer(&endpoint).layer(strict);
    let mut own = request();
    // What the caller set himself is replaced, in the replay too, and never sent beside the token.
    own.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Basic one"));
    own.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Basic two"));
    let response = service.ready().await.unwrap().call(own).await.unwrap();
    assert_eq!(response.status(), 200);
    for _ in 0..3 {
        service.ready().await.unwrap().call(request()).await.unwrap();
    }
    let tokens: Vec<_> = seen.lock().unwrap().clone();
    let expected = ["Bearer token-1", "Bearer token-2", "Bearer token-2", "Bearer token-2", "Bearer token-2"];
    assert_eq!(tokens, expected.map(|value| vec![HeaderValue::from_static(value)]));
}

#[tokio::test(start_paused = true)]
async fn t22_two_calls_of_one_service_run_beside_each_other() {
    let endpoint = Endpoint::granting(3600);
    let api = tower::service_fn(|_: Sent| async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Ok::<_, Infallible>(status(200))
    });
    let limited = tower::ServiceBuilder::new().layer(layer(&endpoint)).service(api);
    let started = tokio::time::Instant::now();
    let (first, second) = tokio::join!(limited.clone().oneshot(request()), limited.oneshot(request()));
    assert!(first.is_ok() && second.is_ok());
    assert!(started.elapsed() < std::time::Duration::from_millis(1500));
}

#[test]
fn r3_7_what_is_copied_for_a_replay_is_bounded() {
    let long = "x".repeat(8 << 20);
    assert!(ReplayBody::try_clone(&"short".to_owned()).is_some());
    assert!(ReplayBody::try_clone(&long).is_none());
    assert!(ReplayBody::try_clone(&reqwest::Body::from("short")).is_some());
    assert!(ReplayBody::try_clone(&reqwest::Body::from(long.clone())).is_none());
    assert!(ReplayBody::try_clone(&Bytes::from(long)).is_some(), "a share in it, which costs nothing");
}

#[test]
fn r4_4_the_plain_http_rule_sees_through_spellings() {
    let rule = PlainHttp::to_loopback().and_to("[fd00::1]").and_to("api.internal");
    for (url, expected) in [
        ("http://localhost:8080/", true),
        ("http://LocalHost/", true),
        ("http://127.0.0.1:80/", true),
        ("http://[::1]:80/", true),
        ("http://[fd00::1]:80/", true),
        ("http://API.internal:8080/", true),
        ("HTTPS://anywhere.example/", true),
        ("http://localhost.evil.example/", false),
        ("http://x.localhost/", false),
        ("http://localhost./", false),
        ("http://127.0.0.1.evil.example/", false),
        ("http://[::ffff:127.0.0.1]/", false),
        ("http://[::ffff:8.8.8.8]/", false),
        ("http://0.0.0.0/", false),
        ("http://[::]/", false),
        ("http://localhost@evil.example/", false),
        ("http://127.0.0.1:80@evil.example/", false),
        ("http://api.internal.evil.example/", false),
        ("ws://evil.example/", false),
    ] {
        let request = Request::get(url).body(Full::<Bytes>::default()).unwrap();
        let (scheme, host) = request.target().unwrap();
        assert_eq!(rule.allows(scheme, host), expected, "{url} is {scheme} {host}");
    }
    let relative = Request::get("/orders").body(Full::<Bytes>::default()).unwrap();
    assert!(relative.target().is_none(), "it goes over a connection that is open");
}
