//! What a worker counts before it tells.

use crate::processes::line::Report;
use crate::processes::monotonic::Monotonic;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The tokens that the tasks of one burst were given.
#[derive(Default)]
pub(super) struct Burst {
    given: BTreeMap<u64, Given>,
}

struct Given {
    tasks: usize,
    first: Monotonic,
    longest: Duration,
}

impl Burst {
    pub(super) fn given(&mut self, serial: u64, waited: Duration, at: Monotonic) {
        let given = self.given.entry(serial).or_insert(Given { tasks: 0, first: at, longest: waited });
        given.tasks += 1;
        given.first = given.first.min(at);
        given.longest = given.longest.max(waited);
    }

    pub(super) fn reports(&self, burst: u64) -> Vec<Report> {
        let shares = self.given.iter();
        let told = shares.map(|(&serial, &Given { tasks, first, longest })| Report::Given {
            burst,
            serial,
            tasks,
            first,
            longest,
        });
        told.collect()
    }
}

/// What the tasks that ask again and again were given.
pub(super) struct Tally {
    state: Mutex<State>,
}

struct State {
    newest: Vec<Option<u64>>,
    calls: u64,
    longest: Duration,
}

impl Tally {
    pub(super) fn of(keys: usize) -> Self {
        Self { state: Mutex::new(State { newest: vec![None; keys], calls: 0, longest: Duration::ZERO }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is another token than the one before it.
    pub(super) fn got(&self, key: usize, serial: u64, waited: Duration) -> bool {
        let mut state = self.state();
        state.calls += 1;
        state.longest = state.longest.max(waited);
        state.newest.get_mut(key).is_some_and(|newest| newest.replace(serial) != Some(serial))
    }

    pub(super) fn report(&self) -> Report {
        let state = self.state();
        Report::Resting { calls: state.calls, longest: state.longest }
    }
}
