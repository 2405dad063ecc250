//! Many fleets, and what is said about them.

use super::fitting::AsItIs;
use super::judge::Violation;
use super::plan::Plan;
use super::world::{self, Outcome};
use crate::threads::on_all_processors;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

/// The most failed fleets that a report names.
const MOST_FAILURES: usize = 20;

/// How long a fleet lasts.
pub const LASTS: Duration = Duration::from_mins(9);

/// What became of many fleets.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Fleets that were run.
    pub fleets: u64,
    /// Calls that were answered.
    pub calls: u64,
    /// Token requests.
    pub requests: u64,
    /// Letters to the store.
    pub letters: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<&'static str, u64>,
    /// Fleets in which an invariant did not hold.
    pub failed: u64,
    /// The first of them, by seed.
    pub failures: Vec<(u64, Violation)>,
    /// Fleets that could not be set up.
    pub setup_errors: Vec<String>,
}

/// Runs one fleet of the real client.
///
/// # Errors
/// When it cannot be set up.
pub fn run_one(seed: u64, keeps_lines: bool) -> Result<Outcome, String> {
    world::run(&Plan::of(seed, LASTS), &AsItIs, keeps_lines)
}

/// Runs `count` fleets from seed `first` on, on as many threads as there are processors.
pub fn run(first: u64, count: u64) -> Report {
    let seeds = first..first.saturating_add(count);
    let one = |seed| run_one(seed, false);
    let (mut report, _worked) =
        on_all_processors(seeds, Report::default(), one, |report: &mut Report, seed, outcome| {
            report.add(seed, outcome);
            ControlFlow::Continue(())
        });
    report.failures.sort_by_key(|(seed, _)| *seed);
    report.failures.truncate(MOST_FAILURES);
    report
}

impl Report {
    fn add(&mut self, seed: u64, outcome: Result<Outcome, String>) {
        self.fleets += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.setup_errors.push(format!("seed {seed}: {error}")),
        };
        self.calls += outcome.calls;
        self.requests += outcome.requests;
        self.letters += outcome.letters;
        for (name, count) in outcome.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.failed += u64::from(!outcome.violations.is_empty());
        self.failures.extend(outcome.violations.into_iter().next().map(|violation| (seed, violation)));
    }

    /// Whether every invariant held in every fleet.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.setup_errors.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fleets            {:>12}", self.fleets)?;
        writeln!(f, "simulated hours   {:>12}", self.fleets * LASTS.as_secs() / 3600)?;
        writeln!(f, "token requests    {:>12}", self.requests)?;
        writeln!(f, "calls             {:>12}", self.calls)?;
        writeln!(f, "asked of stores   {:>12}", self.letters)?;
        writeln!(f, "faults            {:>12}", self.faults.values().sum::<u64>())?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind:<30} {count:>10}")?;
        }
        writeln!(f, "failed fleets     {:>12}", self.failed)?;
        for (seed, violation) in &self.failures {
            writeln!(f, "fleet {seed}: {violation}")?;
            writeln!(f, "  again: cargo xtask sim --fleet {seed}")?;
        }
        self.setup_errors.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}
