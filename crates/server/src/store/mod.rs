//! What the server keeps: records with numbered changes, in one `SQLite` file or in a database that several instances share
//! (decision 0018). The domain is written above it, once.

mod noted;
mod postgres;
mod sqlite;
mod watch;

pub(crate) use noted::Writability;
pub(crate) use postgres::Database;
pub use postgres::{DatabaseError, DatabasePassword, InvalidDatabase, PasswordFuture, PostgresSettings};
pub(crate) use sqlite::SqliteStore;
pub use watch::WatchError;
pub(crate) use watch::{Follower, StoreWatch};

use crate::config::Storage;
use crate::data_dir::PrivateFileError;
use crate::spent_assertions::SharedSpending;
use crate::workers::Workers;
use jeton_proto::revocation::MAX_REVOKED_TOKENS;
use jeton_proto::time::{Clock, Timestamp};
use postgres::{PostgresSpending, PostgresStore};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use watch::Nudge;

/// For how long a removal is remembered: a reader that looked longer ago reads everything anew.
pub(crate) const REMOVAL_REMEMBERED: Duration = Duration::from_hours(24);

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A client, by its id.
    Client,
    /// When the secrets of a client were used last, by its id.
    SecretUse,
    /// A signing key, by its key id.
    SigningKey,
    /// A token that was revoked, by its `jti`.
    Revocation,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 4] = [Self::Client, Self::SecretUse, Self::SigningKey, Self::Revocation];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::SecretUse => "secret_use",
            Self::SigningKey => "signing_key",
            Self::Revocation => "revocation",
        }
    }

    /// The kind of this name; `None` for what a newer program writes.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The most records of this kind: every instance holds all of them in memory.
    pub(crate) const fn most(self) -> u64 {
        match self {
            Self::Client | Self::SecretUse => 100_000,
            Self::SigningKey => 1_000,
            Self::Revocation => MAX_REVOKED_TOKENS as u64,
        }
    }
}

/// The number of a commit. Numbers come in the order of the commits, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChangeNumber(pub(crate) u64);

/// A record as it was written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// The document; `None` when the record was removed.
    pub(crate) body: Option<String>,
    /// The commit that wrote it.
    pub(crate) change: ChangeNumber,
    /// From when on it counts for nothing; `None`: never. Readers judge by their own clock.
    pub(crate) expires_at: Option<Timestamp>,
}

/// What was written since a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The last commit that is in here, to ask from next time.
    pub(crate) through: ChangeNumber,
    /// Whether these are all records that there are, so that whatever a reader has beside them is gone.
    pub(crate) extent: Extent,
    /// The records, each once, in the order of their changes. Of kinds that are not known here there are none.
    pub(crate) records: Vec<Record>,
}

/// How much of the store [`Changes`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All records that there are.
    Everything,
    /// What was written or removed since the change that was asked for.
    Since,
}

/// One record to be written.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// The document; `None` removes the record.
    pub(crate) body: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) expect: Expect,
}

/// What must be there for a write to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Whatever there is.
    Anything,
    /// No record, or one that was removed.
    Absent,
    /// The record as this change has written it.
    Change(ChangeNumber),
}

/// Where the server keeps its records. Every call may wait for the database: none is for a thread that must not block.
pub(crate) trait Store: Send + fmt::Debug {
    /// What was written after the commit `after`; [`ChangeNumber`] 0 reads everything.
    ///
    /// Cheap when there is nothing. A reader that has seen commit N has seen every commit up to N.
    fn changes(&mut self, after: ChangeNumber) -> Result<Changes, StoreError>;

    /// One record, unless it was removed.
    fn record(&mut self, kind: Kind, id: &str) -> Result<Option<Record>, StoreError>;

    /// The records of `kind` whose ids come after `after` in the order of their bytes: the first `limit` of them, in that order.
    fn page(&mut self, kind: Kind, after: &str, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Writes all of `writes` durably, or none of them. When this returns an error other than [`CommitError::Conflict`] and
    /// [`CommitError::Full`], the commit may have happened all the same.
    fn commit(&mut self, writes: &[Write], now: Timestamp) -> Result<ChangeNumber, CommitError>;

    /// Forgets what counts for nothing at `now`.
    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// The setting `name`, which becomes `value` if there is none.
    fn setting(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Lets `nudge` be nudged soon after others have committed, where the store can hear of that, until what is returned is dropped.
    fn listen(&self, _nudge: Nudge) -> Option<Listening> {
        None
    }

    /// Lets the store have no more than `pages` pages of its file, as a full disk would.
    #[cfg(test)]
    fn limit_pages(&mut self, pages: u32);
}

/// Hears of the commits of others until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening(tokio::task::AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the records are, and how to get there: each thread has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) enum StoreLocation {
    /// In the file `registry.sqlite3` of this directory.
    DataDir(PathBuf),
    /// In a database that several instances share.
    Postgres(Arc<Database>),
}

impl StoreLocation {
    /// What the instances share of the assertions that were used, where there can be several.
    pub(crate) fn spending(
        &self,
        clock: &Arc<dyn Clock>,
        workers: &Workers,
    ) -> Result<Option<Arc<dyn SharedSpending>>, StoreError> {
        match self {
            Self::DataDir(_) => Ok(None),
            Self::Postgres(database) => {
                let spending = PostgresSpending::start(database, Arc::clone(clock), workers.clone())?;
                Ok(Some(Arc::new(spending)))
            }
        }
    }

    /// Where a server with these settings has its records. Nothing is opened yet.
    pub(crate) fn of(storage: &Storage, data_dir: &Path) -> Result<Self, StoreError> {
        match storage {
            Storage::Embedded => Ok(Self::DataDir(data_dir.to_owned())),
            Storage::Postgres(settings) => Ok(Self::Postgres(Arc::new(Database::new(settings)?))),
        }
    }

    /// Opens the store, makes it where there is none, and brings its schema up to date.
    pub(crate) fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Self::DataDir(data_dir) => Ok(Box::new(SqliteStore::open(data_dir)?)),
            Self::Postgres(database) => Ok(Box::new(PostgresStore::open(database)?)),
        }
    }
}

/// Why nothing was committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// A record is not as it was expected.
    #[error("another process has changed {} {}", .kind.name(), .id)]
    Conflict {
        /// The kind of the first such record.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// There are as many records of this kind as there can be.
    #[error("there are {} records of the kind {}, which is the most", .0.most(), .0.name())]
    Full(Kind),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory or a file in it cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The database failed.
    #[error("the registry {place} {advice}")]
    Database {
        /// The file or the server.
        place: String,
        /// What is wrong with it, and what to do.
        advice: &'static str,
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database cannot be talked to at all.
    #[error(transparent)]
    Unusable(#[from] DatabaseError),
    /// The database was made by a newer version.
    #[error(
        "the registry {place} has version {version}, this program knows {known} at most; use the newer program"
    )]
    NewerSchema {
        /// The file or the server.
        place: String,
        /// Its version.
        version: u32,
        /// The newest version that is known here.
        known: u32,
    },
}

/// The database file in `data_dir`.
pub(crate) fn sqlite_path(data_dir: &Path) -> PathBuf {
    data_dir.join("registry.sqlite3")
}

#[cfg(test)]
#[path = "../../../../testdata/foreign/postgresql.rs"]
pub(crate) mod postgresql;
#[cfg(test)]
mod tests;
