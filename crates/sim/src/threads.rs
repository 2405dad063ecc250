//! Many seeds, one after the other on each processor.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Does `one` for each of `seeds`, on as many threads as there are processors, and has `add` put what came of it into
/// `report`, until that says that it is enough. Gives the report, and the time that all threads together worked.
pub(crate) fn on_all_processors<R: Send, T>(
    seeds: Range<u64>,
    report: R,
    one: impl Fn(u64) -> T + Sync,
    add: impl Fn(&mut R, u64, T) -> ControlFlow<()> + Sync,
) -> (R, Duration) {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(seeds.start);
    let shared = Mutex::new((report, Duration::ZERO));
    let work = || {
        let begun = Instant::now();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let outcome = seeds.contains(&seed).then(|| one(seed));
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let (report, worked) = &mut *shared;
            let goes_on = outcome.map_or(ControlFlow::Break(()), |outcome| add(report, seed, outcome));
            if goes_on.is_break() {
                *worked += begun.elapsed();
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    shared.into_inner().unwrap_or_else(PoisonError::into_inner)
}
