//! A store in memory, for several managers of one process.

use super::kept::Kept;
use super::{Change, Reading, RecordName, SharedStore, StoreFuture, Subscription, Swap, Version};
use crate::clock::SystemClock;
use crate::sync::{Mutex, lock};
use jeton_proto::time::Clock;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A store in memory: several managers in one process live on one token for each key. Cheap to clone; all
/// clones are one store.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: HashMap<RecordName, Kept>,
    subscribers: HashMap<RecordName, watch::Sender<()>>,
    /// How many records there may be until those that are over are looked for.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 64;

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty one that goes by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let state = State { sweep_at: FIRST_SWEEP, ..State::default() };
        Self { inner: Arc::new(Inner { clock, state: Mutex::new(state) }) }
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        lock(&self.inner.state).subscribers.values().map(watch::Sender::receiver_count).sum()
    }

    fn now(&self) -> u64 {
        self.inner.clock.now().as_unix_millis()
    }

    fn swap(&self, name: &RecordName, expected: Option<Version>, change: Change) -> Swap {
        let now = self.now();
        let mut state = lock(&self.inner.state);
        let kept = match Kept::swapped(state.records.get(name), expected, change, now) {
            Ok(kept) => kept,
            Err(conflict) => return conflict,
        };
        let is_free = !kept.is_leased(now);
        state.records.insert(*name, kept);
        if state.records.len() > state.sweep_at {
            state.records.retain(|_, kept| kept.is_alive(now));
            state.sweep_at = FIRST_SWEEP.max(state.records.len().saturating_mul(2));
        }
        if is_free && let Some(subscribers) = state.subscribers.get(name) {
            subscribers.send_replace(());
        }
        Swap::Written { now }
    }
}

impl SharedStore for MemoryStore {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move {
            let now = self.now();
            let state = lock(&self.inner.state);
            Ok(Kept::reading(state.records.get(name), now))
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move { Ok(self.swap(name, expected, change)) })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move {
            let mut state = lock(&self.inner.state);
            let sender = state.subscribers.entry(*name).or_insert_with(|| watch::Sender::new(()));
            let receiver = sender.subscribe();
            Ok(Subscription::new(receiver, Listening { store: self.clone(), name: *name }))
        })
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}

/// Takes the sender away with its last subscription.
struct Listening {
    store: MemoryStore,
    name: RecordName,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = lock(&self.store.inner.state);
        // This subscription's own receiver is gone by now.
        if state.subscribers.get(&self.name).is_some_and(|sender| sender.receiver_count() == 0) {
            state.subscribers.remove(&self.name);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
