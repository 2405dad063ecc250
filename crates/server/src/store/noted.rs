//! A store of which it is known whether what was last written arrived.

use super::{ChangeNumber, Changes, CommitError, Kind, Listening, Nudge, Record, Store, StoreError, Write};
use jeton_proto::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the last write failed. Shared by those who write while a server runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writability(Arc<AtomicBool>);

impl Writability {
    /// `store`, of which every commit is noted here.
    pub(crate) fn noting(&self, store: Box<dyn Store>) -> Box<dyn Store> {
        Box::new(Noted { store, writability: self.clone() })
    }

    /// Whether the last write arrived, or there was none yet.
    pub(crate) fn is_writable(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Noted {
    store: Box<dyn Store>,
    writability: Writability,
}

impl Store for Noted {
    fn changes(&mut self, after: ChangeNumber) -> Result<Changes, StoreError> {
        self.store.changes(after)
    }

    fn record(&mut self, kind: Kind, id: &str) -> Result<Option<Record>, StoreError> {
        self.store.record(kind, id)
    }

    fn page(&mut self, kind: Kind, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.page(kind, after, limit)
    }

    fn commit(&mut self, writes: &[Write], now: Timestamp) -> Result<ChangeNumber, CommitError> {
        let committed = self.store.commit(writes, now);
        match &committed {
            Ok(_) => self.writability.0.store(false, Ordering::Relaxed),
            Err(CommitError::Store(_)) => self.writability.0.store(true, Ordering::Relaxed),
            // Neither says anything of the disk.
            Err(CommitError::Conflict { .. } | CommitError::Full(_)) => {}
        }
        committed
    }

    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.store.purge(now)
    }

    fn setting(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.store.setting(name, value)
    }

    fn listen(&self, nudge: Nudge) -> Option<Listening> {
        self.store.listen(nudge)
    }

    #[cfg(test)]
    fn limit_pages(&mut self, pages: u32) {
        self.store.limit_pages(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Expect, SqliteStore};

    #[test]
    fn a_full_disk_is_noted_and_so_is_room_again_but_no_conflict() {
        let dir = tempfile::tempdir().unwrap();
        let writability = Writability::default();
        let mut store = writability.noting(Box::new(SqliteStore::open(dir.path()).unwrap()));
        let write = |store: &mut dyn Store, id: &str, bytes: usize, expect| {
            let body = Some("x".repeat(bytes));
            let write = Write { kind: Kind::Client, id: id.to_owned(), body, expires_at: None, expect };
            store.commit(&[write], Timestamp::from_unix_seconds(1_700_000_000)).is_ok()
        };
        assert!(writability.is_writable());
        assert!(write(&mut *store, "a", 10, Expect::Absent) && writability.is_writable());
        assert!(!write(&mut *store, "a", 10, Expect::Absent) && writability.is_writable(), "a conflict");
        store.limit_pages(1);
        assert!(!write(&mut *store, "b", 1_000_000, Expect::Absent) && !writability.is_writable());
        assert!(!write(&mut *store, "a", 10, Expect::Absent) && !writability.is_writable());
        store.limit_pages(100_000);
        assert!(write(&mut *store, "b", 1_000_000, Expect::Absent) && writability.is_writable());
    }
}
