//! Keeps what the token path sees in step with the store, which other processes may change.
//!
//! One thread looks for changes (a few microseconds when there are none) four times a second, so the token path
//! never waits for the store. A failed authentication asks for one look more: a client that was added a moment ago
//! works at once. All who fail at the same time share that look, and there are at most fifty a second.

use super::{ChangeNumber, Changes, Extent, Listening, Store, StoreError};
use crate::workers::{Run, Worker, Workers};
use jeton_proto::hindsight::Hindsight;
use jeton_proto::time::Clock;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// The time between two looks when nobody asks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The least time between two looks.
const LEAST_GAP: Duration = Duration::from_millis(20);
/// The longest that a failed authentication waits for a look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for a commit of this process to be read back.
const SEEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Has a part of the store in memory.
pub(crate) trait Follower: Send + Sync + fmt::Debug {
    /// Takes over what was written. Records of other kinds do not concern it.
    fn follow(&self, changes: &Changes);
}

/// The thread that looks for changes and tells the followers. Dropping this ends the thread.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    shared: Arc<Shared>,
    /// Taken when this is dropped, which is how the thread knows.
    nudge: Option<Arc<SyncSender<()>>>,
    looks_done: watch::Receiver<u64>,
    /// Where the store can hear of what others commit.
    _listening: Option<Listening>,
}

/// Asks a watch for a look, from anywhere and without a wait.
#[derive(Clone, Debug)]
pub(crate) struct Nudge(Weak<SyncSender<()>>);

impl Nudge {
    /// For the one who receives from `nudge`, while that is held.
    pub(crate) fn of(nudge: &Arc<SyncSender<()>>) -> Self {
        Self(Arc::downgrade(nudge))
    }

    /// Asks for a look soon. A watch that has ended does nothing.
    pub(crate) fn now(&self) {
        if let Some(nudge) = self.0.upgrade() {
            // When the channel is full, the look that was asked for has not begun, so it will do.
            let _asked = nudge.try_send(());
        }
    }
}

#[derive(Debug)]
struct Shared {
    looks_begun: AtomicU64,
    readable: AtomicBool,
    /// The last commit that the followers have.
    seen: AtomicU64,
}

impl StoreWatch {
    /// Reads the whole store for `followers`, then starts the thread.
    pub(crate) fn start(
        mut store: Box<dyn Store>,
        followers: Vec<Arc<dyn Follower>>,
        clock: Arc<dyn Clock>,
        workers: &Workers,
    ) -> Result<Self, WatchError> {
        let seen = look(store.as_mut(), &followers, ChangeNumber(0))?;
        let shared = Arc::new(Shared {
            looks_begun: AtomicU64::new(0),
            readable: AtomicBool::new(true),
            seen: AtomicU64::new(seen.0),
        });
        let (nudge, nudged) = sync_channel(1);
        let nudge = Arc::new(nudge);
        let listening = store.listen(Nudge::of(&nudge));
        let (done, looks_done) = watch::channel(0);
        let of_thread = Arc::clone(&shared);
        let mut watcher = Watcher::new(store, followers, seen, clock);
        workers.start(Worker::Registry, move |run| {
            match run {
                Run::First => {}
                Run::AfterPanic => watcher.start_over(&of_thread),
            }
            keep_watch(&mut watcher, &of_thread, &nudged, &done);
        })?;
        Ok(Self { shared, nudge: Some(nudge), looks_done, _listening: listening })
    }

    /// Whether the last look could read the store. If not, the token path goes on with what was read before.
    pub(crate) fn is_readable(&self) -> bool {
        self.shared.readable.load(Ordering::Relaxed)
    }

    /// Waits for a look that begins after this call: at most about [`LEAST_GAP`] when all is well, and never longer
    /// than [`LOOK_TIMEOUT`].
    pub(crate) async fn look_again(&self) {
        let wanted = self.shared.looks_begun.load(Ordering::SeqCst).saturating_add(1);
        self.look_soon();
        let mut looks_done = self.looks_done.clone();
        let _in_time = tokio::time::timeout(LOOK_TIMEOUT, looks_done.wait_for(|done| *done >= wanted)).await;
    }
}

impl StoreWatch {
    /// Asks for a look, and waits for nothing.
    pub(crate) fn look_soon(&self) {
        if let Some(nudge) = &self.nudge {
            // When the channel is full, the look that was asked for has not begun, so it will do.
            let _asked = nudge.try_send(());
        }
    }

    /// Waits until the followers have the commit `change`, for [`SEEN_TIMEOUT`] at most; whether they have it.
    pub(crate) async fn wait_for(&self, change: ChangeNumber) -> bool {
        let has_it = || self.shared.seen.load(Ordering::SeqCst) >= change.0;
        let looking = async {
            while !has_it() {
                self.look_again().await;
            }
        };
        let _in_time = tokio::time::timeout(SEEN_TIMEOUT, looking).await;
        has_it()
    }
}

impl Drop for StoreWatch {
    fn drop(&mut self) {
        self.nudge = None;
    }
}

/// Why a watch cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread cannot be started.
    #[error("the thread that reads the registry cannot be started")]
    Thread(#[from] io::Error),
}

fn look(
    store: &mut dyn Store,
    followers: &[Arc<dyn Follower>],
    seen: ChangeNumber,
) -> Result<ChangeNumber, StoreError> {
    let changes = store.changes(seen)?;
    if changes.through < seen {
        tracing::error!(
            seen = seen.0,
            through = changes.through.0,
            "the registry has gone back to an earlier state, as a backup that was restored; clients, keys and revocations that were written \
             since are lost: look which tokens were revoked, and which clients disabled, by the audit log"
        );
    }
    if changes.extent == Extent::Everything || !changes.records.is_empty() {
        for follower in followers {
            follower.follow(&changes);
        }
        tracing::debug!(records = changes.records.len(), "the registry has changed and was read");
    }
    Ok(changes.through)
}

struct Watcher {
    store: Box<dyn Store>,
    followers: Vec<Arc<dyn Follower>>,
    seen: ChangeNumber,
    clock: Arc<dyn Clock>,
    /// A clock that jumps ahead and is set right takes no revocation with it.
    hindsight: Hindsight,
}

impl Watcher {
    fn new(
        store: Box<dyn Store>,
        followers: Vec<Arc<dyn Follower>>,
        seen: ChangeNumber,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, followers, seen, clock, hindsight: Hindsight::default() }
    }

    /// A follower may have taken a part of what it was told: it is told everything anew.
    fn start_over(&mut self, shared: &Shared) {
        self.seen = ChangeNumber(0);
        shared.readable.store(false, Ordering::Relaxed);
    }

    fn look(&mut self) -> Result<(), StoreError> {
        self.seen = look(self.store.as_mut(), &self.followers, self.seen)?;
        Ok(())
    }

    /// What cannot be forgotten now, on a full disk say, is forgotten later.
    fn purge(&mut self) {
        if let Some(over_at) = self.hindsight.look(self.clock.moment())
            && let Err(error) = self.store.purge(over_at)
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what has expired cannot be removed from the registry");
        }
    }
}

fn keep_watch(watcher: &mut Watcher, shared: &Shared, nudged: &Receiver<()>, done: &watch::Sender<u64>) {
    loop {
        match nudged.recv_timeout(POLL_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return shared.readable.store(false, Ordering::Relaxed),
        }
        let begun = shared.looks_begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        match watcher.look() {
            Ok(()) => {
                shared.seen.store(watcher.seen.0, Ordering::SeqCst);
                if !shared.readable.swap(true, Ordering::Relaxed) {
                    tracing::info!("the registry can be read again");
                }
            }
            Err(error) => {
                if shared.readable.swap(false, Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the registry cannot be read; going on with what was read before");
                }
            }
        }
        done.send_replace(begun);
        watcher.purge();
        thread::sleep(LEAST_GAP);
    }
}

#[cfg(test)]
mod tests;
