//! The store in a directory.

mod expiry;
mod failure;
mod links;
mod process;
mod processes;
mod remote;
mod upkeep;

use bytes::Bytes;
use jeton::store::Watching;
use jeton::store::conformance::{self, Stage};
use jeton::store::{
    BodyChange, Change, FileStore, RecordName, SharedStore, StoreFault, StoreFuture, Swap, Version,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A directory that nobody else has.
fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Stores that were opened apart from each other, in one process.
struct Opened {
    directory: PathBuf,
    watching: Watching,
    all: Mutex<Vec<FileStore>>,
}

impl Opened {
    fn in_home(home: &TempDir, watching: Watching) -> Self {
        Self { directory: home.path().join("jeton"), watching, all: Mutex::default() }
    }
}

impl Stage for Opened {
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
        let store = FileStore::open(&self.directory).unwrap().with_watching(self.watching);
        self.all.lock().unwrap().push(store.clone());
        Box::pin(async move { Ok(Arc::new(store) as Arc<dyn SharedStore>) })
    }

    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        let kept = self.all.lock().unwrap().iter().map(FileStore::subscriptions).sum();
        Box::pin(async move { Ok(Some(kept)) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_a_directory_keeps_the_contract() {
    let home = home();
    assert_eq!(conformance::check(&Opened::in_home(&home, Watching::Told)).await, Ok(()));
}

#[tokio::test]
async fn it_does_so_where_the_kernel_tells_nothing() {
    let home = home();
    assert_eq!(conformance::check(&Opened::in_home(&home, Watching::Looking)).await, Ok(()));
}

fn name(byte: u8) -> RecordName {
    RecordName::from_bytes([byte; 32])
}

fn version() -> Version {
    Version::from_random(std::array::from_fn(|_| fastrand::u8(..)))
}

/// A change that puts `body`, for a minute.
fn put(body: impl Into<Bytes>) -> Change {
    let life = Duration::from_secs(60);
    let body = BodyChange::Put { body: body.into(), life };
    Change { version: version(), lease: None, note: Bytes::new(), keep_for: Duration::ZERO, body }
}

async fn body_of(store: &FileStore, name: &RecordName) -> Option<Bytes> {
    store.load(name).await.unwrap().record.and_then(|record| record.body)
}

/// Puts `body` in the place of whatever is there.
async fn replace(store: &FileStore, name: &RecordName, body: impl Into<Bytes>) -> Result<(), StoreFault> {
    let expected = store.load(name).await?.record.map(|record| record.version);
    match store.compare_and_swap(name, expected, put(body)).await? {
        Swap::Written { .. } => Ok(()),
        Swap::Conflict(reading) => panic!("nobody else writes, and there is {reading:?}"),
    }
}

/// The names of the files in a directory, sorted.
fn files_in(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
