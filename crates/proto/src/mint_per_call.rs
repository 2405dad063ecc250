//! Clients that ask for a new token for every call, in place of keeping the one that they have.
//!
//! A caller that keeps its tokens asks once or twice in the life of one. What is counted is how often the same client
//! asks from the same source for the same scope and audience; a fleet of a thousand workers, each at an address of its
//! own, is a thousand keys with one request each.

use crate::quota::{QuotaExhausted, QuotaPolicy, QuotaTable};
use crate::time::Moment;
use std::time::Duration;

/// How many tokens of one kind a source may be given before it is said to mint per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintPolicy {
    per_life: u32,
}

impl MintPolicy {
    /// The fewest that can be set: who renews at the half of the life, and starts anew now and then, stays below.
    pub const MIN_PER_LIFE: u32 = 4;
    /// The most that can be set.
    pub const MAX_PER_LIFE: u32 = 100_000;

    /// About `per_life` tokens within the life of one, from 4 to 100,000. Default: 100, which leaves room for as many
    /// workers behind one address that each keep a token of their own; a larger fleet behind one address wants more.
    ///
    /// # Errors
    /// [`InvalidMintPolicy`] when it is out of its bounds.
    pub const fn new(per_life: u32) -> Result<Self, InvalidMintPolicy> {
        if per_life < Self::MIN_PER_LIFE || per_life > Self::MAX_PER_LIFE {
            return Err(InvalidMintPolicy);
        }
        Ok(Self { per_life })
    }
}

impl Default for MintPolicy {
    fn default() -> Self {
        Self { per_life: 100 }
    }
}

/// A number of tokens that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tokens of one kind within the life of one are from 4 to 100000")]
pub struct InvalidMintPolicy;

/// How often which tokens were asked for lately.
///
/// ```
/// use jeton_proto::mint_per_call::{MintDetector, MintPolicy};
/// use jeton_proto::time::{Moment, Timestamp};
/// use std::time::Duration;
///
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let (mut detector, hour) = (MintDetector::new(MintPolicy::default(), 4096), Duration::from_secs(3600));
/// assert!((0..100).all(|_| detector.asked(7, hour, now).is_ok()));
/// // The next one may be had when a hundredth of the life has passed.
/// assert_eq!(detector.asked(7, hour, now).unwrap_err().retry_after, Duration::from_secs(36));
/// ```
#[derive(Clone, Debug)]
pub struct MintDetector {
    policy: MintPolicy,
    asked: QuotaTable,
    told: QuotaTable,
}

impl MintDetector {
    /// Nothing was asked for yet. At most `keys` keys are remembered, and an eighth of that of clients that were told of.
    #[must_use]
    pub fn new(policy: MintPolicy, keys: usize) -> Self {
        Self { policy, asked: QuotaTable::new(keys), told: QuotaTable::new(keys / 8) }
    }

    /// Takes note that a token that lives for `life` is asked for. `key` is a hash, made with a random key of the process, of
    /// client, source, scope and audience. [`QuotaExhausted`] when the caller mints per call; then nothing is counted, and
    /// the error has when the next token would be within bounds.
    pub fn asked(&mut self, key: u64, life: Duration, now: Moment) -> Result<(), QuotaExhausted> {
        self.asked.reserve(key, &QuotaPolicy::spread(self.policy.per_life, life), now)
    }

    /// Whether the log is to say that `client`, a hash of the same kind, mints per call: once an hour.
    pub fn is_to_be_told(&mut self, client: u64, now: Moment) -> bool {
        self.told.reserve(client, &QuotaPolicy::spread(1, Duration::from_hours(1)), now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

    fn after(seconds: u64) -> Moment {
        START.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn a_hundred_calls_a_minute_are_found_out_and_told_once_an_hour() {
        let mut detector = MintDetector::new(MintPolicy::default(), 4096);
        let mut found = Vec::new();
        for second in 0..7200 {
            if detector.asked(1, Duration::from_hours(1), after(second)).is_err() {
                found.push((second, detector.is_to_be_told(2, after(second))));
            }
        }
        assert!((100..110).contains(&found[0].0), "{:?}", found[0]);
        assert_eq!(found.iter().filter(|(_, told)| *told).count(), 2);
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        assert!(MintPolicy::new(3).is_err() && MintPolicy::new(100_001).is_err());
        assert!(MintPolicy::new(4).is_ok() && MintPolicy::new(100_000).is_ok());
    }

    #[test]
    fn t41_a_million_keys_stay_within_bounds() {
        let mut detector = MintDetector::new(MintPolicy::default(), 4096);
        for key in 0..1_000_000_u64 {
            let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!(detector.asked(key, Duration::from_hours(1), START).is_ok());
            detector.is_to_be_told(key, START);
        }
        assert!(detector.asked.len() <= 4096 && detector.told.len() <= 512);
    }

    proptest! {
        /// A fleet whose workers each renew at the half of the life or later is never found out while there are at most
        /// half as many workers at one address as tokens are allowed.
        #[test]
        fn a_fleet_that_keeps_its_tokens_is_never_found_out(
            life in 10_u64..100_000,
            workers in prop::collection::vec((0_u64..1000, 500_u64..800), 1..50),
        ) {
            let mut detector = MintDetector::new(MintPolicy::default(), 4096);
            let mut asks: Vec<u64> = workers
                .iter()
                .flat_map(|(start, renews_at)| {
                    (0..20).map(move |turn| life * start + life * renews_at * turn)
                })
                .collect();
            asks.sort_unstable();
            for millis in asks {
                let now = START.saturating_add(Duration::from_millis(millis));
                prop_assert!(detector.asked(1, Duration::from_secs(life), now).is_ok(), "after {millis} ms");
            }
        }

        /// In no span are there more tokens than its share.
        #[test]
        fn r5_6_no_life_has_many_more_tokens_than_allowed(
            per_life in 4_u32..50, life in 1_u64..10_000, pauses in prop::collection::vec(0_u64..500, 1..500),
        ) {
            let mut detector = MintDetector::new(MintPolicy::new(per_life).unwrap(), 4096);
            let (mut now, mut granted) = (0, 0_u64);
            for pause in pauses {
                now += pause;
                granted += u64::from(detector.asked(9, Duration::from_secs(life), after(now)).is_ok());
            }
            prop_assert!(granted <= u64::from(per_life) * (1 + now.div_ceil(life)) + 1);
        }
    }
}
