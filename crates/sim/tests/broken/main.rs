//! The checker can fail: for each invariant a client that breaks it, in a real world, is caught.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod doors;
mod exchanges;
mod settings;

use sim::checker::{Invariant, QuotaRule};
use sim::door::Workshop;
use sim::journal::Trace;
use sim::plan::Plan;
use sim::seeds::rules_for;
use sim::world;
use std::sync::Arc;
use std::time::Duration;

const LASTS: Duration = Duration::from_hours(4);
/// A broken client is caught in one of so many worlds.
const SEEDS: u64 = 40;

/// The client that breaks an invariant. One without such a client does not compile.
fn broken(invariant: Invariant) -> Arc<dyn Workshop> {
    match invariant {
        Invariant::NoDeadToken => Arc::new(settings::SlowClock),
        Invariant::NoLostToken => Arc::new(doors::DropsBeforeItAsks),
        Invariant::OneRequest => Arc::new(exchanges::AsksTwice),
        Invariant::OneForcedMint => Arc::new(doors::DeafToRejections),
        Invariant::Recovery => Arc::new(exchanges::KeepsADeadConnection),
        Invariant::Deadline => Arc::new(doors::IgnoresDeadlines),
        Invariant::NoSecretShown => Arc::new(exchanges::LogsItsHeaders),
        Invariant::RetryAfter => Arc::new(exchanges::DropsRetryAfter),
        Invariant::Breaker => Arc::new(exchanges::HidesFaults),
        Invariant::Quota => Arc::new(settings::WithoutQuota),
        Invariant::TerminalError => Arc::new(settings::ForgetsRefusals),
        Invariant::NothingLeft => Arc::new(settings::LeaksManagers::default()),
        Invariant::NoPanic => Arc::new(doors::PanicsOnErrors),
        Invariant::NeverOlder => Arc::new(doors::GoesBack),
        Invariant::Drained => Arc::new(settings::ClosesAtOnce),
        Invariant::Prefetched => Arc::new(settings::WithoutPrefetch),
        Invariant::Detached => Arc::new(exchanges::GivesUpEarly),
    }
}

/// A world in which it shows soon.
fn plan(invariant: Invariant, seed: u64) -> Plan {
    let plan = Plan::of(seed, LASTS);
    if invariant == Invariant::Quota {
        return Plan { quota: QuotaRule { interval_ms: 2_000, burst: 2 }, ..plan };
    }
    plan
}

fn is_caught(invariant: Invariant) {
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        let plan = plan(invariant, seed);
        let summary = world::run(&plan, &rules_for(&plan), &broken(invariant), Trace::Hashed).unwrap();
        if summary.violations.iter().any(|violation| violation.invariant == invariant) {
            return;
        }
        seen.extend(summary.violations.into_iter().map(|violation| violation.to_string()).take(1));
    }
    panic!("nobody saw that {invariant} was broken; seen: {seen:#?}");
}

macro_rules! caught {
    ($($name:ident => $invariant:ident,)*) => {
        $(#[test]
        fn $name() {
            is_caught(Invariant::$invariant);
        })*

        #[test]
        fn every_invariant_is_among_these() {
            assert_eq!(Invariant::ALL, [$(Invariant::$invariant,)*]);
        }
    };
}

caught! {
    i1_a_clock_that_goes_at_half_speed => NoDeadToken,
    i2_a_client_that_drops_its_token_before_it_asks_for_another => NoLostToken,
    i3_a_client_that_asks_twice => OneRequest,
    i4_a_client_that_is_deaf_to_rejections => OneForcedMint,
    i5_a_client_that_keeps_a_dead_connection => Recovery,
    i6_a_client_that_ignores_deadlines => Deadline,
    i7_a_client_that_logs_its_headers => NoSecretShown,
    i8_a_client_that_does_not_see_retry_after => RetryAfter,
    i9_a_client_that_takes_faults_for_answers => Breaker,
    i10_a_client_without_a_quota => Quota,
    i11_a_client_that_forgets_that_it_was_refused => TerminalError,
    i12_a_client_that_somebody_still_holds => NothingLeft,
    i13_a_client_that_panics_on_errors => NoPanic,
    i14_a_client_that_goes_back_to_its_last_token => NeverOlder,
    i15_a_client_that_closes_at_once => Drained,
    i16_a_client_that_prefetches_nothing => Prefetched,
    i17_a_client_that_gives_its_requests_up => Detached,
}
