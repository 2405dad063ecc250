//! What a server that is slow or down costs the callers of a fleet, beside those of a process without a store.

use super::fleet_rig::{Does, Rigged, longest, waits};
use crate::support::{Behaviour, Endpoint, key, millis, refusal, secs};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn r2_3_a_slow_server_is_asked_once_by_the_whole_fleet() {
    for latency in [1, 5, 7, 8, 9] {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set_latency(secs(latency));
        let outcomes = waits(&fleet.managers(8), 10).await;
        let failed = outcomes.iter().filter(|(outcome, _)| outcome.is_err()).count();
        let requests = fleet.endpoint.requests();
        assert_eq!((failed, requests), (0, 1), "{latency} s");
        assert!(longest(&outcomes) <= secs(latency) + millis(200), "{:?}", longest(&outcomes));
    }
}

#[tokio::test(start_paused = true)]
async fn t8_when_the_server_is_down_not_every_process_finds_out_for_itself() {
    for behaviour in
        [Behaviour::Break, Behaviour::Hang, refusal(503, "server_error"), refusal(401, "invalid_client")]
    {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set(behaviour);
        let outcomes = waits(&fleet.managers(8), 5).await;
        assert!(outcomes.iter().all(|(outcome, _)| outcome.is_err()));
        assert!(longest(&outcomes) <= secs(15), "{:?}", longest(&outcomes));
        // A flight sends three requests at most, and after the third flight everybody knows.
        assert!(fleet.endpoint.requests() <= 9, "{} requests", fleet.endpoint.requests());
    }
}

#[tokio::test(start_paused = true)]
async fn one_process_behind_a_proxy_that_refuses_does_not_stop_the_fleet_for_a_day() {
    let fleet = Rigged::granting(3600);
    let proxy = Endpoint::new(Behaviour::Answer {
        status: 503,
        headers: vec![("retry-after", "86400".to_owned())],
        body: "<html>captive portal".to_owned(),
    });
    let misled = fleet.builder_on(&proxy, Arc::clone(&fleet.clock) as _).build().unwrap();
    assert!(misled.token(&key()).await.is_err());
    let begun = Instant::now();
    let healthy = fleet.manager();
    while healthy.token(&key()).await.is_err() {
        sleep(secs(10)).await;
        assert!(begun.elapsed() <= secs(600), "still nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_holder_costs_no_caller_its_token_whose_time_is_shorter_than_the_lease() {
    let fleet = Rigged::granting(3600);
    fleet.endpoint.set_latency(secs(2));
    let victim = fleet.builder().wait_timeout(secs(1)).build().unwrap();
    let task = tokio::spawn(async move { victim.token(&key()).await });
    sleep(millis(100)).await;
    fleet.store.plays(|_| Does::Hangs);
    task.abort();
    let _aborted = task.await;
    sleep(millis(1)).await;
    fleet.store.plays(|_| Does::It);
    fleet.endpoint.set_latency(millis(20));
    let hasty = fleet.builder().wait_timeout(secs(1)).build().unwrap();
    let outcome = hasty.token(&key()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn r1_4_a_token_that_is_about_to_end_is_adopted_by_nobody_who_may_wait() {
    let fleet = Rigged::granting(60);
    let first = fleet.manager();
    first.token(&key()).await.unwrap();
    drop(first);
    sleep(secs(57)).await;
    let later = fleet.manager().token(&key()).await.unwrap();
    assert_eq!(later.access_token(), "token-2", "the first has 3 s left of 60");
    // With the server down, what is left of it is better than nothing.
    sleep(secs(57)).await;
    fleet.endpoint.set(Behaviour::Break);
    let rest = fleet.manager().token(&key()).await.unwrap();
    assert_eq!(rest.access_token(), "token-2");
}
