//! What an application's recorder sees of a manager. A test binary of its own, since a process has one recorder.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that fails panics")]

use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Secret, TokenHandle, TokenKey, TokenManager};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

const SECRET: &str = "canary-secret-7f3a";
const TOKEN: &str = "canary-token-91bc";
const SCOPE: &str = "canary-scope-44de";
const THREADS: u64 = 12;
const HITS: u64 = 10_000;

struct OneToken;

impl HttpExchange for OneToken {
    fn exchange(&self, _: Request<Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
        Box::pin(async move { Ok(Response::new(Bytes::from(body))) })
    }
}

fn hit_from_many_threads(handle: &TokenHandle) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..HITS).for_each(|_| assert!(handle.get_with(|_| ()).is_some())));
        }
    });
}

#[test]
fn a_recorder_installed_late_gets_every_hit_and_nothing_secret() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (manager, handle) = runtime.block_on(async {
        let manager = TokenManager::builder("https://as.example:8443/token", "billing")
            .client_secret(Secret::from(SECRET))
            .exchange(Arc::new(OneToken))
            .build()
            .unwrap();
        let key = TokenKey::scope(SCOPE).unwrap();
        let handle = manager.handle(&key).unwrap();
        handle.token().await.unwrap();
        (manager, handle)
    });
    hit_from_many_threads(&handle);

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    hit_from_many_threads(&handle);
    manager.publish_metrics();

    let snapshot = snapshotter.snapshot().into_vec();
    let text = format!("{snapshot:?}");
    for canary in [SECRET, TOKEN, SCOPE] {
        assert!(!text.contains(canary), "{canary} is in {text}");
    }
    let mut hits = BTreeMap::new();
    for (key, unit, meaning, value) in snapshot {
        let labels: BTreeMap<_, _> = key.key().labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!((labels["server"], labels["client_id"]), ("as.example:8443", "billing"));
        assert!(unit.is_some() && meaning.is_some(), "{} is described", key.key().name());
        if labels.get("source") == Some(&"hand") {
            hits.insert(key.key().name().to_owned(), value);
        }
    }
    // Those of before the recorder was installed too: they had not been published.
    assert_eq!(hits["jeton_client_tokens_served_total"], DebugValue::Counter(2 * THREADS * HITS));
    match &hits["jeton_client_token_life_left_seconds"] {
        DebugValue::Histogram(samples) => {
            assert_eq!(samples.len(), 1, "not one for each hit");
            assert!((3500.0..=3600.0).contains(&samples[0].0), "{samples:?}");
        }
        other => panic!("{other:?}"),
    }

    handle.get_with(|_| ()).unwrap();
    drop((manager, handle, runtime));
    let last = snapshotter.snapshot().into_vec().into_iter();
    let counted: Vec<_> = last
        .filter(|(key, ..)| key.key().name() == "jeton_client_tokens_served_total")
        .map(|(.., value)| value)
        .collect();
    assert!(counted.contains(&DebugValue::Counter(1)), "the last hit is not lost: {counted:?}");
}
