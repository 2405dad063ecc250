//! The system's clock, the one place where this crate reads the time, and the tick that the hot path reads instead.

use jeton_proto::time::{Clock, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

/// The wall clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.saturating_add(since_epoch)
    }
}

/// How often the tick is set.
const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// How far ahead of the time it is set, so that it is not behind before it is set again, nor when that is late.
const TICK_AHEAD: Duration = Duration::from_millis(250);
/// How long before its expiry a token is looked at with the precise clock in every case, so that a busy machine on which
/// the tick is late by this and [`TICK_AHEAD`] serves no expired token.
pub(crate) const PRECISE_BEFORE_EXPIRY: Duration = Duration::from_secs(1);

/// A time ahead of now, in milliseconds since the epoch, or the end of time when nobody sets it.
static TICK: AtomicU64 = AtomicU64::new(u64::MAX);
static TICKER: Mutex<Weak<Ticker>> = Mutex::new(Weak::new());

/// The tick of a clock that has none: everything is looked at with the precise clock.
static END_OF_TIME: AtomicU64 = AtomicU64::new(u64::MAX);

/// A clock with a cheap reading for the hot path.
///
/// The hot path asks [`ahead_of_now`](HotClock::ahead_of_now), one relaxed load. It runs ahead of the time, by a
/// quarter of a second at most where the system's clock is used, so a token that it finds fresh is fresh; whoever
/// finds one that is not asks [`now`](HotClock::now) before deciding anything else.
pub(crate) struct HotClock {
    tick: &'static AtomicU64,
    clock: Arc<dyn Clock>,
    _ticker: Option<Arc<Ticker>>,
}

impl HotClock {
    pub(crate) fn system() -> Self {
        Self { tick: &TICK, clock: Arc::new(SystemClock), _ticker: Some(Ticker::running()) }
    }

    pub(crate) fn injected(clock: Arc<dyn Clock>) -> Self {
        Self { tick: &END_OF_TIME, clock, _ticker: None }
    }

    #[inline]
    pub(crate) fn ahead_of_now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.tick.load(Ordering::Relaxed))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A share in the one thread that sets the tick. The thread ends when the last share is dropped.
pub(crate) struct Ticker;

impl Ticker {
    fn running() -> Arc<Self> {
        let mut running = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticker) = running.upgrade() {
            return ticker;
        }
        let ticker = Arc::new(Self);
        *running = Arc::downgrade(&ticker);
        set_tick();
        let weak = Arc::downgrade(&ticker);
        let thread =
            thread::Builder::new().name("jeton-tick".to_owned()).spawn(move || tick_while_alive(&weak));
        if let Err(error) = thread {
            // Without the thread every reading is the precise one: slower, and right.
            TICK.store(u64::MAX, Ordering::Relaxed);
            tracing::warn!(%error, "no thread for the clock tick, the hot path reads the precise clock");
        }
        ticker
    }
}

fn tick_while_alive(ticker: &Weak<Ticker>) {
    loop {
        {
            // Under the lock, so that a new ticker cannot begin between the look and the end of time.
            let running = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
            if ticker.strong_count() == 0 {
                // Another thread may have been begun since; the tick is its.
                if running.strong_count() == 0 {
                    TICK.store(u64::MAX, Ordering::Relaxed);
                }
                return;
            }
            set_tick();
        }
        thread::sleep(TICK_INTERVAL);
    }
}

fn set_tick() {
    TICK.store(SystemClock.now().saturating_add(TICK_AHEAD).as_unix_millis(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn t5_the_tick_is_ahead_while_somebody_holds_it_and_the_end_of_time_when_nobody_does() {
        let clock = HotClock::system();
        let second = HotClock::system();
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            let (coarse, now) = (clock.ahead_of_now(), SystemClock.now());
            assert!(coarse >= now, "{coarse} is behind {now}");
            assert!(coarse.saturating_since(now) <= TICK_AHEAD);
            thread::sleep(Duration::from_millis(1));
        }
        drop(clock);
        thread::sleep(TICK_INTERVAL * 3);
        assert!(second.ahead_of_now() < Timestamp::MAX);
        drop(second);
        let patience = Instant::now() + Duration::from_secs(5);
        while TICK.load(Ordering::Relaxed) != u64::MAX {
            assert!(Instant::now() < patience, "the thread goes on without a holder");
            thread::sleep(Duration::from_millis(10));
        }
        let again = HotClock::system();
        assert!(again.ahead_of_now() < Timestamp::MAX);
    }
}
