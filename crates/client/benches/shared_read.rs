//! What a token from the shared store costs, beside its limit in the same run: a bare `GET` of the same bytes over a
//! connection of the same crate to the same redis-server. Target: at most 1.2 times the limit, with opening what was
//! sealed. A change and its notification are shown with it, for scale.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot set itself up ends"
)]
#![allow(clippy::indexing_slicing, reason = "the same")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

#[path = "../tests/it/support/redis_server.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod redis_server;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use jeton::store::{BodyChange, Change, RecordName, RedisStore, SharedStore, Swap, Version};
use redis::aio::MultiplexedConnection;
use redis_server::RedisServer;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 41;
const READS_PER_ROUND: u32 = 1000;
const TOKEN_BYTES: usize = 1024;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = RedisServer::start();
    println!(
        "shared read of a token of {TOKEN_BYTES} bytes, median of {ROUNDS} rounds of {READS_PER_ROUND} reads"
    );
    runtime.block_on(measure("tcp", &server.url(), RecordName::from_bytes([1; 32])));
    runtime.block_on(measure("unix socket", &server.unix_url(), RecordName::from_bytes([2; 32])));
}

/// A token as it lies in the store, and the key to it.
struct Sealed {
    key: RandomizedNonceKey,
    body: bytes::Bytes,
}

impl Sealed {
    fn new() -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &[7; 32]).unwrap();
        let mut bytes = vec![b't'; TOKEN_BYTES];
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut bytes).unwrap();
        bytes.splice(0..0, *nonce.as_ref());
        Self { key, body: bytes.into() }
    }

    fn open(&self, body: &[u8]) -> usize {
        let (nonce, sealed) = body.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let mut sealed = sealed.to_vec();
        self.key.open_in_place(nonce, Aad::empty(), &mut sealed).unwrap().len()
    }
}

async fn measure(wire: &str, url: &str, name: RecordName) {
    let store = RedisStore::at(url).build().unwrap();
    let sealed = Sealed::new();
    let mut version = None;
    let swap = store.compare_and_swap(&name, None, publication(&sealed, &mut version)).await.unwrap();
    assert!(matches!(swap, Swap::Written { .. }));
    let mut bare = bare(url, &name).await;

    let (mut limit, mut read, mut change) = (Vec::new(), Vec::new(), Vec::new());
    // Interleaved, so that what else the machine does falls on all of them alike; the first round warms up.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        for _ in 0..READS_PER_ROUND {
            let mut get = redis::cmd("GET");
            get.arg("bare");
            black_box(bare.send_packed_command(&get).await.unwrap());
        }
        let bare_nanos = nanos_per_read(begun);
        let begun = Instant::now();
        for _ in 0..READS_PER_ROUND {
            let record = store.load(&name).await.unwrap().record.expect("a record");
            assert_eq!(sealed.open(&record.body.expect("a body")), TOKEN_BYTES);
        }
        let read_nanos = nanos_per_read(begun);
        let begun = Instant::now();
        for _ in 0..READS_PER_ROUND {
            let expected = version;
            let swap =
                store.compare_and_swap(&name, expected, publication(&sealed, &mut version)).await.unwrap();
            assert!(matches!(swap, Swap::Written { .. }));
        }
        if round > 0 {
            limit.push(bare_nanos);
            read.push(read_nanos);
            change.push(nanos_per_read(begun));
        }
    }
    // What a round costs depends on the machine; the ratio within a round does much less.
    let ratio = median(read.iter().zip(&limit).map(|(read, limit)| read / limit).collect());
    let (limit, read, change) = (median(limit), median(read), median(change));
    println!("  {wire}");
    println!("    limit (GET of the same bytes)   {:7.2} us", limit / 1000.0);
    println!(
        "    load and open                   {:7.2} us   ratio {ratio:.2} (target <= 1.20)",
        read / 1000.0
    );
    println!("    publish (compare, write, tell)  {:7.2} us   ratio {:.2}", change / 1000.0, change / limit);
}

/// The next version of the record.
fn publication(sealed: &Sealed, version: &mut Option<Version>) -> Change {
    let next = Version::from_random(std::array::from_fn(|_| fastrand::u8(..)));
    *version = Some(next);
    Change {
        version: next,
        lease: None,
        note: bytes::Bytes::new(),
        keep_for: Duration::ZERO,
        body: BodyChange::Put { body: sealed.body.clone(), life: Duration::from_secs(3600) },
    }
}

/// A connection of the crate underneath, and the bytes of the record under a key of their own.
async fn bare(url: &str, name: &RecordName) -> MultiplexedConnection {
    let separator = if url.starts_with("unix") { "?" } else { "/?" };
    let client = redis::Client::open(format!("{url}{separator}protocol=resp3")).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let key = format!("jeton:{name}");
    redis::cmd("COPY").arg(key).arg("bare").arg("REPLACE").exec_async(&mut connection).await.unwrap();
    connection
}

fn nanos_per_read(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(READS_PER_ROUND)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
