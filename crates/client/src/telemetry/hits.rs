//! Counting on a path of a few nanoseconds: every thread adds to a place of its own, and whoever publishes sums up.
//!
//! One locked instruction costs as much as the whole hit path, and a place that two threads write costs a cache miss. So
//! a thread that counts for the first time takes one of 64 lanes for itself alone and gives it back when it ends: a hit
//! is then a load and a store that nobody else can come between. Threads beyond the 64th share a place and pay for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many threads count without a locked instruction at the same time: as many as a word has bits.
const LANES: usize = u64::BITS as usize;
/// How many keys share a block: as many counters as a cache line of 64 bytes has room for. The line of a lane is written
/// by one thread only, so keys that share it do not get into each other's way, and 10,000 keys take 5 MB instead of 40.
const KEYS_PER_BLOCK: usize = 8;
/// The lane of a thread that has none.
const NO_LANE: usize = usize::MAX;

/// A bit for each lane that a thread has taken, in the whole process.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Beside [`LEASE`] because it has nothing to drop: reading it takes one instruction and works until the very end
    /// of the thread.
    static LANE: Cell<usize> = const { Cell::new(NO_LANE) };
    /// Gives the lane back when the thread ends.
    static LEASE: Lease = const { Lease { lane: Cell::new(NO_LANE) } };
}

struct Lease {
    lane: Cell<usize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What counts after this, in the destructor of another thread-local, uses the shared place.
        LANE.set(NO_LANE);
        release(self.lane.get());
    }
}

/// The hits of eight keys.
#[derive(Debug, Default)]
struct Block {
    lanes: Lanes,
    /// Where threads without a lane count.
    shared: Lane,
}

#[derive(Debug)]
struct Lanes([Lane; LANES]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Lane::default()))
    }
}

/// What one thread counted, for eight keys: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane([AtomicU64; KEYS_PER_BLOCK]);

impl Lane {
    #[inline]
    fn of(&self, column: usize) -> Option<&AtomicU64> {
        self.0.get(column)
    }
}

/// Hands out counters, eight to a block.
#[derive(Debug, Default)]
pub(super) struct HitCounters {
    open: Mutex<(Arc<Block>, usize)>,
}

impl HitCounters {
    pub(super) fn counter(&self) -> HitCounter {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1 == KEYS_PER_BLOCK {
            *open = (Arc::default(), 0);
        }
        let column = open.1;
        open.1 += 1;
        HitCounter { block: Arc::clone(&open.0), column, published: AtomicU64::new(0) }
    }
}

/// The hits of one key, to the last one.
#[derive(Debug)]
pub(super) struct HitCounter {
    block: Arc<Block>,
    column: usize,
    published: AtomicU64,
}

impl HitCounter {
    #[allow(clippy::inline_always, reason = "it is a part of the hit path")]
    #[inline(always)]
    pub(super) fn hit(&self) {
        match self.place(LANE.get()) {
            // Nobody else writes here, so nothing is lost between the load and the store.
            Some(place) => place.store(place.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            None => self.hit_without_a_lane(),
        }
    }

    #[inline]
    fn place(&self, lane: usize) -> Option<&AtomicU64> {
        self.block.lanes.0.get(lane).and_then(|lane| lane.of(self.column))
    }

    #[cold]
    fn hit_without_a_lane(&self) {
        let place = take_lane().and_then(|lane| self.place(lane));
        if let Some(place) = place.or_else(|| self.block.shared.of(self.column)) {
            // Locked, for the shared place's sake.
            place.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many hits were counted since this was last asked. Each is told once, whoever asks at the same time.
    pub(super) fn unpublished(&self) -> u64 {
        let places = self.block.lanes.0.iter().chain([&self.block.shared]);
        let sum = places.filter_map(|lane| lane.of(self.column)).map(|place| place.load(Ordering::Relaxed));
        let sum = sum.fold(0, u64::wrapping_add);
        sum.saturating_sub(self.published.fetch_max(sum, Ordering::Relaxed))
    }
}

/// A lane for this thread, until it ends. `None` when all are taken, or the thread is ending.
fn take_lane() -> Option<usize> {
    LEASE
        .try_with(|lease| {
            let lane = take_free_lane()?;
            lease.lane.set(lane);
            LANE.set(lane);
            Some(lane)
        })
        .ok()
        .flatten()
}

fn take_free_lane() -> Option<usize> {
    let mut taken = TAKEN.load(Ordering::Relaxed);
    // Bounded: whoever comes in between takes or gives back a lane.
    for _ in 0..LANES {
        let lane = taken.trailing_ones();
        let bit = 1_u64.checked_shl(lane)?;
        // Acquire, so that the last count of the lane's former thread is what this one adds to.
        match TAKEN.compare_exchange_weak(taken, taken | bit, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return usize::try_from(lane).ok(),
            Err(now) => taken = now,
        }
    }
    None
}

fn release(lane: usize) {
    if let Some(bit) = u32::try_from(lane).ok().and_then(|lane| 1_u64.checked_shl(lane)) {
        // Release, so that the lane's next thread sees every count.
        TAKEN.fetch_and(!bit, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    /// Lanes are the process's, and `cargo test` runs the tests of a process side by side.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn every_hit_counts_once_however_many_threads_begin_and_end() {
        const WAVES: u64 = 20;
        const THREADS: u64 = 40;
        const HITS: u64 = 2_000;
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = HitCounters::default();
        let (one, other) = (counters.counter(), counters.counter());
        let mut told = 0;
        // A wave's threads end while the next one's begin, and somebody publishes all the while.
        thread::scope(|scope| {
            for _ in 0..WAVES {
                let wave: Vec<_> = (0..THREADS)
                    .map(|_| {
                        scope.spawn(|| {
                            for _ in 0..HITS {
                                one.hit();
                                other.hit();
                            }
                        })
                    })
                    .collect();
                told += one.unpublished();
                drop(wave);
            }
        });
        assert_eq!(told + one.unpublished(), WAVES * THREADS * HITS);
        assert_eq!(other.unpublished(), WAVES * THREADS * HITS, "neighbours in a block are apart");
        assert_eq!((one.unpublished(), other.unpublished()), (0, 0));
    }

    #[test]
    fn threads_beyond_the_last_lane_are_counted_too_and_lanes_come_back() {
        const THREADS: usize = LANES + 16;
        const HITS: u64 = 5_000;
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = HitCounters::default().counter();
        let (begun, done) = (Barrier::new(THREADS), Barrier::new(THREADS));
        let lanes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        begun.wait();
                        for _ in 0..HITS {
                            counter.hit();
                        }
                        done.wait();
                        LANE.get()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut own: Vec<_> = lanes.iter().copied().filter(|&lane| lane != NO_LANE).collect();
        own.sort_unstable();
        own.dedup();
        let without = lanes.iter().filter(|&&lane| lane == NO_LANE).count();
        assert_eq!(own.len() + without, THREADS, "no lane has two threads");
        assert!(without >= THREADS - LANES);
        assert_eq!(counter.unpublished(), THREADS as u64 * HITS);
        let again = thread::spawn(|| take_lane().is_some()).join().unwrap();
        assert!(again, "the lanes were given back");
    }

    #[test]
    fn a_hit_in_the_last_destructor_of_a_thread_counts() {
        struct Last(Arc<HitCounter>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.hit();
            }
        }
        thread_local! {
            static LAST: Cell<Option<Last>> = const { Cell::new(None) };
        }
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = Arc::new(HitCounters::default().counter());
        for order in ["lane first", "lane last"] {
            let hits = Arc::clone(&counter);
            thread::spawn(move || {
                if order == "lane first" {
                    hits.hit();
                }
                LAST.set(Some(Last(Arc::clone(&hits))));
                hits.hit();
            })
            .join()
            .unwrap();
        }
        assert_eq!(counter.unpublished(), 5);
    }

    #[test]
    fn racing_publishers_tell_each_hit_once() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = HitCounters::default().counter();
        let told = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        counter.hit();
                        told.fetch_add(counter.unpublished(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(told.load(Ordering::Relaxed) + counter.unpublished(), 8_000);
    }
}
