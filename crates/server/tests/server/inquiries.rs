//! Introspection (RFC 7662, RFC 9701), revocation (RFC 7009) and the list of revoked tokens.

use super::log::{Log, logging_to};
use super::{Answer, FORM, Running, add_worker, assert_never_cached, basic};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::jwk::JwkSet;
use jeton_proto::mint_per_call::MintPolicy;
use jeton_proto::revocation::{More, RevocationPage, VerifiedPage};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Timestamp};
use jeton_server::{Config, Listen, MintPerCall, Registry, RequestRate, SystemClock, Throttling};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const INTROSPECT: &str = "/oauth/introspect";
const REVOKE: &str = "/oauth/revoke";

fn add(data_dir: &Path, settings: ClientSettings) -> Secret<String> {
    Registry::open(data_dir).unwrap().add(settings).unwrap()
}

fn scoped(client_id: &str, scope: &str) -> ClientSettings {
    ClientSettings { allowed_scope: scope.parse().unwrap(), ..ClientSettings::new(client_id) }
}

async fn post(server: &Running, path: &str, headers: &str, body: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    Answer::parse(&server.raw(request).await)
}

/// Asks about a token, or revokes it, as this client.
async fn inquire(server: &Running, path: &str, client: (&str, &Secret<String>), token: &str) -> Answer {
    let headers = format!("{FORM}{}", basic(client.0, client.1.expose()));
    post(server, path, &headers, &format!("token={token}")).await
}

async fn token(server: &Running, client: (&str, &Secret<String>)) -> String {
    let answer = server.request_token(client.0, client.1, "").await;
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn page(server: &Running, since: u64) -> VerifiedPage {
    let answer = server.get(&format!("/oauth/revocations?since={since}")).await;
    assert_eq!(answer.header("content-type"), Some("application/jeton-revocations+jwt"), "{answer:?}");
    let keys = JwkSet::parse(server.get("/oauth/jwks").await.body.as_bytes()).unwrap();
    RevocationPage::verify(&answer.body, &keys, &server.issuer, SystemClock.now()).unwrap()
}

/// Waits until the list has so many entries.
async fn listed(server: &Running, entries: usize) -> VerifiedPage {
    let begun = Instant::now();
    loop {
        let page = page(server, 0).await;
        if page.page.entries.len() == entries {
            return page;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{page:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_token_is_told_as_rfc_7662_section_2_2_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let server = Running::start(dir.path());
    let token = token(&server, ("worker", &worker)).await;
    let answer = inquire(&server, INTROSPECT, ("worker", &worker), &token).await;
    assert_never_cached(&answer);
    let told = answer.json();
    let expected = json!({
        "active": true, "token_type": "Bearer", "scope": "a b", "client_id": "worker", "sub": "worker",
        "aud": server.issuer, "iss": server.issuer, "iat": told["iat"], "exp": told["exp"], "jti": told["jti"],
    });
    assert_eq!((answer.status, &told), (200, &expected));
    assert_eq!(told["exp"].as_u64().unwrap() - told["iat"].as_u64().unwrap(), 3600);

    let headers = format!("{FORM}Accept: application/token-introspection+jwt\r\n");
    let body = format!("token={token}&client_id=worker&client_secret={}", worker.expose());
    let answer = post(&server, INTROSPECT, &headers, &body).await;
    assert_eq!(answer.header("content-type"), Some("application/token-introspection+jwt"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((answer.status, answer.body.split('.').count()), (200, 3));
    server.stop().await;
}

#[tokio::test]
async fn t40_of_a_token_that_is_no_concern_or_does_not_count_nothing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let other = add(dir.path(), scoped("other", "a"));
    let api = ClientSettings { audiences: vec!["urn:api".to_owned()], ..ClientSettings::new("api") };
    let api = add(dir.path(), api);
    let reader = ClientSettings { audiences: vec!["urn:api".to_owned()], ..ClientSettings::new("reader") };
    let reader = add(dir.path(), reader);
    let auditor = add(dir.path(), scoped("auditor", "jeton:introspect"));
    let server = Running::start(dir.path());
    let of_worker = token(&server, ("worker", &worker)).await;
    let of_reader = token(&server, ("reader", &reader)).await;
    let ask = async |client, token: &str| inquire(&server, INTROSPECT, client, token).await;
    for (client, token, active) in [
        (("worker", &worker), &of_worker, true),
        (("other", &other), &of_worker, false),
        (("api", &api), &of_worker, false),
        (("api", &api), &of_reader, true),
        (("worker", &worker), &of_reader, false),
        (("auditor", &auditor), &of_worker, true),
        (("auditor", &auditor), &of_reader, true),
    ] {
        let answer = ask(client, token).await;
        assert_eq!(answer.json()["active"], active, "{} {answer:?}", client.0);
    }
    let nothing = ask(("other", &other), &of_worker).await;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, "{\"active\":false}"));
    // One answer, to the byte, for whatever is no good.
    let foreign = tempfile::tempdir().unwrap();
    let foreign_worker = add_worker(foreign.path());
    let stranger = Running::start(foreign.path());
    let of_stranger = token(&stranger, ("worker", &foreign_worker)).await;
    let (head, _) = of_worker.rsplit_once('.').unwrap();
    let long = "a".repeat(32 * 1024);
    let none = format!("{head}.{}", "A".repeat(86));
    for garbage in
        ["x", "a.b.c", "....", "%7B%7D", "%ff".replace("ff", "41").as_str(), &of_stranger, &none, &long]
    {
        let answer = ask(("auditor", &auditor), garbage).await;
        assert_eq!((answer.status, &answer.headers), (200, &nothing.headers), "{garbage}");
        assert_eq!(answer.body, nothing.body, "{garbage}");
    }
    stranger.stop().await;
    server.stop().await;
}

/// A clock that can be moved.
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }
}

#[tokio::test]
async fn a_token_is_active_to_the_second_and_worth_revoking_a_little_longer() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let clock = Arc::new(Moved(AtomicU64::new(0)));
    let config = Config {
        listen: Listen::Localhost { port: 0 },
        clock: Arc::<Moved>::clone(&clock),
        ..Config::new(dir.path())
    };
    let server = Running::with(config);
    let (one, two) = (token(&server, ("worker", &worker)).await, token(&server, ("worker", &worker)).await);
    let active = async |token: &str| {
        inquire(&server, INTROSPECT, ("worker", &worker), token).await.json()["active"] == true
    };
    clock.0.store(3500, Ordering::Relaxed);
    assert!(active(&one).await);
    clock.0.store(3601, Ordering::Relaxed);
    assert!(!active(&one).await);
    assert_eq!(inquire(&server, REVOKE, ("worker", &worker), &one).await.status, 200);
    clock.0.store(3700, Ordering::Relaxed);
    assert_eq!(inquire(&server, REVOKE, ("worker", &worker), &two).await.status, 200);
    let counted = server.inquiry_counters.values();
    assert_eq!((counted.revoked, counted.revoked_nothing), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_not_active_is_listed_and_stays_so_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let client = ("worker", &worker);
    let mut server = Running::start(dir.path());
    let (revoked, good) = (token(&server, client).await, token(&server, client).await);
    assert_eq!(listed(&server, 0).await.page.more, More::None);
    for _ in 0..2 {
        let answer = inquire(&server, REVOKE, client, &revoked).await;
        assert_never_cached(&answer);
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "RFC 7009 section 2.2");
    }
    for _ in 0..2 {
        let answer = inquire(&server, INTROSPECT, client, &revoked).await;
        assert_eq!(answer.body, "{\"active\":false}");
        assert_eq!(inquire(&server, INTROSPECT, client, &good).await.json()["active"], true);
        let page = listed(&server, 1).await.page;
        assert_eq!(self::page(&server, page.through).await.page.entries.len(), 0);
        // A number of before a backup was restored: everything from the beginning.
        assert_eq!(self::page(&server, u64::MAX).await.page.entries.len(), 1);
        server.stop().await;
        // The issuer is in the tokens, so the port stays.
        server = Running::with(Config {
            listen: Listen::Localhost { port: 0 },
            issuer: Some(issuer_of(&revoked)),
            ..Config::new(dir.path())
        });
    }
    server.stop().await;
}

fn issuer_of(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["iss"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_mints_per_call_is_not_given_a_revoked_token_again() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let throttling = Throttling {
        mint_per_call: MintPerCall::SameToken,
        mints_per_token_life: MintPolicy::new(4).unwrap(),
        ..Throttling::default()
    };
    let config = || Config {
        listen: Listen::Localhost { port: 0 },
        issuer: Some("http://localhost:1".to_owned()),
        throttling,
        ..Config::new(dir.path())
    };
    let (here, elsewhere) = (Running::with(config()), Running::with(config()));
    let client = ("worker", &worker);
    let mut last = String::new();
    let mut same = 0;
    for _ in 0..8 {
        let next = token(&here, client).await;
        same += u32::from(next == last);
        last = next;
    }
    assert!(same > 0, "it is given the same one");
    for (server, revoked) in [(&here, 1), (&elsewhere, 2)] {
        assert_eq!(inquire(server, REVOKE, client, &last).await.status, 200);
        listed(&here, revoked).await;
        let next = token(&here, client).await;
        assert_ne!(next, last);
        assert_eq!(inquire(&here, INTROSPECT, client, &next).await.json()["active"], true);
        last = next;
    }
    here.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn who_may_not_revoke_a_token_is_told_so_and_what_is_no_token_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let other = add(dir.path(), scoped("other", "jeton:introspect"));
    let warden = add(dir.path(), scoped("warden", "jeton:revoke"));
    let server = Running::start(dir.path());
    let token = token(&server, ("worker", &worker)).await;
    let refused = inquire(&server, REVOKE, ("other", &other), &token).await;
    assert_eq!((refused.status, refused.error().as_str()), (400, "unauthorized_client"));
    assert_eq!(inquire(&server, INTROSPECT, ("worker", &worker), &token).await.json()["active"], true);
    for garbage in ["x", "a.b.c", "%7B%7D"] {
        assert_eq!(inquire(&server, REVOKE, ("other", &other), garbage).await.status, 200);
    }
    assert_eq!(inquire(&server, REVOKE, ("warden", &warden), &token).await.status, 200);
    assert_eq!(inquire(&server, INTROSPECT, ("worker", &worker), &token).await.json()["active"], false);
    let counted = server.inquiry_counters.values();
    assert_eq!((counted.revoked, counted.revoked_nothing, counted.revocation_refused), (1, 3, 1));
    server.stop().await;
}

#[tokio::test]
async fn t36_requests_about_tokens_are_read_as_strictly_as_token_requests() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let server = Running::start(dir.path());
    let header = basic("worker", worker.expose());
    let in_body = format!("client_id=worker&client_secret={}", worker.expose());
    for path in [INTROSPECT, REVOKE] {
        for (headers, body, status, error) in [
            (format!("{FORM}{header}"), String::new(), 400, "invalid_request"),
            (format!("{FORM}{header}"), "token=".to_owned(), 400, "invalid_request"),
            (format!("{FORM}{header}"), "token=canary&token=canary".to_owned(), 400, "invalid_request"),
            (format!("{FORM}{header}"), format!("token=canary&{in_body}"), 400, "invalid_request"),
            (format!("{FORM}{header}{header}"), "token=canary".to_owned(), 400, "invalid_request"),
            (format!("{FORM}{header}"), "token=%00".to_owned(), 400, "invalid_request"),
            (format!("{FORM}{header}"), "token=%ff".to_owned(), 400, "invalid_request"),
            (format!("{FORM}{header}"), format!("token={}", "a".repeat(40_000)), 400, "invalid_request"),
            (format!("{FORM}{header}"), format!("token={}", "a".repeat(80_000)), 413, "invalid_request"),
            (header.clone(), "token=canary".to_owned(), 400, "invalid_request"),
            (FORM.to_owned(), "token=canary".to_owned(), 401, "invalid_client"),
            (FORM.to_owned(), "token=canary&client_id=worker".to_owned(), 401, "invalid_client"),
            (format!("{FORM}{}", basic("worker", "wrong")), "token=canary".to_owned(), 401, "invalid_client"),
            (format!("{FORM}{}", basic("nobody", "wrong")), "token=canary".to_owned(), 401, "invalid_client"),
            (format!("{FORM}Authorization: Bearer x\r\n"), "token=canary".to_owned(), 401, "invalid_client"),
        ] {
            let answer = post(&server, path, &headers, &body).await;
            assert_eq!((answer.status, answer.error().as_str()), (status, error), "{path} {headers}");
            assert_eq!(status == 401, answer.header("www-authenticate").is_some(), "{answer:?}");
            assert!(!answer.body.contains("canary"), "{answer:?}");
        }
        let many = "&x=".repeat(10_000);
        let answer = post(&server, path, &format!("{FORM}{header}"), &format!("token=a{many}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let request = format!("{method} {path}?token=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = Answer::parse(&server.raw(request).await);
            assert_eq!((answer.status, answer.header("allow")), (405, Some("post")), "{path} {method}");
        }
        let two_hosts = format!("POST {path} HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(Answer::parse(&server.raw(two_hosts).await).error(), "invalid_request");
    }
    assert_eq!(server.counters.values().requests(), 0, "none of them was a token request");
    let counted = server.inquiry_counters.values();
    assert_eq!((counted.introspection_refused, counted.revocation_refused), (21, 21));
    server.stop().await;
}

#[tokio::test]
async fn the_list_is_kept_by_caches_for_a_moment_and_not_sent_again_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let server = Running::start(dir.path());
    let get = async |method: &str, more: &str| {
        let request =
            format!("{method} /oauth/revocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        Answer::parse(&server.raw(request).await)
    };
    let first = get("GET", "").await;
    assert_eq!((first.status, first.header("cache-control")), (200, Some("public, max-age=2")));
    let tag = first.header("etag").unwrap().to_owned();
    let unchanged = get("GET", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    let head = get("HEAD", "").await;
    assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", Some(tag.as_str())));
    assert_eq!(get("POST", "").await.status, 405);
    for bad in ["since=x", "since=-1", "since=1&since=2", "since=18446744073709551616"] {
        let answer = server.get(&format!("/oauth/revocations?{bad}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{bad}");
    }
    let token = token(&server, ("worker", &worker)).await;
    assert_eq!(inquire(&server, REVOKE, ("worker", &worker), &token).await.status, 200);
    listed(&server, 1).await;
    let changed = get("GET", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    assert_eq!(server.inquiry_counters.values().feed_unchanged, 1);
    server.stop().await;
}

#[tokio::test]
async fn t40_a_thousand_revocations_at_once_are_all_there_after_a_restart() {
    const TOKENS: usize = 1000;
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let client = ("worker", &worker);
    let throttling = Throttling { client_requests: RequestRate::Off, ..Throttling::default() };
    let config = Config { listen: Listen::Localhost { port: 0 }, throttling, ..Config::new(dir.path()) };
    let server = Running::with(config);
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(token(&server, client).await);
    }
    let issuer = issuer_of(&tokens[0]);
    let revoking = tokens.iter().map(|token| inquire(&server, REVOKE, client, token));
    for answer in futures(revoking).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let numbers = listed(&server, TOKENS).await.page.through;
    assert!(numbers < TOKENS as u64, "those that came together were written together: {numbers}");
    server.stop().await;
    let again = Running::with(Config {
        listen: Listen::Localhost { port: 0 },
        issuer: Some(issuer),
        ..Config::new(dir.path())
    });
    assert_eq!(page(&again, 0).await.page.entries.len(), TOKENS);
    for token in tokens.iter().step_by(97) {
        assert_eq!(inquire(&again, INTROSPECT, client, token).await.json()["active"], false);
    }
    again.stop().await;
}

#[tokio::test]
async fn t40_a_revocation_that_cannot_be_stored_is_503_and_tokens_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let client = ("worker", &worker);
    let server = Running::start(dir.path());
    let doomed = token(&server, client).await;
    // Somebody else writes for longer than anyone waits.
    let other = rusqlite::Connection::open(dir.path().join("registry.sqlite3")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let revoking = inquire(&server, REVOKE, client, &doomed);
    let issuing = async {
        for _ in 0..20 {
            token(&server, client).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (refused, ()) = tokio::join!(revoking, issuing);
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(inquire(&server, INTROSPECT, client, &doomed).await.json()["active"], true);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(inquire(&server, REVOKE, client, &doomed).await.status, 200);
    assert_eq!(inquire(&server, INTROSPECT, client, &doomed).await.json()["active"], false);
    let counted = server.inquiry_counters.values();
    assert_eq!((counted.revoked, counted.revocation_unavailable), (1, 1));
    server.stop().await;
}

/// The results of all, which are under way together.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(done) = future.as_mut().poll(context) {
                *result = Some(done);
            }
        }
        if waiting.iter().all(|(_, result)| result.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().map(|(_, result)| result.unwrap()).collect()
}

#[tokio::test]
async fn t34_the_log_tells_of_inquiries_and_shows_no_token_and_no_secret() {
    let log = Log::default();
    let _logging = logging_to(&log);
    let dir = tempfile::tempdir().unwrap();
    let worker = add_worker(dir.path());
    let other = add(dir.path(), scoped("other", "a"));
    let server = Running::start(dir.path());
    let token = token(&server, ("worker", &worker)).await;
    inquire(&server, INTROSPECT, ("worker", &worker), &token).await;
    inquire(&server, INTROSPECT, ("other", &other), &token).await;
    inquire(&server, REVOKE, ("other", &other), &token).await;
    inquire(&server, REVOKE, ("worker", &worker), &token).await;
    inquire(&server, REVOKE, ("worker", &worker), "canary").await;
    server.stop().await;
    let text = log.text();
    for told in
        ["of no concern to the caller", "token revocation", "revocation refused", "token introspected"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    for secret in [worker.expose(), other.expose(), &token, token.rsplit('.').next().unwrap()] {
        assert!(!text.contains(secret));
    }
    assert!(!text.contains("canary"));
}
