//! The bearer layer in front of real APIs, with hyper's client and with reqwest's.

use crate::support::socket::{Server, text, token_endpoint};
use crate::support::{SECRET, key, secs};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jeton::bearer::{BearerError, BearerLayer, OneShot};
use jeton::http::PlainHttp;
use jeton::{Secret, TokenHandle, TokenManager};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tower::{Layer, Service, ServiceExt};

const REFUSAL: &str = r#"Bearer realm="api", error="invalid_token", error_description="the token expired""#;

/// The `Authorization` value and the body of a call.
type Call = (String, Vec<u8>);

/// An API that refuses the tokens in a list, and echoes bodies.
struct Api {
    server: Server,
    refused: Arc<Mutex<HashSet<String>>>,
    seen: Arc<Mutex<Vec<Call>>>,
}

impl Api {
    async fn start(refusal: Response<Full<Bytes>>) -> Self {
        let (refused, seen) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(Mutex::new(Vec::new())));
        let (list, log) = (Arc::<Mutex<HashSet<String>>>::clone(&refused), Arc::clone(&seen));
        let server = Server::start(move |_, request, body| {
            let token = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
            assert_eq!(request.headers().get_all("authorization").iter().count(), 1);
            log.lock().unwrap().push((token.to_owned(), body.to_vec()));
            let known = list.lock().unwrap();
            if known.contains(token) || known.contains("all") {
                refusal.clone()
            } else {
                text(200, body.to_vec())
            }
        })
        .await;
        Self { server, refused, seen }
    }

    async fn with_challenge(status: u16, challenge: &str) -> Self {
        let response = Response::builder().status(status).header("www-authenticate", challenge);
        Self::start(response.body(Full::from("refused")).unwrap()).await
    }

    fn refuse(&self, token: &str) {
        self.refused.lock().unwrap().insert(token.to_owned());
    }

    fn tokens_seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(token, _)| token.clone()).collect()
    }
}

async fn handle() -> (TokenHandle, Server) {
    let server = token_endpoint(3600).await;
    let manager = TokenManager::builder(server.url("/token"), "billing").client_secret(Secret::from(SECRET));
    (manager.build().unwrap().handle(&key()).unwrap(), server)
}

async fn post(layer: &BearerLayer, url: &str, body: &str) -> Response<Bytes> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(url).body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let (parts, body) = layer.layer(client).oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn r3_1_an_invalid_token_is_replaced_and_the_request_sent_once_more() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    let layer = BearerLayer::new(handle);
    let url = api.server.url("/orders");
    assert_eq!(post(&layer, &url, "first").await.body(), "first");
    api.refuse("Bearer token-1");
    assert_eq!(post(&layer, &url, "second").await.body(), "second");
    assert_eq!(api.tokens_seen(), ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn t11_many_callers_with_one_refused_token_cause_one_mint() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    let layer = BearerLayer::new(handle.clone());
    handle.token().await.unwrap();
    api.refuse("Bearer token-1");
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (layer, url) = (layer.clone(), api.server.url("/orders"));
            tokio::spawn(async move { post(&layer, &url, "x").await.status() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn r3_1_a_second_401_is_handed_back_and_never_becomes_a_mint_per_call() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    api.refuse("all");
    let layer = BearerLayer::new(handle);
    for _ in 0..20 {
        let response = post(&layer, &api.server.url("/orders"), "x").await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::UNAUTHORIZED, &b"refused"[..]));
        assert_eq!(response.headers()["www-authenticate"], REFUSAL);
    }
    assert_eq!(tokens.requests(), 2, "one mint for the rejection, then none until the probation is over");
}

#[tokio::test]
async fn a_token_that_worked_and_is_then_revoked_is_replaced_every_time() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    let layer = BearerLayer::new(handle);
    for round in 1..=5 {
        assert_eq!(post(&layer, &api.server.url("/orders"), "x").await.status(), StatusCode::OK);
        api.refuse(&format!("Bearer token-{round}"));
        assert_eq!(post(&layer, &api.server.url("/orders"), "x").await.status(), StatusCode::OK);
    }
    assert_eq!(tokens.requests(), 6);
}

#[tokio::test]
async fn r3_1_any_other_refusal_is_handed_back_without_a_token_request() {
    for (status, challenge) in [
        (401, r#"Bearer realm="api""#),
        (401, r#"Basic realm="api""#),
        (401, r#"Bearer error="invalid_request""#),
        (403, r#"Bearer error="insufficient_scope", scope="orders:write""#),
        (403, r#"Bearer error="invalid_token""#),
    ] {
        let (handle, tokens) = handle().await;
        let api = Api::with_challenge(status, challenge).await;
        api.refuse("all");
        let response = post(&BearerLayer::new(handle), &api.server.url("/orders"), "x").await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!((tokens.requests(), api.server.requests()), (1, 1), "{challenge}");
    }
}

#[tokio::test]
async fn r3_2_a_body_that_is_gone_is_not_replayed_but_the_token_is_renewed() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    handle.token().await.unwrap();
    api.refuse("Bearer token-1");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let service = BearerLayer::new(handle.clone()).layer(client);
    let request = |body: &str| {
        Request::post(api.server.url("/orders"))
            .body(OneShot(Full::new(Bytes::from(body.to_owned()))))
            .unwrap()
    };
    let response = service.clone().oneshot(request("stream")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.seen.lock().unwrap().len(), 1);
    assert_eq!(service.oneshot(request("next")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.seen.lock().unwrap().last().unwrap(), &("Bearer token-2".to_owned(), b"next".to_vec()));
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn t23_without_a_token_the_request_is_not_sent() {
    let tokens = Server::start(|_, _, _| text(401, r#"{"error":"invalid_client"}"#)).await;
    let manager = TokenManager::builder(tokens.url("/token"), "billing").client_secret(Secret::from(SECRET));
    let handle = manager.build().unwrap().handle(&key()).unwrap();
    let api = Api::with_challenge(401, REFUSAL).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(api.server.url("/orders")).body(Full::default()).unwrap();
    let error = BearerLayer::new(handle).layer(client).oneshot(request).await.unwrap_err();
    assert!(matches!(error, BearerError::Token(_)), "{error}");
    assert_eq!(api.server.requests(), 0);
}

#[tokio::test]
async fn a_token_does_not_travel_over_plain_http_to_another_machine() {
    let (handle, tokens) = handle().await;
    let ready =
        tower::service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, std::io::Error>(text(200, "sent")) });
    let request = || Request::get("http://api.example.com/").body(Full::default()).unwrap();
    let error = BearerLayer::new(handle.clone()).layer(ready).oneshot(request()).await.unwrap_err();
    assert!(error.to_string().contains("plain http to api.example.com"), "{error}");
    assert_eq!(tokens.requests(), 0);
    let allowed = BearerLayer::new(handle).plain_http(PlainHttp::to_loopback().and_to("api.example.com"));
    assert!(allowed.layer(ready).oneshot(request()).await.is_ok());
}

fn reqwest_client(redirects: reqwest::redirect::Policy) -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    reqwest::Client::builder().no_proxy().redirect(redirects).tls_backend_preconfigured(tls).build().unwrap()
}

#[tokio::test]
async fn r3_1_reqwest_requests_are_replayed_too() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    handle.token().await.unwrap();
    api.refuse("Bearer token-1");
    let client = reqwest_client(reqwest::redirect::Policy::none());
    let request = client.post(api.server.url("/orders")).body("over reqwest").build().unwrap();
    let mut service = BearerLayer::new(handle).layer(client);
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "over reqwest");
    assert_eq!(api.seen.lock().unwrap().last().unwrap().0, "Bearer token-2");
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn t17_the_token_does_not_follow_an_api_redirect_to_another_origin() {
    let (handle, _tokens) = handle().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let other = Server::start(move |_, request, _| {
        log.lock().unwrap().push(request.headers().get("authorization").cloned());
        text(200, "other")
    })
    .await;
    let location = other.url("/stolen");
    let api = Server::start(move |_, _, _| {
        Response::builder().status(307).header("location", &*location).body(Full::default()).unwrap()
    })
    .await;
    let client = reqwest_client(reqwest::redirect::Policy::limited(5));
    let request = client.get(api.url("/orders")).build().unwrap();
    let response = BearerLayer::new(handle).layer(client).oneshot(request).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "other");
    assert_eq!(*seen.lock().unwrap(), [None]);
}

#[tokio::test]
async fn the_layer_makes_a_thousand_calls_with_one_token() {
    let (handle, tokens) = handle().await;
    let api = Api::with_challenge(401, REFUSAL).await;
    let layer = BearerLayer::new(handle);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let service = layer.layer(client);
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let request = Request::get(api.server.url("/orders")).body(Full::<Bytes>::default()).unwrap();
            tokio::spawn(tokio::time::timeout(secs(20), service.clone().oneshot(request)))
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(tokens.requests(), 1);
}
