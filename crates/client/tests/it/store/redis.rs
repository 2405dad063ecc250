//! The store in Redis against real servers: alone, over TLS and a Unix socket, behind sentinels, in a cluster of six.

mod conforms;
mod failover;
mod hostile;
mod outages;
mod refusals;

use jeton::store::{BodyChange, Change, RecordName, RedisStore, SharedStore, StoreFault, Swap, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A password that is to be nowhere but on its way to the server.
const PASSWORD: &str = "canary-redis-password";
/// What `RedisStore` says that its user needs.
const ACL_RULES: &str = "resetkeys resetchannels ~jeton:* &jeton:* -@all +hello +ping +select +role +time +getrange \
                         +set +del +pexpireat +evalsha +eval +publish +subscribe +unsubscribe +asking +cluster|slots";

fn version() -> Version {
    Version::from_random(std::array::from_fn(|_| fastrand::u8(..)))
}

fn name() -> RecordName {
    RecordName::from_bytes(std::array::from_fn(|_| fastrand::u8(..)))
}

/// A change that puts `body` for a minute.
fn put(body: &str) -> Change {
    Change {
        version: version(),
        lease: None,
        note: bytes::Bytes::new(),
        keep_for: Duration::ZERO,
        body: BodyChange::Put { body: body.to_owned().into(), life: Duration::from_secs(60) },
    }
}

fn key(name: &RecordName) -> String {
    format!("jeton:{name}")
}

/// What is there: its version and body.
async fn body(store: &RedisStore, name: &RecordName) -> Option<(Version, String)> {
    let record = store.load(name).await.unwrap().record?;
    Some((record.version, String::from_utf8(record.body?.to_vec()).unwrap()))
}

async fn write(store: &RedisStore, name: &RecordName, expected: Option<Version>, text: &str) -> Version {
    let change = put(text);
    let version = change.version;
    let swap = store.compare_and_swap(name, expected, change).await.unwrap();
    assert!(matches!(swap, Swap::Written { .. }), "{swap:?}");
    version
}

/// Reads and writes a record; how long it took until both succeeded.
async fn until_it_works(store: &RedisStore, within: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let fault = match works(store).await {
            Ok(()) => return begun.elapsed(),
            Err(fault) => fault,
        };
        assert!(begun.elapsed() < within, "after {:?} still {fault}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn works(store: &RedisStore) -> Result<(), StoreFault> {
    let name = name();
    let swap = store.compare_and_swap(&name, None, put("works")).await?;
    assert!(matches!(swap, Swap::Written { .. }), "{swap:?}");
    assert!(store.load(&name).await?.record.is_some(), "what was written is not there");
    Ok(())
}

/// Waits until the store has a fault, as it will.
async fn until_it_fails(store: &RedisStore) -> StoreFault {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        if let Err(fault) = works(store).await {
            return fault;
        }
        assert!(Instant::now() < patience, "the store has no fault");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Tasks that count one number up, each with what it saw.
struct Counting {
    tasks: tokio::task::JoinSet<(Vec<u64>, Vec<StoreFault>)>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    name: RecordName,
}

impl Counting {
    async fn begin(stores: &[RedisStore], name: RecordName) -> Self {
        write(&stores[0], &name, None, "0").await;
        let stop = Arc::<std::sync::atomic::AtomicBool>::default();
        let mut tasks = tokio::task::JoinSet::new();
        for store in stores.iter().cycle().take(stores.len() * 2) {
            tasks.spawn(count(store.clone(), name, Arc::clone(&stop)));
        }
        Self { tasks, stop, name }
    }

    /// How often the count succeeded, and the faults with how often they were; no number was reached twice.
    async fn end(self, store: &RedisStore, losing: Losing) -> (usize, BTreeMap<String, usize>) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (mut reached, mut successes, mut faults) = (BTreeSet::new(), 0, BTreeMap::new());
        for (numbers, failed) in self.tasks.join_all().await {
            successes += numbers.len();
            reached.extend(numbers);
            for fault in failed {
                *faults.entry(fault.to_string()).or_default() += 1;
            }
        }
        until_it_works(store, Duration::from_secs(3)).await;
        let end: u64 = body(store, &self.name).await.unwrap().1.parse().unwrap();
        if losing == Losing::Nothing {
            assert_eq!(reached.len(), successes, "a number was reached twice");
            let unknown: usize = faults.values().sum();
            let end = usize::try_from(end).unwrap();
            assert!(end >= successes, "{successes} successes, but the count is {end}");
            assert!(
                end <= successes + unknown,
                "{successes} successes, {unknown} unknown, but the count is {end}"
            );
        }
        (successes, faults)
    }
}

/// What may be lost while it is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Losing {
    Nothing,
    /// A master fell, with what it had not passed on.
    TheLast,
}

async fn count(
    store: RedisStore,
    name: RecordName,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> (Vec<u64>, Vec<StoreFault>) {
    let (mut reached, mut faults) = (Vec::new(), Vec::new());
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let swapped = async {
            let record = store.load(&name).await?.record;
            let number = match record.as_ref().and_then(|record| record.body.as_ref()) {
                Some(body) => std::str::from_utf8(body).unwrap().parse::<u64>().unwrap() + 1,
                None => 1,
            };
            let expected = record.map(|record| record.version);
            let swap = store.compare_and_swap(&name, expected, put(&number.to_string())).await?;
            Ok((number, swap))
        };
        match swapped.await {
            Ok((number, Swap::Written { .. })) => reached.push(number),
            Ok((_, Swap::Conflict(_))) => {}
            Err(fault) => {
                faults.push(fault);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        tokio::task::yield_now().await;
    }
    (reached, faults)
}
