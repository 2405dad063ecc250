//! A store in a directory, for the processes of one user on one machine.
//!
//! ```text
//! the directory, 0700
//! ├── 6b1f…c2       a record: its name in hexadecimal digits, 0600
//! ├── lock-6        the lock of the records whose names begin with 6
//! └── next-6        what is about to become one of them; there for a moment, or left by a writer that was killed
//! ```
//!
//! - **A change** is made under a lock of the kernel, which ends with whoever holds it: read, compare, write `next-6`,
//!   `fsync` where a token is put, rename. The lock files are never renamed or replaced; a lock on one that was removed counts for nothing.
//!   A lock that is not to be had within 150 ms is a fault, so that a holder that was stopped stops nobody else.
//! - **Reading** needs no lock. A file that is no record of its name, whole to the last byte, is no record: it reads as
//!   absent and is replaced by the next change.
//! - **Telling** of changes is the kernel's, by inotify; where that is not to be had, the files are looked at every 15 ms.
//! - **Links** are not followed: not as the directory, a record or a lock. A link in the place of a record is replaced.
//! - **Nothing is left.** A writer that fails removes what it began; what one that was killed left is removed by the
//!   next, and a few records that are over with every so many changes.
//!
//! The clock is the wall clock of the machine. On a network file system the store works as well as its locks do;
//! changes of other machines are told only by [looking](Watching::Looking), and their clocks have to agree.

mod directory;
mod lock;
mod record;
#[cfg(test)]
mod tests;
mod watch;

pub use directory::StoreDirError;
pub use watch::Watching;

use super::kept::Kept;
use super::{
    Change, Reading, RecordName, SharedStore, StoreFault, StoreFaultKind, StoreFuture, Subscription,
};
use super::{Swap, Version};
use crate::clock::SystemClock;
use directory::{Directory, Durability, Open};
use jeton_proto::time::Clock;
use lock::Lock;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use watch::Watch;

/// How many threads of the runtime one store occupies at most, each for reading and for writing; a file system that
/// hangs stops no more.
const MOST_THREADS: usize = 8;
/// How long a caller waits for one of them.
const THREAD_PATIENCE: Duration = Duration::from_millis(250);
/// How long a writer waits for the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(150);
/// After so many changes a few records that are over are looked for, and after the first one.
const CHANGES_PER_SWEEP: u32 = 64;
/// How many files one sweep looks at.
const SWEPT_FILES: usize = 64;
/// How many names [`FileStore::names`] gives at most.
const MOST_NAMES: usize = 10_000;

/// A store in a directory: the processes of one user on one machine live on one token for each key.
///
/// Cheap to clone. Any number of stores, in any number of processes, may be opened on one directory.
///
/// ```
/// use jeton::store::FileStore;
///
/// # let home = tempfile::tempdir()?;
/// let store = FileStore::open(home.path().join("jeton"))?;
/// # drop(store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
    watch: Arc<Watch>,
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

struct Inner {
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    changes: AtomicU32,
}

impl FileStore {
    /// Opens the store in `directory`, which is made if it is not there, with its parents. Blocks for as long as the file system takes.
    ///
    /// # Errors
    /// When the directory cannot be made or opened, is a symbolic link, belongs to another user, or lets others in.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreDirError> {
        Self::open_with_clock(directory, Arc::new(SystemClock))
    }

    /// As [`open`](Self::open), going by `clock`. It has to show the same to all who use the directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(
        directory: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreDirError> {
        let directory = Arc::new(Directory::open(directory.as_ref())?);
        let watch = Arc::new(Watch::new(Arc::clone(&directory), Watching::Told));
        Ok(Self {
            inner: Arc::new(Inner { directory, clock, changes: AtomicU32::new(0) }),
            watch,
            reading: Arc::new(Semaphore::new(MOST_THREADS)),
            writing: Arc::new(Semaphore::new(MOST_THREADS)),
        })
    }

    /// Learns of changes in this way. Without it, by the kernel where it tells.
    #[must_use]
    pub fn with_watching(self, watching: Watching) -> Self {
        let watch = Arc::new(Watch::new(Arc::clone(&self.inner.directory), watching));
        Self { watch, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.inner.directory.path()
    }

    /// The names of the records, in order, 10,000 at most. Some may be over by now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn names(&self) -> Result<Vec<RecordName>, StoreFault> {
        self.blocking(&self.reading, |inner| {
            let mut names = inner.directory.current()?.list(MOST_NAMES)?.names;
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    /// Removes the record, and tells whether there was one. Whoever holds its lease finds that it was lost.
    ///
    /// # Errors
    /// When it cannot be removed, or the lock is not to be had.
    pub async fn remove(&self, name: &RecordName) -> Result<bool, StoreFault> {
        let name = *name;
        self.blocking(&self.writing, move |inner| {
            let open = inner.directory.current()?;
            let _lock = Lock::take(&open, lock::shard(&name), LOCK_PATIENCE)?;
            open.remove(&name)
        })
        .await
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.watch.subscriptions()
    }

    /// What the file of the record `name` holds after `change` to nothing at `now`. For the tests of the format.
    #[doc(hidden)]
    #[must_use]
    pub fn encode(name: &RecordName, change: Change, now: u64) -> Vec<u8> {
        record::to_bytes(name, &Kept::after(None, change, now))
    }

    /// What is read at `now` from a file of the record `name` that holds `bytes`. For the tests of the format.
    #[doc(hidden)]
    #[must_use]
    pub fn decode(name: &RecordName, bytes: &[u8], now: u64) -> Reading {
        Kept::reading(record::from_bytes(name, bytes).as_ref(), now)
    }

    /// Does `work` on a thread that may wait for the file system, of which a store has a few.
    async fn blocking<T: Send + 'static>(
        &self,
        threads: &Arc<Semaphore>,
        work: impl FnOnce(&Inner) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let fault = |kind, detail: &str| StoreFault::new(kind, detail);
        let runtime = Handle::try_current()
            .map_err(|_| fault(StoreFaultKind::Unreachable, "the file store needs a tokio runtime"))?;
        let permit = timeout(THREAD_PATIENCE, Arc::clone(threads).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(fault(StoreFaultKind::TimedOut, "the file system has not answered earlier calls"));
        };
        let inner = Arc::clone(&self.inner);
        let done = runtime.spawn_blocking(move || {
            let done = work(&inner);
            drop(permit);
            done
        });
        done.await.unwrap_or_else(|_| Err(fault(StoreFaultKind::Unreachable, "the runtime is shutting down")))
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.clock.now().as_unix_millis()
    }

    fn load(&self, name: &RecordName) -> Result<Reading, StoreFault> {
        let kept = read(&self.directory.current()?, name)?;
        Ok(Kept::reading(kept.as_ref(), self.now()))
    }

    fn swap(&self, name: &RecordName, expected: Option<Version>, change: Change) -> Result<Swap, StoreFault> {
        record::fits(&change)?;
        let open = self.directory.current()?;
        // Who comes too late need not wait for the lock to learn it.
        let seen = read(&open, name)?;
        if let Err(conflict) = Kept::swapped(seen.as_ref(), expected, change.clone(), self.now()) {
            return Ok(conflict);
        }
        let lock = Lock::take(&open, lock::shard(name), LOCK_PATIENCE)?;
        let there = read(&open, name)?;
        let now = self.now();
        let durability = Durability::of(&change.body);
        let kept = match Kept::swapped(there.as_ref(), expected, change, now) {
            Ok(kept) => kept,
            Err(conflict) => return Ok(conflict),
        };
        if kept.is_alive(now) {
            open.replace(name, &record::to_bytes(name, &kept), durability)?;
        } else {
            open.remove(name)?;
        }
        drop(lock);
        let changes = self.changes.fetch_add(1, Ordering::Relaxed);
        if changes.is_multiple_of(CHANGES_PER_SWEEP) && !kept.is_leased(now) {
            self.sweep(&open);
        }
        Ok(Swap::Written { now })
    }

    /// Removes what writers that were killed have left, and a few records that are over; of those whose lock is free.
    fn sweep(&self, open: &Open) {
        let Ok(listing) = open.list(MOST_NAMES) else { return };
        for shard in listing.leftovers {
            if let Ok(Some(_lock)) = Lock::try_take(open, shard) {
                open.remove_leftover(shard);
            }
        }
        // Another part of them each time.
        let Some(first) = fastrand::choice(0..listing.names.len()) else { return };
        let mut names = listing.names;
        names.rotate_left(first);
        for name in names.iter().take(SWEPT_FILES) {
            let is_over =
                || read(open, name).is_ok_and(|kept| kept.is_none_or(|kept| !kept.is_alive(self.now())));
            if is_over()
                && let Ok(Some(_lock)) = Lock::try_take(open, lock::shard(name))
                // It may have been replaced in between.
                && is_over()
                // One that cannot be removed is there the next time too.
                && open.remove(name).is_err()
            {
                return;
            }
        }
    }
}

fn read(open: &Open, name: &RecordName) -> Result<Option<Kept>, StoreFault> {
    Ok(open.read(name, record::MAX_RECORD_BYTES)?.and_then(|bytes| record::from_bytes(name, &bytes)))
}

impl SharedStore for FileStore {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        let name = *name;
        Box::pin(self.blocking(&self.reading, move |inner| inner.load(&name)))
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        let name = *name;
        Box::pin(self.blocking(&self.writing, move |inner| inner.swap(&name, expected, change)))
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move {
            let runtime = Handle::try_current().map_err(|_| {
                StoreFault::new(StoreFaultKind::Unreachable, "the file store needs a tokio runtime")
            })?;
            Ok(Watch::subscribe(&self.watch, name, &runtime))
        })
    }

    fn kind(&self) -> &'static str {
        "file"
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("directory", &self.directory()).finish_non_exhaustive()
    }
}
