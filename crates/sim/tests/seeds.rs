//! Worlds with the real client: every invariant holds in each, and a seed is one world.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use sim::fault::FaultKind;
use sim::journal::Trace;
use sim::seeds::{Seeds, run, run_one};
use std::thread;
use std::time::Duration;

const LASTS: Duration = Duration::from_hours(2);
/// Worlds for each of the tests below: they run beside each other.
const WORLDS: u64 = 40;

#[test]
fn one_seed_is_one_world_on_every_thread() {
    for seed in 0..5 {
        let elsewhere = thread::spawn(move || run_one(seed, LASTS, Trace::Hashed).unwrap());
        let first = run_one(seed, LASTS, Trace::Hashed).unwrap();
        let second = run_one(seed, LASTS, Trace::Kept).unwrap();
        let third = elsewhere.join().unwrap();
        for again in [&second, &third] {
            assert_eq!(first.trace_hash, again.trace_hash, "seed {seed}");
            assert_eq!(
                (first.calls, first.token_requests),
                (again.calls, again.token_requests),
                "seed {seed}"
            );
        }
        assert!(second.lines.len() > 200, "seed {seed} has {} events", second.lines.len());
        let other = run_one(seed + 100, LASTS, Trace::Hashed).unwrap();
        assert_ne!(first.trace_hash, other.trace_hash, "seed {seed}");
    }
}

fn every_invariant_holds_and_every_fault_took_effect(first: u64) {
    let report = run(Seeds { first, count: WORLDS, lasts: LASTS });
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.worlds, WORLDS);
    assert!(report.token_requests > 20 * WORLDS && report.calls > 50 * WORLDS, "{report}");
    assert_eq!(report.faults.iter().count(), FaultKind::ALL.len());
    for (kind, count) in report.faults.iter() {
        assert!(count >= WORLDS / 4, "{kind}: {count}\n{report}");
    }
}

#[test]
fn every_invariant_holds_in_the_worlds_from_0() {
    every_invariant_holds_and_every_fault_took_effect(0);
}

#[test]
fn every_invariant_holds_in_the_worlds_from_1000() {
    every_invariant_holds_and_every_fault_took_effect(1000);
}

#[test]
fn every_invariant_holds_in_the_worlds_from_2000() {
    every_invariant_holds_and_every_fault_took_effect(2000);
}

#[test]
fn every_invariant_holds_in_the_worlds_from_3000() {
    every_invariant_holds_and_every_fault_took_effect(3000);
}

#[test]
fn every_invariant_holds_in_the_worlds_from_4000() {
    every_invariant_holds_and_every_fault_took_effect(4000);
}
