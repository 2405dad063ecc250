//! What callers are told: the reason that holds now, of their own key, and when to come back.

use crate::attack::poll_once;
use crate::support::{
    Behaviour, Endpoint, VirtualClock, builder, builder_with_clock, key, manager, millis, refusal, secs,
};
use jeton::{BreakerPolicy, Drained, Fault, RefreshAhead, TokenErrorKind, TokenKey};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn r3_5_an_endpoint_that_is_down_is_told_as_that_and_not_as_what_happened_before() {
    let endpoint = Endpoint::new(refusal(400, "invalid_scope"));
    let breaker = BreakerPolicy::new(1, secs(60), secs(60)).unwrap();
    let manager =
        builder(&endpoint).breaker_policy(breaker).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    manager.token(&key()).await.unwrap_err();
    sleep(secs(40)).await;
    endpoint.set(Behaviour::Break);
    manager.token(&TokenKey::default()).await.unwrap_err();
    let error = manager.token(&key()).await.unwrap_err();
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Server, true), "{error}");
}

#[tokio::test(start_paused = true)]
async fn t18_a_pause_that_came_with_another_keys_refusal_is_told_as_a_pause() {
    let endpoint = Endpoint::new(Behaviour::Answer {
        status: 400,
        headers: vec![("retry-after", "30".to_owned())],
        body: r#"{"error":"invalid_scope"}"#.to_owned(),
    });
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap_err();
    let error = manager.token(&TokenKey::default()).await.unwrap_err();
    assert!(!matches!(error.kind(), TokenErrorKind::FlightLost), "no request was sent: {error}");
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Server, true), "{error}");
    assert!(error.retry_after().is_some_and(|after| after >= secs(29)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn r3_5_who_shares_a_breaker_is_told_that_the_endpoint_is_down() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let breaker = BreakerPolicy::new(1, secs(60), secs(60)).unwrap();
    let first = builder(&endpoint).breaker_policy(breaker).build().unwrap();
    let second = builder(&endpoint).beside(&first).build().unwrap();
    first.token(&key()).await.unwrap_err();
    let error = second.token(&key()).await.unwrap_err();
    assert!(!matches!(error.kind(), TokenErrorKind::FlightLost), "no request was sent: {error}");
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Server, true), "{error}");
    assert!(error.retry_after().is_some_and(|after| after >= secs(29)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_to_be_ready_and_to_close_is_no_panic() {
    let endpoint = Endpoint::granting(3600);
    let manager = builder(&endpoint).prefetch(key()).build().unwrap();
    manager.ready(Duration::MAX).await.unwrap();
    assert_eq!(manager.close(Duration::MAX).await, Drained::All);
}

#[test]
fn closing_outside_of_a_runtime_is_no_panic() {
    let endpoint = Endpoint::granting(3600);
    let clock: Arc<dyn jeton::Clock> = Arc::new(jeton::SystemClock);
    let manager = builder_with_clock(&endpoint, clock).build().unwrap();
    assert_eq!(poll_once(manager.close(secs(1))), Poll::Ready(Drained::All));
    assert!(poll_once(manager.ready(secs(1))).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_closed_manager_says_so_while_the_server_is_down_too() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let manager = builder_with_clock(&endpoint, VirtualClock::with_boot_clock()).build().unwrap();
    manager.token(&key()).await.unwrap_err();
    manager.close(millis(10)).await;
    for _ in 0..10 {
        let error = manager.token(&key()).await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::Closed), "{error}");
        sleep(secs(10)).await;
    }
}
