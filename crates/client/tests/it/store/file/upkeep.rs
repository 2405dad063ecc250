//! What a store leaves behind, which is nothing; and what it makes of a directory that changes under it.

use super::{body_of, files_in, home, name, put, replace, version};
use jeton::store::{BodyChange, Change, FileStore, RecordName, SharedStore, Subscription, Swap, Watching};
use std::fs;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

async fn is_told(subscription: &mut Subscription) -> bool {
    timeout(Duration::from_secs(1), subscription.changed()).await.is_ok()
}

/// How many files this process has open, and how many threads it has.
#[cfg(target_os = "linux")]
fn held() -> (usize, usize) {
    (files_in("/proc/self/fd".as_ref()).len(), files_in("/proc/self/task".as_ref()).len())
}

#[test]
#[cfg(target_os = "linux")]
fn a_store_that_is_dropped_leaves_no_file_open_no_task_and_no_thread() {
    let home = home();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The first one opens what all runtimes of the process share.
    drop(runtime());
    let before = held();
    for watching in [Watching::Told, Watching::Looking] {
        let runtime = runtime();
        let tasks = || runtime.metrics().num_alive_tasks();
        let idle = held();
        let store = FileStore::open(home.path().join("cache")).unwrap().with_watching(watching);
        runtime.block_on(async {
            let mut all = Vec::new();
            for number in 0..20 {
                all.push(store.subscribe(&name(number)).await.unwrap());
                replace(&store, &name(number), "mine").await.unwrap();
            }
            assert!(is_told(&mut all[7]).await);
            assert_eq!(tasks(), 1);
            assert_eq!(store.subscriptions(), 20);
            all.clear();
            assert_eq!(store.subscriptions(), 0);
            sleep(Duration::from_millis(40)).await;
        });
        assert_eq!(tasks(), 0, "{watching:?}");
        drop(store);
        assert_eq!(held().0, idle.0, "{watching:?}");
        drop(runtime);
    }
    // The threads of a runtime that was dropped take a moment to go.
    let patience = Instant::now() + Duration::from_secs(2);
    while held() != before {
        assert!(Instant::now() < patience, "{before:?} became {:?}", held());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_runtime_that_ends_takes_no_other_subscribers_with_it() {
    let home = home();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let held = first.block_on(store.subscribe(&name(7))).unwrap();
    drop(first);
    runtime().block_on(async {
        let mut second = store.subscribe(&name(7)).await.unwrap();
        replace(&store, &name(7), "mine").await.unwrap();
        assert!(is_told(&mut second).await);
    });
    drop(held);
}

#[tokio::test]
async fn a_directory_that_is_removed_or_replaced_is_used_as_it_is_then() {
    let home = home();
    let cache = home.path().join("cache");
    let (store, other) = (FileStore::open(&cache).unwrap(), FileStore::open(&cache).unwrap());
    replace(&store, &name(7), "first").await.unwrap();
    let mut subscription = store.subscribe(&name(7)).await.unwrap();
    fs::remove_dir_all(&cache).unwrap();
    assert!(is_told(&mut subscription).await, "what was there is gone");
    assert!(store.load(&name(7)).await.unwrap().record.is_none());
    replace(&store, &name(7), "second").await.unwrap();
    assert_eq!(body_of(&other, &name(7)).await.unwrap(), "second");
    assert!(is_told(&mut subscription).await);
    fs::rename(&cache, home.path().join("away")).unwrap();
    replace(&other, &name(7), "third").await.unwrap();
    assert_eq!(body_of(&store, &name(7)).await.unwrap(), "third");
    let mut later = store.subscribe(&name(7)).await.unwrap();
    replace(&other, &name(7), "fourth").await.unwrap();
    assert!(is_told(&mut later).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_files_that_are_removed_all_the_time_cost_few_changes() {
    let home = home();
    let cache = home.path().join("cache");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = FileStore::open(&cache).unwrap();
        tasks.spawn(async move {
            let mut won = Vec::new();
            for _ in 0..150 {
                let expected = store.load(&name(7)).await.unwrap().record.map(|record| record.version);
                // Taking the files away all the time may cost a change, but not its being the only one.
                if let Ok(Swap::Written { .. }) = store.compare_and_swap(&name(7), expected, put("x")).await {
                    won.push(expected);
                }
            }
            won
        });
    }
    let remover = tokio::task::spawn_blocking(move || {
        for _ in 0..300 {
            let _removed = fs::remove_file(cache.join("lock-0"));
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    let mut won = Vec::new();
    while let Some(done) = tasks.join_next().await {
        won.extend(done.unwrap());
    }
    remover.await.unwrap();
    assert!(won.len() >= 100, "{}", won.len());
    let distinct: std::collections::HashSet<_> = won.iter().collect();
    // A lock file that goes while its holder writes admits a second one; one that had gone before counts for nothing.
    assert!(won.len() - distinct.len() <= won.len() / 10, "{} of {}", won.len() - distinct.len(), won.len());
}

#[tokio::test]
async fn what_is_over_or_was_left_is_removed_with_time() {
    let home = home();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let brief =
        || Change { lease: None, keep_for: Duration::from_millis(300), body: BodyChange::Keep, ..put("") };
    for number in 0..40 {
        store.compare_and_swap(&name(number * 6), None, brief()).await.unwrap();
    }
    let lasting = name(3);
    replace(&store, &lasting, "stays").await.unwrap();
    fs::write(store.directory().join("next-9"), "left by one that was killed").unwrap();
    fs::write(store.directory().join(name(0x9b).to_string()), "no record").unwrap();
    fs::write(store.directory().join("somebody's"), "no file of ours").unwrap();
    sleep(Duration::from_millis(320)).await;
    for _ in 0..200 {
        replace(&store, &name(1), "changes").await.unwrap();
    }
    let mut files = files_in(store.directory());
    files.retain(|file| !file.starts_with("lock-"));
    assert_eq!(files, [name(1).to_string(), lasting.to_string(), "somebody's".to_owned()]);
    assert_eq!(body_of(&store, &lasting).await.unwrap(), "stays");
}

#[tokio::test]
async fn records_are_listed_in_order_and_removed_one_by_one() {
    let home = home();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    assert_eq!(store.names().await.unwrap(), []);
    for number in [9, 1, 0xf0] {
        replace(&store, &name(number), "mine").await.unwrap();
    }
    assert_eq!(store.names().await.unwrap(), [name(1), name(9), name(0xf0)]);
    let mut subscription = store.subscribe(&name(9)).await.unwrap();
    assert!(store.remove(&name(9)).await.unwrap());
    assert!(is_told(&mut subscription).await);
    assert!(!store.remove(&name(9)).await.unwrap());
    assert!(store.load(&name(9)).await.unwrap().record.is_none());
    assert_eq!(store.names().await.unwrap(), [name(1), name(0xf0)]);
    assert!(!format!("{store:?}").is_empty());
}

#[tokio::test]
async fn a_change_is_told_within_milliseconds() {
    let home = home();
    let cache = home.path().join("cache");
    let (writer, reader) = (FileStore::open(&cache).unwrap(), FileStore::open(&cache).unwrap());
    let mut times = Vec::new();
    for _ in 0..50 {
        let fresh = RecordName::from_bytes(std::array::from_fn(|_| fastrand::u8(..)));
        let mut subscription = reader.subscribe(&fresh).await.unwrap();
        let leased = Change { lease: Some(Duration::from_secs(9)), ..put("") };
        let fence = leased.version;
        writer.compare_and_swap(&fresh, None, leased).await.unwrap();
        subscription.changed().await;
        let begun = Instant::now();
        let published = Change { version: version(), ..put(vec![1; 2000]) };
        let (written, read) = tokio::join!(writer.compare_and_swap(&fresh, Some(fence), published), async {
            subscription.changed().await;
            body_of(&reader, &fresh).await
        });
        assert!(matches!(written.unwrap(), Swap::Written { .. }));
        assert_eq!(read.unwrap(), vec![1; 2000]);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("told and read after {:?} in the middle, {:?} at worst", times[25], times[49]);
    // The limit is for a busy machine; a quiet one takes a few milliseconds, of which most are the disk's.
    assert!(times[25] < Duration::from_millis(100), "{times:?}");
}
