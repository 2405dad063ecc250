//! The system's clock, the one place where this crate reads the time, and the tick that the hot path reads instead.

use jeton_proto::time::{Clock, Moment, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

/// The clocks of the system: the wall clock, and on Linux, Android and Apple's systems one that counts from the boot on and
/// goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.saturating_add(since_epoch)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn since_boot(&self) -> Option<Duration> {
        Some(read(rustix::time::ClockId::Boottime))
    }

    // There the monotonic clock goes on while the machine sleeps.
    #[cfg(target_vendor = "apple")]
    fn since_boot(&self) -> Option<Duration> {
        Some(read(rustix::time::ClockId::Monotonic))
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn read(clock: rustix::time::ClockId) -> Duration {
    // Neither part is ever negative for these clocks.
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// By which clock the hot path counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeline {
    Wall,
    Boot,
}

impl Timeline {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        if clock.since_boot().is_some() { Self::Boot } else { Self::Wall }
    }

    pub(crate) fn millis(self, moment: Moment) -> u64 {
        match (self, moment.since_boot()) {
            (Self::Boot, Some(since_boot)) => u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX),
            (Self::Boot, None) | (Self::Wall, _) => moment.wall().as_unix_millis(),
        }
    }
}

/// By how much the two clocks of a machine may come to differ between two looks before it counts as a step.
const STEP_TOLERANCE: Duration = Duration::from_secs(1);

/// Notices when the wall clock was set, or the machine was held still in a way that its boot clock did not see.
#[derive(Debug, Default)]
pub(crate) struct StepDetector {
    last: Option<Moment>,
}

impl StepDetector {
    /// By how many milliseconds the wall clock went further than the boot clock since the last look, when that is a step.
    /// Where there is no boot clock only a step back can be seen.
    pub(crate) fn look(&mut self, now: Moment) -> Option<i64> {
        let last = self.last.replace(now)?;
        let by_wall = i128::from(now.wall().as_unix_millis()) - i128::from(last.wall().as_unix_millis());
        let by_boot = match (now.since_boot(), last.since_boot()) {
            (Some(now), Some(last)) => i128::try_from(now.checked_sub(last)?.as_millis()).ok()?,
            (None | Some(_), _) => by_wall.max(0),
        };
        let step = i64::try_from(by_wall - by_boot).ok()?;
        (Duration::from_millis(step.unsigned_abs()) > STEP_TOLERANCE).then_some(step)
    }
}

/// How often the tick is set.
const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// How far ahead of the time it is set, so that it is not behind before it is set again, nor when that is late.
const TICK_AHEAD: Duration = Duration::from_millis(250);
/// How long before its expiry a token is looked at with the precise clock in every case, so that a busy machine on which
/// the tick is late by this and [`TICK_AHEAD`] serves no expired token.
pub(crate) const PRECISE_BEFORE_EXPIRY: Duration = Duration::from_secs(1);

/// For how long everything is looked at precisely after a clock step.
const PRECISE_AFTER_STEP: Duration = Duration::from_secs(60);

/// A time ahead of now, in milliseconds of the system clock's [`Timeline`], or the end of time when nobody sets it.
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
    pub(crate) timeline: Timeline,
    _ticker: Option<Arc<Ticker>>,
}

impl HotClock {
    pub(crate) fn system() -> Self {
        let timeline = Timeline::of(&SystemClock);
        Self { tick: &TICK, clock: Arc::new(SystemClock), timeline, _ticker: Some(Ticker::running()) }
    }

    pub(crate) fn injected(clock: Arc<dyn Clock>) -> Self {
        Self { tick: &END_OF_TIME, timeline: Timeline::of(&*clock), clock, _ticker: None }
    }

    /// In milliseconds of the timeline.
    #[inline]
    pub(crate) fn ahead_of_now(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.moment()
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
        set_tick(SystemClock.moment());
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
    let mut steps = StepDetector::default();
    let mut stepped_at = None;
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
            let now = SystemClock.moment();
            if steps.look(now).is_some() {
                stepped_at = Some(now);
            }
            // A wall clock that was set may tell of time that the boot clock did not see; the precise path weighs both.
            if stepped_at.is_some_and(|at| now.left_of(PRECISE_AFTER_STEP, at).is_some()) {
                TICK.store(u64::MAX, Ordering::Relaxed);
            } else {
                set_tick(now);
            }
        }
        thread::sleep(TICK_INTERVAL);
    }
}

fn set_tick(now: Moment) {
    let ahead = Timeline::of(&SystemClock).millis(now.saturating_add(TICK_AHEAD));
    TICK.store(ahead, Ordering::Relaxed);
}

#[cfg(test)]
#[cfg(not(jeton_loom))]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn t5_the_tick_is_ahead_while_somebody_holds_it_and_the_end_of_time_when_nobody_does() {
        let clock = HotClock::system();
        let second = HotClock::system();
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            let (coarse, now) = (clock.ahead_of_now(), clock.timeline.millis(SystemClock.moment()));
            assert!(coarse >= now, "{coarse} is behind {now}");
            assert!(Duration::from_millis(coarse - now) <= TICK_AHEAD);
            thread::sleep(Duration::from_millis(1));
        }
        drop(clock);
        thread::sleep(TICK_INTERVAL * 3);
        assert!(second.ahead_of_now() < u64::MAX);
        drop(second);
        let patience = Instant::now() + Duration::from_secs(5);
        while TICK.load(Ordering::Relaxed) != u64::MAX {
            assert!(Instant::now() < patience, "the thread goes on without a holder");
            thread::sleep(Duration::from_millis(10));
        }
        let again = HotClock::system();
        assert!(again.ahead_of_now() < u64::MAX);
    }

    #[test]
    fn t5_a_step_is_seen_where_the_two_clocks_part_and_a_suspend_is_none() {
        let at = |wall: u64, boot: Option<u64>| {
            Moment::new(Timestamp::from_unix_seconds(wall), boot.map(Duration::from_secs))
        };
        let check = |first: Moment, second: Moment, expected: Option<i64>| {
            let mut detector = StepDetector::default();
            assert_eq!(detector.look(first), None);
            assert_eq!(detector.look(second), expected, "{first:?} {second:?}");
            assert_eq!(detector.look(second), None);
        };
        check(at(1000, Some(10)), at(1060, Some(70)), None);
        // A suspend: both go on.
        check(at(1000, Some(10)), at(90_000, Some(89_010)), None);
        check(at(1000, Some(10)), at(1001, Some(10)), None);
        check(at(1000, Some(10)), at(4660, Some(70)), Some(3_600_000));
        check(at(5000, Some(10)), at(1460, Some(70)), Some(-3_600_000));
        check(at(5000, None), at(5060, None), None);
        check(at(5000, None), at(1400, None), Some(-3_600_000));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn t5_on_linux_the_boot_clock_is_read() {
        let first = SystemClock.since_boot().unwrap();
        thread::sleep(Duration::from_millis(5));
        let passed = SystemClock.since_boot().unwrap().checked_sub(first).unwrap();
        assert!(passed >= Duration::from_millis(5) && passed < Duration::from_secs(5), "{passed:?}");
    }
}
