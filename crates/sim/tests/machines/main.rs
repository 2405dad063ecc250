//! The machines alone, under a scheduler that a seed drives: every law holds, and a broken machine is caught.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod broken;
mod fleet;

use broken::BROKEN;
use sim::machines::engine::Sound;
use sim::machines::law::Law;
use sim::machines::runs::{run, run_one};

/// In how many worlds a broken machine has to be caught.
const WORLDS: u64 = 400;

#[test]
fn every_law_holds_of_the_machines_and_everything_went_wrong() {
    let report = run(0, 1_000_000);
    assert!(report.is_clean(), "{report}");
    assert!(report.requests > 20_000 && report.given > 300_000, "{report}");
    for (trouble, count) in report.troubles.iter() {
        assert!(count >= 100, "{trouble}: {count}\n{report}");
    }
}

#[test]
fn one_seed_is_one_world() {
    for seed in 0..20 {
        let told = || format!("{:?}", run_one(seed, Sound));
        assert_eq!(told(), told(), "seed {seed}");
    }
    assert_ne!(format!("{:?}", run_one(0, Sound)), format!("{:?}", run_one(1, Sound)));
}

#[test]
fn every_broken_machine_is_caught_by_the_law_that_it_breaks() {
    let mut missed = Vec::new();
    for broken in BROKEN {
        let caught = (0..WORLDS).find(|seed| {
            let outcome = (broken.run)(*seed);
            outcome.violations.iter().any(|violation| violation.law == broken.law)
        });
        match caught {
            Some(seed) => println!("{}: caught by {:?} in world {seed}", broken.name, broken.law),
            None => missed.push((broken.name, broken.law)),
        }
    }
    assert!(missed.is_empty(), "not caught in {WORLDS} worlds: {missed:?}");
}

#[test]
fn no_law_is_without_a_machine_that_breaks_it() {
    for law in Law::ALL {
        assert!(BROKEN.iter().any(|broken| broken.law == law), "nothing breaks {law:?}");
    }
}
