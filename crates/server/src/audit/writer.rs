//! The thread that writes the audit log.

use super::journal::{Journal, JournalError};
use super::queue::{Pushed, Queue};
use super::record::{Event, Record};
use super::{AuditCounts, AuditLimits};
use crate::data_dir::PrivateFileError;
use crate::issuer::ClockHandle;
use crate::workers::{Run, Worker, Workers};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// The longest that a record waits for its line in the file.
const TICK: Duration = Duration::from_millis(100);
/// The longest that a line waits for the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end waits for a disk on which nothing can be written.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// The longest that the end waits for the thread, which a disk may hold for ever.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The queue, and the thread that empties it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
    workers: Workers,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    ending: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
}

impl Writer {
    /// Opens the log and starts the thread.
    pub(super) fn start(
        workers: &Workers,
        mut journal: Journal,
        limits: AuditLimits,
        clock: ClockHandle,
    ) -> Result<Self, JournalError> {
        let opened = journal.prepare(clock.now());
        let failing = match opened {
            Ok(()) => false,
            Err(error) if is_passing(&error) => {
                warn(&error);
                true
            }
            Err(error) => return Err(error),
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(limits.queue_bytes),
            ending: AtomicBool::new(false),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let mut state = State::new(journal, Arc::clone(&shared), clock, failing);
        let started = workers.start(Worker::Audit, move |run| {
            match run {
                Run::First => {}
                Run::AfterPanic => state.start_over(),
            }
            state.run();
        });
        let thread = started.map_err(JournalError::Thread)?;
        Ok(Self { shared, thread, workers: workers.clone() })
    }

    /// Adds the members of a record. It waits for nothing: one copy under a lock that is held for nothing else.
    pub(super) fn add(&self, members: &[u8]) {
        match self.shared.queue.push(members) {
            Pushed::Waits => {}
            Pushed::MakesABatch => self.thread.unpark(),
            Pushed::Lost => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn counts(&self) -> AuditCounts {
        AuditCounts {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Writes what waits and ends the thread.
    pub(super) fn end(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.thread.unpark();
        let left = self.workers.await_end(|worker| worker == Worker::Audit, END_TIMEOUT);
        if !left.is_empty() {
            tracing::error!(
                "the disk of the audit log holds the thread that writes it; its last records may be lost"
            );
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

struct State {
    journal: Journal,
    shared: Arc<Shared>,
    clock: ClockHandle,
    /// What was taken from the queue, and how far it is in the file.
    batch: Vec<u8>,
    batch_written: usize,
    unsynced: bool,
    synced_at: Instant,
    failing: bool,
    /// Where in the batch a panic has stopped it. One that stops there again is not tried a third time.
    stopped_at: Option<usize>,
    /// Records that were given up and are not told yet.
    given_up: u64,
}

impl State {
    fn new(journal: Journal, shared: Arc<Shared>, clock: ClockHandle, failing: bool) -> Self {
        Self {
            journal,
            shared,
            clock,
            batch: Vec::new(),
            batch_written: 0,
            unsynced: false,
            synced_at: Instant::now(),
            failing,
            stopped_at: None,
            given_up: 0,
        }
    }

    /// After a panic: what is in the file is found out anew, and what cannot be written is given up, so that the log goes on.
    fn start_over(&mut self) {
        self.journal.reopen();
        let rest = self.batch.get(self.batch_written..).unwrap_or_default();
        let stopped_at = self.stopped_at.replace(self.batch_written);
        if stopped_at == Some(self.batch_written) && !rest.is_empty() {
            let lines = rest.split_inclusive(|byte| *byte == b'\n').count() as u64;
            self.batch.clear();
            self.batch_written = 0;
            self.given_up = self.given_up.saturating_add(lines);
            self.shared.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn run(&mut self) {
        let mut ended_at = None;
        loop {
            let ending = self.shared.ending.load(Ordering::SeqCst);
            let written = self.write_all();
            self.sync_if(ending);
            match written {
                Ok(()) if ending => return,
                Err(_) if ending => {
                    let deadline = *ended_at.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
                    if Instant::now() >= deadline {
                        tracing::error!("the audit log cannot be written; its last records are lost");
                        return;
                    }
                    thread::sleep(TICK);
                }
                Ok(()) | Err(_) => thread::park_timeout(TICK),
            }
        }
    }

    /// Writes what was taken, what was lost after it, and what waits by now.
    fn write_all(&mut self) -> Result<(), JournalError> {
        let written = self.try_write_all();
        match &written {
            Ok(()) => {
                self.stopped_at = None;
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) if !self.failing => {
                self.failing = true;
                warn(error);
            }
            Err(_) => {}
        }
        written
    }

    fn try_write_all(&mut self) -> Result<(), JournalError> {
        // What is left of a batch, then what is taken now; the next tick has the rest.
        self.write_batch()?;
        let lost = self.shared.queue.take(&mut self.batch).saturating_add(std::mem::take(&mut self.given_up));
        self.batch_written = 0;
        if lost > 0 {
            // In the batch, so that the loss is told once, behind the last record before it.
            let record = Record::new(Event::RecordsLost, self.clock.now()).number("records_lost", lost);
            self.batch.extend_from_slice(record.members());
            self.batch.push(b'\n');
        }
        if self.failing && self.batch.is_empty() {
            // With nothing to write, it would be said to go well.
            return self.journal.prepare(self.clock.now());
        }
        self.write_batch()
    }

    fn write_batch(&mut self) -> Result<(), JournalError> {
        if self.batch_written >= self.batch.len() {
            return Ok(());
        }
        let before = self.batch_written;
        let appended = self.journal.append(&self.batch, &mut self.batch_written, self.clock.now());
        self.unsynced |= self.batch_written > before;
        self.shared.written.store(self.journal.lines_written(), Ordering::Relaxed);
        appended
    }

    fn sync_if(&mut self, ending: bool) {
        if !self.unsynced || !(ending || self.synced_at.elapsed() >= SYNC_INTERVAL) {
            return;
        }
        self.synced_at = Instant::now();
        match self.journal.sync() {
            Ok(()) => self.unsynced = false,
            Err(error) if !self.failing => warn(&error),
            Err(_) => {}
        }
    }
}

/// Whether it may be over without anybody changing a setting: a full disk, one that is read-only for now, another writer.
fn is_passing(error: &JournalError) -> bool {
    match error {
        JournalError::Held { .. } => true,
        JournalError::System { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        ),
        JournalError::Private(
            PrivateFileError::Directory { .. }
            | PrivateFileError::WritableByOthers { .. }
            | PrivateFileError::Read { .. }
            | PrivateFileError::Write { .. }
            | PrivateFileError::NotAFile { .. }
            | PrivateFileError::OpenToOthers { .. }
            | PrivateFileError::TooLong { .. },
        )
        | JournalError::Thread(_) => false,
    }
}

fn warn(error: &JournalError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, cause, "the audit log cannot be written; tokens go on, and records that find no room are lost");
}
