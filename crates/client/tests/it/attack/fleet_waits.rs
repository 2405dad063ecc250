//! How long callers of a fleet wait, beside those of a process without a store.

use super::fleet_rig::{Asked, Does, Rigged, longest, waits};
use crate::support::{key, millis, secs};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn r2_3_when_the_server_is_slow_nobody_is_told_to_give_up() {
    for latency in [1, 5, 7, 8, 9] {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set_latency(secs(latency));
        let outcomes = waits(&fleet.managers(8), 10).await;
        let failed = outcomes.iter().filter(|(outcome, _)| outcome.is_err()).count();
        let requests = fleet.endpoint.requests();
        println!("{latency} s: {failed} of 80 failed, {requests} requests, {:?}", longest(&outcomes));
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
        let after_cold = fleet.endpoint.requests();
        sleep(secs(3601)).await;
        let expired = waits(&managers, 5).await;
        let after_expired = fleet.endpoint.requests();
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        let rejected = waits(&managers, 5).await;
        println!(
            "answers {late} ms late: cold {:?} ({after_cold}), expired {:?} ({after_expired}), rejected {:?} ({}), {} loads",
            longest(&cold),
            longest(&expired),
            longest(&rejected),
            fleet.endpoint.requests(),
            fleet.store.asked(Asked::Load),
        );
        for outcomes in [&cold, &expired, &rejected] {
            assert!(longest(outcomes) <= millis(200 + 5 * late), "{:?}", longest(outcomes));
        }
    }
}
