//! A fleet whose store fails at the wrong moment, or in the wrong way.

use super::fleet_rig::{Asked, Does, Rigged, longest, waits};
use crate::support::millis;
use jeton::store::StoreFaultKind;

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
