//! A source of secrets that hangs, panics, is slow, or is overtaken.

use crate::support::{Endpoint, InMemory, VirtualClock, basic, key, millis, refusal, secs};
use jeton::credentials::{SecretFuture, SecretReading};
use jeton::{Secret, SecretSource, TokenErrorKind, TokenKey, TokenManager, TokenManagerBuilder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tells what it held when it was asked, so many milliseconds later.
struct Slow {
    secret: Mutex<&'static str>,
    latency: Mutex<Duration>,
    reads: AtomicU64,
}

impl Slow {
    fn new(secret: &'static str, latency: Duration) -> Arc<Self> {
        Arc::new(Self { secret: Mutex::new(secret), latency: Mutex::new(latency), reads: AtomicU64::new(0) })
    }
}

impl SecretSource for Slow {
    fn read(&self) -> SecretFuture<'_> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let (secret, latency) = (*self.secret.lock().unwrap(), *self.latency.lock().unwrap());
        Box::pin(async move {
            sleep(latency).await;
            assert!(secret != "panic", "the source panics");
            Ok(SecretReading::new(Secret::from(secret)))
        })
    }
}

fn builder(endpoint: &Arc<Endpoint>, source: &Arc<Slow>) -> TokenManagerBuilder {
    TokenManager::builder("https://as.example/token", "billing")
        .clock(VirtualClock::with_boot_clock())
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
        .client_secret_source(Arc::clone(source) as Arc<dyn SecretSource>)
}

#[tokio::test(start_paused = true)]
async fn t32_a_source_that_hangs_is_told_within_the_time_of_a_flight() {
    let (endpoint, source) = (Endpoint::granting(60), Slow::new("a", secs(1_000_000)));
    let manager = builder(&endpoint, &source).total_timeout(secs(3)).build().unwrap();
    let begun = Instant::now();
    let error = manager.token(&key()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::SecretUnavailable { .. }), "{error}");
    assert!(begun.elapsed() <= millis(3500), "{:?}", begun.elapsed());
    assert!(error.retry_after().is_some());
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn t33_many_keys_at_once_read_the_source_once() {
    let (endpoint, source) = (Endpoint::granting(60), Slow::new("a", millis(300)));
    let manager = builder(&endpoint, &source).build().unwrap();
    let ask = async || {
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let (manager, key) = (manager.clone(), TokenKey::default().with_audience(number.to_string()));
                tokio::spawn(async move { manager.token(&key).await.map(|_| ()) })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    };
    assert!(ask().await.iter().all(Result::is_ok));
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
    // All are refused together, and one of them looks whether the secret has changed.
    endpoint.set(refusal(401, "invalid_client"));
    sleep(secs(61)).await;
    assert!(ask().await.iter().all(Result::is_err));
    let reads = source.reads.load(Ordering::SeqCst);
    assert!(reads <= 3, "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn t32_many_keys_share_the_failure_of_a_source() {
    let (endpoint, source) = (Endpoint::granting(60), Slow::new("a", secs(1_000_000)));
    let manager = builder(&endpoint, &source).total_timeout(secs(30)).build().unwrap();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (manager, key) = (manager.clone(), TokenKey::default().with_audience(number.to_string()));
            tokio::spawn(async move { manager.token_within(&key, secs(60)).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_err());
        assert!(begun.elapsed() <= millis(10_500), "answered together, not in a row: {:?}", begun.elapsed());
    }
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_secret_that_was_put_in_force_by_hand_is_not_overtaken_by_a_read_that_began_before() {
    let (endpoint, source) = (Endpoint::granting(60), Slow::new("old", secs(2)));
    let manager = builder(&endpoint, &source).build().unwrap();
    let caller = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.map(|_| ()) }
    });
    sleep(secs(1)).await;
    manager.replace_credential(Secret::from("new")).unwrap();
    caller.await.unwrap().unwrap();
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic("new")));
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic("new")));
}

#[tokio::test(start_paused = true)]
async fn t12_a_source_that_panics_is_a_failure_with_its_pause() {
    let (endpoint, source) = (Endpoint::granting(60), Slow::new("panic", millis(10)));
    let manager = builder(&endpoint, &source).build().unwrap();
    for _ in 0..100 {
        assert!(manager.token(&key()).await.is_err());
    }
    assert!(source.reads.load(Ordering::SeqCst) <= 20);
    *source.secret.lock().unwrap() = "good";
    sleep(secs(31)).await;
    assert!(manager.token(&key()).await.is_ok());
}

#[test]
fn t12_a_read_on_a_runtime_that_nobody_drives_holds_the_others_up_for_a_bounded_time() {
    let virtual_time =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (idle, driven) = (virtual_time(), virtual_time());
    let source = Slow::new("a", millis(300));
    let manager = idle.block_on(async {
        let manager = builder(&Endpoint::granting(60), &source).build().unwrap();
        manager.handle(&key()).unwrap().prefetch();
        sleep(millis(10)).await;
        manager
    });
    assert_eq!(source.reads.load(Ordering::SeqCst), 1, "it is under way");
    driven.block_on(async {
        sleep(secs(1)).await;
        let other = TokenKey::default();
        let begun = Instant::now();
        while manager.token(&other).await.is_err() {
            assert!(begun.elapsed() < secs(60), "locked out");
            sleep(secs(1)).await;
        }
    });
    assert_eq!(source.reads.load(Ordering::SeqCst), 2);
    drop(idle);
}
