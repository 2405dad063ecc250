//! The audit log: every token request and every administrative act as one JSON line, in a chain of digests.
//!
//! Whoever answers a request adds a record to a bounded queue, and one thread writes it: within 100 ms to the file, and
//! within a second to the disk. The log never holds a token up: what can be written nowhere for too long is counted, and
//! the count is written when writing works again.

mod chain;
mod files;
mod journal;
mod queue;
mod record;
mod search;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use chain::{Break, Head};
pub use files::log_files;
pub use journal::JournalError;
pub use record::Event;
pub use search::find_request;
pub use verify::{LogFault, Torn, Verdict, verify};

pub(crate) use record::{Members, Record};

use crate::issuer::ClockHandle;
use crate::workers::Workers;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::error_response::printable;
use journal::Journal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use writer::Writer;

/// Where the audit log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditLog {
    /// The file `audit.jsonl` in the data directory.
    #[default]
    InDataDir,
    /// This file; its directory is there.
    File(PathBuf),
    /// There is none.
    Off,
}

impl AuditLog {
    /// The file, for a server with this data directory.
    #[must_use]
    pub fn path(&self, data_dir: &Path) -> Option<PathBuf> {
        match self {
            Self::InDataDir => Some(data_dir.join("audit.jsonl")),
            Self::File(path) => Some(path.clone()),
            Self::Off => None,
        }
    }
}

/// Bounds of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// So many bytes of records wait at most; those beyond are lost, and counted. Default 8 MiB.
    pub queue_bytes: usize,
    /// A file does not become longer; then another one is begun. Default 64 MiB.
    pub file_bytes: u64,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { queue_bytes: 8 * 1024 * 1024, file_bytes: 64 * 1024 * 1024 }
    }
}

/// How many records were written, and how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Records in the file.
    pub written: u64,
    /// Records for which there was no room while nothing could be written.
    pub lost: u64,
}

/// An audit log that a server writes to. It is written whole and closed when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Audit {
    writer: Arc<Writer>,
    clock: ClockHandle,
}

impl Audit {
    /// Opens the log at `path`, mends it where the last to write was killed, and starts the thread that writes.
    ///
    /// # Errors
    /// When the path is no place for a log. A disk that is full or held by others is no error: it is waited for.
    pub fn start(path: PathBuf, limits: AuditLimits, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        Self::start_among(&Workers::default(), path, limits, clock)
    }

    /// The same, as one of these workers.
    pub(crate) fn start_among(
        workers: &Workers,
        path: PathBuf,
        limits: AuditLimits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JournalError> {
        let clock = ClockHandle(clock);
        let journal = Journal::new(path, limits.file_bytes);
        let audit = Self { writer: Arc::new(Writer::start(workers, journal, limits, clock.clone())?), clock };
        let version = env!("CARGO_PKG_VERSION");
        audit.add(&audit.record(Event::ServerStarted).text("version", version).number("pid", process_id()));
        Ok(audit)
    }

    /// Tells an administrative act.
    pub fn tell(&self, act: &Act<'_>) {
        self.add(&act.record(self.clock.now()));
    }

    /// How many records were written and lost.
    pub fn counts(&self) -> AuditCounts {
        self.writer.counts()
    }

    /// Writes what waits, and ends the log. It may take as long as the disk does, up to 3 s.
    pub(crate) fn close(&self) {
        self.add(&self.record(Event::ServerEnded).number("pid", process_id()));
        self.writer.end();
    }

    pub(crate) fn record(&self, event: Event) -> Record {
        Record::new(event, self.clock.now())
    }

    pub(crate) fn add(&self, record: &Record) {
        self.writer.add(record.members());
    }
}

/// Something that an administrator did.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// What was done.
    pub event: Event,
    /// Who did it: a user of the machine, or a client of the admin API.
    pub actor: &'a str,
    /// The client to which it was done.
    pub client_id: Option<&'a str>,
    /// What else is to be known, and is no secret.
    pub detail: Option<&'a str>,
}

impl Act<'_> {
    fn record(&self, at: Timestamp) -> Record {
        Record::new(self.event, at)
            .text("actor", &printable(self.actor))
            .text_of("client_id", self.client_id.map(printable).as_deref())
            .text_of("detail", self.detail.map(printable).as_deref())
    }
}

/// Writes one administrative act to the log at `path`, which a server may be writing to at the same time, and to the disk.
pub fn append(path: &Path, act: &Act<'_>, at: Timestamp) -> Result<(), JournalError> {
    append_all(path, std::slice::from_ref(act), at)
}

/// Writes several acts as [`append`] writes one.
pub fn append_all(path: &Path, acts: &[Act<'_>], at: Timestamp) -> Result<(), JournalError> {
    let mut journal = Journal::new(path.to_owned(), AuditLimits::default().file_bytes);
    for some in acts.chunks(ACTS_AT_ONCE) {
        let lines: Vec<_> = some.iter().flat_map(|act| [act.record(at).members(), b"\n"].concat()).collect();
        journal.append(&lines, &mut 0, at)?;
    }
    journal.sync()
}

/// How many acts are written while the lock of the log is held.
const ACTS_AT_ONCE: usize = 100;

fn process_id() -> u64 {
    u64::from(std::process::id())
}
