//! Worlds with the real client: every invariant holds in each, and a seed is one world.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use sim::fault::FaultKind;
use sim::journal::Trace;
use sim::seeds::{Seeds, run, run_one};
use std::time::Duration;

const LASTS: Duration = Duration::from_hours(6);

#[test]
fn one_seed_is_one_world() {
    for seed in 0..6 {
        let first = run_one(seed, LASTS, Trace::Hashed).unwrap();
        let second = run_one(seed, LASTS, Trace::Kept).unwrap();
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!((first.calls, first.token_requests), (second.calls, second.token_requests), "seed {seed}");
        assert!(second.lines.len() > 500, "seed {seed} has {} events", second.lines.len());
    }
    let other = run_one(6, LASTS, Trace::Hashed).unwrap();
    assert_ne!(other.trace_hash, run_one(7, LASTS, Trace::Hashed).unwrap().trace_hash);
}

#[test]
fn every_invariant_holds_in_every_world_and_every_fault_took_effect() {
    let seeds = Seeds { first: 0, count: 150, lasts: LASTS };
    let report = run(seeds);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.worlds, seeds.count);
    assert!(report.token_requests > 50 * seeds.count && report.calls > 200 * seeds.count, "{report}");
    for (kind, count) in report.faults.iter() {
        assert!(count >= seeds.count, "{kind}: {count}\n{report}");
    }
    assert_eq!(report.faults.iter().count(), FaultKind::ALL.len());
}
