//! An authorization server that is down, slow, or asks to be left alone: what its clients go on with, and how rarely they ask.

use crate::support::{
    Behaviour, Endpoint, VirtualClock, builder, builder_with_clock, key, manager, millis, refusal, secs,
};
use jeton::{BackoffPolicy, BreakerPolicy, Fault, QuotaPolicy, RefreshAhead, TokenErrorKind, TokenKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const HOUR: Duration = Duration::from_hours(1);

fn keys(count: usize) -> Vec<TokenKey> {
    (0..count).map(|number| TokenKey::scope(&format!("scope:{number}")).unwrap()).collect()
}

/// How many requests were sent in each full second of the test.
fn peak_per_second(endpoint: &Endpoint, begun: Instant) -> usize {
    let asked_at = endpoint.asked_at.lock().unwrap();
    let mut seconds = std::collections::HashMap::<u64, usize>::new();
    for at in asked_at.iter() {
        *seconds.entry(at.duration_since(begun).as_secs()).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn r3_6_a_day_of_outage_with_tokens_of_eight_hours() {
    for down in [Behaviour::Break, Behaviour::Hang, refusal(503, "temporarily_unavailable")] {
        let endpoint = Endpoint::granting(8 * 3600);
        let manager = manager(&endpoint);
        let obtained = Instant::now();
        manager.token(&key()).await.unwrap();
        sleep(HOUR).await;
        endpoint.set(down.clone());
        let asked_before = endpoint.requests();
        let (outage_begun, expiry) = (Instant::now(), obtained + 8 * HOUR);
        let mut refused = 0;
        while outage_begun.elapsed() < 24 * HOUR {
            let asked = Instant::now();
            let outcome = manager.token(&key()).await;
            if asked < expiry {
                assert_eq!(outcome.unwrap().access_token(), "token-1", "at {:?}", asked - obtained);
            } else {
                let error = outcome.unwrap_err();
                refused += 1;
                assert_eq!((error.fault(), error.is_retryable()), (Fault::Server, true), "{error}");
                assert!(error.retry_after().is_some_and(|after| after <= secs(60)), "{error:?}");
                assert!(asked.elapsed() <= millis(50), "refused after {:?}: {error}", asked.elapsed());
            }
            sleep(millis(7300)).await;
        }
        assert!(refused > 5000);
        // One probe for each window of 30 to 60 s, but for the short ones at the beginning. The outage is noticed when
        // the token is due, five to six and a half hours in.
        let probes = endpoint.requests() - asked_before;
        assert!(probes <= 20 * 3600 / 30 + 10, "{probes} requests");
        assert!(probes >= 18 * 3600 / 75, "{probes} requests");
        let (healed, asked) = (Instant::now(), endpoint.requests());
        endpoint.set(Behaviour::Grant { expires_in: 8 * 3600 });
        // Nobody asks: the keeper finds out by itself.
        sleep(secs(60) + secs(12)).await;
        let took = Instant::now();
        assert!(manager.token(&key()).await.is_ok(), "no token {:?} after it healed", healed.elapsed());
        assert_eq!(took.elapsed(), secs(0), "it was there already");
        assert_eq!(endpoint.requests(), asked + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r3_6_who_never_had_a_token_gets_one_within_a_window_after_the_outage() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let manager = manager(&endpoint);
    let begun = Instant::now();
    while begun.elapsed() < HOUR {
        let asked = Instant::now();
        assert!(manager.token(&key()).await.is_err());
        assert!(asked.elapsed() <= secs(15));
        sleep(secs(2)).await;
    }
    assert!(endpoint.requests() <= 3600 / 30 + 20, "{} requests", endpoint.requests());
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    let healed = Instant::now();
    while manager.token(&key()).await.is_err() {
        assert!(healed.elapsed() <= secs(62), "no token after {:?}", healed.elapsed());
        sleep(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_wants_any_more_is_not_probed_for_ever() {
    let endpoint = Endpoint::granting(300);
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap();
    endpoint.set(Behaviour::Break);
    sleep(HOUR).await;
    let asked = endpoint.requests();
    sleep(24 * HOUR).await;
    assert_eq!(endpoint.requests(), asked);
    // Whoever asks after that waits for an answer instead of being told what happened a day ago.
    endpoint.set(Behaviour::Grant { expires_in: 300 });
    assert!(manager.token(&key()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn r1_4_a_thousand_managers_of_one_age_do_not_renew_in_one_instant() {
    const MANAGERS: usize = 1000;
    let life = 300;
    let endpoint = Endpoint::granting(life);
    let clock = VirtualClock::with_boot_clock();
    let managers: Vec<_> = (0..MANAGERS)
        .map(|seed| {
            let seed = u64::try_from(seed).unwrap();
            builder_with_clock(&endpoint, Arc::clone(&clock) as _).jitter_seed(seed).build().unwrap()
        })
        .collect();
    for manager in &managers {
        manager.handle(&key()).unwrap().prefetch();
    }
    sleep(secs(1)).await;
    assert_eq!(endpoint.requests(), 1000);
    endpoint.asked_at.lock().unwrap().clear();
    let (begun, pause) = (Instant::now(), secs(life / 30));
    while begun.elapsed() < secs(2 * life) {
        for manager in &managers {
            let given = manager.handle(&key()).unwrap().get_with(|_| ()).is_some();
            assert!(given, "somebody would wait after {:?}", begun.elapsed());
        }
        sleep(pause).await;
    }
    let peak = peak_per_second(&endpoint, begun);
    assert!(peak <= MANAGERS / 20, "{peak} mints in one second with a life of {life} s");

    // An outage that outlasts every token, and what follows when it ends.
    let ask_for = async |span: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < span {
            for manager in &managers {
                let _outcome = manager.token_within(&key(), millis(0)).await;
            }
            sleep(pause).await;
        }
    };
    endpoint.set(Behaviour::Break);
    ask_for(secs(2 * life)).await;
    endpoint.set(Behaviour::Grant { expires_in: life });
    endpoint.asked_at.lock().unwrap().clear();
    let healed = Instant::now();
    ask_for(secs(2 * life)).await;
    let peak = peak_per_second(&endpoint, healed);
    assert!(peak <= MANAGERS / 20, "{peak} mints in one second after an outage, life {life} s");
    assert!(managers.iter().all(|manager| manager.handle(&key()).unwrap().get_with(|_| ()).is_some()));
}

#[tokio::test(start_paused = true)]
async fn t25_an_open_breaker_lets_one_probe_of_all_keys_through_and_serves_what_is_good() {
    let endpoint = Endpoint::granting(3600);
    let manager = manager(&endpoint);
    let good = TokenKey::scope("good").unwrap();
    manager.token(&good).await.unwrap();
    endpoint.set(Behaviour::Hang);
    let keys = keys(20);
    let begun = Instant::now();
    while begun.elapsed() < secs(600) {
        for key in &keys {
            let _refused = manager.token_within(key, millis(0)).await;
        }
        assert!(manager.token(&good).await.is_ok());
        sleep(millis(500)).await;
    }
    let asked_at = endpoint.asked_at.lock().unwrap();
    let opened = asked_at.iter().filter(|at| at.duration_since(begun) < secs(11)).count();
    assert!(opened <= 1 + keys.len(), "{opened} before the first answers failed");
    let probes: Vec<_> = asked_at.iter().filter(|at| at.duration_since(begun) >= secs(11)).collect();
    assert!(probes.len() >= 10, "{} probes", probes.len());
    for pair in probes.windows(2) {
        assert!(*pair[1] - *pair[0] >= secs(10), "two probes at once: {:?}", *pair[1] - *pair[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn r1_5_callers_share_the_probe_of_an_endpoint_that_was_down_long_ago() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let manager = manager(&endpoint);
    for _ in 0..10 {
        assert!(manager.token(&key()).await.is_err());
        sleep(secs(10)).await;
    }
    sleep(HOUR).await;
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    endpoint.set_latency(millis(100));
    let asked = endpoint.requests();
    let late = async {
        sleep(millis(20)).await;
        manager.token(&key()).await
    };
    let key = key();
    let (first, second) = tokio::join!(manager.token(&key), late);
    assert_eq!(first.unwrap().id(), second.unwrap().id(), "both wait for the one request");
    assert_eq!(endpoint.requests(), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn t21_the_probe_after_an_outage_is_the_one_forced_mint_of_a_rejected_token() {
    let same = Behaviour::GrantSame { token: "the-one", expires_in: "3600" };
    let endpoint = Endpoint::new(same.clone());
    let handle = manager(&endpoint).handle(&key()).unwrap();
    let token = handle.token().await.unwrap();
    endpoint.set(Behaviour::Break);
    handle.reject(token.id());
    for _ in 0..300 {
        assert!(handle.token_within(secs(1)).await.is_err());
        sleep(secs(1)).await;
    }
    endpoint.set(same);
    let (asked, healed) = (endpoint.requests(), Instant::now());
    while handle.token_within(secs(1)).await.is_err() {
        assert!(healed.elapsed() <= secs(62), "no token after {:?}", healed.elapsed());
        sleep(secs(1)).await;
    }
    assert_eq!(endpoint.requests(), asked + 1, "the server has nothing better, and was asked once");
}

#[tokio::test(start_paused = true)]
async fn t25_a_refused_client_is_told_as_that_while_the_endpoint_is_down() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let policy = BackoffPolicy::new(millis(100), millis(100), secs(600)).unwrap();
    let manager = builder(&endpoint).backoff_policy(policy).build().unwrap();
    manager.token(&key()).await.unwrap_err();
    endpoint.set(Behaviour::Break);
    for key in keys(10) {
        let error = manager.token(&key).await.unwrap_err();
        assert!(error.to_string().contains("invalid_client"), "{error}");
    }
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn t25_refusals_by_name_and_nonsense_do_not_open_the_breaker() {
    for behaviour in [
        refusal(429, "slow_down"),
        refusal(400, "invalid_scope"),
        Behaviour::Answer { status: 200, headers: Vec::new(), body: "<html>".to_owned() },
    ] {
        let endpoint = Endpoint::new(behaviour);
        let breaker = BreakerPolicy::new(1, HOUR, HOUR).unwrap();
        let manager = builder(&endpoint).breaker_policy(breaker).build().unwrap();
        for key in keys(10) {
            manager.token(&key).await.unwrap_err();
        }
        endpoint.set(Behaviour::Grant { expires_in: 60 });
        assert!(manager.token(&TokenKey::default()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn t18_a_retry_after_holds_for_every_key_of_the_client() {
    let endpoint = Endpoint::new(Behaviour::Answer {
        status: 429,
        headers: vec![("retry-after", "30".to_owned())],
        body: r#"{"error":"slow_down"}"#.to_owned(),
    });
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap_err();
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    let paused = Instant::now();
    for key in keys(10) {
        let error = manager.token(&key).await.unwrap_err();
        assert!(error.retry_after().is_some_and(|after| after >= secs(29)), "{error:?}");
        assert_eq!(paused.elapsed(), millis(0), "told at once");
    }
    sleep(secs(29)).await;
    assert_eq!(endpoint.requests(), 1);
    sleep(secs(17)).await;
    assert!(manager.token(&key()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn t18_a_retry_after_by_date_counts_from_the_date_of_the_same_answer() {
    // This machine's clock stands in 2023, the server's in 1994.
    let endpoint = Endpoint::new(Behaviour::Answer {
        status: 503,
        headers: vec![
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            ("retry-after", "Sun, 06 Nov 1994 08:49:57 GMT".to_owned()),
        ],
        body: r#"{"error":"temporarily_unavailable"}"#.to_owned(),
    });
    let manager = manager(&endpoint);
    let error = manager.token(&key()).await.unwrap_err();
    let after = error.retry_after().unwrap();
    assert!(after >= secs(20) && after <= secs(30), "{after:?}");
    let skew = manager.clock_skew_seconds().unwrap();
    assert!((-915_888_224.0..=-915_888_222.0).contains(&skew), "{skew}");
}

#[tokio::test(start_paused = true)]
async fn t24_an_invalid_client_is_one_request_for_all_keys() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let manager = manager(&endpoint);
    for key in keys(50) {
        let error = manager.token(&key).await.unwrap_err();
        assert_eq!((error.fault(), error.is_retryable()), (Fault::Credential, false));
    }
    assert_eq!(endpoint.requests(), 1);
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    sleep(secs(31)).await;
    for key in keys(50) {
        assert!(manager.token(&key).await.is_ok(), "what was put right at the server works again");
    }
}

#[tokio::test(start_paused = true)]
async fn t24_an_invalid_scope_is_remembered_of_that_scope_alone() {
    let endpoint = Endpoint::new(refusal(400, "invalid_scope"));
    let manager = manager(&endpoint);
    for _ in 0..10 {
        manager.token(&key()).await.unwrap_err();
    }
    assert_eq!(endpoint.requests(), 1);
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    assert!(manager.token(&TokenKey::default()).await.is_ok());
    assert!(manager.token(&key()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn r3_9_no_bug_of_a_caller_hammers_the_server() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(millis(1));
    let manager = manager(&endpoint);
    let begun = Instant::now();
    let mut refused = 0;
    for number in 0..2000 {
        let each_anew = TokenKey::default().with_parameter("request_id", number.to_string());
        match manager.token_within(&each_anew, millis(5)).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), TokenErrorKind::QuotaExhausted { .. }) => {
                assert!(error.is_retryable() && error.retry_after().is_some());
                assert!(error.to_string().contains("billing") && error.to_string().contains("as.example"));
                refused += 1;
            }
            Err(error) => assert!(matches!(error.kind(), TokenErrorKind::DeadlinePassed { .. }), "{error}"),
        }
        sleep(millis(1)).await;
    }
    sleep(secs(60)).await;
    assert!(refused > 1000, "{refused}");
    let asked = endpoint.requests();
    // A hundred at once and ten a second, for as long as flights wait for their turn.
    assert!((100..=100 + 10 * 30).contains(&asked), "{asked} requests in {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn r3_9_requests_beyond_the_quota_wait_for_their_turn() {
    let endpoint = Endpoint::granting(3600);
    let quota = QuotaPolicy::new(2, secs(1)).unwrap();
    let manager = builder(&endpoint).request_quota(quota).build().unwrap();
    let begun = Instant::now();
    let tasks: Vec<_> = keys(6)
        .into_iter()
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= secs(4) && begun.elapsed() < secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn managers_beside_each_other_share_a_breaker() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let breaker = BreakerPolicy::new(3, secs(60), secs(60)).unwrap();
    let first = builder(&endpoint).breaker_policy(breaker).build().unwrap();
    let second = builder(&endpoint).beside(&first).build().unwrap();
    let alone = builder(&endpoint).build().unwrap();
    first.token(&key()).await.unwrap_err();
    let asked = endpoint.requests();
    second.token(&key()).await.unwrap_err();
    assert_eq!(endpoint.requests(), asked);
    alone.token(&key()).await.unwrap_err();
    assert!(endpoint.requests() > asked);
    let other = jeton::TokenManager::builder("https://other.example/token", "b").client_secret("s".into());
    assert_eq!(other.beside(&first).build().unwrap_err(), jeton::BuildError::AnotherEndpoint);
}

#[tokio::test(start_paused = true)]
async fn t5_a_suspend_is_seen_by_the_boot_clock_and_a_step_changes_nothing() {
    let endpoint = Endpoint::granting(3600);
    let clock = VirtualClock::with_boot_clock();
    let on_demand =
        builder_with_clock(&endpoint, Arc::clone(&clock) as _).refresh_ahead(RefreshAhead::OnDemand);
    let manager = on_demand.build().unwrap();
    let text = async || manager.token(&key()).await.unwrap().access_token().to_owned();
    assert_eq!(text().await, "token-1");
    clock.step(-86_400_000);
    assert_eq!(text().await, "token-1");
    clock.step(86_400_000);
    clock.suspend(secs(3600));
    assert_eq!(text().await, "token-2", "an expired token never looks fresh");
    // Set back at the very time at which the machine slept: the wall clock alone would call the token fresh.
    clock.suspend(secs(3600));
    clock.step(-3_600_000);
    assert_eq!(text().await, "token-3");
    // Set forward: one request ends the doubt.
    clock.step(86_400_000);
    assert_eq!(text().await, "token-4");
    for _ in 0..100 {
        assert_eq!(text().await, "token-4");
        sleep(secs(1)).await;
    }
    // Set forward while the server is down: the token is good, and is given out until its life has really passed.
    endpoint.set(Behaviour::Break);
    clock.step(86_400_000);
    for _ in 0..30 {
        assert_eq!(text().await, "token-4");
        sleep(secs(100)).await;
    }
    sleep(secs(500)).await;
    assert!(manager.token(&key()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn t5_the_keeper_notices_a_suspend_and_renews() {
    let endpoint = Endpoint::granting(3600);
    let clock = VirtualClock::with_boot_clock();
    let manager = builder_with_clock(&endpoint, Arc::clone(&clock) as _).build().unwrap();
    manager.token(&key()).await.unwrap();
    clock.suspend(secs(3000));
    sleep(secs(31)).await;
    assert_eq!(endpoint.requests(), 2);
    assert!(manager.handle(&key()).unwrap().get_with(|_| ()).is_some());
}

#[tokio::test(start_paused = true)]
async fn t3_an_answer_that_a_cache_kept_shortens_the_life() {
    let endpoint = Endpoint::new(Behaviour::Answer {
        status: 200,
        headers: vec![("age", "100".to_owned())],
        body: r#"{"access_token":"kept","token_type":"Bearer","expires_in":300}"#.to_owned(),
    });
    let manager = manager(&endpoint);
    assert_eq!(manager.token(&key()).await.unwrap().lifetime(), secs(200));
}

fn shown(snapshotter: &metrics_util::debugging::Snapshotter, name: &str) -> f64 {
    let seen = snapshotter.snapshot().into_vec().into_iter();
    let mut values = seen.filter(|(key, ..)| key.key().name() == name).map(|(.., value)| value);
    match values.next_back() {
        Some(metrics_util::debugging::DebugValue::Gauge(value)) => value.into_inner(),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_gauge_of_a_key_that_nobody_asks_for_does_not_stay_where_it_was() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let endpoint = Endpoint::granting(600);
    let manager = builder(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    manager.token(&key()).await.unwrap();
    endpoint.set(Behaviour::Break);
    sleep(secs(500)).await;
    manager.token(&key()).await.unwrap();
    sleep(secs(20)).await;
    assert!(shown(&snapshotter, "jeton_client_keys_backing_off") > 0.5);
    sleep(secs(300)).await;
    manager.publish_metrics();
    for name in ["jeton_client_keys_backing_off", "jeton_client_keys_on_backup"] {
        assert!(shown(&snapshotter, name).abs() < 0.5, "{name}");
    }
}
