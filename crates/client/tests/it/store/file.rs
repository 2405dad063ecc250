//! The store in a directory.

use jeton::store::conformance::{self, Stage};
use jeton::store::{FileStore, SharedStore, StoreFuture, Watching};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
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
