//! Programs of other authors that ask about tokens and revoke them, in the form in which anyone would write them:
//! oauth4webapi, openid-client and Authlib.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../testdata/foreign/programs.rs"]
mod programs;

use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_server::{Config, Listen, Registry, Server};
use programs::{node, python};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RUN_TIMEOUT: Duration = Duration::from_mins(1);

fn add(data_dir: &Path, settings: ClientSettings) -> Secret<String> {
    Registry::open(data_dir).unwrap().add(settings).unwrap()
}

/// The one line of JSON that a program answers when it has succeeded.
async fn ask(mut command: Command) -> Value {
    command.stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(RUN_TIMEOUT, running).await.unwrap().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A token that the client itself gets.
async fn token(issuer: &str, client_id: &str, secret: &Secret<String>) -> String {
    let mut command = python("authlib_client.py");
    command.args([&format!("{issuer}/oauth/token"), client_id]).env("CLIENT_SECRET", secret.expose());
    ask(command).await["token"]["access_token"].as_str().unwrap().to_owned()
}

fn inquiry(mut command: Command, issuer: &str, client: (&str, &Secret<String>), token: &str) -> Command {
    command.args([issuer, client.0]).env("CLIENT_SECRET", client.1.expose()).env("ACCESS_TOKEN", token);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn client_libraries_ask_about_a_token_and_revoke_it() {
    for algorithm in Algorithm::ALL {
        let dir = tempfile::tempdir().unwrap();
        let worker =
            ClientSettings { allowed_scope: "a b".parse().unwrap(), ..ClientSettings::new("worker") };
        let secret = add(dir.path(), worker);
        let config = Config {
            listen: Listen::Localhost { port: 0 },
            signing_algorithms: vec![algorithm],
            ..Config::new(dir.path())
        };
        let server = Server::bind(config).unwrap();
        let (issuer, counters) = (server.issuer().to_owned(), server.inquiry_counters());
        let serving = tokio::spawn(server.serve(std::future::pending()));

        let one = token(&issuer, "worker", &secret).await;
        let answer = ask(inquiry(node("oauth4webapi_inquiry.mjs"), &issuer, ("worker", &secret), &one)).await;
        for told in ["json", "jwt"] {
            let (before, after) = (&answer["before"][told], &answer["after"][told]["answer"]);
            let kind = if told == "jwt" { "application/token-introspection+jwt" } else { "application/json" };
            assert_eq!(before["type"], kind, "{algorithm}: {answer}");
            assert_eq!(before["answer"]["active"], true, "{algorithm} {told}: {answer}");
            assert_eq!(before["answer"]["client_id"], "worker", "{algorithm} {told}: {answer}");
            assert_eq!(after, &json!({ "active": false }), "{algorithm} {told}: {answer}");
        }
        assert_eq!(answer["before"]["openid"]["scope"], "a b", "{answer}");
        assert_eq!(answer["after"]["openid"], json!({ "active": false }), "{answer}");

        let two = token(&issuer, "worker", &secret).await;
        let answer = ask(inquiry(python("authlib_inquiry.py"), &issuer, ("worker", &secret), &two)).await;
        assert_eq!(answer["before"]["answer"]["active"], true, "{answer}");
        assert_eq!((&answer["revoked"], &answer["after"]["status"]), (&json!(200), &json!(200)), "{answer}");
        assert_eq!(answer["after"]["answer"], json!({ "active": false }), "{answer}");
        let counted = counters.values();
        assert_eq!((counted.revoked, counted.revoked_nothing), (2, 1));
        assert_eq!((counted.introspected_active, counted.introspected_inactive), (4, 4));
        serving.abort();
    }
}
