//! How far a server's clock is from ours, as its `Date` (RFC 9110 §6.6.1) tells.
//!
//! It is learned to be *told*: a wrong clock explains refused tokens and assertions. Nothing here makes a token live
//! longer; the life of a token counts from when it was asked for, by our clock alone (trap T6).

use crate::time::Timestamp;
use std::time::{Duration, SystemTime};

/// How far a server's clock is ahead of ours, as far as one answer tells: its `Date` has whole seconds, and was
/// written at some time between the request and the end of the answer.
///
/// ```
/// use jeton_proto::skew::Skew;
/// use jeton_proto::time::Timestamp;
///
/// let sent_at = Timestamp::from_unix_seconds(784_111_777);
/// let answered_at = Timestamp::from_unix_seconds(784_111_778);
/// let skew = Skew::observe("Sun, 06 Nov 1994 08:50:37 GMT", sent_at, answered_at).ok_or("no date")?;
/// assert_eq!(skew.at_least_seconds(), 59.0);
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    lowest_millis: i64,
    highest_millis: i64,
}

/// What a clock may be off by before it is worth a warning.
const WORTH_A_WARNING: Duration = Duration::from_secs(10);

impl Skew {
    /// Reads a `Date`; `None` for what is not an HTTP date, and for a clock of ours that stepped back meanwhile.
    #[must_use]
    pub fn observe(date: &str, sent_at: Timestamp, answered_at: Timestamp) -> Option<Self> {
        let date = parse_date(date)?;
        let difference = |theirs: Timestamp, ours: Timestamp| {
            let (theirs, ours) = (theirs.as_unix_millis(), ours.as_unix_millis());
            i64::try_from(i128::from(theirs) - i128::from(ours)).ok()
        };
        let lowest_millis = difference(date, answered_at)?;
        let highest_millis = difference(date.saturating_add(Duration::from_secs(1)), sent_at)?;
        (sent_at <= answered_at).then_some(Self { lowest_millis, highest_millis })
    }

    /// The least by which the two clocks must differ, in seconds: positive when the server's is ahead, zero when they may
    /// agree.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a skew are far below 2^52")]
    pub fn at_least_seconds(&self) -> f64 {
        self.at_least_millis() as f64 / 1000.0
    }

    /// Whether somebody should look at the clocks: they differ by 10 s or more.
    #[must_use]
    pub fn is_worth_a_warning(&self) -> bool {
        Duration::from_millis(self.at_least_millis().unsigned_abs()) >= WORTH_A_WARNING
    }

    fn at_least_millis(&self) -> i64 {
        0_i64.max(self.lowest_millis).min(self.highest_millis)
    }
}

/// An HTTP date as an instant; `None` for what is none, or is before 1970.
#[must_use]
pub fn parse_date(date: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    let since_epoch = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::EPOCH.saturating_add(since_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:37Z.
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SENT_MILLIS: u64 = 784_111_777_000;

    fn observed(sent_millis: u64, answered_millis: u64) -> Skew {
        let at = Timestamp::from_unix_millis;
        Skew::observe(DATE, at(sent_millis), at(answered_millis)).unwrap()
    }

    #[test]
    fn t6_what_the_whole_seconds_and_the_way_can_explain_is_no_skew() {
        assert!((observed(SENT_MILLIS, SENT_MILLIS).at_least_seconds()).abs() < 1e-9);
        assert!((observed(SENT_MILLIS + 999, SENT_MILLIS + 1500).at_least_seconds()).abs() < 1e-9);
        assert!((observed(SENT_MILLIS - 9000, SENT_MILLIS + 9000).at_least_seconds()).abs() < 1e-9);
    }

    #[test]
    fn t6_what_they_cannot_is_told_with_its_sign() {
        let behind = observed(SENT_MILLIS + 61_000, SENT_MILLIS + 62_000);
        assert!((behind.at_least_seconds() + 60.0).abs() < 1e-9, "{behind:?}");
        let ahead = observed(SENT_MILLIS - 62_000, SENT_MILLIS - 61_000);
        assert!((ahead.at_least_seconds() - 61.0).abs() < 1e-9, "{ahead:?}");
        assert!(ahead.is_worth_a_warning() && behind.is_worth_a_warning());
        assert!(!observed(SENT_MILLIS + 5000, SENT_MILLIS + 5000).is_worth_a_warning());
    }

    #[test]
    fn what_is_no_date_tells_nothing() {
        let at = Timestamp::from_unix_millis;
        for garbage in ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "784111777"] {
            assert_eq!(Skew::observe(garbage, at(SENT_MILLIS), at(SENT_MILLIS)), None, "{garbage:?}");
        }
        assert_eq!(Skew::observe(DATE, at(SENT_MILLIS), at(SENT_MILLIS - 1)), None, "our clock stepped back");
        assert!(Skew::observe(DATE, Timestamp::EPOCH, Timestamp::MAX).is_none(), "no number of milliseconds");
    }
}
