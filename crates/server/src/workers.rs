//! What a server does beside its requests: threads and tasks, each with a name. One that panics is told in the log, counted, and
//! goes on after a pause; while one is down that revocations, keys or clients depend on, the server is not ready.
//!
//! What is not in here, and why:
//! - connections and requests, of whichever listener: a panic ends that one alone, and is told. The loops that take connections hand them
//!   on, and nothing in them depends on what a caller sends;
//! - a fetch of a client's keys: it belongs to the requests that wait for it, and counts as failed (`remote_keys`);
//! - the connection that hears of the commits of others: the watch over the store looks four times a second without it;
//! - the thread `jeton-postgres`: it runs the tasks of others, and the runtime keeps the panic of one from it;
//! - an administrative act: its caller waits for it, and is told.

#[cfg(test)]
mod tests;

use crate::http::catch_panic;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The pause after a panic, which doubles with each up to the longest one. Whoever went on for longer than that begins anew.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Who does something beside the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    /// Keeps the memory in step with the store.
    Registry,
    /// Makes, settles and drops the signing keys.
    Keys,
    /// Writes revocations.
    Revocations,
    /// Writes down when secrets were used.
    Uses,
    /// Follows the files of clients.
    Clients,
    /// Writes the audit log.
    Audit,
    /// Shares used assertions with other instances: a task.
    Assertions,
    /// Looks whether the certificate was replaced: a task.
    Certificate,
    /// Exports metrics: a task.
    Export,
}

impl Worker {
    pub(crate) const COUNT: usize = 9;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Registry,
        Self::Keys,
        Self::Revocations,
        Self::Uses,
        Self::Clients,
        Self::Audit,
        Self::Assertions,
        Self::Certificate,
        Self::Export,
    ];

    /// The label in the metrics. A thread is called the same, with `jeton-` before it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Keys => "keys",
            Self::Revocations => "revocations",
            Self::Uses => "uses",
            Self::Clients => "clients",
            Self::Audit => "audit",
            Self::Assertions => "assertions",
            Self::Certificate => "certificate",
            Self::Export => "export",
        }
    }

    /// Whether a server without it is not to be sent new work: it would sign with old keys, know clients and revocations of
    /// before, or acknowledge no revocation. Without the others tokens are as good as ever.
    const fn is_needed(self) -> bool {
        match self {
            Self::Registry | Self::Keys | Self::Revocations => true,
            Self::Uses
            | Self::Clients
            | Self::Audit
            | Self::Assertions
            | Self::Certificate
            | Self::Export => false,
        }
    }
}

/// How a piece of work begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// For the first time.
    First,
    /// After a panic, which may have left its own things half changed.
    AfterPanic,
}

/// The workers of one server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    records: [Record; Worker::COUNT],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Record {
    panics: AtomicU64,
    is_down: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    is_ending: bool,
    /// The threads that have not ended.
    living: Vec<Worker>,
}

impl Workers {
    /// Starts the thread of `worker`. It has ended when `work` returns; when `work` panics, it is called again after a pause.
    ///
    /// `work` is to know by itself when it is to end, and must hold up to being called again.
    pub(crate) fn start(
        &self,
        worker: Worker,
        work: impl FnMut(Run) + Send + 'static,
    ) -> io::Result<thread::Thread> {
        let shared = Arc::clone(&self.0);
        shared.lock().living.push(worker);
        let living = Living { shared, worker };
        let named = thread::Builder::new().name(format!("jeton-{}", worker.name()));
        let handle = named.spawn(move || {
            living.shared.keep(worker, work);
            drop(living);
        })?;
        Ok(handle.thread().clone())
    }

    /// What a step of a task brings; `None` when it panicked. The task is to pause before the next one.
    pub(crate) async fn catch<T>(&self, worker: Worker, step: impl Future<Output = T>) -> Option<T> {
        let caught = catch_panic(step).await;
        caught.map_err(|_| self.panicked(worker)).ok()
    }

    /// Counts a panic that was caught elsewhere.
    pub(crate) fn panicked(&self, worker: Worker) {
        self.0.panicked(worker);
    }

    /// How often each has panicked, in the order of [`Worker::ALL`].
    pub(crate) fn panics(&self) -> [u64; Worker::COUNT] {
        self.0.records.each_ref().map(|record| record.panics.load(Ordering::Relaxed))
    }

    /// Whether all are at work that a server needs.
    pub(crate) fn are_well(&self) -> bool {
        let needed = Worker::ALL.iter().filter(|worker| worker.is_needed());
        needed
            .filter_map(|worker| self.0.record(*worker))
            .all(|record| !record.is_down.load(Ordering::Relaxed))
    }

    /// Lets none be called again, but for one time in which it brings to an end what it had begun.
    pub(crate) fn begin_end(&self) {
        self.0.lock().is_ending = true;
        self.0.changed.notify_all();
    }

    /// Waits for the ends of those threads, no longer than `limit`; who is left. They go on, and end with the process.
    pub(crate) fn await_end(&self, of: impl Fn(Worker) -> bool, limit: Duration) -> Vec<Worker> {
        let left =
            |state: &State| state.living.iter().copied().filter(|worker| of(*worker)).collect::<Vec<_>>();
        let waiting =
            self.0.changed.wait_timeout_while(self.0.lock(), limit, |state| !left(state).is_empty());
        let (state, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        left(&state)
    }
}

impl Shared {
    fn keep(&self, worker: Worker, mut work: impl FnMut(Run)) {
        let mut run = Run::First;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let (begun, was_ending) = (Instant::now(), self.lock().is_ending);
            let ended = catch_unwind(AssertUnwindSafe(|| work(run)));
            if ended.is_ok() {
                return;
            }
            self.panicked(worker);
            if was_ending {
                return;
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = SHORTEST_PAUSE;
            }
            self.rest(worker, pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            run = Run::AfterPanic;
        }
    }

    /// The panic itself was told on standard error, by its place and its words.
    fn panicked(&self, worker: Worker) {
        if let Some(record) = self.record(worker) {
            record.panics.fetch_add(1, Ordering::Relaxed);
        }
        let worker = worker.name();
        tracing::error!(worker, "a fault of this program: a worker panicked; it goes on after a pause");
    }

    fn rest(&self, worker: Worker, pause: Duration) {
        let set_down = |is_down| {
            if let Some(record) = self.record(worker) {
                record.is_down.store(is_down, Ordering::Relaxed);
            }
        };
        set_down(true);
        drop(self.changed.wait_timeout_while(self.lock(), pause, |state| !state.is_ending));
        set_down(false);
    }

    fn record(&self, worker: Worker) -> Option<&Record> {
        self.records.get(worker as usize)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that has not ended.
struct Living {
    shared: Arc<Shared>,
    worker: Worker,
}

impl Drop for Living {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(at) = state.living.iter().position(|living| *living == self.worker) {
            state.living.swap_remove(at);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}
