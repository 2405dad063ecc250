//! Programs of other authors that authenticate by assertions, in the form in which anyone would write them (R5.9):
//! openid-client and Authlib.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../testdata/foreign/programs.rs"]
mod programs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_proto::issuance::{ClientCredentials, ClientKeys, ClientSettings};
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_server::{
    AssertionAudience, Config, Counters, Listen, NewSecret, Registry, SecretKeeping, ServeError, Server,
};
use programs::{node, python};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The server, with a client for each kind of key, and the files of their private keys.
struct Running {
    issuer: String,
    secret: Secret<String>,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
    dir: TempDir,
    key_ids: Vec<(&'static str, String)>,
}

impl Running {
    fn start(assertion_audience: AssertionAudience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let registry = Registry::open(&data_dir).unwrap();
        let settings = |client_id: &str| ClientSettings {
            allowed_scope: "a b".parse().unwrap(),
            ..ClientSettings::new(client_id)
        };
        let add = |client_id: &str, credentials| registry.add_with(settings(client_id), credentials).unwrap();
        let new = NewSecret { name: None, keeping: Some(SecretKeeping::Sealed) };
        let secret = registry.add_with_secret(settings("HS256"), ClientCredentials::default(), &new).unwrap();
        let mut key_ids = Vec::new();
        for (name, kind) in [
            ("ES256", Algorithm::Es256),
            ("RS256", Algorithm::Rs256),
            ("PS256", Algorithm::Rs256),
            ("EdDSA", Algorithm::EdDsa),
        ] {
            let key = SigningKey::generate(kind).unwrap();
            let der = STANDARD.encode(key.to_pkcs8().unwrap().expose());
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
            std::fs::write(dir.path().join(name), pem).unwrap();
            let mut set = JwkSet::from_keys([key.public_jwk()]).unwrap().to_json();
            set["keys"][0]["alg"] = json!(name);
            let keys = Some(ClientKeys::Inline(set.to_string()));
            add(name, ClientCredentials { keys, ..ClientCredentials::default() });
            key_ids.push((name, key.key_id().to_owned()));
        }
        let listen = Listen::Localhost { port: 0 };
        let server = Server::bind(Config { listen, assertion_audience, ..Config::new(&data_dir) }).unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            issuer: server.issuer().to_owned(),
            secret,
            counters: server.counters(),
            stop,
            serving: tokio::spawn(server.serve(async { stopped.await.unwrap_or(()) })),
            dir,
            key_ids,
        }
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lets `program` ask as each client, by its kind of key; `more` goes with every one.
    async fn asked_by_each(&self, program: impl Fn() -> Command, more: &[&str]) -> Vec<(&str, bool, Value)> {
        let mut answers = Vec::new();
        let mut command = program();
        command.args(["HS256", "--auth-method", "client_secret_jwt"]).args(more);
        command.env("CLIENT_SECRET", self.secret.expose());
        let (succeeded, answer) = run(command).await;
        answers.push(("HS256", succeeded, answer));
        for (name, key_id) in &self.key_ids {
            let mut command = program();
            command.args([name, "--auth-method", "private_key_jwt", "--alg", name]);
            // A thumbprint may begin with a dash, which looks like another option.
            command.arg(format!("--kid={key_id}"));
            command.arg("--key").arg(self.key_file(name)).args(more);
            let (succeeded, answer) = run(command).await;
            answers.push((name, succeeded, answer));
        }
        answers
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

/// Runs a program to its end: whether it succeeded, and the one line of JSON that it answered.
async fn run(mut command: Command) -> (bool, Value) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), answer)
}

#[tokio::test]
async fn openid_client_authenticates_by_every_kind_of_assertion() {
    let server = Running::start(AssertionAudience::Issuer);
    let program = || {
        let mut command = node("openid_client.mjs");
        command.arg(&server.issuer);
        command
    };
    let answers = server.asked_by_each(program, &["--scope", "a", "--times", "3"]).await;
    for (name, succeeded, answer) in &answers {
        assert!(*succeeded && answer["token"]["scope"] == "a", "{name}: {answer}");
    }
    assert_eq!(server.counters.values().granted, 3 * 5);
    assert_eq!(server.counters.values().refused(), 0);
    server.stop().await;
}

#[tokio::test]
async fn authlib_authenticates_by_every_kind_of_assertion() {
    let server = Running::start(AssertionAudience::Issuer);
    let program = || {
        let mut command = python("authlib_client.py");
        command.arg(format!("{}/oauth/token", server.issuer));
        command
    };
    let answers = server.asked_by_each(program, &["--life", "60", "--audience", &server.issuer]).await;
    for (name, succeeded, answer) in &answers {
        assert!(*succeeded && answer["token"]["scope"] == "a b", "{name}: {answer}");
    }
    assert_eq!(server.counters.values().granted, 5);
    server.stop().await;
}

#[tokio::test]
async fn t38_what_authlib_signs_by_default_is_for_the_token_endpoint_and_for_an_hour() {
    for (audience, granted) in [(AssertionAudience::Issuer, 0), (AssertionAudience::IssuerOrTokenEndpoint, 5)]
    {
        let server = Running::start(audience);
        let program = || {
            let mut command = python("authlib_client.py");
            command.arg(format!("{}/oauth/token", server.issuer));
            command
        };
        for (name, succeeded, answer) in server.asked_by_each(program, &["--life", "300"]).await {
            assert_eq!(succeeded, granted > 0, "{name}: {answer}");
        }
        for (name, succeeded, answer) in server.asked_by_each(program, &[]).await {
            assert!(!succeeded && answer["error"] == "invalid_client", "{name}: {answer}");
        }
        assert_eq!(server.counters.values().granted, granted);
        server.stop().await;
    }
}
