//! Many worlds, on as many threads as there are processors, and what is said about them.

use crate::authority::{Reissue, SetupError};
use crate::checker::{Invariant, Rules, Violation};
use crate::clock::millis;
use crate::door::{AsItIs, Workshop};
use crate::fault::FaultCounts;
use crate::journal::{Summary, Trace};
use crate::plan::Plan;
use crate::threads::on_all_processors;
use crate::world;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// The most failed seeds that a report names.
const MOST_FAILURES: usize = 20;

/// Which worlds to run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// How long each lasts.
    pub lasts: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Worlds that were run.
    pub worlds: u64,
    /// The virtual time of all of them together.
    pub simulated: Duration,
    /// Token requests of all clients.
    pub token_requests: u64,
    /// Calls that may wait, of all callers.
    pub calls: u64,
    /// Faults that took effect.
    pub faults: FaultCounts,
    /// Worlds in which an invariant did not hold.
    pub failed: u64,
    /// How many of them by what was broken first.
    pub broken: BTreeMap<Invariant, u64>,
    /// The first of them, by seed.
    pub failures: Vec<(u64, Violation)>,
    /// Worlds that could not be set up.
    pub setup_errors: Vec<String>,
    lasts_hours: u64,
}

/// Runs one world with the real client.
///
/// # Errors
/// [`SetupError`] when it cannot be set up.
pub fn run_one(seed: u64, lasts: Duration, trace: Trace) -> Result<Summary, SetupError> {
    let plan = Plan::of(seed, lasts);
    let workshop: Arc<dyn Workshop> = Arc::new(AsItIs);
    world::run(&plan, &rules_for(&plan), &workshop, trace)
}

/// What the real client promises in this world.
pub fn rules_for(plan: &Plan) -> Rules {
    Rules {
        quota: Some(plan.quota),
        breaker: Some(plan.breaker),
        keeps_ahead: plan.reissue == Reissue::New,
        ..Rules::of_defaults(plan.boot)
    }
}

/// Runs all worlds with the real client.
pub fn run(seeds: Seeds) -> Report {
    let report = Report { lasts_hours: seeds.lasts.as_secs() / 3600, ..Report::default() };
    let range = seeds.first..seeds.first.saturating_add(seeds.count);
    let one = |seed| run_one(seed, seeds.lasts, Trace::Hashed);
    let (mut report, _worked) =
        on_all_processors(range, report, one, |report: &mut Report, seed, outcome| {
            report.add(seed, seeds.lasts, outcome);
            ControlFlow::Continue(())
        });
    report.failures.sort_by_key(|(seed, _)| *seed);
    report.failures.truncate(MOST_FAILURES);
    report
}

impl Report {
    fn add(&mut self, seed: u64, lasts: Duration, outcome: Result<Summary, SetupError>) {
        self.worlds += 1;
        let summary = match outcome {
            Ok(summary) => summary,
            Err(error) => return self.setup_errors.push(format!("seed {seed}: {error}")),
        };
        self.simulated += lasts;
        self.token_requests += summary.token_requests;
        self.calls += summary.calls;
        self.faults.merge(&summary.faults);
        self.failed += u64::from(!summary.violations.is_empty());
        if let Some(first) = summary.violations.into_iter().next() {
            *self.broken.entry(first.invariant).or_default() += 1;
            self.failures.push((seed, first));
        }
    }

    /// Whether every invariant held in every world.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.setup_errors.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "worlds            {:>12}", self.worlds)?;
        writeln!(f, "simulated hours   {:>12}", millis(self.simulated) / 3_600_000)?;
        writeln!(f, "token requests    {:>12}", self.token_requests)?;
        writeln!(f, "calls that wait   {:>12}", self.calls)?;
        writeln!(f, "faults            {:>12}", self.faults.total())?;
        for (kind, count) in self.faults.iter() {
            writeln!(f, "  {kind:<30} {count:>10}")?;
        }
        writeln!(f, "failed worlds     {:>12}", self.failed)?;
        for (invariant, count) in &self.broken {
            writeln!(f, "  {:<30} {count:>10}", invariant.id())?;
        }
        for (seed, violation) in &self.failures {
            writeln!(f, "seed {seed}: {violation}")?;
            writeln!(f, "  again: cargo xtask sim --seed {seed} --hours {} --trace", self.lasts_hours)?;
        }
        self.setup_errors.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}
