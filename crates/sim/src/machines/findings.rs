//! The laws that did not hold in one world.

use super::law::{Law, Violation};

/// The first violation of each law.
#[derive(Debug)]
pub struct Findings<L = Law> {
    step: u64,
    at_ms: u64,
    found: Vec<Violation<L>>,
}

impl<L> Default for Findings<L> {
    fn default() -> Self {
        Self { step: 0, at_ms: 0, found: Vec::new() }
    }
}

impl<L: Copy + PartialEq> Findings<L> {
    /// A step has begun.
    pub fn step(&mut self, at_ms: u64) {
        self.step += 1;
        self.at_ms = at_ms;
    }

    /// The steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Notes what was seen, unless the law holds.
    pub fn unless(&mut self, holds: bool, law: L, what: impl FnOnce() -> String) {
        if !holds && self.found.iter().all(|violation| violation.law != law) {
            self.found.push(Violation { law, step: self.step, at_ms: self.at_ms, what: what() });
        }
    }

    /// What was found.
    pub fn into_violations(self) -> Vec<Violation<L>> {
        self.found
    }
}
