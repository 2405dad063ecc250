//! Stores that processes share, so that a whole fleet lives on one token for each key.
//!
//! A store keeps one small record for each name: a version, a lease, and what this crate sealed into it. It
//! needs to do three
//! things: read a record, replace it if nobody else has in the meantime, and tell who waits of a change. All that is
//! decided, is decided by the clients ([`jeton_proto::flight`]).
//!
//! | store | for |
//! |---|---|
//! | [`FileStore`] | the processes of one user on one machine |
//! | [`MemoryStore`] | several managers in one process, and tests |
//! | `RedisStore`, with the feature `redis` | a fleet, in Redis or Valkey: one server, with Sentinel, or a cluster |
//!
//! What leaves the process is encrypted with a [`KeyRing`], and a record that cannot be opened counts as not
//! there. A store that is slow, down or full
//! costs nobody a token: the process goes on by itself, says so once in the log, and in its metrics as long as
//! it lasts.
//!
//! Most callers do not need more than
//! [`TokenManagerBuilder::shared_store`](crate::TokenManagerBuilder::shared_store) and one
//! of the stores; the trait is for those who bring their own.

pub mod conformance;
pub(crate) mod entry;
#[cfg(unix)]
mod file;
mod kept;
#[cfg(unix)]
mod key_file;
pub(crate) mod link;
mod memory;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod seal;
mod summary;

#[cfg(unix)]
pub use file::{FileStore, StoreDirError, Watching};
pub use jeton_proto::flight::Version;
#[cfg(unix)]
pub use key_file::KeyFileError;
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{InvalidRedisSettings, RedisStore, RedisStoreBuilder};
pub use seal::{InvalidStoreKey, KeyRing, StoreKey};
pub use summary::{EntrySummary, NoSummary, TokenSummary};

use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// The most bytes that [`Change::note`] holds.
pub const MAX_NOTE_BYTES: usize = 256;
/// The most bytes that a body holds. A store reads no record that is longer than it may be.
pub const MAX_BODY_BYTES: usize = 128 * 1024;
/// The longest time for which a record or a lease is kept.
pub const LONGEST_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// A store of records that several processes share.
///
/// The contract, which [`conformance`] holds every store of this crate to:
///
/// - **One clock.** Leases and ends are counted by one clock, the store's, which every answer tells as
///   [`Reading::now`].
///   It need not be right, and may step; it has to be the same for all who use the store.
/// - **Whole or not at all.** A change is made in one step, as far as any reader or other writer can tell. No
///   reader sees a part
///   of it, not even after the writer was killed.
/// - **Compared.** [`compare_and_swap`](Self::compare_and_swap) changes a record only if its version is the
///   expected one, or
///   there is no record and none is expected. Of several with the same expectation one succeeds. Who does not
///   is told what is there.
/// - **Ends.** A record is gone once its lease, its body's life and [`Change::keep_for`] are over; a body is
///   gone with its life.
/// - **Told.** Who [subscribed](Self::subscribe) is told of each later change that leaves the record without a
///   lease, soon and at least once. It may be told
///   without need; a loss is made up for by looking again every half second.
/// - **Names and contents are opaque**, and there is no need to keep them secret; they are sealed.
///
/// Harmless wrong answers: a fault where there is none, a record that got lost, an old record or lease that
/// comes back, bytes that were changed, a
/// change that was made though a fault was told. Each may cost one more token request. Not harmless: two
/// successes with the same expectation, at the price of one more
/// token request at most.
pub trait SharedStore: Send + Sync + 'static {
    /// Reads the record `name`.
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading>;

    /// Makes `change` to the record `name` if its version is `expected`, `None` being no record; and then tells
    /// the subscribers, if
    /// there is no lease in it any more.
    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap>;

    /// Is told of changes from when this future is done until what it gives is dropped.
    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription>;

    /// What it is called in metrics and the log: one word, such as `redis`.
    fn kind(&self) -> &'static str;
}

/// What a store answers, or why it does not.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// The name of a record: a keyed hash, which tells nothing of what it is for. Its `Display` is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName([u8; 32]);

impl RecordName {
    /// The name of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordName({self})")
    }
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The store's clock, in milliseconds since the Unix epoch.
    pub now: u64,
    /// What is there.
    pub record: Option<Record>,
}

/// What a store keeps.
#[derive(Clone, Debug)]
pub struct Record {
    /// Of which write it is.
    pub version: Version,
    /// How much of its lease is left; `None` when there is none, or it is over.
    pub lease_left: Option<Duration>,
    /// What was written with the lease, or in its place.
    pub note: Bytes,
    /// The token, sealed; `None` when there is none, or its life is over.
    pub body: Option<Bytes>,
}

/// What becomes of a record.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version from now on. It was never used before.
    pub version: Version,
    /// The lease from now on, in place of the one that was there; at most [`LONGEST_KEPT`].
    pub lease: Option<Duration>,
    /// The note from now on; at most [`MAX_NOTE_BYTES`].
    pub note: Bytes,
    /// For how long the record is kept at least, for the sake of the note; at most [`LONGEST_KEPT`].
    pub keep_for: Duration,
    /// What becomes of the body.
    pub body: BodyChange,
}

/// What becomes of a record's body.
#[derive(Clone, Debug)]
pub enum BodyChange {
    /// It stays, with its life.
    Keep,
    /// It goes.
    Drop,
    /// It is replaced.
    Put {
        /// The body from now on; at most [`MAX_BODY_BYTES`].
        body: Bytes,
        /// For how long from now; at most [`LONGEST_KEPT`].
        life: Duration,
    },
}

/// What came of a change.
#[derive(Clone, Debug)]
pub enum Swap {
    /// It was made.
    Written {
        /// The store's clock, in milliseconds since the Unix epoch.
        now: u64,
    },
    /// It was not, since this is there.
    Conflict(Reading),
}

/// Tells of changes of a record.
pub struct Subscription {
    /// Dropped before what is kept.
    changes: watch::Receiver<()>,
    _keep: Box<dyn Any + Send>,
}

impl Subscription {
    /// Tells of a change whenever a value is sent; `keep` is kept, and dropped with the subscription.
    pub fn new(changes: watch::Receiver<()>, keep: impl Any + Send) -> Self {
        Self { changes, _keep: Box::new(keep) }
    }

    /// Waits for a change since the last time this was called. Never ends once the store has nothing more to tell.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// Why a store did not do what it was asked for. Its detail is shown to people: no secret may be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct StoreFault {
    kind: StoreFaultKind,
    detail: String,
}

impl StoreFault {
    /// A fault, and what is the matter.
    pub fn new(kind: StoreFaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What kind of fault it is.
    #[must_use]
    pub const fn kind(&self) -> StoreFaultKind {
        self.kind
    }

    /// What is the matter.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// What kind of fault a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreFaultKind {
    /// It cannot be reached, or the connection broke.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It does not let us in, or not do this.
    Denied,
    /// It cannot write now: it is full, read-only or not ready.
    Unwritable,
    /// Its answer cannot be understood.
    Malformed,
    /// It is being left alone after faults; nothing was asked.
    LeftAlone,
}

impl StoreFaultKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::TimedOut, Self::Denied, Self::Unwritable, Self::Malformed, Self::LeftAlone];

    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::Unwritable => "unwritable",
            Self::Malformed => "malformed",
            Self::LeftAlone => "left_alone",
        }
    }
}

impl fmt::Display for StoreFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the store cannot be reached",
            Self::TimedOut => "the store did not answer in time",
            Self::Denied => "the store refuses this client",
            Self::Unwritable => "the store cannot be written now",
            Self::Malformed => "the store's answer cannot be understood",
            Self::LeftAlone => "the store is left alone after faults",
        })
    }
}
