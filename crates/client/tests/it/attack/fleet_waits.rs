//! How long callers of a fleet wait, beside those of a process without a store.

use super::fleet_rig::{Does, Rigged, longest, waits};
use crate::support::{Behaviour, key, millis, secs};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn r2_3_when_the_server_is_slow_nobody_is_told_to_give_up() {
    for latency in [1, 5, 7, 8, 9] {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set_latency(secs(latency));
        let outcomes = waits(&fleet.managers(8), 10).await;
        let failed = outcomes.iter().filter(|(outcome, _)| outcome.is_err()).count();
        let requests = fleet.endpoint.requests();
        assert_eq!(failed, 0, "{latency} s: {requests} requests");
        assert!(longest(&outcomes) <= secs(latency) + millis(200), "{:?}", longest(&outcomes));
    }
}

#[tokio::test(start_paused = true)]
async fn r2_4_a_slow_store_costs_three_answers_and_no_request() {
    for late in [0, 50, 200, 450] {
        let fleet = Rigged::granting(3600);
        fleet.store.plays(move |_| Does::ItAndIsLate(millis(late)));
        let managers = fleet.managers(8);
        let cold = waits(&managers, 5).await;
        assert!(cold.iter().all(|(outcome, _)| outcome.is_ok()));
        sleep(secs(3601)).await;
        let expired = waits(&managers, 5).await;
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        let rejected = waits(&managers, 5).await;
        assert_eq!(fleet.endpoint.requests(), 3, "{late} ms late");
        for outcomes in [&cold, &expired, &rejected] {
            assert!(longest(outcomes) <= millis(200 + 5 * late), "{:?}", longest(outcomes));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t8_a_server_that_hangs_is_told_of_by_the_flight_that_asked_it() {
    let fleet = Rigged::granting(3600);
    fleet.endpoint.set(Behaviour::Hang);
    let managers = fleet.managers(2);
    let begun = Instant::now();
    let tasks: Vec<_> = managers
        .iter()
        .cloned()
        .map(|manager| tokio::spawn(async move { manager.token_within(&key(), secs(60)).await }))
        .collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(begun.elapsed() <= secs(21), "{error} after {:?}", begun.elapsed());
    }
    assert_eq!(fleet.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn r2_4_time_outs_shorter_than_the_store_s_still_leave_a_token() {
    for total in [50, 100, 400, 1_000] {
        for wrong in [Does::Hangs, Does::ItAndHangs, Does::ItAndIsLate(millis(300)), Does::It] {
            let fleet = Rigged::granting(3600);
            fleet.store.plays(move |_| wrong);
            let managers: Vec<_> =
                (0..3).map(|_| fleet.builder().total_timeout(millis(total)).build().unwrap()).collect();
            let outcomes = waits(&managers, 5).await;
            assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok()), "{total} {wrong:?}: {outcomes:?}");
            assert!(fleet.endpoint.requests() <= 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_shorter_than_an_answer_of_the_store_makes_no_storm() {
    let fleet = Rigged::granting(3600);
    fleet.endpoint.set_latency(secs(2));
    fleet.store.plays(|_| Does::ItAndIsLate(millis(150)));
    let managers: Vec<_> = (0..8).map(|_| fleet.builder().lease(millis(100)).build().unwrap()).collect();
    let outcomes = waits(&managers, 5).await;
    assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok()));
    assert!(fleet.endpoint.requests() <= 8);
}
