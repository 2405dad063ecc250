//! Several instances over one `PostgreSQL`, which is killed, held still and started again beneath them.

use super::Running;
use super::postgresql::{self, Postgres};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::secret::Secret;
use jeton_server::{Config, Listen, PostgresSettings, Registry, ServerKey, Storage};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn storage(postgres: &Postgres) -> Storage {
    Storage::Postgres(PostgresSettings {
        password: Some(Arc::new(postgresql::password())),
        ..PostgresSettings::new(postgres.url())
    })
}

fn key() -> ServerKey {
    ServerKey::from_bytes(&[7; 32]).unwrap()
}

fn config(postgres: &Postgres, dir: &TempDir) -> Config {
    let (storage, key) = (storage(postgres), Some(key()));
    Config { listen: Listen::Localhost { port: 0 }, storage, key, ..Config::new(dir.path()) }
}

/// What administers beside the servers, as `jeton client` does.
fn registry(postgres: &Postgres) -> Registry {
    Registry::open_in(&storage(postgres), Path::new("/nowhere"), Some(&key())).unwrap()
}

struct Two {
    postgres: Postgres,
    servers: [Running; 2],
    _dirs: [TempDir; 2],
}

impl Two {
    fn start() -> Self {
        let postgres = Postgres::start();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let servers = dirs.each_ref().map(|dir| Running::with(config(&postgres, dir)));
        Self { postgres, servers, _dirs: dirs }
    }

    async fn statuses(&self, client_id: &str, secret: &Secret<String>) -> [u16; 2] {
        let [one, two] = &self.servers;
        [
            one.request_token(client_id, secret, "").await.status,
            two.request_token(client_id, secret, "").await.status,
        ]
    }

    async fn readiness(&self) -> [u16; 2] {
        let [one, two] = &self.servers;
        [one.get("/readyz").await.status, two.get("/readyz").await.status]
    }

    async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// Asks again and again, until the answer is this one.
async fn becomes<T: PartialEq + std::fmt::Debug>(expected: T, mut ask: impl AsyncFnMut() -> T) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if answer == expected {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "it stays {answer:?}, expected {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_changed_at_one_place_is_so_at_every_instance() {
    let two = Two::start();
    let registry = registry(&two.postgres);
    let secret = registry.add(ClientSettings::new("worker")).unwrap();
    assert_eq!(two.statuses("worker", &secret).await, [200, 200], "in the moment in which it was added");
    registry.disable("worker").unwrap();
    becomes([401, 401], async || two.statuses("worker", &secret).await).await;
    registry.enable("worker").unwrap();
    becomes([200, 200], async || two.statuses("worker", &secret).await).await;
    registry.remove("worker").unwrap();
    becomes([401, 401], async || two.statuses("worker", &secret).await).await;
    two.stop().await;
}

#[tokio::test]
async fn without_notifications_changes_are_looked_for() {
    let two = Two::start();
    let secret = registry(&two.postgres).add(ClientSettings::new("worker")).unwrap();
    assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    // Nobody can listen anew, and what there is goes on.
    two.postgres.sql("ALTER ROLE jeton CONNECTION LIMIT 0");
    let listening = "FROM pg_stat_activity WHERE usename = 'jeton' AND query LIKE 'LISTEN%'";
    let listeners = || two.postgres.sql(&format!("SELECT count(*) {listening}"));
    assert_eq!(listeners(), "2", "each instance listens");
    two.postgres.sql(&format!("SELECT pg_terminate_backend(pid) {listening}"));
    becomes("0".to_owned(), async || listeners()).await;
    let body = two.postgres.sql("SELECT body FROM jeton.record WHERE id = 'worker'");
    two.postgres.sql(&format!(
        "BEGIN; UPDATE jeton.counter SET change = change + 1;
         UPDATE jeton.record SET body = '{}', change = (SELECT change FROM jeton.counter) WHERE id = 'worker'; COMMIT",
        body.replace("enabled", "disabled")
    ));
    becomes([401, 401], async || two.statuses("worker", &secret).await).await;
    assert_eq!(two.readiness().await, [200, 200]);
    two.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_tokens_go_on_and_nothing_acknowledged_is_lost() {
    let mut two = Two::start();
    let registry = registry(&two.postgres);
    let secret = registry.add(ClientSettings::new("worker")).unwrap();
    assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    for round in 0..2 {
        two.postgres.kill();
        becomes([503, 503], async || two.readiness().await).await;
        for _ in 0..20 {
            assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
        }
        let failed = registry.add(ClientSettings::new("lost")).unwrap_err().to_string();
        assert!(failed.contains("in the database jeton at 127.0.0.1:"), "{failed}");
        assert!(failed.contains("cannot be reached") && !failed.contains("canary"), "{failed}");
        assert_eq!(two.statuses("absent", &secret).await, [401, 401], "who is not known is told so");
        two.postgres.restart();
        becomes([200, 200], async || two.readiness().await).await;
        assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
        let client_id = format!("added-{round}");
        let mut added = None;
        becomes(true, async || {
            // The first attempt after an outage may be before its pause is over.
            added = added.take().or_else(|| registry.add(ClientSettings::new(&client_id)).ok());
            added.is_some()
        })
        .await;
        becomes([200, 200], async || two.statuses(&client_id, added.as_ref().unwrap()).await).await;
    }
    let clients = registry.list().unwrap().clients;
    let names: Vec<&str> = clients.iter().map(|client| client.settings.client_id.as_str()).collect();
    assert_eq!(names, ["added-0", "added-1", "worker"]);
    two.stop().await;
}

#[tokio::test]
async fn a_database_that_hangs_stops_no_token() {
    let two = Two::start();
    let registry = Arc::new(registry(&two.postgres));
    let secret = registry.add(ClientSettings::new("worker")).unwrap();
    assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    let frozen = two.postgres.freeze();
    for _ in 0..50 {
        assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    }
    assert_eq!(two.statuses("absent", &secret).await, [401, 401], "the look has a bound");
    becomes([503, 503], async || two.readiness().await).await;
    let adding = Arc::clone(&registry);
    let failed = tokio::task::spawn_blocking(move || adding.add(ClientSettings::new("late")));
    let failed = failed.await.unwrap().unwrap_err().to_string();
    assert!(failed.contains("does not answer in time"), "{failed}");
    assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    drop(frozen);
    becomes([200, 200], async || two.readiness().await).await;
    assert_eq!(two.statuses("worker", &secret).await, [200, 200]);
    two.stop().await;
}

#[tokio::test]
async fn an_instance_needs_the_key_of_the_others() {
    let postgres = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    registry(&postgres).add(ClientSettings::new("worker")).unwrap();
    let none = Config { key: None, ..config(&postgres, &dir) };
    let refused = jeton_server::Server::bind(none).unwrap_err().to_string();
    assert!(refused.contains("server.key") && refused.contains("openssl rand -hex 32"), "{refused}");
    let other = Config { key: ServerKey::from_bytes(&[8; 32]), ..config(&postgres, &dir) };
    let refused = jeton_server::Server::bind(other).unwrap_err().to_string();
    assert!(refused.contains("another server key"), "{refused}");
}
