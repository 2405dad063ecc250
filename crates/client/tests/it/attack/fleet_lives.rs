//! Lives of tokens in a fleet: none is lengthened, and short ones are fetched no more often than need be.

use super::fleet_rig::{Asked, Does, Rigged, waits};
use crate::support::fleet::ring;
use crate::support::{Behaviour, VirtualClock, key, millis, secs};
use jeton::store::StoreFaultKind;
use jeton::{Clock, GrantedScope};
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
    for life in [1_u64, 2, 3, 5, 60] {
        let fleet = Rigged::granting(life);
        let managers = fleet.managers(8);
        let begun = Instant::now();
        let mut failed = 0;
        while begun.elapsed() < secs(40 * life) {
            for manager in &managers {
                match manager.token(&key()).await {
                    Ok(token) => {
                        assert!(!token.left(fleet.clock.moment()).is_zero());
                        let number: usize =
                            token.access_token().trim_start_matches("token-").parse().unwrap();
                        let asked = fleet.endpoint.asked_at.lock().unwrap()[number - 1];
                        assert!(asked.elapsed() < secs(life), "life {life}: {:?}", asked.elapsed());
                    }
                    Err(_) => failed += 1,
                }
            }
            sleep(millis(5 + 10 * life)).await;
        }
        let requests = fleet.endpoint.requests();
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
    assert!(requests <= 3, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn processes_that_want_the_whole_scope_and_others_that_do_not_live_side_by_side() {
    let fleet = Rigged::granting(600);
    fleet.endpoint.set(Behaviour::Answer {
        status: 200,
        headers: Vec::new(),
        body: r#"{"access_token":"narrow","token_type":"Bearer","expires_in":600,"scope":"other"}"#
            .to_owned(),
    });
    let easy = fleet.managers(3);
    let strict: Vec<_> = (0..3)
        .map(|_| fleet.builder().granted_scope(GrantedScope::MustBeComplete).build().unwrap())
        .collect();
    for second in 0..600 {
        for (outcome, waited) in waits(&easy, 2).await {
            assert_eq!(outcome.unwrap(), "narrow", "{second}");
            assert!(waited <= millis(700), "{second}: {waited:?}");
        }
        for (outcome, waited) in waits(&strict, 2).await {
            assert!(outcome.is_err() && waited <= millis(700), "{second}: {waited:?}");
        }
        sleep(secs(1)).await;
    }
    assert!(fleet.endpoint.requests() <= 80, "{} requests", fleet.endpoint.requests());
}

#[tokio::test(start_paused = true)]
async fn t29_two_halves_of_a_fleet_with_different_keys_ask_no_more_than_each_process_would_alone() {
    let fleet = Rigged::granting(600);
    let names = jeton::store::StoreKey::from_bytes(&[9; 32]);
    let managers: Vec<_> = (0..8)
        .map(|n| {
            let keys = ring(1 + n % 2).with_name_key(&names).unwrap();
            fleet.builder().shared_store(Arc::clone(&fleet.store) as _, keys).build().unwrap()
        })
        .collect();
    for _ in 0..3000 {
        waits(&managers, 1).await.into_iter().for_each(|(outcome, _)| assert!(outcome.is_ok()));
        sleep(secs(1)).await;
    }
    assert!(fleet.endpoint.requests() <= 8 * 8, "{} requests", fleet.endpoint.requests());
}

/// A store that does anything at any time, under callers who reject at random: nobody goes without a token while the server
/// works, and no token is served beyond its end.
#[tokio::test(start_paused = true)]
async fn r2_4_whatever_the_store_does_every_caller_has_a_good_token() {
    for seed in 0..8 {
        let fleet = Rigged::granting(20);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut script = fastrand::Rng::with_seed(seed + 1000);
        let bad = 1 + seed % 20;
        fleet.store.plays(move |_| match script.u64(0..20 + bad) {
            0..20 => Does::It,
            _ => match script.u32(0..9) {
                0 => Does::Fails(StoreFaultKind::Unreachable),
                1 => Does::Fails(StoreFaultKind::Unwritable),
                2 => Does::Fails(StoreFaultKind::Malformed),
                3 => Does::Hangs,
                4 | 5 => Does::ItAndHangs,
                6 | 7 => Does::ItAndIsLate(millis(script.u64(0..600))),
                _ => Does::Fails(StoreFaultKind::Denied),
            },
        });
        let mut managers = fleet.managers(5);
        let mut worst = secs(0);
        for _ in 0..200 {
            fleet.endpoint.set_latency(millis(random.u64(1..300)));
            let begun = Instant::now();
            for (outcome, waited) in waits(&managers, 2).await {
                let token = outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                let number: usize = token.trim_start_matches("token-").parse().unwrap();
                let asked = fleet.endpoint.asked_at.lock().unwrap()[number - 1];
                let age = (begun + waited).duration_since(asked);
                assert!(age < secs(20), "seed {seed}: {age:?}");
                worst = worst.max(waited);
            }
            match random.u32(0..10) {
                0..3 => {
                    let manager = &managers[random.usize(0..5)];
                    let token = manager.token(&key()).await.unwrap();
                    manager.reject(&key(), &token);
                }
                3 => managers[random.usize(0..5)] = fleet.manager(),
                _ => {}
            }
            sleep(millis(random.u64(1..2_000))).await;
        }
        assert!(worst <= secs(9), "seed {seed}: {worst:?}");
    }
}
