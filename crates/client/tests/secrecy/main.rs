//! Nothing secret in what this crate and all that it is built on say (trap T34): the log at TRACE, errors, `Debug`, panics, metrics and
//! the stores, through whatever can happen to a token request and a call. A binary of its own: a process has one log and one recorder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

#[path = "../../../../testdata/canary.rs"]
mod canary;
mod ledger;
#[path = "../it/support/redis_server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod redis_server;
mod scenes;
#[path = "../image/server.rs"]
mod server;

use canary::Canaries;
use ledger::Ledger;
use metrics_util::debugging::DebuggingRecorder;
use server::Server;

/// With all that is written differently in a header, a URL, JSON and `Debug`.
const SECRET: &str = "cañary secret: of+the&client=%\"\\/~?{0}";
const PREVIOUS: &str = "cañary previous: secret+of&the=%\"\\/~?{1}";
const PASSWORD: &str = "canary-admin-password";
const TOKEN: &str = "canary.token-of_the~api+which/nobody=may.see.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_nothing_secret_is_written_whatever_happens() {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install().unwrap();
    let ledger = Ledger::open();
    let server = Server::start(TOKEN).await;
    let key = scenes::private_key();
    let mut canaries = Canaries::default();
    for (name, value) in [
        ("the secret", SECRET),
        ("the previous secret", PREVIOUS),
        ("the token", TOKEN),
        ("the password", PASSWORD),
    ] {
        canaries.add(name, value);
    }
    canaries.add("the private key", key.lines().nth(1).unwrap());

    scenes::tokens(&server, &ledger).await;
    scenes::failures(&server, &ledger).await;
    scenes::transport(&server, &ledger).await;
    scenes::replay(&server, &ledger).await;
    scenes::rotation(&server, &ledger).await;
    scenes::private_key_jwt(&server, &ledger, &key).await;
    scenes::panics(&server, &ledger).await;
    scenes::public_types(&ledger, &key);
    let stores = scenes::stores(&server, &ledger).await;

    assert!(server.was_given(SECRET) && server.was_given(PREVIOUS), "the secrets were used");
    let log = ledger.log();
    for target in ["jeton::", "hyper", "reqwest", "rustls"] {
        assert!(log.contains(&format!(" {target}")), "{target} wrote to the log");
    }
    assert!(log.contains("TRACE") && log.contains("token request failed"), "the log is there");
    canaries.assert_absent("the log", log);
    canaries.assert_absent("errors and Debug", ledger.shown());
    canaries.assert_absent("the metrics", format!("{:?}", metrics.snapshot().into_vec()));
    canaries.assert_absent("panics", ledger.panics());
    canaries.assert_absent("the stores", stores);
    assert!(ledger.panics().contains(ledger::ON_PURPOSE), "the hook was called");
    for assertion in server.assertions() {
        Canaries::of("an assertion", &assertion)
            .assert_absent("all", [ledger.log(), ledger.shown()].concat());
    }
}
