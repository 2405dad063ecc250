//! What a server does beside its requests: it panics, or the database holds it.

use super::postgresql::{self, Postgres};
use super::{FORM, Running, add_worker, basic};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Timestamp};
use jeton_server::audit::{log_files, verify};
use jeton_server::{Config, Limits, Listen, PostgresSettings, Registry, ServerKey, Storage, SystemClock};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panics whenever the thread of this name asks for the time.
#[derive(Default)]
struct Faulty(Mutex<Option<&'static str>>);

impl Faulty {
    fn is_at(&self, thread: Option<&'static str>) {
        *self.0.lock().unwrap() = thread;
    }
}

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        let faulty = *self.0.lock().unwrap();
        assert!(faulty.is_none() || std::thread::current().name() != faulty, "on purpose");
        SystemClock.now()
    }
}

async fn becomes<T: PartialEq + std::fmt::Debug>(expected: T, mut ask: impl AsyncFnMut() -> T) {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if answer == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it stays {answer:?}, expected {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A request to revoke a token, and what came of it: empty when the connection was cut off.
async fn revoke(address: SocketAddr, secret: &Secret<String>, token: &str) -> String {
    use tokio::io::AsyncWriteExt as _;
    let body = format!("token={token}");
    let request = format!(
        "POST /oauth/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{FORM}{}\r\n{body}",
        body.len(),
        basic("worker", secret.expose())
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    super::read_to_end(&mut stream).await.lines().next().unwrap_or_default().to_owned()
}

async fn token(server: &Running, secret: &Secret<String>) -> String {
    let answer = server.request_token("worker", secret, "").await;
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn panics(server: &Running, worker: &str) -> u64 {
    server.metric(&format!("jeton_server_worker_panics_total{{worker=\"{worker}\"}}")).await
}

#[tokio::test]
async fn a_worker_that_panics_is_told_and_goes_on_and_the_server_is_not_ready_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let clock = Arc::new(Faulty::default());
    let config = Config {
        listen: Listen::Localhost { port: 0 },
        metrics_listen: Some(Listen::Localhost { port: 0 }),
        clock: Arc::<Faulty>::clone(&clock),
        ..Config::new(dir.path())
    };
    let server = Running::with(config);
    let tokens = [token(&server, &secret).await, token(&server, &secret).await];
    let readiness = async || server.get("/readyz").await.status;
    assert_eq!(readiness().await, 200);
    for (thread, worker) in [("jeton-registry", "registry"), ("jeton-keys", "keys")] {
        assert_eq!(panics(&server, worker).await, 0);
        clock.is_at(Some(thread));
        becomes(503, readiness).await;
        assert_eq!(server.request_token("worker", &secret, "").await.status, 200, "{worker}: tokens go on");
        clock.is_at(None);
        becomes(200, readiness).await;
        assert!(panics(&server, worker).await > 0);
    }
    clock.is_at(Some("jeton-revocations"));
    let refused = revoke(server.address, &secret, &tokens[0]).await;
    assert!(refused.contains(" 503 "), "{refused}");
    becomes(503, readiness).await;
    clock.is_at(None);
    becomes(200, readiness).await;
    for token in &tokens {
        let revoked = revoke(server.address, &secret, token).await;
        assert!(revoked.contains(" 200 "), "{revoked}");
    }
    assert_eq!(panics(&server, "revocations").await, 1);
    let others = ["uses", "clients", "audit", "assertions", "certificate", "export"];
    for worker in others {
        assert_eq!(panics(&server, worker).await, 0, "{worker}");
    }
    server.stop().await;
    let verdict = verify(&log_files(&dir.path().join("audit.jsonl")).unwrap(), None).unwrap();
    assert_eq!((verdict.fault, verdict.torn), (None, None));
}

#[tokio::test]
async fn a_database_that_hangs_holds_no_end_and_takes_nothing_that_was_acknowledged() {
    let postgres = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::Postgres(PostgresSettings {
        password: Some(Arc::new(postgresql::password())),
        ..PostgresSettings::new(postgres.url())
    });
    let key = ServerKey::from_bytes(&[7; 32]).unwrap();
    let registry = Registry::open_in(&storage, Path::new("/nowhere"), Some(&key)).unwrap();
    let secret = registry.add(ClientSettings::new("worker")).unwrap();
    let config = Config {
        listen: Listen::Localhost { port: 0 },
        storage,
        key: Some(key),
        limits: Limits { drain_timeout: Duration::from_secs(1), ..Limits::default() },
        ..Config::new(dir.path())
    };
    let server = Running::with(config);
    let tokens = [token(&server, &secret).await, token(&server, &secret).await];
    let acknowledged = revoke(server.address, &secret, &tokens[0]).await;
    assert!(acknowledged.contains(" 200 "), "{acknowledged}");
    let frozen = postgres.freeze();
    let (address, of_task) = (server.address, secret.clone());
    // One revocation waits for the database, and so does what is written of the uses of the secret.
    let waiting = tokio::spawn(async move { revoke(address, &of_task, &tokens[1]).await });
    for _ in 0..20 {
        assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
    }
    let begun = Instant::now();
    server.stop().await;
    let took = begun.elapsed();
    // A second to drain, five for the workers, and the audit log, which is on a disk of its own. A commit alone would hold it for 15.
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(12), "{took:?}");
    let told = waiting.await.unwrap();
    assert!(!told.contains(" 200 "), "nothing is acknowledged that the store does not have: {told}");
    let files = log_files(&dir.path().join("audit.jsonl")).unwrap();
    let verdict = verify(&files, None).unwrap();
    assert_eq!((verdict.fault, verdict.torn), (None, None));
    let log = std::fs::read_to_string(&files[0]).unwrap();
    assert!(
        log.lines().last().unwrap().contains("\"server_ended\"") && log.contains("\"token_revoked\""),
        "{log}"
    );
    drop(frozen);
    let stored = postgres.sql("SELECT count(*) FROM jeton.record WHERE kind = 'revocation'");
    assert_ne!(stored, "0", "what was acknowledged is there");
}
