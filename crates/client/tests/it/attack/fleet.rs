//! A fleet whose store fails at the wrong moment, or in the wrong way.

use super::fleet_rig::{Asked, Does, Rigged, longest, waits};
use super::{runtime, within};
use crate::support::{key, millis, secs};
use jeton::store::StoreFaultKind;
use jeton::{RefreshAhead, SystemClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ALL_ASKED: [Asked; 5] = [Asked::Load, Asked::Lease, Asked::Publish, Asked::Release, Asked::Subscribe];

#[tokio::test(start_paused = true)]
async fn t12_a_store_that_panics_is_a_store_that_does_not_work() {
    for at in ALL_ASKED {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set_latency(millis(200));
        fleet.store.plays(move |asked| if asked == at { Does::Panics } else { Does::It });
        let managers = fleet.managers(3);
        let outcomes = waits(&managers, 5).await;
        for (outcome, waited) in &outcomes {
            assert!(outcome.is_ok(), "{at:?}: {outcome:?}");
            assert!(*waited <= secs(4), "{at:?}: {waited:?}");
        }
        let requests = fleet.endpoint.requests();
        assert!(requests <= 3, "{at:?}: {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn t31_a_store_that_takes_no_token_makes_nobody_wait_for_the_lease() {
    let faults = [
        Does::Fails(StoreFaultKind::Unwritable),
        Does::Fails(StoreFaultKind::Denied),
        Does::Fails(StoreFaultKind::Malformed),
    ];
    for does in faults {
        let fleet = Rigged::granting(3600);
        fleet.store.plays(move |asked| if asked == Asked::Publish { does } else { Does::It });
        let outcomes = waits(&fleet.managers(4), 5).await;
        assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok()));
        assert!(longest(&outcomes) <= millis(300), "{does:?}: {:?}", longest(&outcomes));
    }
}

#[tokio::test(start_paused = true)]
async fn r2_3_a_store_that_cannot_tell_of_changes_is_shared_all_the_same() {
    let faults = [
        Does::Fails(StoreFaultKind::Unreachable),
        Does::Fails(StoreFaultKind::Denied),
        Does::Hangs,
        Does::ItAndHangs,
    ];
    for does in faults {
        let fleet = Rigged::granting(3600);
        fleet.endpoint.set_latency(millis(300));
        fleet.store.plays(move |asked| if asked == Asked::Subscribe { does } else { Does::It });
        let outcomes = waits(&fleet.managers(8), 5).await;
        assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok()));
        assert_eq!(fleet.endpoint.requests(), 1, "{does:?}");
        assert!(longest(&outcomes) <= millis(600), "{does:?}: {:?}", longest(&outcomes));
    }
}

/// Whatever the store is asked for as its `n`th: that fails so, and everything before and after works.
#[tokio::test(start_paused = true)]
async fn r2_4_one_answer_that_goes_wrong_at_any_moment_costs_one_time_out_at_most() {
    let wrongs = [
        Does::Fails(StoreFaultKind::Unreachable),
        Does::Fails(StoreFaultKind::Unwritable),
        Does::Fails(StoreFaultKind::Malformed),
        Does::Hangs,
        Does::ItAndHangs,
        Does::ItAndIsLate(millis(400)),
        Does::Panics,
    ];
    for wrong in wrongs {
        for nth in 0..24 {
            let fleet = Rigged::granting(600);
            let mut count = 0;
            fleet.store.plays(move |_| {
                count += 1;
                if count == nth + 1 { wrong } else { Does::It }
            });
            let managers = fleet.managers(4);
            let cold = waits(&managers, 5).await;
            let name = format!("{wrong:?} at {nth}");
            assert!(cold.iter().all(|(outcome, _)| outcome.is_ok()), "{name}: {cold:?}");
            assert!(longest(&cold) <= millis(3_100), "{name}: cold {:?}", longest(&cold));
            assert!(fleet.endpoint.requests() <= 4, "{name}: {} requests", fleet.endpoint.requests());
            sleep(secs(5)).await;
            for manager in &managers {
                let token = manager.token(&key()).await.unwrap();
                manager.reject(&key(), &token);
            }
            let rejected = waits(&managers, 5).await;
            assert!(rejected.iter().all(|(outcome, _)| outcome.is_ok()), "{name}: {rejected:?}");
            assert!(longest(&rejected) <= millis(3_100), "{name}: rejected {:?}", longest(&rejected));
            assert!(fleet.endpoint.requests() <= 8, "{name}: {} requests", fleet.endpoint.requests());
        }
    }
}

#[test]
fn t12_a_probe_on_a_runtime_that_nobody_drives_does_not_keep_the_store_out_for_ever() {
    let loads = within(secs(30), || {
        let first = runtime();
        let (fleet, manager) = first.block_on(async {
            let fleet = Rigged::granting(3600);
            let builder = fleet.builder_on(&fleet.endpoint, Arc::new(SystemClock));
            let builder = builder.store_timeout(millis(50)).refresh_ahead(RefreshAhead::OnDemand);
            (fleet, builder.build().unwrap())
        });
        fleet.store.plays(|_| Does::Hangs);
        first.block_on(async { manager.token(&key()).await.unwrap() });
        fleet.store.plays(|_| Does::It);
        // The first runtime is there, and nobody drives it.
        let second = runtime();
        second.block_on(async {
            sleep(secs(3)).await;
            let before = fleet.store.asked(Asked::Lease);
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
            manager.token(&key()).await.unwrap();
            fleet.store.asked(Asked::Lease) - before
        })
    });
    assert!(loads > 0, "the store works, and nobody asks it");
}

#[tokio::test(start_paused = true)]
async fn t27_a_rejected_token_does_not_come_back_from_a_store_that_was_down_meanwhile() {
    let fleet = Rigged::granting(3600);
    // It was published, though nobody said so.
    fleet.store.plays(|asked| if asked == Asked::Publish { Does::ItAndHangs } else { Does::It });
    let manager = fleet.manager();
    let first = manager.token(&key()).await.unwrap();
    sleep(secs(5)).await;
    fleet.store.plays(|_| Does::Fails(StoreFaultKind::Unwritable));
    manager.reject(&key(), &first);
    let second = manager.token(&key()).await.unwrap();
    assert_eq!(second.access_token(), "token-2");
    fleet.store.plays(|_| Does::It);
    sleep(secs(100)).await;
    manager.reject(&key(), &second);
    let third = manager.token(&key()).await.unwrap();
    assert_eq!(third.access_token(), "token-3", "the first one was rejected long ago");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_work_in_one_way_is_told_of_once() {
    let fleet = Rigged::granting(60);
    fleet.store.plays(|asked| match asked {
        Asked::Subscribe => Does::Fails(StoreFaultKind::Denied),
        Asked::Load | Asked::Lease | Asked::Publish | Asked::Release => Does::It,
    });
    let told = Told::default();
    let _guard = {
        use tracing_subscriber::layer::SubscriberExt as _;
        tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()))
    };
    let mut managers = fleet.managers(2);
    for _ in 0..100 {
        managers.reverse();
        waits(&managers, 1).await;
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        sleep(secs(20)).await;
    }
    let lines = told.0.load(std::sync::atomic::Ordering::SeqCst);
    assert!(fleet.store.asked(Asked::Subscribe) > 20);
    assert_eq!(lines, 2, "one for each process");
}

/// Counts what is said of the store at `info` and above.
#[derive(Clone, Default)]
struct Told(Arc<std::sync::atomic::AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::INFO && event.metadata().target().contains("store") {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_closes_while_it_asks_for_the_lease_leaves_none() {
    let fleet = Rigged::granting(3600);
    let mut first = true;
    fleet
        .store
        .plays(move |_| if std::mem::take(&mut first) { Does::ItAndIsLate(millis(100)) } else { Does::It });
    let closing = fleet.manager();
    let waiting = tokio::spawn({
        let closing = closing.clone();
        async move { closing.token(&key()).await }
    });
    sleep(millis(50)).await;
    closing.close(Duration::ZERO).await;
    let _closed = waiting.await;
    let begun = Instant::now();
    fleet.manager().token(&key()).await.unwrap();
    assert!(begun.elapsed() <= millis(300), "{:?}", begun.elapsed());
}
