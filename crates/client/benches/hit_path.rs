//! What a token from the cache costs, beside its limit in the same run: an `arc_swap` guard and a relaxed load of a
//! coarse tick. Targets: at most 1.3 times the limit, and at most 1.2 times itself while a second thread does the same.
//! Telemetry is on: every hit is counted and published to a recorder between the rounds, and the sum has to be right.

#![allow(clippy::expect_used, reason = "a benchmark that cannot set itself up ends")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Secret, TokenHandle, TokenKey, TokenManager};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 41;
const GETS_PER_ROUND: u32 = 1_000_000;

struct OneToken;

impl HttpExchange for OneToken {
    fn exchange(&self, _: Request<Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        let body = r#"{"access_token":"benchmark","token_type":"Bearer","expires_in":86400}"#;
        Box::pin(async move { Ok(Response::new(Bytes::from_static(body.as_bytes()))) })
    }
}

/// What the limit reads: a value behind a guard, and a tick.
struct Limit {
    value: ArcSwap<(u64, u64)>,
    tick: AtomicU64,
}

impl Limit {
    #[inline]
    fn get(&self) -> Option<u64> {
        let value = self.value.load();
        (self.tick.load(Ordering::Relaxed) < value.0).then_some(value.1)
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("no other recorder");
    let (manager, handle) = runtime.block_on(async {
        let manager = TokenManager::builder("https://as.example/token", "benchmark")
            .client_secret(Secret::from("benchmark"))
            .exchange(Arc::new(OneToken))
            .build()
            .expect("valid settings");
        let handle = manager.handle(&TokenKey::default()).expect("one key");
        handle.token().await.expect("a token");
        (manager, handle)
    });
    let limit = Arc::new(Limit { value: ArcSwap::from_pointee((u64::MAX, 1)), tick: AtomicU64::new(1) });

    let other = Other::start(&handle);
    let mut series = Series::default();
    let mut counted = 0;
    // Interleaved, so that what else the machine does falls on all of them alike.
    for _ in 0..ROUNDS {
        series.limit.push(nanos_per_call(|| limit.get()));
        series.get.push(nanos_per_call(|| get(&handle)));
        series.beside.push(other.while_it_runs(|| nanos_per_call(|| get(&handle))));
        series.limit_beside.push(other.while_it_runs(|| nanos_per_call(|| limit.get())));
        manager.publish_metrics();
        counted += published_hits(&snapshotter);
    }
    let gets = other.end() + 2 * ROUNDS as u64 * u64::from(GETS_PER_ROUND);
    manager.publish_metrics();
    counted += published_hits(&snapshotter);
    assert_eq!(counted, gets, "every hit is counted");

    let (limit, get, second) = (median(series.limit), median(series.get), median(series.beside));
    let machine = median(series.limit_beside) / limit;
    println!("hit path, median of {ROUNDS} rounds of {GETS_PER_ROUND} gets");
    println!("  limit (arc_swap guard + relaxed tick)   {limit:7.2} ns");
    println!(
        "  get on a resolved handle                {get:7.2} ns   ratio {:.2} (target <= 1.30)",
        get / limit
    );
    println!(
        "  the same with a second thread           {second:7.2} ns   ratio {:.2} (target <= 1.20; the limit itself {machine:.2})",
        second / get
    );
    println!("  hits counted and published              {counted}, all of them");
}

/// The hits that were published since this was last asked.
fn published_hits(snapshotter: &Snapshotter) -> u64 {
    let hits = |value| match value {
        DebugValue::Counter(hits) => hits,
        DebugValue::Gauge(_) | DebugValue::Histogram(_) => 0,
    };
    let all = snapshotter.snapshot().into_vec().into_iter();
    // The first token was waited for, and is no hit.
    let by_hand = |key: &metrics::Key| key.labels().any(|label| label.value() == "hand");
    all.filter(|(key, ..)| key.key().name() == "jeton_client_tokens_served_total" && by_hand(key.key()))
        .map(|(.., value)| hits(value))
        .sum()
}

#[derive(Default)]
struct Series {
    limit: Vec<f64>,
    get: Vec<f64>,
    beside: Vec<f64>,
    /// What the machine itself loses with two threads: the limit beside the same second thread.
    limit_beside: Vec<f64>,
}

#[inline]
fn get(handle: &TokenHandle) -> Option<()> {
    handle.get_with(|token| {
        black_box(token);
    })
}

/// A second thread that does the same, when it is told to.
struct Other {
    orders: Arc<AtomicU8>,
    thread: std::thread::JoinHandle<u64>,
}

const REST: u8 = 0;
const RUN: u8 = 1;
const RUNNING: u8 = 2;
const END: u8 = 3;

impl Other {
    fn start(handle: &TokenHandle) -> Self {
        let orders = Arc::new(AtomicU8::new(REST));
        let thread = std::thread::spawn({
            let (handle, orders) = (handle.clone(), Arc::clone(&orders));
            move || {
                let mut gets = 0;
                while orders.load(Ordering::Relaxed) != END {
                    if orders.load(Ordering::Relaxed) == REST {
                        std::thread::sleep(Duration::from_micros(200));
                        continue;
                    }
                    let _ = orders.compare_exchange(RUN, RUNNING, Ordering::Relaxed, Ordering::Relaxed);
                    for _ in 0..1000 {
                        black_box(get(&handle));
                    }
                    gets += 1000;
                }
                gets
            }
        });
        Self { orders, thread }
    }

    fn while_it_runs<T>(&self, measure: impl FnOnce() -> T) -> T {
        self.orders.store(RUN, Ordering::Relaxed);
        while self.orders.load(Ordering::Relaxed) != RUNNING {
            std::thread::yield_now();
        }
        let measured = measure();
        self.orders.store(REST, Ordering::Relaxed);
        measured
    }

    /// Ends it, and tells how many gets it made.
    fn end(self) -> u64 {
        self.orders.store(END, Ordering::Relaxed);
        self.thread.join().expect("the second thread ends")
    }
}

fn nanos_per_call<T>(call: impl Fn() -> Option<T>) -> f64 {
    let started = Instant::now();
    for _ in 0..GETS_PER_ROUND {
        black_box(call()).expect("a hit");
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(GETS_PER_ROUND)
}

fn median(mut series: Vec<f64>) -> f64 {
    series.sort_unstable_by(f64::total_cmp);
    series.get(series.len() / 2).copied().expect("rounds")
}
