//! The used assertions on disk, for a server that is killed and started again.
//!
//! Two files take turns: each gets the records of [`GENERATION`], which is longer than any assertion can be used, so that
//! the older one holds nothing of use when its turn comes to be written anew. A record is written before the answer goes
//! out, without `fsync`: what a process has written stays when it is killed. It may not stay when the machine goes down,
//! so a file of another boot is not believed, nor is one in which something could not be written. What cannot be believed
//! is made up for by refusing every assertion that was made before the server started.

mod generation;
#[cfg(test)]
mod tests;

use super::SpentKey;
use generation::{Begun, Content, GenerationFile};
use jeton_proto::jose::assertion_verification::ASSERTION_CLOCK_SKEW;
use jeton_proto::time::Timestamp;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one file is written. The longest that an assertion can be used is 360 s: 300 s of life, and the clock skew at
/// both ends.
const GENERATION: Duration = Duration::from_secs(400);
/// The most records of a file: 128 MiB.
const MAX_RECORDS: u64 = 4 * 1024 * 1024;
/// How long after a failure the journal is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(30);
const LOCK_FILE: &str = "spent-assertions.lock";

/// What a journal tells of the time before the server started.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) spent: Vec<(SpentKey, Timestamp)>,
    /// All is known of assertions that were made at this time or later.
    pub(super) known_since: Timestamp,
}

/// Writes what was spent.
#[derive(Debug)]
pub(super) struct Journal {
    data_dir: PathBuf,
    boot_id: Option<String>,
    /// Held for as long as the process lives: one process alone writes here.
    lock: Option<File>,
    state: State,
}

#[derive(Debug)]
enum State {
    Writing(GenerationFile),
    /// What was spent since is in memory alone.
    Failing {
        retry_at: Timestamp,
        /// A file that still says that all is in it: the disk has not taken the mark.
        unmarked: Option<GenerationFile>,
    },
}

impl Journal {
    /// Reads the journal in `data_dir` and goes on with it, or begins a new one.
    pub(super) fn open(data_dir: &Path, now: Timestamp) -> (Self, Kept) {
        Self::open_in_boot(data_dir, boot_id(), now)
    }

    fn open_in_boot(data_dir: &Path, boot_id: Option<String>, now: Timestamp) -> (Self, Kept) {
        let state = State::Failing { retry_at: now.saturating_add(RETRY_PAUSE), unmarked: None };
        let mut journal = Self { data_dir: data_dir.to_owned(), boot_id, lock: None, state };
        let kept = journal.resume(now).unwrap_or_else(|error| {
            warn(&error);
            Kept { spent: Vec::new(), known_since: after_doubt(now) }
        });
        (journal, kept)
    }

    /// Writes a record. A failure is told once, and everything that is `live` is written when the disk has room again.
    pub(super) fn record(
        &mut self,
        record: (SpentKey, Timestamp),
        known_since: Timestamp,
        now: Timestamp,
        live: impl FnOnce() -> Vec<(SpentKey, Timestamp)>,
    ) {
        match &mut self.state {
            State::Failing { retry_at, unmarked } => {
                // Before all else, for whoever is killed next.
                if unmarked.as_ref().is_some_and(|file| file.disown().is_ok()) {
                    *unmarked = None;
                }
                if now < *retry_at {
                    return;
                }
                // A failure after the first is not told again.
                *retry_at = now.saturating_add(RETRY_PAUSE);
                if self.begin_again(known_since, now, &live()).is_ok() {
                    tracing::info!("used client assertions are written to disk again");
                }
            }
            State::Writing(current) => {
                let Err(error) = current.append_at(record, now) else { return };
                warn(&error);
                let marked = current.disown();
                let retry_at = now.saturating_add(RETRY_PAUSE);
                let failing = State::Failing { retry_at, unmarked: None };
                let before = std::mem::replace(&mut self.state, failing);
                if let (Err(error), State::Writing(file)) = (marked, before) {
                    warn_unmarked(&error);
                    self.state = State::Failing { retry_at, unmarked: Some(file) };
                }
            }
        }
    }

    fn resume(&mut self, now: Timestamp) -> io::Result<Kept> {
        let ran_before = self.data_dir.join(LOCK_FILE).exists();
        self.take_lock()?;
        let found = generation::read(&self.data_dir)?;
        let lost = found.is_empty() && ran_before;
        let whole = !lost && found.iter().all(|found| found.content == Content::Whole);
        let of_this_boot =
            found.iter().all(|found| found.begun.boot_id.is_some() && found.begun.boot_id == self.boot_id);
        let spent: Vec<_> = found.iter().flat_map(|found| found.records.iter().copied()).collect();
        let latest = found.into_iter().max_by_key(|found| found.begun.at);
        // It was begun by a clock that was ahead, and would have assertions refused until that time comes.
        let ahead = latest.as_ref().is_some_and(|latest| latest.begun.known_since > after_doubt(now));
        if let (true, true, false, Some(latest)) = (whole, of_this_boot, ahead, latest) {
            let known_since = latest.begun.known_since;
            self.state = State::Writing(GenerationFile::resume(&self.data_dir, latest)?);
            return Ok(Kept { spent, known_since });
        }
        // The machine was down for a while before it started again; a disk that was full was so a moment ago.
        let known_since = if whole && !ahead { whole_second(now) } else { after_doubt(now) };
        // What there is does no harm: an assertion that was used is refused either way.
        self.begin_again(known_since, now, &spent)?;
        Ok(Kept { spent, known_since })
    }

    fn begin_again(
        &mut self,
        known_since: Timestamp,
        now: Timestamp,
        live: &[(SpentKey, Timestamp)],
    ) -> io::Result<()> {
        self.take_lock()?;
        let begun = Begun { at: now, known_since, boot_id: self.boot_id.clone() };
        self.state = State::Writing(GenerationFile::begin(&self.data_dir, begun, live)?);
        Ok(())
    }

    fn take_lock(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            let file = generation::open(&self.data_dir.join(LOCK_FILE))?;
            file.try_lock().map_err(|error| match error {
                TryLockError::Error(error) => error,
                TryLockError::WouldBlock => io::Error::other("another process uses this data directory"),
            })?;
            self.lock = Some(file);
        }
        Ok(())
    }
}

fn warn(error: &io::Error) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(
        error,
        "used client assertions cannot be written to disk; tokens go on, and after a restart assertions from before it \
         are refused"
    );
}

fn warn_unmarked(error: &io::Error) {
    let error: &dyn std::error::Error = error;
    tracing::error!(
        error,
        "the disk does not even take the mark that used client assertions are missing on it; a server that is killed now, and started \
         within 6 minutes on a disk that can be written, would take them again: remove spent-assertions.*.journal before that"
    );
}

/// Times of issue have whole seconds, rounded down.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(now.as_unix_seconds())
}

/// The latest time of issue of what may have been used up to `now`, by a client whose clock is ahead.
fn after_doubt(now: Timestamp) -> Timestamp {
    whole_second(now.saturating_add(ASSERTION_CLOCK_SKEW))
}

/// What tells this boot of the machine from another; `None` where the system does not say.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot_id = text.trim_end();
    (boot_id.len() == generation::BOOT_ID_BYTES).then(|| boot_id.to_owned())
}
