//! An assertion that is sent to several instances at once, over HTTP: it is good once over all of them.

use super::assertions::{assertion, body, jwks, private_key, settings, with_keys};
use super::postgresql::{self, Postgres};
use super::{FORM, Running};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
use jeton_proto::time::Clock as _;
use jeton_server::{
    Config, Listen, PostgresSettings, Registry, RequestRate, ServerKey, SpentKey, Storage, SystemClock,
    Throttling,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One issuer, whatever the ports of its instances are.
const ISSUER: &str = "http://localhost:1";
const CLIENT_ID: &str = "worker";
/// Those who send one assertion at the same time: every other one to the other instance.
const RACERS: usize = 20;
const ROUNDS: usize = 1000;
/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    postgres: Postgres,
    instances: [Instance; 2],
    key: AssertionKey,
}

struct Instance {
    server: Running,
    _dir: TempDir,
}

impl Instance {
    fn start(config: Config, dir: TempDir) -> Self {
        Self { server: Running::with(config), _dir: dir }
    }

    /// How many assertions it has taken without the other one.
    async fn spent_alone(&self) -> u64 {
        self.server.metric("jeton_server_assertions_spent_alone_total").await
    }
}

impl Cluster {
    fn start() -> Self {
        let postgres = Postgres::start();
        let storage = Storage::Postgres(PostgresSettings {
            password: Some(Arc::new(postgresql::password())),
            ..PostgresSettings::new(postgres.url())
        });
        let server_key = ServerKey::from_bytes(&[7; 32]).unwrap();
        let registry = Registry::open_in(&storage, Path::new("/nowhere"), Some(&server_key)).unwrap();
        let key = private_key(AssertionAlgorithm::EdDsa);
        registry.add_with(settings(CLIENT_ID), with_keys(jwks(&[&key]))).unwrap();
        let instance = || {
            let dir = tempfile::tempdir().unwrap();
            let config = Config {
                listen: Listen::Localhost { port: 0 },
                metrics_listen: Some(Listen::Localhost { port: 0 }),
                issuer: Some(ISSUER.to_owned()),
                storage: storage.clone(),
                key: Some(server_key.clone()),
                throttling: Throttling { client_requests: RequestRate::Off, ..Throttling::default() },
                ..Config::new(dir.path())
            };
            Instance::start(config, dir)
        };
        Self { postgres, instances: [instance(), instance()], key }
    }

    fn assertion(&self) -> String {
        assertion(&self.key, CLIENT_ID, ISSUER)
    }

    /// Connections to both, at which the client has proved itself: its assertions are looked at from then on, whoever fails.
    async fn racers(&self) -> Vec<Racer> {
        let mut racers = Vec::new();
        for number in 0..RACERS {
            let instance = number % 2;
            let stream = TcpStream::connect(self.instances[instance].server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            racers.push(Racer { instance, stream, received: Vec::new() });
        }
        for racer in &mut racers[..2] {
            racer.send(&self.assertion()).await;
            assert_eq!(racer.status().await, 200);
        }
        racers
    }

    async fn spent_alone(&self) -> u64 {
        self.instances[0].spent_alone().await + self.instances[1].spent_alone().await
    }

    async fn stop(self) {
        for instance in self.instances {
            instance.server.stop().await;
        }
    }
}

/// A kept connection.
struct Racer {
    instance: usize,
    stream: TcpStream,
    received: Vec<u8>,
}

impl Racer {
    async fn send(&mut self, assertion: &str) {
        let body = body(assertion);
        let length = body.len();
        let request =
            format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{FORM}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// The status of one answer, which is read whole.
    async fn status(&mut self) -> u16 {
        self.received.clear();
        while !(self.received.ends_with(b"}") && self.received.starts_with(b"HTTP/1.1 ")) {
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            assert_ne!(read.expect("there is no answer").unwrap(), 0, "the connection has ended");
        }
        std::str::from_utf8(&self.received[9..12]).unwrap().parse().unwrap()
    }
}

/// All send one assertion; how many tokens each instance has given for it. The others are refused.
async fn race(racers: &mut [Racer], assertion: &str, first: usize) -> [usize; 2] {
    racers.rotate_left(first % RACERS);
    for racer in racers.iter_mut() {
        racer.send(assertion).await;
    }
    let mut granted = [0; 2];
    for racer in racers.iter_mut() {
        match racer.status().await {
            200 => granted[racer.instance] += 1,
            // Those who fail again and again are told to slow down, once they were judged.
            401 | 429 => {}
            other => panic!("{other}: {}", racer.received.escape_ascii()),
        }
    }
    granted
}

/// What the database has of an assertion of the client, in hexadecimal.
fn hex_key(assertion: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let key = SpentKey::new(CLIENT_ID, claims["jti"].as_str().unwrap());
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t38_of_twenty_racers_with_one_assertion_at_two_instances_exactly_one_has_a_token() {
    let cluster = Cluster::start();
    let mut racers = cluster.racers().await;
    let (mut winners, mut alone, mut undecided) = ([0; 2], cluster.spent_alone().await, 0);
    for round in 0..ROUNDS {
        let assertion = cluster.assertion();
        let granted = race(&mut racers, &assertion, round * 7).await;
        if granted != [1, 0] && granted != [0, 1] {
            // A database that takes longer than a second decides nothing (decision 0020), and that is counted.
            let alone_now = cluster.spent_alone().await;
            assert!(alone_now > alone && granted == [1, 1], "round {round}: {granted:?}");
            (alone, undecided) = (alone_now, undecided + 1);
        }
        winners = [winners[0] + granted[0], winners[1] + granted[1]];
    }
    assert!(undecided <= ROUNDS / 100, "{undecided} of {ROUNDS} rounds were not decided");
    assert!(winners.iter().all(|won| *won > ROUNDS / 10), "both instances take part: {winners:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t38_while_the_database_is_killed_tokens_go_on_and_afterwards_one_is_the_first_again() {
    let mut cluster = Cluster::start();
    let mut racers = cluster.racers().await;
    cluster.postgres.kill();
    let begun = Instant::now();
    for instance in &cluster.instances {
        // What the killed one had begun may answer for a moment still.
        let before = instance.spent_alone().await;
        while instance.spent_alone().await == before {
            let granted = race(&mut racers, &cluster.assertion(), 0).await;
            assert!(granted != [0, 0], "tokens go on");
            assert!(begun.elapsed() < PATIENCE, "the database answers for ever");
        }
    }
    let before = cluster.spent_alone().await;
    for round in 0..20 {
        let granted = race(&mut racers, &cluster.assertion(), round).await;
        assert_eq!(granted, [1, 1], "alone, each instance decides for itself");
    }
    assert!(cluster.spent_alone().await >= before + 40);
    let alone = cluster.assertion();
    racers[0].send(&alone).await;
    assert_eq!(racers[0].status().await, 200);
    let spent_at = racers[0].instance;
    cluster.postgres.restart();
    let begun = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let granted = race(&mut racers, &cluster.assertion(), in_a_row).await;
        in_a_row = if granted == [1, 1] { 0 } else { in_a_row + 1 };
        assert!(granted == [1, 1] || granted[0] + granted[1] == 1, "{granted:?}");
        assert!(begun.elapsed() < PATIENCE, "the instances do not find one another");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // What one instance has taken alone is known to the other one as soon as it is written up.
    let written_up =
        format!("SELECT count(*) FROM jeton.spent_assertion WHERE key = '\\x{}'", hex_key(&alone));
    while cluster.postgres.sql(&written_up) != "1" {
        assert!(begun.elapsed() < PATIENCE, "it is not written up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let other = racers.iter_mut().find(|racer| racer.instance != spent_at).unwrap();
    other.send(&alone).await;
    assert!(matches!(other.status().await, 401 | 429), "{}", other.received.escape_ascii());
    cluster.stop().await;
}

#[tokio::test]
async fn t38_a_forgery_burns_nothing_at_any_instance() {
    let cluster = Cluster::start();
    let [one, two] = &cluster.instances;
    let named = cluster.key.key_id().map(str::to_owned);
    let stranger = private_key(AssertionAlgorithm::EdDsa).with_key_id(named).unwrap();
    let signed_by = |key: &AssertionKey| {
        let assertion = ClientAssertion {
            client_id: CLIENT_ID,
            audience: ISSUER,
            issued_at: SystemClock.now(),
            lifetime: AssertionLifetime::default(),
            jwt_id: "the same",
        };
        assertion.sign(key).unwrap().expose().clone()
    };
    let good = signed_by(&cluster.key);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let changed = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
    for instance in [one, two] {
        for forged in [&changed, &signed_by(&stranger)] {
            assert_eq!(instance.server.assert(forged).await.error(), "invalid_client");
        }
    }
    assert_eq!(cluster.postgres.sql("SELECT count(*) FROM jeton.spent_assertion"), "0");
    assert_eq!(two.server.assert(&good).await.status, 200);
    assert_eq!(one.server.assert(&good).await.error(), "invalid_client");
    assert_eq!(two.server.assert(&good).await.error(), "invalid_client");
    cluster.stop().await;
}
