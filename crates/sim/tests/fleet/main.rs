//! Fleets of the real client with one store: every invariant holds, and a broken client is caught.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod broken;

use sim::fleet::fitting::Fitting;
use sim::fleet::judge::Invariant;
use sim::fleet::plan::{Plan, Storms};
use sim::fleet::runs::{LASTS, run, run_one};
use sim::fleet::world;

/// A broken client is caught in one of so many fleets.
const SEEDS: u64 = 24;

#[test]
fn every_invariant_holds_in_the_fleets_from_0() {
    let report = run(0, 4);
    assert!(report.is_clean(), "{report}");
    assert!(report.requests > 100 && report.calls > 1_500 && report.letters > 500, "{report}");
    assert!(report.faults.values().sum::<u64>() > 150, "{report}");
}

#[test]
fn every_invariant_holds_in_the_fleets_from_1000() {
    let report = run(1000, 4);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn one_seed_is_one_fleet() {
    let elsewhere = std::thread::spawn(|| run_one(3, false).unwrap());
    let (first, second) = (run_one(3, true).unwrap(), elsewhere.join().unwrap());
    assert_eq!(first.trace_hash, second.trace_hash);
    assert!(first.lines.len() > 300, "{} lines", first.lines.len());
}

fn is_caught(invariant: Invariant, storms: Storms, fitting: &dyn Fn() -> Box<dyn Fitting>) {
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        let plan = Plan { storms, keys: 2, processes: 4, ..Plan::of(seed, LASTS) };
        let outcome = world::run(&plan, &*fitting(), false).unwrap();
        if outcome.violations.iter().any(|violation| violation.invariant == invariant) {
            return;
        }
        seen.extend(outcome.violations.into_iter().map(|violation| violation.to_string()).take(1));
    }
    panic!("nobody saw that {invariant:?} was broken; seen: {seen:#?}");
}

macro_rules! caught {
    ($($name:ident => $invariant:ident by $fitting:expr, in $storms:ident;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Invariant::$invariant, Storms::$storms, &|| Box::new($fitting));
        })*

        #[test]
        fn every_invariant_is_among_these() {
            assert_eq!(Invariant::ALL, [$(Invariant::$invariant,)*]);
        }
    };
}

caught! {
    a_store_that_shows_no_lease => OneRequest by broken::ShowsNoLease, in None;
    a_store_that_shows_no_lease_to_who_begins => OnePerKill by broken::ShowsNoLease, in Kills;
    a_client_that_mixes_its_keys_up => RightToken by broken::MixesKeysUp, in None;
    a_clock_that_goes_at_half_speed => NoDeadToken by broken::SlowClock, in None;
    a_client_that_is_deaf_to_rejections => RejectedStaysAway by broken::DeafToRejections, in None;
    a_client_that_fails_with_its_store => NoCallFails by broken::FailsWithItsStore::default(), in Store;
    processes_with_a_key_each => SharesAgain by broken::AKeyEach::default(), in None;
    a_client_that_tells_the_store_who_it_is => NothingShown by broken::TellsWhoItIs, in None;
    a_client_that_panics_without_a_token => NoPanic by broken::PanicsOnErrors, in All;
}
