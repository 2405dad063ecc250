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
use jeton_proto::revocation::{ChangeMark, More, RevocationEntry, RevocationPage, RevokedId};
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
    /// A server that draws no marks.
    Unmarked,
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

    fn mark(&self, through: usize) -> Option<ChangeMark> {
        mark_of(&self.revoked.lock().unwrap(), through)
    }

    fn be(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// Asked with a mark that is not the one here, as after a backup, it begins from the beginning.
    fn page(&self, query: &str) -> String {
        let (since, marked) = query.strip_prefix("since=").unwrap().split_once("&mark=").unzip();
        let since = since.unwrap_or_else(|| query.strip_prefix("since=").unwrap()).parse().unwrap();
        let known = marked.is_none() || marked == self.mark(since).map(|mark| mark.to_string()).as_deref();
        let since = if known { since } else { 0 };
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
            mark: if trouble == Trouble::Unmarked { None } else { mark_of(&revoked, end) },
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
            Trouble::None
            | Trouble::SignedByStranger
            | Trouble::Old
            | Trouble::Endless
            | Trouble::Unmarked => (200, String::new()),
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

/// Of all that came up to here.
fn mark_of(revoked: &[&str], through: usize) -> Option<ChangeMark> {
    let names = revoked.get(..through).filter(|names| !names.is_empty())?.concat();
    RevokedId::of(&names).as_bytes().first_chunk().copied().map(ChangeMark::from_bytes)
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
    let mark = |through| listing.mark(through).unwrap();
    let asked = ["since=0 -", &format!("since=2&mark={} -", mark(2)), &format!("since=4&mark={} -", mark(4))];
    assert_eq!(*listing.asked.lock().unwrap(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_within_one_poll_and_an_unchanged_list_is_not_sent_again() {
    let listing = Listing::new();
    listing.revoke("a");
    let guard = listing.guard(list());
    assert!(guard.check(&listing.token("b")).await.is_ok());
    tokio::time::sleep(5 * SECOND).await;
    let query = format!("since=1&mark={}", listing.mark(1).unwrap());
    assert!(listing.asked.lock().unwrap().contains(&format!("{query} \"{query}-1\"")));
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
async fn t40_numbers_that_are_given_again_after_a_restore_hide_no_revocation() {
    let listing = Listing::new();
    for name in ["a", "b", "c"] {
        listing.revoke(name);
    }
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    until(&guard, |status| status.known == 3).await;
    // A backup of after the first: the numbers are given again, to others, and more of them.
    *listing.revoked.lock().unwrap() = vec!["a", "d", "e", "f"];
    let status = until(&guard, |status| status.known == 6).await;
    assert_eq!(status.failures, 0);
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert!(is_revoked(&guard.check(&listing.token(name)).await), "{name}");
    }
    // From here it goes on where it is.
    listing.asked.lock().unwrap().clear();
    tokio::time::sleep(5 * SECOND).await;
    let query = format!("since=4&mark={}", listing.mark(4).unwrap());
    let asked = listing.asked.lock().unwrap().clone();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.starts_with(&query)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_without_marks_is_read_whole_each_time() {
    let listing = Listing::new();
    for name in ["a", "b", "c"] {
        listing.revoke(name);
    }
    listing.be(Trouble::Unmarked);
    let guard = listing.guard(list());
    guard.prefetch().await.unwrap();
    *listing.revoked.lock().unwrap() = vec!["d", "e", "f"];
    let status = until(&guard, |status| status.known == 6).await;
    assert_eq!(status.failures, 0);
    assert_eq!(listing.asked.lock().unwrap().get(..4).unwrap(), ["since=0 -", "since=2 -"].repeat(2));
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
        Self::with(data_dir, port, None)
    }

    fn with(data_dir: &Path, port: u16, issuer: Option<String>) -> Self {
        let config = Config {
            listen: Listen::Localhost { port },
            issuer,
            default_audience: Some(API.to_owned()),
            ..Config::new(data_dir)
        };
        let server = Server::bind(config).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        // Where it is reached, which is its issuer unless that is another one's.
        let issuer = format!("http://localhost:{}", server.local_addrs()[0].port());
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

/// Puts everything that is in one directory in the place of what is in the other one.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(to).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn t40_a_guard_misses_nothing_of_a_server_that_was_set_up_from_a_backup() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = Registry::open(dir.path()).unwrap().add(ClientSettings::new("worker")).unwrap();
    let server = Running::start(dir.path(), 0);
    let port = server.issuer.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut tokens = Vec::new();
    for _ in 0..12 {
        tokens.push(server.token(&secret).await);
    }
    let revoke = async |server: &Running, token: &str| {
        assert_eq!(server.post("/oauth/revoke", &secret, &format!("token={token}")).await.0, 200);
    };
    revoke(&server, &tokens[0]).await;
    server.stop().await;
    copy(dir.path(), backup.path());

    let server = Running::start(dir.path(), port);
    let guard = Guard::builder(&server.issuer, API);
    let guard =
        guard.follow_revocations(RevocationFeed::of_metadata().poll_interval(SECOND)).build().unwrap();
    for token in &tokens[1..5] {
        revoke(&server, token).await;
    }
    comes_true(async || is_revoked(&guard.check(&tokens[4]).await)).await;
    let issuer = server.issuer.clone();
    server.stop().await;

    // The backup, in which the numbers that the guard knows are given again before it asks.
    copy(backup.path(), dir.path());
    let elsewhere = Running::with(dir.path(), 0, Some(issuer));
    for token in &tokens[5..11] {
        revoke(&elsewhere, token).await;
    }
    elsewhere.stop().await;
    let server = Running::start(dir.path(), port);
    comes_true(async || is_revoked(&guard.check(&tokens[10]).await)).await;
    for (at, token) in tokens.iter().enumerate() {
        assert_eq!(is_revoked(&guard.check(token).await), at < 11, "{at}");
    }
    // It goes on from there.
    revoke(&server, &tokens[11]).await;
    comes_true(async || is_revoked(&guard.check(&tokens[11]).await)).await;
    assert_eq!(guard.revocation_status().unwrap().known, 12);
    server.stop().await;
}
