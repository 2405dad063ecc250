//! An instance over a `PostgreSQL` that takes nothing: its disk is full, or it has become read-only.

use super::assertions::{assertion, jwks, private_key, settings, with_keys};
use super::postgresql::{self, Postgres};
use super::{Answer, FORM, Running, basic};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use jeton_proto::secret::Secret;
use jeton_server::{
    Config, Listen, PostgresSettings, Registry, RequestRate, Server, ServerKey, Storage, Throttling,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ISSUER: &str = "http://localhost:1";
/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Instance {
    postgres: Postgres,
    registry: Registry,
    server: Running,
    secret: Secret<String>,
    key: AssertionKey,
    storage: Storage,
    dir: TempDir,
}

impl Instance {
    /// With the clients `worker`, which has a secret, and `signer`, which has a key.
    fn start() -> Self {
        let postgres = Postgres::start();
        let storage = Storage::Postgres(PostgresSettings {
            password: Some(Arc::new(postgresql::password())),
            ..PostgresSettings::new(postgres.url())
        });
        let registry = Registry::open_in(&storage, Path::new("/nowhere"), Some(&server_key())).unwrap();
        let secret = registry.add(settings("worker")).unwrap();
        let key = private_key(AssertionAlgorithm::EdDsa);
        registry.add_with(settings("signer"), with_keys(jwks(&[&key]))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let server = Running::with(config(&storage, &dir));
        Self { postgres, registry, server, secret, key, storage, dir }
    }

    async fn token(&self) -> String {
        let answer = self.server.request_token("worker", &self.secret, "").await;
        assert_eq!(answer.status, 200, "tokens go on: {answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token for a new assertion, and the assertion.
    async fn sign(&self) -> String {
        let assertion = assertion(&self.key, "signer", ISSUER);
        assert_eq!(self.server.assert(&assertion).await.status, 200, "tokens go on");
        assertion
    }

    async fn revoke(&self, token: &str) -> u16 {
        self.ask("/oauth/revoke", token).await.status
    }

    async fn is_writable(&self) -> bool {
        self.server.metric("jeton_server_registry_writable").await == 1
    }

    async fn is_active(&self, token: &str) -> bool {
        self.ask("/oauth/introspect", token).await.json()["active"].as_bool().unwrap()
    }

    async fn ask(&self, path: &str, token: &str) -> Answer {
        let (body, authorization) = (format!("token={token}"), basic("worker", self.secret.expose()));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{FORM}{authorization}\r\n{body}",
            body.len()
        );
        Answer::parse(&self.server.raw(request).await)
    }

    async fn becomes_revoked(&self, token: &str) {
        let begun = Instant::now();
        while self.revoke(token).await != 200 {
            assert!(begun.elapsed() < PATIENCE, "it does not go on by itself");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the database has of everything that was used here.
    async fn becomes_written_up(&self, assertions: u64) {
        let begun = Instant::now();
        while self.postgres.sql("SELECT count(*) FROM jeton.spent_assertion") != assertions.to_string() {
            assert!(begun.elapsed() < PATIENCE, "what was used is not written up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Another instance knows all that was acknowledged, and nothing else.
    async fn ends_with(self, revoked: &[String], active: &[String], clients: &[&str]) {
        self.server.stop().await;
        let dir = tempfile::tempdir().unwrap();
        let next = Self { server: Running::with(config(&self.storage, &dir)), ..self };
        for token in revoked {
            assert!(!next.is_active(token).await, "a revocation was acknowledged and lost");
        }
        for token in active {
            assert!(next.is_active(token).await);
        }
        let listed = next.registry.list().unwrap().clients;
        let listed: Vec<_> = listed.iter().map(|client| client.settings.client_id.as_str()).collect();
        assert_eq!(listed, clients, "no client is there by half");
        next.server.stop().await;
    }
}

fn server_key() -> ServerKey {
    ServerKey::from_bytes(&[7; 32]).unwrap()
}

fn config(storage: &Storage, dir: &TempDir) -> Config {
    Config {
        listen: Listen::Localhost { port: 0 },
        metrics_listen: Some(Listen::Localhost { port: 0 }),
        issuer: Some(ISSUER.to_owned()),
        storage: storage.clone(),
        key: Some(server_key()),
        throttling: Throttling { client_requests: RequestRate::Off, ..Throttling::default() },
        ..Config::new(dir.path())
    }
}

#[tokio::test]
async fn t40_while_the_database_is_read_only_tokens_go_on_and_nothing_is_acknowledged() {
    let instance = Instance::start();
    let (first, second, third) = (instance.token().await, instance.token().await, instance.token().await);
    assert_eq!(instance.revoke(&first).await, 200);
    instance.sign().await;
    assert!(instance.is_writable().await);
    instance.postgres.set_read_only(true);
    for _ in 0..2 {
        instance.token().await;
        let used = instance.sign().await;
        assert_eq!(instance.server.assert(&used).await.error(), "invalid_client", "it is good once here");
        assert_eq!(instance.revoke(&second).await, 503);
        assert!(instance.is_active(&second).await && !instance.is_active(&first).await);
        let refused = instance.registry.add(ClientSettings::new("half")).unwrap_err().to_string();
        assert!(refused.contains("is read only, as a standby is"), "{refused}");
    }
    assert_eq!(instance.server.get("/readyz").await.status, 200, "it can be read");
    assert!(!instance.is_writable().await);
    let start = Server::bind(config(&instance.storage, &instance.dir)).unwrap_err().to_string();
    assert!(start.contains("is read only, as a standby is"), "{start}");
    instance.postgres.set_read_only(false);
    instance.becomes_revoked(&second).await;
    assert!(instance.is_writable().await);
    instance.becomes_written_up(3).await;
    instance.registry.add(ClientSettings::new("whole")).unwrap();
    instance.ends_with(&[first, second], &[third], &["signer", "whole", "worker"]).await;
}

#[tokio::test]
async fn t40_while_the_disk_of_the_database_is_full_tokens_go_on_and_nothing_is_acknowledged() {
    let instance = Instance::start();
    let disk = instance.postgres.small_disk();
    disk.fill();
    // Pages that are there have some room still.
    let (mut revoked, mut used) = (Vec::new(), 0);
    let refused = loop {
        let token = instance.token().await;
        match instance.revoke(&token).await {
            200 => revoked.push(token),
            503 => break token,
            other => panic!("{other}"),
        }
        assert!(revoked.len() < 2000, "the disk does not become full");
    };
    for _ in 0..3 {
        instance.sign().await;
        used += 1;
    }
    assert!(instance.is_active(&refused).await, "what was not acknowledged is not so");
    let told = instance.registry.add(ClientSettings::new("half")).unwrap_err().to_string();
    assert!(told.contains("the disk of the database is full; make room"), "{told}");
    assert_eq!(instance.server.get("/readyz").await.status, 200, "it can be read");
    disk.make_room();
    instance.becomes_revoked(&refused).await;
    instance.becomes_written_up(used).await;
    instance.registry.add(ClientSettings::new("whole")).unwrap();
    revoked.push(refused);
    let good = instance.token().await;
    instance.ends_with(&revoked, &[good], &["signer", "whole", "worker"]).await;
}
