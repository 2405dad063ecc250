//! How the list of revoked tokens is followed: before an issuer in memory with faults, and before the real server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod issuer;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use issuer::{API, Issuer};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange, ReqwestExchange, TlsRoots};
use jeton::{Clock as _, Timestamp};
use jeton_guard::{
    Algorithm, FeedError, Guard, Refusal, Rejection, RevocationFeed, RevocationStatus, WhenStale,
};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::revocation::{More, RevocationEntry, RevocationPage, RevokedId};
use jeton_proto::secret::Secret;
use jeton_server::{Config, Listen, Registry, Server};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const SECOND: Duration = Duration::from_secs(1);

/// An issuer in memory with a list of revoked tokens, in pages of two.
struct Listing {
    issuer: Arc<Issuer>,
    key: Mutex<SigningKey>,
    revoked: Mutex<Vec<&'static str>>,
    trouble: Mutex<Trouble>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Fails(u16),
    Says(&'static str),
    SignedByStranger,
    Old,
    Endless,
    Unreachable,
}

impl Listing {
    fn new() -> Arc<Self> {
        let issuer = Issuer::in_memory();
        let key = Mutex::new(issuer.new_key(Algorithm::Es256));
        let (revoked, asked) = (Mutex::default(), Mutex::default());
        Arc::new(Self { issuer, key, revoked, trouble: Mutex::new(Trouble::None), asked })
    }

    fn guard(self: &Arc<Self>, feed: RevocationFeed) -> Guard {
        Guard::builder(&self.issuer.url, API)
            .clock(Arc::clone(&self.issuer.clock) as _)
            .exchange(Arc::clone(self) as _)
            .follow_revocations(feed.poll_interval(SECOND))
            .build()
            .unwrap()
    }

    fn token(&self, jwt_id: &str) -> String {
        self.issuer.token_with(&self.key.lock().unwrap(), &json!({ "jti": jwt_id }))
    }

    fn revoke(&self, jwt_id: &'static str) {
        self.revoked.lock().unwrap().push(jwt_id);
    }

    fn be(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn page(&self, query: &str) -> String {
        let since: usize = query.strip_prefix("since=").unwrap().parse().unwrap();
        let revoked = self.revoked.lock().unwrap();
        let end = revoked.len().min(since + 2);
        let trouble = *self.trouble.lock().unwrap();
        let now = self.issuer.clock.now();
        let entry = |name: &&str| RevocationEntry {
            id: RevokedId::of(name),
            until: now.saturating_add(1000 * SECOND),
        };
        let page = RevocationPage {
            since: since as u64,
            through: if trouble == Trouble::Endless { since as u64 + 1 } else { end as u64 },
            more: if end < revoked.len() || trouble == Trouble::Endless { More::Follows } else { More::None },
            entries: revoked.get(since..end).unwrap_or_default().iter().map(entry).collect(),
        };
        let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
        let key = self.key.lock().unwrap();
        let key = if trouble == Trouble::SignedByStranger { &stranger } else { &*key };
        let signed_at = if trouble == Trouble::Old { now.saturating_sub(1000 * SECOND) } else { now };
        page.sign(key, &self.issuer.url, signed_at, signed_at.saturating_add(120 * SECOND)).unwrap()
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let known = request.headers().get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
        self.asked.lock().unwrap().push(format!("{query} {}", known.as_deref().unwrap_or("-")));
        let trouble = *self.trouble.lock().unwrap();
        let (status, body) = match trouble {
            Trouble::Fails(status) => (status, "trouble".to_owned()),
            Trouble::Says(text) => (200, text.to_owned()),
            Trouble::Unreachable => return Err(ExchangeError::Connect("refused".to_owned())),
            Trouble::None | Trouble::SignedByStranger | Trouble::Old | Trouble::Endless => {
                (200, String::new())
            }
        };
        let tag = format!("\"{query}-{}\"", self.revoked.lock().unwrap().len());
        let healthy = trouble == Trouble::None;
        let (status, body) = match (status, body.is_empty()) {
            (200, true) if healthy && known.as_ref() == Some(&tag) => (304, String::new()),
            (200, true) => (200, self.page(&query)),
            told => (told.0, body),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("etag", tag.parse().unwrap());
        Ok(response)
    }
}

impl HttpExchange for Listing {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        match request.uri().path() {
            "/list" => Box::pin(async move {
                tokio::task::yield_now().await;
                self.answer(&request)
            }),
            _ => self.issuer.exchange(request, limits),
        }
    }
}

fn list() -> RevocationFeed {
    RevocationFeed::at("https://as.example/list")
}

fn is_revoked(outcome: &Result<jeton_guard::Principal, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::InvalidToken(Rejection::Revoked)))
}

/// Waits, by the clock of the runtime, until this holds.
async fn until(guard: &Guard, holds: impl Fn(&RevocationStatus) -> bool) -> RevocationStatus {
    for _ in 0..1000 {
        let status = guard.revocation_status().unwrap();
        if holds(&status) {
            return status;
        }
        tokio::time::sleep(SECOND / 10).await;
    }
    panic!("it did not come about: {:?}", guard.revocation_status());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_revoked_before_the_first_request_is_refused_by_it() {
    let listing = Listing::new();
    for name in ["a", "b", "c", "d", "e"] {
        listing.revoke(name);
    }
    let guard = listing.guard(list());
    assert!(is_revoked(&guard.check(&listing.token("e")).await));
    assert!(guard.check(&listing.token("f")).await.is_ok());
    let status = guard.revocation_status().unwrap();
    assert_eq!((status.known, status.failures, status.last_error), (5, 0, None));
    assert_eq!(status.confirmed_at, Some(listing.issuer.clock.now()));
    assert_eq!(*listing.asked.lock().unwrap(), ["since=0 -", "since=2 -", "since=4 -"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_within_one_poll_and_an_unchanged_list_is_not_sent_again() {
    let listing = Listing::new();
    listing.revoke("a");
    let guard = listing.guard(list());
    assert!(guard.check(&listing.token("b")).await.is_ok());
    tokio::time::sleep(5 * SECOND).await;
    assert!(listing.asked.lock().unwrap().contains(&"since=1 \"since=1-1\"".to_owned()));
    listing.revoke("b");
    tokio::time::sleep(SECOND + SECOND / 5).await;
    let refused = guard.check(&listing.token("b")).await.unwrap_err();
    let answer: Response<String> = refused.to_response("orders");
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    let expected =
        r#"Bearer realm="orders", error="invalid_token", error_description="the token was revoked""#;
    assert_eq!(challenge, expected);
}

#[tokio::test(start_paused = true)]
async fn t44_while_the_list_is_away_what_is_known_stays_and_all_others_pass() {
    let listing = Listing::new();
    listing.revoke("a");
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    let stranger = "eyJhbGciOiJub25lIn0.e30.";
    for trouble in [
        Trouble::Unreachable,
        Trouble::Fails(503),
        Trouble::Fails(302),
        Trouble::Says(stranger),
        Trouble::Says("<html>"),
        Trouble::SignedByStranger,
        Trouble::Old,
        Trouble::Endless,
    ] {
        listing.be(trouble);
        let before = guard.revocation_status().unwrap().confirmed_at;
        let status = until(&guard, |status| status.failures > 0).await;
        assert!(status.last_error.is_some() && status.confirmed_at == before);
        assert!(is_revoked(&guard.check(&listing.token("a")).await));
        assert!(guard.check(&listing.token("b")).await.is_ok());
        listing.be(Trouble::None);
        until(&guard, |status| status.failures == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_long_reads_the_list_from_the_beginning() {
    let listing = Listing::new();
    for name in ["a", "b"] {
        listing.revoke(name);
    }
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    listing.be(Trouble::Unreachable);
    until(&guard, |status| status.failures > 0).await;
    listing.issuer.clock.advance(61 * SECOND);
    // A backup: the numbers are given again, to others.
    *listing.revoked.lock().unwrap() = vec!["c", "d", "e"];
    listing.be(Trouble::None);
    until(&guard, |status| status.failures == 0).await;
    for name in ["a", "b", "c", "d", "e"] {
        assert!(is_revoked(&guard.check(&listing.token(name)).await), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_are_few_while_the_list_is_away() {
    let listing = Listing::new();
    listing.be(Trouble::Unreachable);
    let guard = listing.guard(list());
    assert!(guard.check(&listing.token("a")).await.is_ok(), "an outage of the issuer is none of the service");
    tokio::time::sleep(600 * SECOND).await;
    let asked = listing.asked.lock().unwrap().len();
    assert!((15..150).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn who_would_rather_let_nobody_through_says_after_how_long() {
    let listing = Listing::new();
    listing.revoke("a");
    let guard = listing.guard(list().when_stale(WhenStale::RefuseAfter(60 * SECOND)));
    let good = listing.token("b");
    assert!(guard.check(&good).await.is_ok());
    listing.be(Trouble::Fails(500));
    until(&guard, |status| status.failures > 0).await;
    listing.issuer.clock.advance(59 * SECOND);
    assert!(guard.check(&good).await.is_ok());
    listing.issuer.clock.advance(2 * SECOND);
    let refused = guard.check(&good).await.unwrap_err();
    let answer: Response<String> = refused.to_response("orders");
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(answer.headers().get("www-authenticate").is_none());
    assert!(refused.to_string().contains("status 500"), "{refused}");
    assert!(is_revoked(&guard.check(&listing.token("a")).await));
    listing.be(Trouble::None);
    until(&guard, |status| status.failures == 0).await;
    assert!(guard.check(&good).await.is_ok());
    // One that never was there counts from the beginning.
    let listing = Listing::new();
    listing.be(Trouble::Unreachable);
    let guard = listing.guard(list().when_stale(WhenStale::RefuseAfter(60 * SECOND)));
    assert!(guard.check(&listing.token("b")).await.is_ok());
    listing.issuer.clock.advance(61 * SECOND);
    assert!(matches!(guard.check(&listing.token("b")).await, Err(Refusal::RevocationsStale(_))));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_signed_with_a_new_key_is_believed_at_once() {
    let listing = Listing::new();
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    *listing.key.lock().unwrap() = listing.issuer.new_key(Algorithm::EdDsa);
    listing.revoke("a");
    until(&guard, |status| status.known == 1).await;
    assert_eq!(guard.revocation_status().unwrap().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_without_a_list_is_told() {
    let listing = Listing::new();
    let guard = listing.guard(RevocationFeed::of_metadata());
    assert!(guard.check(&listing.token("a")).await.is_ok());
    assert_eq!(guard.revocation_status().unwrap().last_error, Some(FeedError::NotOffered));
    assert_eq!(Guard::builder(&listing.issuer.url, API).build().unwrap().revocation_status(), None);
}

#[tokio::test(start_paused = true)]
async fn the_following_ends_with_the_guard() {
    let listing = Listing::new();
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    drop(guard);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(listing.asked.lock().unwrap().len(), 1);
}

/// The real server, on a free port or on the one of before.
struct Running {
    issuer: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(data_dir: &Path, port: u16) -> Self {
        let config = Config {
            listen: Listen::Localhost { port },
            default_audience: Some(API.to_owned()),
            ..Config::new(data_dir)
        };
        let server = Server::bind(config).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let issuer = server.issuer().to_owned();
        let serving = async move { server.serve(async { stopped.await.unwrap_or(()) }).await.unwrap() };
        Self { issuer, stop, serving: tokio::spawn(serving) }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }

    async fn post(&self, path: &str, secret: &Secret<String>, form: &str) -> (u16, Value) {
        let exchange = ReqwestExchange::new(&TlsRoots::default(), 10 * SECOND).unwrap();
        let body = format!("{form}&client_id=worker&client_secret={}", secret.expose());
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.issuer))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        let limits = ExchangeLimits { time: 10 * SECOND, body_bytes: 100_000 };
        let answer = exchange.exchange(request, limits).await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    async fn token(&self, secret: &Secret<String>) -> String {
        let (_, answer) = self.post("/oauth/token", secret, "grant_type=client_credentials").await;
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

async fn comes_true(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < 30 * SECOND, "it did not come about");
        tokio::time::sleep(SECOND / 50).await;
    }
}

#[tokio::test]
async fn a_token_that_the_server_revokes_is_refused_by_a_guard_that_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Registry::open(dir.path()).unwrap().add(ClientSettings::new("worker")).unwrap();
    let server = Running::start(dir.path(), 0);
    let guard = Guard::builder(&server.issuer, API);
    let guard =
        guard.follow_revocations(RevocationFeed::of_metadata().poll_interval(SECOND)).build().unwrap();
    let careless = Guard::builder(&server.issuer, API).build().unwrap();
    let (token, other) = (server.token(&secret).await, server.token(&secret).await);
    assert!(guard.check(&token).await.is_ok() && guard.check(&other).await.is_ok());
    let revoked = server.post("/oauth/revoke", &secret, &format!("token={token}")).await;
    assert_eq!(revoked.0, 200);
    comes_true(async || is_revoked(&guard.check(&token).await)).await;
    assert!(guard.check(&other).await.is_ok() && careless.check(&token).await.is_ok());

    // The server goes and comes back; what was revoked stays so, and what is revoked then is refused too.
    let port = server.issuer.rsplit_once(':').unwrap().1.parse().unwrap();
    server.stop().await;
    comes_true(async || guard.revocation_status().unwrap().failures > 0).await;
    assert!(is_revoked(&guard.check(&token).await) && guard.check(&other).await.is_ok());
    let server = Running::start(dir.path(), port);
    server.post("/oauth/revoke", &secret, &format!("token={other}")).await;
    comes_true(async || is_revoked(&guard.check(&other).await)).await;
    let newcomer = Guard::builder(&server.issuer, API);
    let newcomer = newcomer.follow_revocations(RevocationFeed::of_metadata()).build().unwrap();
    assert!(is_revoked(&newcomer.check(&token).await) && is_revoked(&newcomer.check(&other).await));
    assert!(newcomer.revocation_status().unwrap().confirmed_at > Some(Timestamp::EPOCH));
    server.stop().await;
}
