//! The task that reads the source of a credential again: what could end it, keep it, or catch it in a lock.

use super::credential::{Scripted, builder, of};
use crate::support::{Behaviour, Endpoint, key, millis, secs};
use jeton::credentials::Reread;
use jeton::{Secret, SecretSource, TokenKey, TokenManager};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep};

fn with(endpoint: &Arc<Endpoint>, source: &Arc<Scripted>) -> jeton::TokenManagerBuilder {
    builder(endpoint, Arc::clone(source) as Arc<dyn SecretSource>).credential_period(secs(10))
}

#[tokio::test(start_paused = true)]
async fn t12_a_source_that_panics_once_is_read_again_though_no_token_is_asked_for() {
    let endpoint = Endpoint::granting(3600);
    let source = Scripted::new(Reread::Periodically, |read| {
        assert!(read != 1, "the source panics");
        of(format!("secret-{read}"))
    });
    let manager = with(&endpoint, &source).build().unwrap();
    manager.token(&key()).await.unwrap();
    sleep(secs(60)).await;
    assert!(manager.credential().generation >= 3, "{:?}", manager.credential());
}

#[test]
fn t12_a_watch_on_a_runtime_that_nobody_drives_is_taken_over() {
    let virtual_time =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (stalled, driven) = (virtual_time(), virtual_time());
    let endpoint = Endpoint::granting(60);
    let source = Scripted::new(Reread::Periodically, |read| of(format!("secret-{read}")));
    let manager = stalled.block_on(async {
        let manager = with(&endpoint, &source).build().unwrap();
        manager.token(&key()).await.unwrap();
        manager
    });
    let reads = || source.reads.load(Ordering::SeqCst);
    assert_eq!(reads(), 1);
    driven.block_on(async {
        for scope in 0..10 {
            manager.token(&TokenKey::scope(&format!("scope-{scope}")).unwrap()).await.unwrap();
            sleep(secs(30)).await;
        }
    });
    assert!((15..=40).contains(&reads()), "{}", reads());
    // The first one notices that its place was taken.
    let before = reads();
    stalled.block_on(async { sleep(secs(600)).await });
    assert!(reads() <= before + 1, "{} after {before}", reads());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_its_source_ends_when_the_manager_closes() {
    let endpoint = Endpoint::granting(3600);
    let source = Scripted::new(Reread::Periodically, |_| of("secret"));
    let manager = with(&endpoint, &source).build().unwrap();
    manager.token(&key()).await.unwrap();
    *source.latency.lock().unwrap() = secs(1_000_000);
    let begun = Instant::now();
    while source.reads.load(Ordering::SeqCst) == 1 {
        sleep(millis(100)).await;
        assert!(begun.elapsed() < secs(20));
    }
    manager.close(secs(1)).await;
    drop(manager);
    sleep(millis(10)).await;
    assert_eq!(Arc::strong_count(&source), 1, "nobody holds the source any more");
}

/// A subscriber that asks the manager whenever something is told, and counts what is told of a due rotation.
#[derive(Clone, Default)]
struct Asking {
    manager: Arc<Mutex<Option<TokenManager>>>,
    told_due: Arc<AtomicU64>,
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Asking {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let manager = self.manager.lock().unwrap().clone();
        let _status = manager.map(|manager| manager.credential());
        let is_due = event.metadata().fields().field("age_days").is_some();
        self.told_due.fetch_add(u64::from(is_due), Ordering::SeqCst);
    }
}

/// Runs `test` under a subscriber that asks back, in a thread that is given up when it is caught in a lock.
fn asked_back(test: impl AsyncFnOnce(Asking) + Send + 'static) -> u64 {
    use tracing_subscriber::layer::SubscriberExt as _;

    let (over, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let asking = Asking::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(asking.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(test(asking.clone()));
        over.send(asking.told_due.load(Ordering::SeqCst)).unwrap();
    });
    ended.recv_timeout(secs(60)).expect("caught in a lock, or failed")
}

#[test]
fn t12_a_subscriber_that_asks_the_manager_is_not_caught_in_a_lock() {
    asked_back(async |asking| {
        let (endpoint, source) = (
            Endpoint::new(Behaviour::Takes(vec!["good"])),
            Scripted::new(Reread::BeforeEachRequest, |_| of("good").with_previous(Secret::from(""))),
        );
        let manager = with(&endpoint, &source).build().unwrap();
        *asking.manager.lock().unwrap() = Some(manager.clone());
        manager.token(&key()).await.unwrap();
    });
}

#[test]
fn r4_3_a_due_rotation_is_told_once_however_often_current_and_previous_take_turns() {
    let told_due = asked_back(async |_| {
        let (endpoint, source) = (
            Endpoint::new(Behaviour::Takes(vec!["old"])),
            Scripted::new(Reread::BeforeEachRequest, |_| of("new").with_previous(Secret::from("old"))),
        );
        let manager = with(&endpoint, &source).rotation_due_after(secs(60)).build().unwrap();
        for _ in 0..60 {
            manager.token(&key()).await.unwrap();
            sleep(secs(61)).await;
        }
        assert!(manager.credential().generation > 10);
    });
    assert_eq!(told_due, 1);
}
