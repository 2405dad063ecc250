//! A bound on the token requests of one client to one endpoint (R3.9), whatever its callers do: GCRA, the generic cell
//! rate algorithm, which is a leaky bucket that needs two numbers and no timer.

use crate::time::Moment;
use std::time::Duration;

mod table;

pub use table::{QuotaTable, WAYS};

/// How many token requests a client may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaPolicy {
    /// The time after which one more may be made.
    interval: Duration,
    burst: u32,
}

impl QuotaPolicy {
    /// `burst` requests at once (default 100, 1 to 100,000), and one more every `interval` (default 100 ms, which is ten a second;
    /// 1 ms to 1 h). The default holds some thousand tokens of ten minutes fresh; more keys than that want a larger one.
    ///
    /// # Errors
    /// [`InvalidQuotaPolicy`] when a value is out of its bounds.
    pub fn new(burst: u32, interval: Duration) -> Result<Self, InvalidQuotaPolicy> {
        if !(1..=100_000).contains(&burst) {
            return Err(InvalidQuotaPolicy("the burst must be from 1 to 100,000 requests"));
        }
        if !(Duration::from_millis(1)..=Duration::from_hours(1)).contains(&interval) {
            return Err(InvalidQuotaPolicy("the interval must be from 1 ms to 1 h"));
        }
        Ok(Self { interval, burst })
    }

    /// About `count` requests (at least 1) in any span of this length: `count` at once, and one more after each part of
    /// the span, of which none is shorter than 1 µs. The count is cut to 100,000.
    #[must_use]
    pub fn spread(count: u32, span: Duration) -> Self {
        let burst = count.clamp(1, 100_000);
        Self { interval: (span / burst).max(Duration::from_micros(1)), burst }
    }

    fn allowance(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

impl Default for QuotaPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), burst: 100 }
    }
}

/// A quota whose values are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid request quota: {0}")]
pub struct InvalidQuotaPolicy(&'static str);

/// How much of the quota is used up. It starts whole.
///
/// ```
/// use jeton_proto::quota::{Quota, QuotaPolicy};
/// use jeton_proto::time::{Moment, Timestamp};
/// use std::time::Duration;
///
/// let policy = QuotaPolicy::new(1, Duration::from_secs(10))?;
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let (quota, turn) = Quota::default().reserve(&policy, Duration::ZERO, now);
/// assert_eq!(turn?, Duration::ZERO);
/// // The second has its turn in ten seconds, if it has that long.
/// let (quota, turn) = quota.reserve(&policy, Duration::from_secs(9), now);
/// assert!(turn.is_err());
/// let (_, turn) = quota.reserve(&policy, Duration::from_secs(15), now);
/// assert_eq!(turn?, Duration::from_secs(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    as_of: Option<Moment>,
    /// How much time has to pass from `as_of` on until the quota is whole again.
    debt: Duration,
}

/// The quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request quota is used up for {} ms", .retry_after.as_millis())]
pub struct QuotaExhausted {
    /// When a request may go.
    pub retry_after: Duration,
}

impl Quota {
    /// The time after which it is whole again, if nothing is reserved in between.
    #[must_use]
    pub fn debt_at(&self, now: Moment) -> Duration {
        let passed = self.as_of.and_then(|as_of| now.since(as_of)).unwrap_or_default();
        self.debt.saturating_sub(passed)
    }

    /// Reserves a turn for one request that can wait for `patience`: the quota as it is then, and the time until the
    /// turn comes. Turns come in the order in which they were reserved. [`QuotaExhausted`] when the turn would come
    /// later than that: then nothing is reserved, and the quota has noted the time all the same.
    pub fn reserve(
        &self,
        policy: &QuotaPolicy,
        patience: Duration,
        now: Moment,
    ) -> (Self, Result<Duration, QuotaExhausted>) {
        // A wall clock that stepped back has let no time pass; from now on it counts from where it stands, or else whoever
        // is refused now would be refused until it is again where it was.
        let left = self.debt_at(now);
        let debt = left.saturating_add(policy.interval);
        let turn = debt.saturating_sub(policy.allowance());
        if turn > patience {
            return (Self { as_of: Some(now), debt: left }, Err(QuotaExhausted { retry_after: turn }));
        }
        (Self { as_of: Some(now), debt }, Ok(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

    fn after(millis: u64) -> Moment {
        START.saturating_add(Duration::from_millis(millis))
    }

    fn granted(quota: &Quota, policy: &QuotaPolicy, patience: Duration, now: Moment) -> (Quota, Duration) {
        let (quota, turn) = quota.reserve(policy, patience, now);
        (quota, turn.unwrap())
    }

    #[test]
    fn r3_9_a_burst_and_then_one_an_interval() {
        let policy = QuotaPolicy::default();
        let mut quota = Quota::default();
        for _ in 0..100 {
            quota = granted(&quota, &policy, Duration::ZERO, START).0;
        }
        let (quota, refused) = quota.reserve(&policy, Duration::ZERO, START);
        assert_eq!(refused.unwrap_err().retry_after, Duration::from_millis(100));
        let (quota, refused) = quota.reserve(&policy, Duration::ZERO, after(99));
        assert_eq!(refused.unwrap_err().retry_after, Duration::from_millis(1));
        let (quota, turn) = granted(&quota, &policy, Duration::ZERO, after(100));
        assert_eq!(turn, Duration::ZERO);
        assert!(quota.reserve(&policy, Duration::ZERO, after(100)).1.is_err());
    }

    #[test]
    fn r3_9_turns_are_handed_out_in_order_and_a_refusal_reserves_nothing() {
        let policy = QuotaPolicy::new(1, Duration::from_secs(1)).unwrap();
        let patience = Duration::from_secs(3);
        let mut quota = Quota::default();
        for turn in 0..4 {
            let (next, wait) = granted(&quota, &policy, patience, START);
            assert_eq!(wait, Duration::from_secs(turn));
            quota = next;
        }
        for _ in 0..10 {
            let (next, refused) = quota.reserve(&policy, patience, START);
            assert_eq!(refused.unwrap_err().retry_after, Duration::from_secs(4));
            quota = next;
        }
    }

    #[test]
    fn t5_a_clock_that_steps_back_neither_fills_nor_blocks_it() {
        let policy = QuotaPolicy::new(1, Duration::from_secs(10)).unwrap();
        let (quota, _) = granted(&Quota::default(), &policy, Duration::ZERO, after(500_000));
        let (quota, refused) = quota.reserve(&policy, Duration::ZERO, START);
        assert_eq!(refused.unwrap_err().retry_after, Duration::from_secs(10));
        // Whoever asks again and again is not refused until the clock is again where it was.
        let (quota, refused) = quota.reserve(&policy, Duration::ZERO, after(9_999));
        assert_eq!(refused.unwrap_err().retry_after, Duration::from_millis(1));
        granted(&quota, &policy, Duration::ZERO, after(10_000));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        assert!(QuotaPolicy::new(0, Duration::from_secs(1)).is_err());
        assert!(QuotaPolicy::new(100_001, Duration::from_secs(1)).is_err());
        assert!(QuotaPolicy::new(1, Duration::ZERO).is_err());
        assert!(QuotaPolicy::new(1, Duration::MAX).is_err());
        assert!(QuotaPolicy::new(100_000, Duration::from_hours(1)).is_ok());
    }

    proptest! {
        /// In any span of time no more requests go than the burst and what the span itself allows.
        #[test]
        fn r3_9_no_span_has_more_than_its_share(
            burst in 1_u32..20, interval in 1_u64..500, asks in prop::collection::vec((0_u64..300, 0_u64..1000), 1..300),
        ) {
            let policy = QuotaPolicy::new(burst, Duration::from_millis(interval)).unwrap();
            let (mut quota, mut now) = (Quota::default(), 0);
            let mut sent: Vec<u64> = Vec::new();
            for (pause, patience) in asks {
                now += pause;
                let (next, turn) = quota.reserve(&policy, Duration::from_millis(patience), after(now));
                quota = next;
                if let Ok(turn) = turn {
                    sent.push(now + u64::try_from(turn.as_millis()).unwrap());
                }
            }
            sent.sort_unstable();
            for (first, from) in sent.iter().enumerate() {
                for (last, until) in sent.iter().enumerate().skip(first) {
                    let allowed = u64::from(burst) + (until - from) / interval;
                    prop_assert!(u64::try_from(last - first).unwrap() < allowed + 1, "{first}..={last} of {sent:?}");
                }
            }
        }
    }
}
