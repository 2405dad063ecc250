//! Instants, and the clocks that give them.
//!
//! Tokens cross processes and machines, so their times are wall times. Within one process the time that has *passed*
//! is taken from the boot clock where the system has one: it goes on while the machine sleeps, as monotonic clocks do
//! not, and nobody steps it, as the wall clock is stepped. All arithmetic saturates: no input can wrap an expiry around.

use std::fmt;
use std::time::Duration;

/// A wall-clock instant in whole milliseconds since the Unix epoch.
///
/// ```
/// use jeton_proto::time::Timestamp;
/// use std::time::Duration;
///
/// let sent_at = Timestamp::from_unix_seconds(1_700_000_000);
/// let expires_at = sent_at.saturating_add(Duration::from_secs(3600));
/// assert_eq!(expires_at.as_unix_seconds(), 1_700_003_600);
/// assert_eq!(sent_at.saturating_since(expires_at), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The last instant that can be told; arithmetic stops here.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The instant `seconds` seconds after the Unix epoch, saturating.
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down, as `NumericDate` (RFC 7519 §2) wants them.
    #[must_use]
    pub const fn as_unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This instant and `span` later; stops at [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(span)))
    }

    /// This instant and `span` earlier; stops at [`Timestamp::EPOCH`].
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(span)))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// One instant as both clocks of a machine tell it.
///
/// ```
/// use jeton_proto::time::{Moment, Timestamp};
/// use std::time::Duration;
///
/// let asked = Moment::new(Timestamp::from_unix_seconds(5000), Some(Duration::from_secs(70)));
/// // An hour later somebody sets the wall clock back by a day: an hour has passed all the same.
/// let now = Moment::new(Timestamp::EPOCH, Some(Duration::from_secs(3670)));
/// assert_eq!(now.since(asked), Some(Duration::from_secs(3600)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    wall: Timestamp,
    since_boot: Option<Duration>,
}

impl Moment {
    /// The instant at which the wall clock showed `wall` and the boot clock, where there is one, `since_boot`.
    #[must_use]
    pub const fn new(wall: Timestamp, since_boot: Option<Duration>) -> Self {
        Self { wall, since_boot }
    }

    /// What the wall clock showed.
    #[must_use]
    pub const fn wall(self) -> Timestamp {
        self.wall
    }

    /// What the boot clock showed: the time since an instant that does not change while the process lives.
    #[must_use]
    pub const fn since_boot(self) -> Option<Duration> {
        self.since_boot
    }

    /// How much time has passed since `earlier`: by the boot clock, or by the wall clock where there is none or the two
    /// instants are of different boots. `None` when the wall clock stands before `earlier`, which cannot be.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let by_boot = |(now, then): (Duration, Duration)| now.checked_sub(then);
        self.since_boot.zip(earlier.since_boot).and_then(by_boot).or_else(|| self.since_by_wall(earlier))
    }

    /// How much time has passed since `earlier` by the wall clock; `None` when it stands before `earlier`.
    #[must_use]
    pub fn since_by_wall(self, earlier: Self) -> Option<Duration> {
        (earlier.wall <= self.wall).then(|| self.wall.saturating_since(earlier.wall))
    }

    /// How much of a span that began at `begun` is left; `None` when it is over. A wall clock that stepped back to
    /// before its beginning ends it, so that no step can prolong it.
    #[must_use]
    pub fn left_of(self, span: Duration, begun: Self) -> Option<Duration> {
        self.since(begun).and_then(|passed| span.checked_sub(passed)).filter(|left| !left.is_zero())
    }

    /// This instant and `span` earlier, by both clocks; `None` when that is before the boot clock, or the wall clock, began.
    #[must_use]
    pub fn checked_sub(self, span: Duration) -> Option<Self> {
        let since_boot = match self.since_boot {
            Some(since_boot) => Some(since_boot.checked_sub(span)?),
            None => None,
        };
        let wall = self.wall.0.checked_sub(whole_millis(span))?;
        Some(Self { wall: Timestamp(wall), since_boot })
    }

    /// This instant and `span` later, by both clocks.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        let since_boot = self.since_boot.map(|since_boot| since_boot.saturating_add(span));
        Self { wall: self.wall.saturating_add(span), since_boot }
    }
}

/// An instant of which only the wall time is known.
impl From<Timestamp> for Moment {
    fn from(wall: Timestamp) -> Self {
        Self { wall, since_boot: None }
    }
}

/// Tells the time.
///
/// Wrong answers are bounded in their harm: a clock that runs late makes a client present an expired token, which
/// the API refuses and the client then replaces; one that runs early makes it renew early. A wall clock that steps back
/// below the time at which a token was obtained makes that token be renewed, unless the boot clock tells better.
pub trait Clock: Send + Sync + 'static {
    /// The wall time now.
    fn now(&self) -> Timestamp;

    /// The time since some instant that stays the same while the process lives. It goes on while the machine sleeps,
    /// and nobody steps it. `None`, the default, where the system has no such clock; either always or never.
    fn since_boot(&self) -> Option<Duration> {
        None
    }

    /// Both clocks now.
    fn moment(&self) -> Moment {
        Moment::new(self.now(), self.since_boot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.saturating_sub(Duration::MAX), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.saturating_since(Timestamp::MAX), Duration::ZERO);
    }

    fn at(wall: u64, boot: Option<u64>) -> Moment {
        Moment::new(Timestamp::from_unix_seconds(wall), boot.map(Duration::from_secs))
    }

    #[test]
    fn t5_the_boot_clock_tells_what_has_passed_and_the_wall_clock_where_there_is_none() {
        let check = |earlier: Moment, now: Moment, expected: Option<u64>| {
            assert_eq!(now.since(earlier), expected.map(Duration::from_secs), "{earlier:?} {now:?}");
        };
        check(at(1000, Some(10)), at(1005, Some(15)), Some(5));
        check(at(1000, Some(10)), at(0, Some(15)), Some(5));
        check(at(1000, Some(10)), at(9999, Some(15)), Some(5));
        check(at(1000, None), at(1005, Some(15)), Some(5));
        check(at(1000, None), at(1005, None), Some(5));
        check(at(1000, None), at(999, None), None);
        // The boot clock began anew: another boot, or a machine that was restored.
        check(at(1000, Some(10)), at(1005, Some(1)), Some(5));
        check(at(1000, Some(10)), at(999, Some(1)), None);
    }

    #[test]
    fn what_is_left_of_a_span_ends_with_it_and_with_a_clock_that_cannot_be_right() {
        let (begun, span) = (at(1000, None), Duration::from_secs(10));
        assert_eq!(at(1000, None).left_of(span, begun), Some(span));
        assert_eq!(at(1009, None).left_of(span, begun), Some(Duration::from_secs(1)));
        assert_eq!(at(1010, None).left_of(span, begun), None);
        assert_eq!(at(999, None).left_of(span, begun), None);
    }
}
