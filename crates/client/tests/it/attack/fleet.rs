//! A fleet whose store fails at the wrong moment, or in the wrong way.

use super::fleet_rig::{Asked, Does, Rigged, longest, waits};
use crate::support::{millis, secs};
use jeton::store::StoreFaultKind;

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
