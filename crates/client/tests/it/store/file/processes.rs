//! Several processes at one record; some are killed, some are stopped.

use super::process::{Process, is_child, say};
use super::{body_of, home, name, put, replace};
use bytes::Bytes;
use jeton::store::{Change, FileStore, Reading, SharedStore, StoreFaultKind, Swap, Version};
use rustix::process::Signal;
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// A number, and so many bytes of its last byte that a part of the body would be seen.
fn numbered(number: u64) -> Bytes {
    let [.., last] = number.to_be_bytes();
    [&number.to_be_bytes()[..], &vec![last; 6000]].concat().into()
}

/// The number in a body, which is whole.
fn number_in(body: Option<&Bytes>) -> u64 {
    let Some(body) = body else { return 0 };
    let number = u64::from_be_bytes(*body.first_chunk().unwrap());
    assert_eq!(*body, numbered(number), "a part of another write");
    number
}

/// Counts up in the record, as long as nothing says stop, and gives what each success was made from and into.
async fn count_up(directory: &Path) -> (Vec<(Option<Version>, Version, u64)>, u32) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    let (mut won, mut faults) = (Vec::new(), 0);
    say("ready");
    while !directory.join("stop").exists() {
        let there = store.load(&name(7)).await.unwrap().record;
        let expected = there.as_ref().map(|record| record.version);
        let number = number_in(there.and_then(|record| record.body).as_ref()) + 1;
        // Both kinds of a change, so that a lease is met as well.
        let lease = number.is_multiple_of(3).then_some(Duration::from_secs(30));
        let change = Change { lease, ..put(numbered(number)) };
        let version = change.version;
        match store.compare_and_swap(&name(7), expected, change).await {
            Ok(Swap::Written { .. }) => won.push((expected, version, number)),
            Ok(Swap::Conflict(_)) => {}
            Err(fault) => {
                assert_eq!(fault.kind(), StoreFaultKind::TimedOut, "{fault}");
                faults += 1;
            }
        }
    }
    (won, faults)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn number_of(version: Version) -> u128 {
    u128::from_be_bytes(*version.bytes())
}

#[test]
fn r2_1_of_eight_processes_one_succeeds_with_each_version() {
    if let Some(directory) = is_child() {
        let (won, faults) = block_on(count_up(&directory));
        for (expected, version, number) in won {
            let expected = expected.map_or(0, number_of);
            say(&format!("won {expected} {} {number}", number_of(version)));
        }
        return say(&format!("faults {faults}"));
    }
    let home = home();
    let test = "store::file::processes::r2_1_of_eight_processes_one_succeeds_with_each_version";
    let mut processes: Vec<Process> = (0..8).map(|_| Process::start(test, home.path())).collect();
    for process in &mut processes {
        assert_eq!(process.hears().as_deref(), Some("ready"));
    }
    std::thread::sleep(Duration::from_secs(3));
    File::create(home.path().join("stop")).unwrap();
    let said: Vec<String> = processes.into_iter().flat_map(Process::ends_well).collect();
    let wins: Vec<Vec<&str>> =
        said.iter().filter(|line| line.starts_with("won")).map(|line| line.split(' ').collect()).collect();
    let faults: u32 = said
        .iter()
        .filter_map(|line| line.strip_prefix("faults "))
        .map(|faults| faults.parse::<u32>().unwrap())
        .sum();
    println!("{} changes by eight processes, {faults} faults", wins.len());
    let (from, into): (HashSet<_>, HashSet<_>) = wins.iter().map(|win| (win[1], win[2])).unzip();
    assert_eq!((from.len(), into.len()), (wins.len(), wins.len()), "two succeeded with the same expectation");
    let mut numbers: Vec<usize> = wins.iter().map(|win| win[3].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=wins.len()), "a success was lost");
    assert!(wins.len() > 100, "{} changes by eight processes", wins.len());
    assert!(faults as usize * 20 <= wins.len(), "{faults} faults beside {} changes", wins.len());
    let store = FileStore::open(home.path().join("cache")).unwrap();
    assert_eq!(number_in(block_on(body_of(&store, &name(7))).as_ref()), wins.len() as u64);
}

#[test]
fn t31_a_writer_that_is_killed_leaves_no_part_of_a_record_and_no_lock() {
    const KILLS: u32 = 200;
    if let Some(directory) = is_child() {
        block_on(count_up(&directory));
        return;
    }
    let home = home();
    let test = "store::file::processes::t31_a_writer_that_is_killed_leaves_no_part_of_a_record_and_no_lock";
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start(test, home.path())).collect();
    let (mut last, mut leftovers) = (0, 0);
    for kill in 0..KILLS {
        let index = kill as usize % processes.len();
        assert_eq!(processes[index].hears().as_deref(), Some("ready"));
        std::thread::sleep(Duration::from_micros(fastrand::u64(..8000)));
        processes[index].kill();
        leftovers += u32::from(home.path().join("cache/next-0").exists());
        let begun = Instant::now();
        let number = number_in(block_on(body_of(&store, &name(7))).as_ref());
        assert!(number >= last, "{number} after {last}: an older record came back");
        last = number;
        // The others go on counting; the lock of the dead one is nobody's.
        let written = loop {
            let expected = block_on(store.load(&name(7))).unwrap().record.map(|record| record.version);
            match block_on(store.compare_and_swap(&name(7), expected, put(numbered(last)))) {
                Ok(Swap::Written { .. }) => break true,
                Ok(Swap::Conflict(Reading { record: Some(record), .. })) => {
                    last = number_in(record.body.as_ref());
                }
                other => assert!(begun.elapsed() < Duration::from_secs(2), "the lock is stuck: {other:?}"),
            }
        };
        assert!(written);
        processes[index] = Process::start(test, home.path());
    }
    drop(processes);
    let name = name(7);
    block_on(async {
        let reading = store.load(&name).await.unwrap();
        number_in(reading.record.and_then(|record| record.body).as_ref());
        replace(&store, &name, numbered(1)).await.unwrap();
    });
    let files = super::files_in(&home.path().join("cache"));
    assert_eq!(files, [name.to_string(), "lock-0".to_owned()], "the next change removes what was left");
    println!("{last} changes, {leftovers} leftovers after {KILLS} kills");
    assert!(last > u64::from(KILLS), "{last} changes");
    // About every second one is killed in the middle of a change.
    assert!(leftovers >= 5, "{leftovers} of {KILLS} kills were while something was written");
}

#[test]
fn t27_a_holder_of_the_lock_that_is_stopped_costs_the_others_a_bounded_wait() {
    if let Some(directory) = is_child() {
        block_on(count_up(&directory));
        return;
    }
    let home = home();
    let test =
        "store::file::processes::t27_a_holder_of_the_lock_that_is_stopped_costs_the_others_a_bounded_wait";
    let mut process = Process::start(test, home.path());
    assert_eq!(process.hears().as_deref(), Some("ready"));
    let lock = home.path().join("cache/lock-0");
    let stop_in_the_lock = || {
        for _ in 0..2000 {
            process.signal(Signal::STOP);
            // A stop takes effect at once for a process that is not running, and soon for one that is.
            std::thread::sleep(Duration::from_millis(2));
            if File::open(&lock).is_ok_and(|file| file.try_lock().is_err()) {
                return;
            }
            process.signal(Signal::CONT);
            std::thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
        }
        panic!("the child was never stopped within the lock");
    };
    stop_in_the_lock();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let expected = store.load(&name(7)).await.unwrap().record.map(|record| record.version);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let store = store.clone();
            tasks.spawn(async move { store.compare_and_swap(&name(7), expected, put("mine")).await });
        }
        while let Some(done) = tasks.join_next().await {
            assert_eq!(done.unwrap().unwrap_err().kind(), StoreFaultKind::TimedOut);
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        // Reading wants no lock, nor does a record elsewhere want this one.
        assert!(store.load(&name(7)).await.is_ok());
        replace(&store, &name(0x17), "other").await.unwrap();
    });
    // No thread goes on waiting: the runtime ends.
    let begun = Instant::now();
    drop(runtime);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    process.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(50));
    stop_in_the_lock();
    process.kill();
    block_on(replace(&store, &name(7), numbered(1))).unwrap();
    assert_eq!(number_in(block_on(body_of(&store, &name(7))).as_ref()), 1);
}
