//! Signing keys that are replaced while tokens are asked for and verified, in virtual time.

use super::{Answer, Running, add_worker};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::jwk::JwkSet;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::verification::{Expectations, decide};
use jeton_server::{Config, Listen, Registry, SigningKeys};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MAX_AGE_SECONDS: u64 = 30;
const TOKEN_LIFE: Duration = Duration::from_mins(10);
/// Announced for twice the maximal age and twice a minute before it signs.
const LEAD: Duration = Duration::from_secs(2 * MAX_AGE_SECONDS + 120);

/// A clock that the test advances.
#[derive(Debug)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

impl HandClock {
    fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// An API that keeps the key set for exactly as long as it may, and looks for no unknown key: the hardest to please.
struct Verifier {
    expectations: Expectations,
    keys: JwkSet,
    etag: String,
    fetched_at: Timestamp,
    /// How often it was told that its copy is still good.
    unchanged: u64,
}

impl Verifier {
    async fn new(server: &Running, now: Timestamp) -> Self {
        let expectations = Expectations::new(server.issuer.as_str(), [server.issuer.as_str()]).unwrap();
        let mut verifier = Self {
            expectations,
            keys: JwkSet::default(),
            etag: String::new(),
            fetched_at: now,
            unchanged: 0,
        };
        verifier.fetch(server, now).await;
        verifier
    }

    async fn fetch(&mut self, server: &Running, now: Timestamp) {
        let request = format!(
            "GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {}\r\n\r\n",
            self.etag
        );
        let answer = Answer::parse(&server.raw(request).await);
        let max_age = format!("public, max-age={MAX_AGE_SECONDS}");
        assert_eq!(answer.header("cache-control"), Some(max_age.as_str()), "{answer:?}");
        self.fetched_at = now;
        if answer.status == 304 {
            assert_eq!(answer.body, "");
            self.unchanged += 1;
            return;
        }
        self.keys = JwkSet::parse(answer.body.as_bytes()).unwrap();
        assert!(self.keys.skipped().is_empty());
        self.etag = etag_of(server).await;
    }

    async fn accepts(&mut self, server: &Running, token: &str, now: Timestamp) {
        if now.saturating_since(self.fetched_at) >= Duration::from_secs(MAX_AGE_SECONDS) {
            self.fetch(server, now).await;
        }
        let verified = decide(token, &self.keys, &self.expectations, now);
        assert!(verified.is_ok(), "a live token is refused: {:?}", verified.unwrap_err());
    }
}

/// The tag as it is on the wire: the headers of an [`Answer`] are in lower case.
async fn etag_of(server: &Running) -> String {
    let head = server.raw("HEAD /oauth/jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut tags = fields.filter(|(name, _)| name.eq_ignore_ascii_case("etag"));
    tags.next().unwrap().1.to_owned()
}

struct Stage {
    dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    server: Running,
    /// A client for each algorithm, and its secret.
    clients: Vec<(&'static str, Secret<String>)>,
    verifier: Verifier,
    /// Tokens that live, the oldest first, with their ends.
    live: VecDeque<(Timestamp, String)>,
    signed_by: BTreeSet<String>,
    accepted: u64,
}

impl Stage {
    async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock(AtomicU64::new(1_900_000_000_000)));
        let server = start(dir.path(), &clock);
        let registry = Registry::open(dir.path()).unwrap();
        let client = |client_id: &'static str, signing_algorithm| {
            let settings = ClientSettings { signing_algorithm, ..ClientSettings::new(client_id) };
            (client_id, registry.add(settings).unwrap())
        };
        let clients = vec![client("usual", None), client("eddsa", Some(Algorithm::EdDsa))];
        let verifier = Verifier::new(&server, clock.now()).await;
        Self {
            dir,
            clock,
            server,
            clients,
            verifier,
            live: VecDeque::new(),
            signed_by: BTreeSet::new(),
            accepted: 0,
        }
    }

    fn keys(&self) -> SigningKeys {
        SigningKeys::open(self.dir.path()).unwrap().with_clock(Arc::<HandClock>::clone(&self.clock))
    }

    /// A new token for each client; they and the oldest ones that live are shown to the verifier.
    async fn load(&mut self) {
        let now = self.clock.now();
        for (client_id, secret) in &self.clients {
            let answer = self.server.request_token(client_id, secret, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let token = answer.json()["access_token"].as_str().unwrap().to_owned();
            let header = jeton_proto::jose::jws::UnverifiedJws::parse(&token)
                .map(|jws| jws.key_id().map(str::to_owned));
            self.signed_by.insert(header.unwrap().unwrap());
            self.live.push_back((now.saturating_add(TOKEN_LIFE), token));
        }
        while self.live.front().is_some_and(|(end, _)| *end <= now) {
            self.live.pop_front();
        }
        let ends = self.live.iter().take(4).chain(self.live.iter().rev().take(2));
        let shown: Vec<_> = ends.map(|(_, token)| token.clone()).collect();
        for token in shown {
            self.verifier.accepts(&self.server, &token, now).await;
            self.accepted += 1;
        }
    }

    /// Lets the server look at its registry now, as a client that it does not know does.
    async fn comes_to(&self, what: &str, holds: impl Fn(&mut SigningKeys) -> bool) {
        let begun = Instant::now();
        let mut keys = self.keys();
        while !holds(&mut keys) {
            assert!(begun.elapsed() < Duration::from_mins(1), "{what} did not come about: {:?}", keys.list());
            self.server.request_token("absent", &Secret::from("x"), "").await;
        }
        // Once more, for what was written at last.
        self.server.request_token("absent", &Secret::from("x"), "").await;
    }

    async fn pass(&mut self, span: Duration, steps: u32) {
        for _ in 0..steps {
            self.clock.advance(span / steps);
            self.load().await;
        }
    }
}

fn start(dir: &Path, clock: &Arc<HandClock>) -> Running {
    Running::with(Config {
        listen: Listen::Localhost { port: 0 },
        signing_algorithms: vec![Algorithm::Es256, Algorithm::EdDsa],
        longest_token_lifetime: TOKEN_LIFE,
        jwks_max_age: Duration::from_secs(MAX_AGE_SECONDS),
        key_rotation_period: Duration::from_hours(24),
        clock: Arc::<HandClock>::clone(clock),
        ..Config::new(dir)
    })
}

fn none_is_open(keys: &mut SigningKeys) -> bool {
    keys.list().unwrap().keys.iter().all(|key| key.times.active_from.is_some())
}

#[tokio::test]
async fn t39_a_thousand_rotations_under_load_refuse_no_live_token() {
    let mut stage = Stage::set().await;
    stage.load().await;
    for rotation in 0..500 {
        let made = stage.keys().rotate(None).unwrap();
        assert_eq!(made.len(), 2, "one for each algorithm");
        stage.comes_to("a turn", none_is_open).await;
        stage.pass(LEAD, 3).await;
        if rotation % 100 == 50 {
            stage.pass(TOKEN_LIFE, 3).await;
        }
    }
    assert!(stage.signed_by.len() > 990, "{} keys have signed", stage.signed_by.len());
    let retired = |keys: &mut SigningKeys| keys.list().unwrap().keys.len() < 32;
    stage.comes_to("that old keys are dropped", retired).await;
    assert!(stage.verifier.unchanged > 0 && stage.accepted > 5000, "{} accepted", stage.accepted);
    stage.server.stop().await;
}

#[tokio::test]
async fn t39_keys_are_replaced_on_schedule_over_restarts() {
    let mut stage = Stage::set().await;
    for _ in 0..3 {
        let begun = stage.keys().list().unwrap().keys.iter().map(|key| key.times.number).max();
        stage.clock.advance(Duration::from_hours(24).saturating_sub(LEAD));
        stage.load().await;
        let announced = |keys: &mut SigningKeys| {
            let keys = keys.list().unwrap().keys;
            keys.iter().filter(|key| Some(key.times.number) > begun).count() == 2
                && keys.iter().all(|key| key.times.active_from.is_some())
        };
        stage.comes_to("the next keys", announced).await;
        stage.server.stop().await;
        stage.server = start(stage.dir.path(), &stage.clock);
        stage.verifier.expectations =
            Expectations::new(stage.server.issuer.as_str(), [stage.server.issuer.as_str()]).unwrap();
        stage.live.clear();
        stage.pass(LEAD, 4).await;
    }
    assert_eq!(stage.signed_by.len(), 8, "the first ones and three successors of each");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_client_with_an_algorithm_that_the_server_has_not_is_told_that_the_server_is_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let usual = add_worker(dir.path());
    let settings =
        ClientSettings { signing_algorithm: Some(Algorithm::Rs256), ..ClientSettings::new("legacy") };
    let legacy = Registry::open(dir.path()).unwrap().add(settings).unwrap();
    let server = Running::start(dir.path());
    let answer = server.request_token("legacy", &legacy, "").await;
    assert_eq!((answer.status, answer.error()), (500, "server_error".to_owned()));
    assert_eq!(server.request_token("worker", &usual, "").await.status, 200);
    server.stop().await;
}
