//! Lives of tokens in a fleet: none is lengthened, and short ones are fetched no more often than need be.

use super::fleet_rig::{Asked, Does, Rigged, waits};
use crate::support::{Behaviour, VirtualClock, key, millis, secs};
use jeton::Clock;
use jeton::store::StoreFaultKind;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn t28_a_token_that_was_fetched_without_the_store_lives_no_longer_for_who_adopts_it() {
    let fleet = Rigged::granting(600);
    // The store could not be written when the lease was asked for, and can be when the token is there.
    let mut leases = 0;
    fleet.store.plays(move |asked| {
        leases += u32::from(asked == Asked::Lease);
        if asked == Asked::Lease && leases == 1 { Does::Fails(StoreFaultKind::Unwritable) } else { Does::It }
    });
    let first = fleet.manager().token(&key()).await.unwrap();
    sleep(secs(500)).await;
    let behind = VirtualClock::with_boot_clock();
    behind.step(-3_600_000);
    let late = fleet.builder_on(&fleet.endpoint, Arc::clone(&behind) as _).build().unwrap();
    let token = late.token(&key()).await.unwrap();
    let left = token.left(behind.moment());
    assert!(token.id() != first.id() || left <= secs(101), "{left:?} left of a token that has 100 s");
}

#[tokio::test(start_paused = true)]
async fn t28_an_answer_that_was_long_on_its_way_lengthens_no_life() {
    let fleet = Rigged::granting(600);
    let first = fleet.manager().token(&key()).await.unwrap();
    sleep(secs(100)).await;
    fleet.store.plays(|_| Does::ItAndIsLate(millis(450)));
    let behind = VirtualClock::with_boot_clock();
    behind.step(-3_600_000);
    let late = fleet.builder_on(&fleet.endpoint, Arc::clone(&behind) as _).build().unwrap();
    let token = late.token(&key()).await.unwrap();
    assert_eq!(token.id(), first.id());
    let (theirs, ours) = (token.left(behind.moment()), first.left(fleet.clock.moment()));
    assert!(theirs <= ours, "{theirs:?} of {ours:?}");
}

#[tokio::test(start_paused = true)]
async fn t1_short_lives_are_fetched_once_for_the_fleet_and_never_served_beyond_their_end() {
    for life in [1_u64, 2, 3, 4, 5, 8, 15, 60] {
        let fleet = Rigged::granting(life);
        let managers = fleet.managers(8);
        let begun = Instant::now();
        let mut failed = 0;
        while begun.elapsed() < secs(40 * life) {
            for manager in &managers {
                match manager.token(&key()).await {
                    Ok(token) => {
                        assert!(!token.left(fleet.clock.moment()).is_zero());
                        let number: usize = token.access_token()[6..].parse().unwrap();
                        let asked = fleet.endpoint.asked_at.lock().unwrap()[number - 1];
                        assert!(asked.elapsed() < secs(life), "life {life}: {:?}", asked.elapsed());
                    }
                    Err(error) => {
                        failed += 1;
                        println!("{life}: {error}");
                    }
                }
            }
            sleep(millis(37)).await;
        }
        let requests = fleet.endpoint.requests();
        println!("life {life} s: {requests} requests in {} lives, {failed} failed", 40);
        assert_eq!(failed, 0);
        assert!(requests <= 40 * 10 / 6 + 10, "life {life}: {requests} requests in 40 lives");
    }
}

#[tokio::test(start_paused = true)]
async fn r3_1_an_api_that_refuses_every_token_makes_no_storm_in_a_fleet() {
    let fleet = Rigged::granting(3600);
    let managers = fleet.managers(8);
    let begun = Instant::now();
    while begun.elapsed() < secs(600) {
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        sleep(millis(500)).await;
    }
    let requests = fleet.endpoint.requests();
    println!("{requests} requests in 600 s");
    assert!(requests <= 14, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn r3_1_a_server_that_has_but_the_rejected_token_is_asked_once_for_the_fleet() {
    let fleet = Rigged::granting(3600);
    fleet.endpoint.set(Behaviour::GrantSame { token: "the-only-one", expires_in: "3600" });
    let managers = fleet.managers(8);
    waits(&managers, 1).await;
    for manager in &managers {
        let token = manager.token(&key()).await.unwrap();
        manager.reject(&key(), &token);
    }
    waits(&managers, 5).await;
    let requests = fleet.endpoint.requests();
    println!("{requests} requests");
    assert!(requests <= 3, "{requests} requests");
}
