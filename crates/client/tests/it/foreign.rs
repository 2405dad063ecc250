//! The client against authorization servers of others: `oidc-provider` of npm and `Authlib` of Python (R5.9). What they count
//! themselves is the proof.

#[path = "../../../../testdata/foreign/programs.rs"]
pub(crate) mod programs;

mod assertions;
mod discovered;
mod keys;
mod mutual_tls;
mod other_clients;
mod stage;

use crate::support::{millis, secs};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jeton::bearer::BearerLayer;
use jeton::{
    BasicEncoding, CachedToken, ClientAuthMethod, Clock, ErrorCode, Fault, GrantedScope, RefreshAhead,
    Secret, SystemClock, TokenError, TokenErrorKind, TokenHandle, TokenKey, TokenManager,
    TokenManagerBuilder,
};
use jeton_proto::jose::jwk::JwkSet;
use jeton_proto::verification::{Expectations, Rejection, decide};
use jeton_proto::wire::metadata::AuthorizationServerMetadata;
use programs::ForeignServer;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

const SECRET: &str = "correct-horse-battery";
/// All that is odd in printable ASCII, which is what RFC 6749 appendix A.2 lets a secret be made of.
const ODD_SECRET: &str = r#"s:+%& ="\~%41"#;
const ODD_ID: &str = "team a+b%";
/// What only servers take that are more lenient than the RFC.
const UNICODE_SECRET: &str = "s:+%& =é";

fn clients() -> Value {
    json!([
        { "client_id": "billing", "client_secret": SECRET, "scope": "orders:read orders:write" },
        { "client_id": "admin", "client_secret": SECRET, "scope": "admin" },
    ])
}

/// One of each, with the same clients and arguments.
fn both(arguments: &[&str]) -> [ForeignServer; 2] {
    [ForeignServer::oidc_provider(&clients(), arguments), ForeignServer::authlib(&clients(), arguments)]
}

fn builder(server: &ForeignServer, client_id: &str, secret: &str) -> TokenManagerBuilder {
    TokenManager::builder(server.token_url(), client_id).client_secret(Secret::from(secret))
}

fn key() -> TokenKey {
    TokenKey::scope("orders:read").unwrap()
}

async fn ask_from_a_hundred_tasks(manager: &TokenManager) -> HashSet<String> {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key()).await.unwrap().access_token().to_owned() })
        })
        .collect();
    let mut tokens = HashSet::new();
    for task in tasks {
        tokens.insert(task.await.unwrap());
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_on_a_cold_cache_make_one_token_request() {
    for server in both(&[]) {
        let manager = builder(&server, "billing", SECRET).build().unwrap();
        assert_eq!(ask_from_a_hundred_tasks(&manager).await.len(), 1);
        assert_eq!(server.token_requests(), 1);
        let token = manager.token(&key()).await.unwrap();
        assert_eq!(token.lifetime(), secs(3600));
        assert_eq!(token.granted_scope(), Some(&"orders:read".parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_at_expiry_make_one_token_request() {
    for server in both(&["--expires-in", "3"]) {
        let manager = builder(&server, "billing", SECRET).refresh_ahead(RefreshAhead::OnDemand);
        let manager = manager.build().unwrap();
        let first = manager.token(&key()).await.unwrap();
        tokio::time::sleep(first.expires_at().saturating_since(SystemClock.now())).await;
        assert_eq!(server.token_requests(), 1, "nobody asked in the meantime");
        let second = ask_from_a_hundred_tasks(&manager).await;
        assert!(second.len() == 1 && !second.contains(first.access_token()));
        assert_eq!(server.token_requests(), 2);
    }
}

/// One request by a new manager.
async fn ask(
    server: &ForeignServer,
    client: (&str, &str),
    method: ClientAuthMethod,
    encoding: BasicEncoding,
) -> Result<Arc<CachedToken>, TokenError> {
    let manager = builder(server, client.0, client.1).auth_method(method).basic_encoding(encoding);
    manager.build().unwrap().token(&key()).await
}

#[tokio::test]
async fn t14_special_characters_arrive_at_oidc_provider_by_either_method() {
    let odd = json!([{ "client_id": ODD_ID, "client_secret": ODD_SECRET, "scope": "orders:read" }]);
    let server = ForeignServer::oidc_provider(&odd, &[]);
    let client = (ODD_ID, ODD_SECRET);
    let basic = ClientAuthMethod::ClientSecretBasic;
    ask(&server, client, basic, BasicEncoding::FormUrlEncoded).await.unwrap();
    // It decodes, and says so when there is nothing to decode.
    let raw = ask(&server, client, basic, BasicEncoding::Raw).await.unwrap_err();
    assert_eq!(raw.fault(), Fault::Caller);
    assert!(raw.to_string().contains("not properly encoded"), "{raw}");
    // The encoding is for the header alone: in the body the same credential arrives.
    ask(&server, client, ClientAuthMethod::ClientSecretPost, BasicEncoding::Raw).await.unwrap();
    assert_eq!(server.token_requests(), 3);
}

#[tokio::test]
async fn t14_special_characters_arrive_at_authlib_raw_or_in_the_body() {
    let odd = json!([
        { "client_id": ODD_ID, "client_secret": UNICODE_SECRET, "scope": "orders:read" },
        { "client_id": "post", "client_secret": UNICODE_SECRET, "scope": "orders:read",
          "token_endpoint_auth_method": "client_secret_post" },
    ]);
    let server = ForeignServer::authlib(&odd, &[]);
    let basic = ClientAuthMethod::ClientSecretBasic;
    ask(&server, (ODD_ID, UNICODE_SECRET), basic, BasicEncoding::Raw).await.unwrap();
    let post = ClientAuthMethod::ClientSecretPost;
    ask(&server, ("post", UNICODE_SECRET), post, BasicEncoding::Raw).await.unwrap();
    // It does not decode, so what RFC 6749 wants is another secret to it.
    let encoded = ask(&server, (ODD_ID, UNICODE_SECRET), basic, BasicEncoding::FormUrlEncoded).await;
    assert_eq!(encoded.unwrap_err().fault(), Fault::Credential);
    // A client has one method here, and the other does not pass.
    for (client_id, other) in [(ODD_ID, post), ("post", basic)] {
        let crossed = ask(&server, (client_id, UNICODE_SECRET), other, BasicEncoding::Raw).await;
        assert_eq!(crossed.unwrap_err().fault(), Fault::Credential, "{client_id}");
    }
    assert_eq!(server.token_requests(), 5);
}

#[tokio::test]
async fn t24_a_wrong_secret_is_one_token_request_and_a_fault_of_the_credential() {
    for server in both(&[]) {
        for (client_id, requests) in [("billing", 1), ("nobody", 2)] {
            let manager = builder(&server, client_id, "canary-wrong-secret").build().unwrap();
            for _ in 0..20 {
                let error = manager.token(&key()).await.unwrap_err();
                let refused = matches!(
                    error.kind(),
                    TokenErrorKind::Refused { error: ErrorCode::InvalidClient, status: 401, .. }
                );
                assert!(refused && error.fault() == Fault::Credential && !error.is_retryable(), "{error}");
                let message = error.to_string();
                assert!(
                    message.contains(client_id) && message.contains("check the client id, the credential")
                );
                assert!(!format!("{message}{error:?}").contains("canary"), "{error:?}");
            }
            assert_eq!(server.token_requests(), requests);
        }
    }
}

#[tokio::test]
async fn an_unregistered_scope_is_one_token_request_and_a_clear_error() {
    for server in both(&[]) {
        let manager = builder(&server, "billing", SECRET).build().unwrap();
        for _ in 0..20 {
            let error = manager.token(&TokenKey::scope("admin").unwrap()).await.unwrap_err();
            let refused = matches!(
                error.kind(),
                TokenErrorKind::Refused { error: ErrorCode::InvalidScope, status: 400, .. }
            );
            assert!(refused && error.fault() == Fault::Credential && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains("ask for scopes that are registered"), "{error}");
        }
        assert_eq!(server.token_requests(), 1);
        manager.token(&key()).await.unwrap();
    }
}

/// `oidc-provider` leaves out what it does not know, and tells by `scope` what is left (RFC 6749 §5.1).
#[tokio::test]
async fn a_narrowed_scope_is_told_and_refused_where_all_of_it_is_needed() {
    let server = ForeignServer::oidc_provider(&clients(), &[]);
    let some = TokenKey::scope("orders:read orders:delete").unwrap();
    let lenient = builder(&server, "billing", SECRET).build().unwrap();
    let token = lenient.token(&some).await.unwrap();
    assert_eq!(token.granted_scope(), Some(&"orders:read".parse().unwrap()));
    let strict = builder(&server, "billing", SECRET).granted_scope(GrantedScope::MustBeComplete);
    let strict = strict.build().unwrap();
    for _ in 0..20 {
        let error = strict.token(&some).await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::NarrowedScope { .. }), "{error}");
        assert_eq!((error.fault(), error.is_retryable()), (Fault::Credential, false));
    }
    assert_eq!(server.token_requests(), 2);
    strict.token(&TokenKey::scope("orders:write orders:read").unwrap()).await.unwrap();
}

const LIFE_SECS: u64 = 5;
const WATCHED_SECS: u64 = 10;

/// Takes a token every 20 ms, and gives how many different ones there were. Nobody may wait after the first.
async fn watch(handle: &TokenHandle) -> u64 {
    let mut tokens = HashSet::from([handle.token().await.unwrap().id()]);
    let watched_until = Instant::now() + secs(WATCHED_SECS);
    while Instant::now() < watched_until {
        let (id, expires_at) = handle
            .get_with(|token| (token.id(), token.expires_at()))
            .expect("a caller would have to wait for the renewal");
        assert!(SystemClock.now() < expires_at, "an expired token was given out");
        tokens.insert(id);
        tokio::time::sleep(millis(20)).await;
    }
    tokens.len().try_into().unwrap()
}

/// At most one mint per half-life; and without any the callers would have had to wait.
fn assert_few_mints(minted: u64) {
    let most = 1 + WATCHED_SECS * 2 / LIFE_SECS;
    assert!((1 + WATCHED_SECS / LIFE_SECS..=most).contains(&minted), "{minted} mints");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_oidc_provider_are_renewed_in_the_background() {
    let server = ForeignServer::oidc_provider(&clients(), &["--expires-in", &LIFE_SECS.to_string()]);
    let manager = builder(&server, "billing", SECRET).build().unwrap();
    let tokens = watch(&manager.handle(&key()).unwrap()).await;
    drop(manager);
    let minted = server.token_requests();
    assert_few_mints(minted);
    assert!(tokens == minted || tokens + 1 == minted, "{tokens} tokens were seen of {minted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_authlib_are_renewed_before_its_api_refuses_them() {
    let server = ForeignServer::authlib(&clients(), &["--expires-in", &LIFE_SECS.to_string()]);
    let manager = builder(&server, "billing", SECRET).build().unwrap();
    let handle = manager.handle(&key()).unwrap();
    let (watched, url) = (handle.clone(), server.url("/api"));
    let watching = tokio::spawn(async move { watch(&watched).await });
    handle.token().await.unwrap();
    let client = http_client();
    let mut calls = 0;
    while !watching.is_finished() {
        let authorization = handle.authorization().expect("a call would have to wait for the renewal");
        let request = Request::get(&url).header("authorization", authorization).body(Full::default());
        let response = client.request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "call {calls}");
        calls += 1;
        tokio::time::sleep(millis(40)).await;
    }
    watching.await.unwrap();
    assert!(calls > 20, "only {calls} calls in {WATCHED_SECS} s");
    assert_few_mints(server.token_requests());
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// An API of a foreign server, called through the bearer layer.
struct Api {
    layer: BearerLayer,
    url: String,
    client: HttpClient,
    /// The status of every answer on the wire, below the layer.
    seen: Arc<Mutex<Vec<StatusCode>>>,
}

impl Api {
    fn new(server: &ForeignServer, handle: TokenHandle) -> Self {
        let (url, seen) = (server.url("/api"), Arc::default());
        Self { layer: BearerLayer::new(handle), url, client: http_client(), seen }
    }

    async fn call(&self) -> Response<Incoming> {
        let (client, seen) = (self.client.clone(), Arc::clone(&self.seen));
        let inner = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (sending, seen) = (client.request(request), Arc::clone(&seen));
            async move {
                let response = sending.await;
                seen.lock().unwrap().extend(response.as_ref().map(Response::status));
                response
            }
        });
        let request = Request::get(&self.url).body(Full::default()).unwrap();
        self.layer.layer(inner).oneshot(request).await.unwrap()
    }

    fn take_seen(&self) -> Vec<StatusCode> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_1_tokens_that_authlib_revoked_are_replaced_by_one_and_the_calls_sent_once_more() {
    let server = ForeignServer::authlib(&clients(), &[]);
    let manager = builder(&server, "billing", SECRET).build().unwrap();
    let api = Arc::new(Api::new(&server, manager.handle(&key()).unwrap()));
    assert_eq!(api.call().await.status(), StatusCode::OK);
    assert_eq!(api.take_seen(), [StatusCode::OK]);
    for round in 1..=3 {
        assert_eq!(server.revoke_all(), round);
        assert_eq!(api.call().await.status(), StatusCode::OK);
        assert_eq!(api.take_seen(), [StatusCode::UNAUTHORIZED, StatusCode::OK]);
        assert_eq!(server.token_requests(), round + 1);
    }
    server.revoke_all();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let api = Arc::clone(&api);
            tokio::spawn(async move { api.call().await.status() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(server.token_requests(), 5, "fifty callers with one revoked token make one mint");
}

#[tokio::test]
async fn tokens_of_oidc_provider_verify_with_its_keys_in_every_algorithm() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let server = ForeignServer::oidc_provider(&clients(), &["--alg", algorithm]);
        let issuer = server.url("");
        let document = server.get("/.well-known/openid-configuration").to_string();
        let metadata = AuthorizationServerMetadata::parse(document.as_bytes(), &issuer).unwrap();
        assert_eq!(metadata.token_endpoint, server.token_url());
        assert_eq!(metadata.jwks_uri, Some(server.url("/jwks")));
        let jwks = JwkSet::parse(server.get("/jwks").to_string().as_bytes()).unwrap();
        assert!(jwks.skipped().is_empty(), "{:?}", jwks.skipped());

        let token = builder(&server, "billing", SECRET).build().unwrap().token(&key()).await.unwrap();
        let expected = |audience: &str| Expectations::new(&*issuer, [audience]).unwrap();
        let now = SystemClock.now();
        let claims = decide(token.access_token(), &jwks, &expected("https://api.example"), now).unwrap();
        assert_eq!((claims.subject(), claims.client_id()), ("billing", "billing"), "{algorithm}");
        assert_eq!(claims.scope(), token.granted_scope());
        let apart = claims.expires_at().saturating_since(token.expires_at());
        assert!(apart < secs(5), "the life in the token and the one in the answer are {apart:?} apart");

        let other = decide(token.access_token(), &jwks, &expected("https://other.example"), now);
        assert_eq!(other.unwrap_err(), Rejection::WrongAudience);
        let cut = token.access_token().rsplit_once('.').unwrap().0;
        let unsigned = decide(&format!("{cut}."), &jwks, &expected("https://api.example"), now);
        assert!(unsigned.is_err(), "{algorithm}");
    }
}
