//! Many worlds, and what is said about them.

use super::engine::{Engine, Sound};
use super::law::{Law, Violation};
use super::setting::Setting;
use super::trouble::Troubles;
use super::world::{Outcome, World};
use crate::threads::on_all_processors;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The most failed worlds that a report names.
const MOST_FAILURES: usize = 20;

/// What became of many worlds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Worlds that were run.
    pub worlds: u64,
    /// Steps that were made.
    pub steps: u64,
    /// Token requests.
    pub requests: u64,
    /// Tokens that were given out to callers.
    pub given: u64,
    /// The true time of all worlds together.
    pub simulated: Duration,
    /// What went wrong around the machines.
    pub troubles: Troubles,
    /// Worlds in which a law did not hold.
    pub failed: u64,
    /// The first of them, by seed.
    pub failures: Vec<(u64, Violation)>,
    /// The time that all threads together worked.
    pub worked: Duration,
}

/// Runs the world of `seed` with `engine`.
pub fn run_one<E: Engine>(seed: u64, engine: E) -> Outcome {
    let setting = Setting::draw(&mut fastrand::Rng::with_seed(seed));
    let world = AssertUnwindSafe(|| World::new(setting, engine, seed.wrapping_add(1)).map(World::run));
    let what = match catch_unwind(world) {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(refused)) => refused,
        Err(panic) => panic.downcast_ref::<&str>().map_or("a panic", |what| *what).to_owned(),
    };
    let violation = Violation { law: Law::NoPanic, step: 0, at_ms: 0, what };
    Outcome { violations: vec![violation], ..Outcome::default() }
}

/// Runs the worlds from seed `first` on with the real machines, on as many threads as there are processors, until `steps` steps
/// have been made.
pub fn run(first: u64, steps: u64) -> Report {
    let one = |seed| run_one(seed, Sound);
    let (mut report, worked) =
        on_all_processors(first..u64::MAX, Report::default(), one, |report: &mut Report, seed, outcome| {
            report.add(seed, outcome);
            let enough = report.steps >= steps || report.failures.len() >= MOST_FAILURES;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    report.worked = worked;
    report.failures.sort_by_key(|(seed, _)| *seed);
    report
}

impl Report {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.worlds += 1;
        self.steps += outcome.steps;
        self.requests += outcome.requests;
        self.given += outcome.given;
        self.simulated = self.simulated.saturating_add(Duration::from_millis(outcome.lasted_ms));
        self.troubles.merge(&outcome.troubles);
        self.failed += u64::from(!outcome.violations.is_empty());
        self.failures.extend(outcome.violations.into_iter().next().map(|violation| (seed, violation)));
    }

    /// Whether every law held in every world.
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }

    /// Steps a second of one thread.
    pub fn steps_per_second(&self) -> u128 {
        u128::from(self.steps) * 1_000_000 / self.worked.as_micros().max(1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "worlds            {:>12}", self.worlds)?;
        writeln!(f, "steps             {:>12}", self.steps)?;
        writeln!(f, "steps/s a thread  {:>12}", self.steps_per_second())?;
        writeln!(f, "simulated days    {:>12}", self.simulated.as_secs() / 86_400)?;
        writeln!(f, "token requests    {:>12}", self.requests)?;
        writeln!(f, "tokens given out  {:>12}", self.given)?;
        writeln!(f, "faults            {:>12}", self.troubles.total())?;
        for (kind, count) in self.troubles.iter() {
            writeln!(f, "  {kind:<30} {count:>10}")?;
        }
        writeln!(f, "failed worlds     {:>12}", self.failed)?;
        self.failures
            .iter()
            .try_for_each(|(seed, violation)| writeln!(f, "machines, seed {seed}: {violation}"))
    }
}
