//! One slot under virtual time: who waits, who shares, and how often the server is asked.

use crate::support::{Behaviour, Endpoint, VirtualClock, builder, key, manager, millis, refusal, secs};
use jeton::{BackoffPolicy, Fault, GrantedScope, RefreshAhead, TokenErrorKind, TokenKey};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

async fn callers(manager: &jeton::TokenManager, count: usize) -> Vec<Result<String, jeton::TokenError>> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(
                async move { manager.token(&key()).await.map(|token| token.access_token().to_owned()) },
            )
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn r1_5_a_hundred_callers_on_a_cold_cache_cause_one_request() {
    let endpoint = Endpoint::granting(3600);
    let outcomes = callers(&manager(&endpoint), 100).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap() == "token-1"));
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn r1_5_a_hundred_callers_at_expiry_cause_one_request() {
    let endpoint = Endpoint::granting(3600);
    let manager = builder(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    manager.token(&key()).await.unwrap();
    sleep(secs(3601)).await;
    let outcomes = callers(&manager, 100).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap() == "token-2"));
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn r1_4_in_the_advisory_window_nobody_waits_and_one_refresh_runs() {
    let endpoint = Endpoint::granting(3600);
    let manager = builder(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    manager.token(&key()).await.unwrap();
    sleep(secs(3000)).await;
    endpoint.set_latency(secs(5));
    let asked = Instant::now();
    let outcomes = callers(&manager, 100).await;
    assert_eq!(asked.elapsed(), secs(0));
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap() == "token-1"));
    sleep(secs(6)).await;
    assert_eq!(endpoint.requests(), 2);
    assert_eq!(callers(&manager, 1).await[0].as_ref().unwrap(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn r1_4_a_used_token_is_renewed_ahead_and_an_unused_one_falls_silent() {
    let endpoint = Endpoint::granting(100);
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap();
    sleep(secs(90)).await;
    let asked = Instant::now();
    assert_eq!(callers(&manager, 1).await[0].as_ref().unwrap(), "token-2");
    assert_eq!(asked.elapsed(), secs(0));
    sleep(secs(10_000)).await;
    assert_eq!(endpoint.requests(), 3, "renewed once for the use at 90 s, then silent");
}

#[tokio::test(start_paused = true)]
async fn r1_4_a_steady_caller_never_waits_after_the_first_token() {
    for life in [1, 2, 3, 5, 20, 300, 3600] {
        let endpoint = Endpoint::granting(life);
        let manager = manager(&endpoint);
        let handle = manager.handle(&key()).unwrap();
        handle.token().await.unwrap();
        let (mut waited, mut asked) = (0, 0);
        let pause = millis(life * 1000 / 50);
        for _ in 0..1000 {
            sleep(pause).await;
            asked += 1;
            if handle.get_with(|_| ()).is_none() {
                waited += 1;
                handle.token().await.unwrap();
            }
        }
        // A token of one second may only be asked for once a second, so its callers wait for it.
        let allowed = if life == 1 { asked } else { 0 };
        assert!(waited <= allowed, "{waited} of {asked} waited with a life of {life} s");
    }
}

#[tokio::test(start_paused = true)]
async fn t1_at_most_one_mint_per_half_life() {
    for life in [1, 5, 20, 60, 300, 301, 3600] {
        let endpoint = Endpoint::granting(life);
        let manager = manager(&endpoint);
        for _ in 0..2000 {
            let token = manager.token(&key()).await.unwrap();
            assert!(token.lifetime() == secs(life));
            sleep(millis(life * 7)).await;
        }
        let asked_at = endpoint.asked_at.lock().unwrap();
        for pair in asked_at.windows(2) {
            assert!(
                pair[1] - pair[0] >= millis(life * 500),
                "{:?} with a life of {life} s",
                pair[1] - pair[0]
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t7_a_cancelled_caller_cancels_nobody_else() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(secs(2));
    let manager = manager(&endpoint);
    let first = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.map(|_| ()) }
    });
    sleep(millis(100)).await;
    let second = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.map(|token| token.access_token().to_owned()) }
    });
    sleep(millis(100)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), "token-1");
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn t8_waiters_share_a_failure_and_are_answered_together() {
    let endpoint = Endpoint::new(Behaviour::Hang);
    let manager = builder(&endpoint).request_timeout(secs(5)).build().unwrap();
    let asked = Instant::now();
    let outcomes = callers(&manager, 100).await;
    assert!(asked.elapsed() <= millis(5500), "{:?}", asked.elapsed());
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(jeton::TokenError::is_retryable)));
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_deadline_ends_its_wait_and_not_the_flight() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(secs(3));
    let manager = manager(&endpoint);
    let asked = Instant::now();
    let error = manager.token_within(&key(), millis(50)).await.unwrap_err();
    assert_eq!(asked.elapsed(), millis(50));
    assert!(matches!(error.kind(), TokenErrorKind::DeadlinePassed { waited } if *waited == millis(50)));
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Deadline, true));
    sleep(secs(3)).await;
    assert!(manager.handle(&key()).unwrap().get_with(|_| ()).is_some());
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_terminal_error_is_one_request_and_is_remembered_for_a_bounded_time() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let manager = manager(&endpoint);
    for _ in 0..50 {
        let error = manager.token(&key()).await.unwrap_err();
        assert_eq!((error.fault(), error.is_retryable()), (Fault::Credential, false));
        assert!(error.retry_after().is_none_or(|after| after <= secs(30)));
        sleep(millis(500)).await;
    }
    assert_eq!(endpoint.requests(), 1);
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    sleep(secs(6)).await;
    assert!(manager.token(&key()).await.is_ok(), "a secret that was put right works again");
}

#[tokio::test(start_paused = true)]
async fn r3_4_transient_failures_are_tried_again_within_the_flight() {
    for behaviour in [Behaviour::Break, refusal(503, "temporarily_unavailable"), refusal(429, "slow_down")] {
        let endpoint = Endpoint::new(behaviour);
        endpoint.set_latency(millis(1));
        let manager = manager(&endpoint);
        let caller = tokio::spawn({
            let manager = manager.clone();
            async move { manager.token(&key()).await.map(|token| token.access_token().to_owned()) }
        });
        while endpoint.requests() < 1 {
            sleep(millis(1)).await;
        }
        endpoint.set(Behaviour::Grant { expires_in: 60 });
        assert_eq!(caller.await.unwrap().unwrap(), "token-2");
    }
}

#[tokio::test(start_paused = true)]
async fn r3_4_a_server_that_stays_down_is_asked_three_times_and_then_left_alone() {
    let endpoint = Endpoint::new(refusal(500, "server_error"));
    let policy = BackoffPolicy::new(secs(10), secs(10), secs(10)).unwrap();
    let manager = builder(&endpoint).backoff_policy(policy).total_timeout(secs(60)).build().unwrap();
    let error = manager.token_within(&key(), secs(60)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Server);
    assert_eq!(endpoint.requests(), 3);
    // Full jitter may draw a pause of next to nothing, so only the first 50 ms are certain.
    for _ in 0..100 {
        let asked = Instant::now();
        manager.token(&key()).await.unwrap_err();
        assert_eq!(asked.elapsed(), millis(0));
    }
    assert_eq!(endpoint.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn t24_retry_after_is_obeyed() {
    let endpoint = Endpoint::new(Behaviour::Answer {
        status: 429,
        headers: vec![("retry-after", "3".to_owned())],
        body: r#"{"error":"slow_down"}"#.to_owned(),
    });
    let manager = manager(&endpoint);
    for _ in 0..60 {
        let _refused = manager.token_within(&key(), millis(100)).await;
    }
    let asked_at = endpoint.asked_at.lock().unwrap();
    assert!(asked_at.len() >= 2, "it was asked again after the pause");
    for pair in asked_at.windows(2) {
        assert!(pair[1] - pair[0] >= secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn r3_6_a_failure_leaves_the_good_token_until_its_real_expiry() {
    let endpoint = Endpoint::granting(100);
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap();
    endpoint.set(Behaviour::Break);
    let expiry = Instant::now() + secs(100) - millis(20);
    while Instant::now() + millis(20) < expiry {
        assert_eq!(manager.token(&key()).await.unwrap().access_token(), "token-1");
        sleep(millis(10)).await;
    }
    sleep(millis(100)).await;
    assert!(manager.token(&key()).await.is_err());
    endpoint.set(Behaviour::Grant { expires_in: 100 });
    // The longest window of the breaker.
    sleep(secs(60)).await;
    assert!(manager.token(&key()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn t4_a_server_that_returns_one_token_until_it_dies_is_not_asked_in_a_loop() {
    let endpoint = Endpoint::new(Behaviour::GrantSame { token: "same", expires_in: "100" });
    let manager = manager(&endpoint);
    for _ in 0..99 {
        manager.token(&key()).await.unwrap();
        sleep(secs(1)).await;
    }
    assert!(endpoint.requests() <= 2, "{} requests", endpoint.requests());
}

#[tokio::test(start_paused = true)]
async fn t3_a_life_that_is_not_stated_is_neither_for_ever_nor_a_mint_per_call() {
    for expires_in in ["0", "-1", "null", "\"0\""] {
        let endpoint = Endpoint::new(Behaviour::GrantSame { token: "x", expires_in });
        let manager = builder(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
        for _ in 0..100 {
            let token = manager.token(&key()).await.unwrap();
            assert_eq!(token.lifetime(), secs(300));
        }
        assert_eq!(endpoint.requests(), 1, "{expires_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn t9_a_forced_refresh_does_not_join_an_unforced_flight() {
    let endpoint = Endpoint::granting(3600);
    let manager = builder(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    let first = manager.token(&key()).await.unwrap();
    sleep(secs(3000)).await;
    endpoint.set_latency(secs(2));
    manager.token(&key()).await.unwrap();
    sleep(millis(500)).await;
    assert_eq!(endpoint.requests(), 2, "the early flight is under way");
    manager.reject(&key(), &first);
    let token = manager.token(&key()).await.unwrap();
    assert_eq!(token.access_token(), "token-3");
    sleep(secs(5)).await;
    assert_eq!(
        manager.token(&key()).await.unwrap().access_token(),
        "token-3",
        "the superseded one is discarded"
    );
    assert_eq!(endpoint.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn t11_ten_late_rejections_cause_one_request() {
    let endpoint = Endpoint::granting(3600);
    let manager = manager(&endpoint);
    let first = manager.token(&key()).await.unwrap();
    for _ in 0..10 {
        manager.reject(&key(), &first);
        assert_eq!(manager.token(&key()).await.unwrap().access_token(), "token-2");
    }
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn t12_a_panic_in_a_flight_is_an_error_and_the_next_caller_is_served() {
    let endpoint = Endpoint::new(Behaviour::Panic);
    let manager = manager(&endpoint);
    let error = manager.token(&key()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::FlightLost));
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    sleep(error.retry_after().unwrap()).await;
    assert!(manager.token(&key()).await.is_ok());
}

#[test]
fn t12_a_runtime_that_shut_down_does_not_harm_the_next() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(secs(1));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let manager = first.block_on(async {
        let manager = builder(&endpoint).clock(Arc::new(jeton::SystemClock)).build().unwrap();
        let handle = manager.handle(&key()).unwrap();
        handle.prefetch();
        tokio::task::yield_now().await;
        manager
    });
    drop(first);
    endpoint.set_latency(millis(1));
    let token = runtime().block_on(async { manager.token(&key()).await.unwrap() });
    assert_eq!(token.access_token(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn t12_nothing_is_left_when_the_last_handle_is_dropped() {
    let endpoint = Endpoint::granting(86_400);
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 1, "the task that renews ahead");
    drop(manager);
    sleep(millis(1)).await;
    assert_eq!(tasks(), 0);
    assert_eq!(Arc::strong_count(&endpoint), 1);
}

#[tokio::test(start_paused = true)]
async fn t13_one_slow_scope_does_not_block_another() {
    let endpoint = Endpoint::granting(3600);
    let manager = manager(&endpoint);
    let other = TokenKey::scope("orders:write").unwrap();
    manager.token(&other).await.unwrap();
    endpoint.set(Behaviour::Hang);
    let slow = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.is_ok() }
    });
    sleep(millis(10)).await;
    let asked = Instant::now();
    manager.token(&other).await.unwrap();
    assert_eq!(asked.elapsed(), millis(0));
    assert!(!slow.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn t5_clock_steps_neither_serve_a_dead_token_nor_loop() {
    let endpoint = Endpoint::granting(3600);
    let clock = VirtualClock::new();
    let manager = builder(&endpoint).clock(Arc::clone(&clock) as Arc<dyn jeton::Clock>).build().unwrap();
    manager.token(&key()).await.unwrap();
    clock.step(-86_400_000);
    for _ in 0..10 {
        let token = manager.token(&key()).await.unwrap();
        assert!(jeton::Clock::now(&*clock) < token.expires_at());
    }
    assert_eq!(endpoint.requests(), 2);
    clock.step(2 * 86_400_000);
    for _ in 0..10 {
        let token = manager.token(&key()).await.unwrap();
        assert!(jeton::Clock::now(&*clock) < token.expires_at());
    }
    assert_eq!(endpoint.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn r1_8_a_narrower_scope_is_told_or_refused() {
    let narrower = Behaviour::Answer {
        status: 200,
        headers: Vec::new(),
        body: r#"{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"a"}"#.to_owned(),
    };
    let endpoint = Endpoint::new(narrower);
    let wide = TokenKey::scope("a b").unwrap();
    let token = manager(&endpoint).token(&wide).await.unwrap();
    assert_eq!(token.granted_scope().unwrap().to_string(), "a");
    let strict = builder(&endpoint).granted_scope(GrantedScope::MustBeComplete).build().unwrap();
    let error = strict.token(&wide).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::NarrowedScope { .. }));
    assert!(error.to_string().contains("\"a\" where \"a b\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn r4_6_each_scope_set_is_its_own_token() {
    let endpoint = Endpoint::granting(3600);
    let manager = manager(&endpoint);
    for scope in ["a b", "b a", "a  b a"] {
        assert_eq!(manager.token(&TokenKey::scope(scope).unwrap()).await.unwrap().access_token(), "token-1");
    }
    assert_eq!(manager.token(&TokenKey::scope("a").unwrap()).await.unwrap().access_token(), "token-2");
    assert_eq!(manager.token(&TokenKey::default()).await.unwrap().access_token(), "token-3");
    assert_eq!(*endpoint.last_body.lock().unwrap(), "grant_type=client_credentials");
}

#[tokio::test(start_paused = true)]
async fn r3_7_the_number_of_keys_is_bounded() {
    let endpoint = Endpoint::granting(3600);
    let manager = manager(&endpoint);
    for number in 0..jeton::MAX_KEYS {
        manager.handle(&TokenKey::default().with_audience(number.to_string())).unwrap();
    }
    let error = manager.handle(&TokenKey::default().with_audience("one more")).unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::TooManyKeys { .. }));
    assert!(manager.handle(&TokenKey::default().with_audience("7")).is_ok(), "what is there stays");
}

#[test]
fn without_a_runtime_the_error_says_so() {
    let endpoint = Endpoint::granting(60);
    let clock: Arc<dyn jeton::Clock> = Arc::new(jeton::SystemClock);
    let manager = crate::support::builder_with_clock(&endpoint, clock).build().unwrap();
    let handle = manager.handle(&key()).unwrap();
    assert!(handle.get_with(|_| ()).is_none());
    handle.prefetch();
    assert_eq!(endpoint.requests(), 0);
}
