//! Keeps the snapshot of the token path in step with the file, which other processes may change.
//!
//! One thread looks for changes (`PRAGMA data_version`, a few microseconds) four times a second, so the token path
//! never waits for the file. A failed authentication asks for one look more: a client that was added a moment ago
//! works at once. All who fail at the same time share that look, and there are at most fifty a second.

use super::RegistryError;
use super::schema::{self, FileId};
use super::secrets::SecretHasher;
use super::snapshot::Snapshot;
use arc_swap::{ArcSwap, Guard};
use rusqlite::Connection;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;

/// The time between two looks when nobody asks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The least time between two looks.
const LEAST_GAP: Duration = Duration::from_millis(20);
/// The longest that a failed authentication waits for a look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to the registry and what was read over it last.
#[derive(Debug)]
pub(crate) struct RegistryReader {
    connection: Connection,
    data_version: i64,
    snapshot: Arc<Snapshot>,
    data_dir: PathBuf,
    file_id: FileId,
    hasher: SecretHasher,
}

impl RegistryReader {
    /// Opens the registry that is in `data_dir`.
    pub(super) fn open(data_dir: &Path, hasher: SecretHasher) -> Result<Self, RegistryError> {
        let path = schema::path(data_dir);
        let database = |source| schema::database(&path, source);
        // The file that is put in place between the two lines is opened twice; the other way round it would be missed.
        let file_id = schema::file_id(&path)?.ok_or_else(|| schema::gone(&path))?;
        let mut connection = schema::open(data_dir, &hasher)?;
        // A change between the two lines is read twice; the other way round it would not be read at all.
        let data_version = data_version(&connection).map_err(database)?;
        let snapshot = Arc::new(Snapshot::read(&mut connection).map_err(database)?);
        Ok(Self { connection, data_version, snapshot, data_dir: data_dir.to_owned(), file_id, hasher })
    }

    /// The clients as of the last look.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The clients, when another connection changed the file since the last look, or another file is in its place.
    fn look(&mut self) -> Result<Option<Arc<Snapshot>>, RegistryError> {
        let path = schema::path(&self.data_dir);
        if schema::file_id(&path)? != Some(self.file_id) {
            // A backup was restored, say. The connection would go on with the file that nobody sees any more.
            *self = Self::open(&self.data_dir, self.hasher.clone())?;
            return Ok(Some(Arc::clone(&self.snapshot)));
        }
        let changed = (|| {
            let data_version = data_version(&self.connection)?;
            if data_version == self.data_version {
                return Ok(false);
            }
            self.snapshot = Arc::new(Snapshot::read(&mut self.connection)?);
            self.data_version = data_version;
            Ok(true)
        })();
        let changed = changed.map_err(|source| schema::database(&path, source))?;
        Ok(changed.then(|| Arc::clone(&self.snapshot)))
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// The snapshot of now, and the thread that keeps it so. Dropping this ends the thread.
#[derive(Debug)]
pub(crate) struct RegistryWatch {
    shared: Arc<Shared>,
    /// Taken when this is dropped, which is how the thread knows.
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    looks_done: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    looks_begun: AtomicU64,
    readable: AtomicBool,
}

impl RegistryWatch {
    /// Starts the thread.
    pub(crate) fn start(reader: RegistryReader) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::new(Arc::clone(&reader.snapshot)),
            looks_begun: AtomicU64::new(0),
            readable: AtomicBool::new(true),
        });
        let (nudge, nudged) = sync_channel(1);
        let (done, looks_done) = watch::channel(0);
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("jeton-registry".to_owned())
            .spawn(move || keep_watch(reader, &of_thread, &nudged, &done))?;
        Ok(Self { shared, nudge: Some(nudge), thread: Some(thread), looks_done })
    }

    /// The clients as of the last look. To be held for a moment, never across an await.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Whether the last look could read the file. If not, the token path goes on with what was read before.
    pub(crate) fn is_readable(&self) -> bool {
        let looks_go_on = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        looks_go_on && self.shared.readable.load(Ordering::Relaxed)
    }

    /// Waits for a look that begins after this call: at most about [`LEAST_GAP`] when all is well, and never longer
    /// than [`LOOK_TIMEOUT`].
    pub(crate) async fn look_again(&self) {
        let wanted = self.shared.looks_begun.load(Ordering::SeqCst).saturating_add(1);
        if let Some(nudge) = &self.nudge {
            // When the channel is full, the look that was asked for has not begun, so it will do.
            let _asked = nudge.try_send(());
        }
        let mut looks_done = self.looks_done.clone();
        let _in_time = tokio::time::timeout(LOOK_TIMEOUT, looks_done.wait_for(|done| *done >= wanted)).await;
    }
}

impl Drop for RegistryWatch {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the registry had panicked");
        }
    }
}

fn keep_watch(mut reader: RegistryReader, shared: &Shared, nudged: &Receiver<()>, done: &watch::Sender<u64>) {
    loop {
        match nudged.recv_timeout(POLL_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let look = shared.looks_begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        match reader.look() {
            Ok(changed) => {
                if let Some(snapshot) = changed {
                    shared.snapshot.store(snapshot);
                    tracing::debug!("the registry has changed and was read again");
                }
                if !shared.readable.swap(true, Ordering::Relaxed) {
                    tracing::info!("the registry can be read again");
                }
            }
            Err(error) => {
                if shared.readable.swap(false, Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        error,
                        "the registry cannot be read; going on with the clients read before"
                    );
                }
            }
        }
        done.send_replace(look);
        thread::sleep(LEAST_GAP);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use jeton_proto::issuance::{ClientSettings, ClientStatus};
    use std::time::Instant;

    fn watch(dir: &Path) -> RegistryWatch {
        let (_, reader) = Registry::open(dir).unwrap().into_reader().unwrap();
        RegistryWatch::start(reader).unwrap()
    }

    fn status(watch: &RegistryWatch, client_id: &str) -> Option<ClientStatus> {
        watch.snapshot().client(client_id).map(|client| client.settings().status)
    }

    #[track_caller]
    fn within_a_second(holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(1), "it did not come about");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn a_look_that_was_asked_for_sees_what_was_written_before() {
        let dir = tempfile::tempdir().unwrap();
        let watch = watch(dir.path());
        let other = Registry::open(dir.path()).unwrap();
        for at in 0..20 {
            let client_id = format!("client-{at}");
            other.add(ClientSettings::new(&client_id)).unwrap();
            watch.look_again().await;
            assert_eq!(status(&watch, &client_id), Some(ClientStatus::Enabled));
        }
        assert!(watch.is_readable());
    }

    #[test]
    fn a_change_is_seen_within_a_second_without_asking() {
        let dir = tempfile::tempdir().unwrap();
        let watch = watch(dir.path());
        let other = Registry::open(dir.path()).unwrap();
        let seen_within_a_second = |expected| within_a_second(|| status(&watch, "client") == expected);
        other.add(ClientSettings::new("client")).unwrap();
        seen_within_a_second(Some(ClientStatus::Enabled));
        other.disable("client").unwrap();
        seen_within_a_second(Some(ClientStatus::Disabled));
        other.enable("client").unwrap();
        seen_within_a_second(Some(ClientStatus::Enabled));
        other.remove("client").unwrap();
        seen_within_a_second(None);
    }

    #[test]
    fn another_file_in_the_place_of_the_registry_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        drop(Registry::open(dir.path()).unwrap());
        std::fs::copy(dir.path().join("client-secrets.key"), elsewhere.path().join("client-secrets.key"))
            .unwrap();
        Registry::open(elsewhere.path()).unwrap().add(ClientSettings::new("restored")).unwrap();
        let watch = watch(dir.path());
        assert_eq!(status(&watch, "restored"), None);
        let path = dir.path().join("registry.sqlite3");
        for name in ["registry.sqlite3-wal", "registry.sqlite3-shm"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        std::fs::rename(elsewhere.path().join("registry.sqlite3"), &path).unwrap();
        within_a_second(|| status(&watch, "restored") == Some(ClientStatus::Enabled));
        Registry::open(dir.path()).unwrap().disable("restored").unwrap();
        within_a_second(|| status(&watch, "restored") == Some(ClientStatus::Disabled));
        assert!(watch.is_readable());
        std::fs::remove_file(&path).unwrap();
        within_a_second(|| !watch.is_readable());
        assert!(!path.exists(), "a registry that is gone is not made anew");
        assert_eq!(status(&watch, "restored"), Some(ClientStatus::Disabled));
    }

    #[test]
    fn a_watch_that_has_ended_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watch(dir.path());
        assert!(watch.is_readable());
        watch.nudge = None;
        within_a_second(|| !watch.is_readable());
    }

    #[tokio::test]
    async fn t24_those_who_fail_at_once_share_one_look() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Arc::new(watch(dir.path()));
        let (begun, before) = (Instant::now(), watch.shared.looks_begun.load(Ordering::SeqCst));
        let waiting: Vec<_> = (0..500)
            .map(|_| {
                tokio::spawn({
                    let watch = Arc::clone(&watch);
                    async move { watch.look_again().await }
                })
            })
            .collect();
        for waiter in waiting {
            waiter.await.unwrap();
        }
        let looks = watch.shared.looks_begun.load(Ordering::SeqCst) - before;
        let most = 2 + begun.elapsed().as_millis() / LEAST_GAP.as_millis();
        assert!(u128::from(looks) <= most, "{looks} looks, at most {most} expected");
    }
}
