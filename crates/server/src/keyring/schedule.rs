//! The schedule of the keys: makes, settles and drops them where the store can be written. All instances run it; of two that
//! decide at once one is made, and the other one sees that and decides anew.

use super::{Keyring, KeyringError, takeover};
use crate::store::{ChangeNumber, CommitError, StoreLocation, StoreWatch, Write};
use crate::workers::{Worker, Workers};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{Effect, RotationPolicy, decide};
use jeton_proto::time::{Clock, Timestamp};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The time between two looks at the clock when no key changes.
const TICK: Duration = Duration::from_millis(500);
/// How many ticks are let pass after a failure: nothing here is urgent, and a store that is away is not to be asked all the time.
const TICKS_AFTER_FAILURE: u32 = 20;
/// How many ticks a change that was written may take to be read back.
const TICKS_TO_SEE: u32 = 20;
/// How often something is decided anew at the start, where others may start too.
const TRIES_AT_START: usize = 32;
/// How long what was written at the start may take to be read back.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// The time between two looks whether it was.
const SEEN_PAUSE: Duration = Duration::from_millis(2);

/// What the schedule is run with.
pub(crate) struct Scheduler {
    pub(crate) location: StoreLocation,
    pub(crate) keyring: Arc<Keyring>,
    /// What the server signs with.
    pub(crate) in_use: Vec<Algorithm>,
    pub(crate) policy: RotationPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) workers: Workers,
}

/// The thread that runs the schedule. Dropping this ends it.
pub(crate) struct KeySchedule {
    keyring: Arc<Keyring>,
    ended: Arc<AtomicBool>,
}

/// What became of a decision.
enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// It was written.
    Written(ChangeNumber),
    /// Another one was written first.
    Overtaken,
}

impl Scheduler {
    /// Takes over the key files in `data_dir`, makes the keys that are missing, then starts the thread.
    ///
    /// # Errors
    /// When a key cannot be used, or one is missing and cannot be made. A schedule that cannot write, with keys for everything
    /// that it signs with, is a warning.
    pub(crate) fn start(
        self,
        data_dir: &Path,
        watch: &StoreWatch,
        nudged: Receiver<()>,
    ) -> Result<KeySchedule, KeyringError> {
        self.keyring.check()?;
        takeover::take_over(&self, data_dir, watch)?;
        if let Err(error) = self.settle(watch) {
            if !self.can_sign() {
                return Err(error);
            }
            tell(&error);
        }
        let (keyring, ended) = (Arc::clone(&self.keyring), Arc::<AtomicBool>::default());
        let of_thread = Arc::clone(&ended);
        // Whatever a panic has left half decided is decided anew by what is in memory.
        let workers = self.workers.clone();
        let started = workers.start(Worker::Keys, move |_| self.keep(&nudged, &of_thread));
        started.map_err(KeyringError::Thread)?;
        Ok(KeySchedule { keyring, ended })
    }

    /// Does all that is due now.
    fn settle(&self, watch: &StoreWatch) -> Result<(), KeyringError> {
        for _ in 0..TRIES_AT_START {
            match self.run()? {
                Outcome::Nothing => return Ok(()),
                Outcome::Written(change) => self.await_change(change, watch)?,
                Outcome::Overtaken => {
                    watch.look_soon();
                    thread::sleep(SEEN_PAUSE);
                }
            }
        }
        // Others are at it; the thread sees to what is left.
        if self.can_sign() { Ok(()) } else { Err(KeyringError::Contended) }
    }

    fn can_sign(&self) -> bool {
        let (keys, now) = (self.keyring.keys(), self.clock.now());
        self.in_use.iter().all(|algorithm| keys.signer(*algorithm, now).is_some())
    }

    /// Writes these, and waits until they are in memory; whether nobody was faster.
    pub(super) fn write_and_await(&self, writes: &[Write], watch: &StoreWatch) -> Result<bool, KeyringError> {
        match self.commit(writes)? {
            Outcome::Written(change) => self.await_change(change, watch).map(|()| true),
            Outcome::Nothing | Outcome::Overtaken => {
                watch.look_soon();
                thread::sleep(SEEN_PAUSE);
                Ok(false)
            }
        }
    }

    fn await_change(&self, change: ChangeNumber, watch: &StoreWatch) -> Result<(), KeyringError> {
        watch.look_soon();
        for _ in 0..SEEN_WITHIN.as_millis() / SEEN_PAUSE.as_millis() {
            if self.keyring.keys().book.has_seen(change) {
                return Ok(());
            }
            thread::sleep(SEEN_PAUSE);
        }
        Err(KeyringError::NotSeen)
    }

    /// Decides about the keys in memory, and writes that unless others have written since.
    fn run(&self) -> Result<Outcome, KeyringError> {
        let keys = self.keyring.keys();
        // Who cannot use all of them cannot know whether one is missing.
        self.keyring.check()?;
        let effects = decide(&keys.book.schedule(), &self.in_use, &self.policy, self.clock.now());
        if effects.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let outcome = self.commit(&keys.book.writes(&effects, self.keyring.sealer())?)?;
        match outcome {
            Outcome::Written(_) => effects.iter().for_each(log),
            Outcome::Nothing | Outcome::Overtaken => {}
        }
        Ok(outcome)
    }

    fn commit(&self, writes: &[Write]) -> Result<Outcome, KeyringError> {
        // Opened for this alone: months pass between two decisions.
        match self.location.open()?.commit(writes, self.clock.now()) {
            Ok(change) => Ok(Outcome::Written(change)),
            Err(CommitError::Conflict { .. }) => Ok(Outcome::Overtaken),
            Err(CommitError::Full(_)) => Err(KeyringError::Full),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    fn keep(&self, nudged: &Receiver<()>, ended: &AtomicBool) {
        let mut awaited: Option<Awaited> = None;
        let mut rest = 0_u32;
        let mut failing = false;
        loop {
            match nudged.recv_timeout(TICK) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    rest = rest.saturating_sub(1);
                    awaited = awaited.and_then(Awaited::after_a_tick);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if ended.load(Ordering::Relaxed) {
                return;
            }
            // What was seen once is awaited no more: the registry may go back to a backup from before it.
            awaited = awaited.filter(|awaited| !self.keyring.keys().book.has_seen(awaited.change));
            if rest > 0 || awaited.is_some() {
                continue;
            }
            match self.run() {
                Ok(outcome) => {
                    failing = false;
                    if let Outcome::Written(change) = outcome {
                        awaited = Some(Awaited { change, ticks: TICKS_TO_SEE });
                    }
                }
                Err(error) => {
                    rest = TICKS_AFTER_FAILURE;
                    if !failing {
                        tell(&error);
                    }
                    failing = true;
                }
            }
        }
    }
}

/// A change that was written, and is to be in memory before the next decision.
#[derive(Clone, Copy)]
struct Awaited {
    change: ChangeNumber,
    /// So many ticks more. Whoever decides too early is overtaken, and whoever waits for what was lost waits for ever.
    ticks: u32,
}

impl Awaited {
    fn after_a_tick(self) -> Option<Self> {
        self.ticks.checked_sub(1).map(|ticks| Self { ticks, ..self })
    }
}

impl Drop for KeySchedule {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.keyring.nudge();
    }
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySchedule")
    }
}

fn tell(error: &KeyringError) {
    let error: &dyn Error = error;
    tracing::warn!(error, "the signing keys cannot be rotated now; going on with those that there are");
}

pub(super) fn log(effect: &Effect) {
    match effect {
        Effect::Announce { algorithm, times } => {
            let at_once = times.active_from.is_some();
            tracing::info!(%algorithm, at_once, "a signing key is announced");
        }
        Effect::Change { key_id, times } => {
            let active_from = times.active_from.map(Timestamp::as_unix_seconds);
            let retired = times.retired.is_some();
            tracing::info!(key_id, active_from, retired, "the times of a signing key are settled");
        }
        Effect::Drop { key_id } => tracing::info!(key_id, "a signing key is dropped"),
    }
}
