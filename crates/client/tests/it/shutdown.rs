//! How a manager begins and ends: prefetching, draining, and nothing left behind.

use crate::support::{Behaviour, Endpoint, builder, key, manager, millis, secs};
use jeton::{BuildError, Drained, TokenErrorKind, TokenKey};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// How many tasks the test's runtime has.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_is_under_way_and_lets_nothing_begin() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(secs(2));
    let manager = manager(&endpoint);
    let waiting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.map(|token| token.access_token().to_owned()) }
    });
    sleep(millis(500)).await;
    let begun = Instant::now();
    assert_eq!(manager.close(secs(10)).await, Drained::All);
    assert_eq!(begun.elapsed(), millis(1500));
    assert_eq!(waiting.await.unwrap().unwrap(), "token-1");
    assert!(manager.token(&key()).await.is_ok(), "what is in hand is given out");
    let error = manager.token(&TokenKey::default()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Closed), "{error}");
    assert!(!error.is_retryable());
    manager.handle(&TokenKey::default()).unwrap().prefetch();
    sleep(secs(7200)).await;
    assert_eq!(endpoint.requests(), 1);
    assert!(manager.token(&key()).await.is_err());
    assert_eq!(manager.close(secs(1)).await, Drained::All, "closing twice is closing once");
    assert_eq!(tasks(), 0, "a task is left");
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_what_does_not_end_in_time_and_tells_who_waits() {
    let endpoint = Endpoint::new(Behaviour::Hang);
    let manager = manager(&endpoint);
    let waiting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await }
    });
    sleep(millis(500)).await;
    assert_eq!(manager.close(secs(1)).await, Drained::GivenUp { requests: 1 });
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Closed), "{error}");
    assert_eq!(tasks(), 0, "a task is left");
}

#[tokio::test(start_paused = true)]
async fn t12_nothing_is_left_when_the_last_handle_is_dropped() {
    for behaviour in [Behaviour::Hang, Behaviour::Break, Behaviour::Grant { expires_in: 60 }] {
        let endpoint = Endpoint::new(behaviour);
        let manager = manager(&endpoint);
        let handle = manager.handle(&key()).unwrap();
        let _too_short = handle.token_within(millis(100)).await;
        drop(manager);
        assert!(tasks() > 0, "the flight or the keeper goes on while there is a handle");
        drop(handle);
        sleep(millis(1)).await;
        assert_eq!(tasks(), 0, "a task is left");
        let asked = endpoint.requests();
        sleep(secs(7200)).await;
        assert_eq!(endpoint.requests(), asked);
        assert_eq!(Arc::strong_count(&endpoint), 1, "something holds the exchange");
    }
}

#[tokio::test(start_paused = true)]
async fn r1_4_prefetched_keys_are_there_before_anybody_asks_and_stay() {
    let endpoint = Endpoint::granting(300);
    let other = TokenKey::scope("other").unwrap();
    let manager = builder(&endpoint).prefetch(key()).prefetch(other.clone()).build().unwrap();
    manager.ready(secs(5)).await.unwrap();
    assert_eq!(endpoint.requests(), 2);
    for _ in 0..100 {
        sleep(secs(60)).await;
        for key in [&key(), &other] {
            assert!(manager.handle(key).unwrap().get_with(|_| ()).is_some());
        }
    }
    // Nobody used them for a day, and they are there.
    let before = endpoint.requests();
    sleep(secs(86_400)).await;
    assert!(manager.handle(&other).unwrap().get_with(|_| ()).is_some());
    let mints = endpoint.requests() - before;
    assert!((2 * 86_400 / 240..=2 * 86_400 / 180 + 2).contains(&mints), "{mints} mints in a day");
}

#[tokio::test(start_paused = true)]
async fn readiness_tells_why_it_is_not_reached_and_is_reached_by_itself() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let manager = builder(&endpoint).prefetch(key()).build().unwrap();
    let error = manager.ready(secs(5)).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{error}");
    sleep(secs(600)).await;
    endpoint.set(Behaviour::Grant { expires_in: 300 });
    sleep(secs(62)).await;
    let asked = endpoint.requests();
    manager.ready(millis(0)).await.unwrap();
    assert_eq!(endpoint.requests(), asked);
}

#[test]
fn prefetching_without_a_runtime_is_refused_when_the_manager_is_built() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = runtime.block_on(async { Endpoint::granting(300) });
    let builder = jeton::TokenManager::builder("https://as.example/token", "billing")
        .client_secret("s".into())
        .exchange(Arc::new(crate::support::InMemory(endpoint)));
    assert_eq!(builder.prefetch(key()).build().unwrap_err(), BuildError::NoRuntime);
}
