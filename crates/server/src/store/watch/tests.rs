use super::super::{Expect, Kind, StoreLocation, Write};
use super::*;
use crate::clock::SystemClock;
use jeton_proto::time::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Has all records, by kind and id.
#[derive(Debug, Default)]
struct Mirror(Mutex<BTreeMap<(Kind, String), String>>);

impl Follower for Mirror {
    fn follow(&self, changes: &Changes) {
        let mut records = self.0.lock().unwrap();
        if changes.extent == Extent::Everything {
            records.clear();
        }
        for record in &changes.records {
            let key = (record.kind, record.id.clone());
            match &record.body {
                Some(body) => drop(records.insert(key, body.clone())),
                None => drop(records.remove(&key)),
            }
        }
    }
}

impl Mirror {
    fn client(&self, id: &str) -> Option<String> {
        self.0.lock().unwrap().get(&(Kind::Client, id.to_owned())).cloned()
    }
}

fn location(dir: &Path) -> StoreLocation {
    StoreLocation::DataDir(dir.to_owned())
}

fn watch(dir: &Path) -> (StoreWatch, Arc<Mirror>) {
    let mirror = Arc::<Mirror>::default();
    let followers: Vec<Arc<dyn Follower>> = vec![Arc::<Mirror>::clone(&mirror)];
    let watch = StoreWatch::start(
        location(dir).open().unwrap(),
        followers,
        Arc::new(SystemClock),
        &Workers::default(),
    )
    .unwrap();
    (watch, mirror)
}

fn set(dir: &Path, id: &str, body: Option<&str>) {
    let body = body.map(str::to_owned);
    let write =
        Write { kind: Kind::Client, id: id.to_owned(), body, expires_at: None, expect: Expect::Anything };
    location(dir).open().unwrap().commit(&[write], NOW).unwrap();
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
    let (watch, mirror) = watch(dir.path());
    for at in 0..20 {
        let id = format!("client-{at}");
        set(dir.path(), &id, Some("1"));
        watch.look_again().await;
        assert_eq!(mirror.client(&id).as_deref(), Some("1"));
    }
    assert!(watch.is_readable());
}

#[test]
fn a_change_is_seen_within_a_second_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), "before", Some("0"));
    let (_watch, mirror) = watch(dir.path());
    assert_eq!(
        mirror.client("before").as_deref(),
        Some("0"),
        "what is there is read before the start is over"
    );
    for body in [Some("1"), Some("2"), None] {
        set(dir.path(), "client", body);
        within_a_second(|| mirror.client("client").as_deref() == body);
    }
}

#[test]
fn another_file_in_the_place_of_the_registry_is_read() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    set(dir.path(), "lost", Some("1"));
    set(elsewhere.path(), "restored", Some("1"));
    let (watch, mirror) = watch(dir.path());
    let path = dir.path().join("registry.sqlite3");
    for name in ["registry.sqlite3-wal", "registry.sqlite3-shm"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    std::fs::rename(elsewhere.path().join("registry.sqlite3"), &path).unwrap();
    within_a_second(|| mirror.client("restored").is_some() && mirror.client("lost").is_none());
    set(dir.path(), "restored", Some("2"));
    within_a_second(|| mirror.client("restored").as_deref() == Some("2"));
    assert!(watch.is_readable());
    std::fs::remove_file(&path).unwrap();
    within_a_second(|| !watch.is_readable());
    assert!(!path.exists(), "a registry that is gone is not made anew");
    assert_eq!(mirror.client("restored").as_deref(), Some("2"));
}

#[test]
fn a_registry_that_went_back_to_a_backup_is_told_and_one_that_goes_on_is_not() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let of_log = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt().with_writer(move || LogOf(Arc::clone(&of_log))).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let told = || String::from_utf8(log.lock().unwrap().clone()).unwrap().matches("backup").count();
    set(dir.path(), "kept", Some("1"));
    let path = dir.path().join("registry.sqlite3");
    let backup = dir.path().join("backup");
    // The last to close it leaves everything in the one file.
    assert!(!dir.path().join("registry.sqlite3-wal").exists());
    std::fs::copy(&path, &backup).unwrap();
    let mut store = location(dir.path()).open().unwrap();
    let mut seen = look(store.as_mut(), &[], ChangeNumber(0)).unwrap();
    for lost in ["lost", "lost too"] {
        set(dir.path(), lost, Some("1"));
        seen = look(store.as_mut(), &[], seen).unwrap();
    }
    assert_eq!(told(), 0);
    for name in ["registry.sqlite3-wal", "registry.sqlite3-shm"] {
        let _not_there = std::fs::remove_file(dir.path().join(name));
    }
    std::fs::rename(&backup, &path).unwrap();
    seen = look(store.as_mut(), &[], seen).unwrap();
    assert_eq!(told(), 1);
    look(store.as_mut(), &[], seen).unwrap();
    assert_eq!(told(), 1);
}

/// Writes into a text that a test reads.
struct LogOf(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogOf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_watch_that_has_ended_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut watch, _mirror) = watch(dir.path());
    assert!(watch.is_readable());
    watch.nudge = None;
    within_a_second(|| !watch.is_readable());
}

/// Panics at what it is told next.
#[derive(Debug, Default)]
struct Faulty(AtomicBool);

impl Follower for Faulty {
    fn follow(&self, _: &Changes) {
        assert!(!self.0.swap(false, Ordering::Relaxed), "on purpose");
    }
}

#[test]
fn a_watch_that_panics_tells_everything_anew_and_is_not_readable_until_then() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), "before", Some("0"));
    let (mirror, faulty) = (Arc::<Mirror>::default(), Arc::<Faulty>::default());
    let followers: Vec<Arc<dyn Follower>> =
        vec![Arc::<Faulty>::clone(&faulty), Arc::<Mirror>::clone(&mirror)];
    let workers = Workers::default();
    let store = location(dir.path()).open().unwrap();
    let watch = StoreWatch::start(store, followers, Arc::new(SystemClock), &workers).unwrap();
    // What nobody has told it is gone when it is told everything.
    mirror.0.lock().unwrap().insert((Kind::Client, "of nobody".to_owned()), "1".to_owned());
    faulty.0.store(true, Ordering::Relaxed);
    set(dir.path(), "client", Some("1"));
    let begun = Instant::now();
    while mirror.client("client").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not go on");
        thread::sleep(Duration::from_millis(5));
    }
    within_a_second(|| watch.is_readable());
    assert!(mirror.client("of nobody").is_none() && mirror.client("before").is_some());
    assert_eq!(workers.panics().iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn t24_those_who_fail_at_once_share_one_look() {
    let dir = tempfile::tempdir().unwrap();
    let watch = Arc::new(watch(dir.path()).0);
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

#[test]
fn t40_a_clock_that_jumps_ahead_and_back_removes_nothing_that_will_count() {
    let dir = tempfile::tempdir().unwrap();
    let later = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
    let write = Write {
        kind: Kind::Revocation,
        id: "token".to_owned(),
        body: Some("{}".to_owned()),
        expires_at: Some(later(600)),
        expect: Expect::Anything,
    };
    location(dir.path()).open().unwrap().commit(&[write], NOW).unwrap();
    let clock = Arc::new(SetClock(Mutex::new(later(90 * 86_400))));
    let store = location(dir.path()).open().unwrap();
    let mut watcher = Watcher::new(store, Vec::new(), ChangeNumber(0), Arc::<SetClock>::clone(&clock));
    let mut is_there_at = |seconds| {
        *clock.0.lock().unwrap() = later(seconds);
        watcher.purge();
        watcher.store.record(Kind::Revocation, "token").unwrap().is_some()
    };
    // It was ahead when the server was started, too.
    for seconds in [90 * 86_400, 1, 90 * 86_400, 90 * 86_400 + 60, 2, 599] {
        assert!(is_there_at(seconds), "{seconds}");
    }
    is_there_at(1200);
    assert!(!is_there_at(1800));
}

/// A clock that is set.
struct SetClock(Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}
