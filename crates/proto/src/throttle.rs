//! How a server slows failed authentications down without locking anybody out.
//!
//! Failures are counted for each pair of client id and source (the address of the caller, or the network it is in), and
//! for each source. What is counted of a source is only what its pairs were still allowed: one broken client that fails
//! for ever adds little to it, a caller that goes through many client ids adds all of it.
//!
//! A failure beyond what is allowed is answered with "slow down" in place of "wrong credential". Whoever proves who it
//! is, is let in at all times where that proof is cheap to check; where it is dear, a failing pair or source is told to
//! slow down before the check, unless the pair has proved itself lately. Nothing of a client id is ever counted without
//! a source, so nobody can shut a client out by knowing its id.

use crate::quota::{QuotaExhausted, QuotaPolicy, QuotaTable};
use crate::time::Moment;
use std::time::Duration;

/// How long a pair that proved itself is remembered, at least; at most twice as long.
pub const PROVED_FOR: Duration = Duration::from_mins(30);
/// How many pairs, sources, and pairs that proved themselves are remembered at most, each.
const MAX_PAIRS: usize = 32_768;
const MAX_SOURCES: usize = 16_384;
const MAX_PROVED: usize = 32_768;

/// How many failures are answered as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Of one client id from one source. Default: 10 at once, and one more every 5 s.
    pub of_pair: QuotaPolicy,
    /// Of one source, over all client ids. Default: 300 at once, and two more a second, so that ten clients behind one
    /// address that are broken for ever do not use it up.
    pub of_source: QuotaPolicy,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            of_pair: QuotaPolicy::spread(10, Duration::from_secs(50)),
            of_source: QuotaPolicy::spread(300, Duration::from_secs(150)),
        }
    }
}

/// Who fails or proves itself, by hashes that are made with a random key of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Of the client id and the source.
    pub pair: u64,
    /// Of the source.
    pub source: u64,
}

/// What failed and what proved itself, as far as it is remembered.
///
/// ```
/// use jeton_proto::throttle::{FailurePolicy, FailureThrottle, Suspect};
/// use jeton_proto::time::{Moment, Timestamp};
///
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let mut throttle = FailureThrottle::new(FailurePolicy::default());
/// let attacker = Suspect { pair: 1, source: 7 };
/// while throttle.failed(attacker, now).is_ok() {}
/// assert!(throttle.standing(attacker, now).is_err());
/// // The same client from elsewhere, and another client from there, are not concerned.
/// assert!(throttle.standing(Suspect { pair: 2, source: 8 }, now).is_ok());
/// assert!(throttle.standing(Suspect { pair: 3, source: 7 }, now).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct FailureThrottle {
    policy: FailurePolicy,
    pairs: QuotaTable,
    sources: QuotaTable,
    proved: QuotaTable,
}

impl FailureThrottle {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(policy: FailurePolicy) -> Self {
        Self {
            policy,
            pairs: QuotaTable::new(MAX_PAIRS),
            sources: QuotaTable::new(MAX_SOURCES),
            proved: QuotaTable::new(MAX_PROVED),
        }
    }

    /// Whether a failure of `suspect` would be answered as one. [`QuotaExhausted`] when it is to slow down.
    pub fn standing(&self, suspect: Suspect, now: Moment) -> Result<(), QuotaExhausted> {
        self.pairs.standing(suspect.pair, &self.policy.of_pair, now)?;
        self.sources.standing(suspect.source, &self.policy.of_source, now)
    }

    /// Whether a proof of `suspect` that is dear to check is to be checked: its standing, unless it proved itself lately.
    pub fn before_dear_check(&self, suspect: Suspect, now: Moment) -> Result<(), QuotaExhausted> {
        if self.proved.owes(suspect.pair, now) { Ok(()) } else { self.standing(suspect, now) }
    }

    /// Takes note of a failure. [`QuotaExhausted`] when it is to be answered with "slow down".
    pub fn failed(&mut self, suspect: Suspect, now: Moment) -> Result<(), QuotaExhausted> {
        self.pairs.reserve(suspect.pair, &self.policy.of_pair, now)?;
        self.sources.reserve(suspect.source, &self.policy.of_source, now)
    }

    /// Takes note of a dear proof that was good. What failed before stays counted: it was somebody else, or is still broken.
    pub fn proved(&mut self, suspect: Suspect, now: Moment) {
        // Two parts, of which the second is had again when the first is over: who proves itself again and again is
        // never forgotten in between.
        let memory = QuotaPolicy::spread(2, PROVED_FOR * 2);
        let _remembered_already = self.proved.reserve(suspect.pair, &memory, now);
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

    /// Hashes as they would be: without a pattern.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn suspect(client: u64, source: u64) -> Suspect {
        Suspect { pair: hash((client << 32) + source), source: hash(source) }
    }

    #[test]
    fn t41_a_client_that_is_attacked_from_one_address_is_untouched_at_others() {
        let mut throttle = FailureThrottle::new(FailurePolicy::default());
        for _ in 0..100_000 {
            let _answer = throttle.failed(suspect(1, 1), START);
        }
        assert!(throttle.failed(suspect(1, 1), START).is_err());
        assert!(throttle.before_dear_check(suspect(1, 1), START).is_err());
        assert!(throttle.before_dear_check(suspect(1, 2), START).is_ok());
        assert!(throttle.failed(suspect(1, 1), after(5)).is_ok(), "failures are forgiven with time");
    }

    #[test]
    fn t41_one_broken_client_for_ever_stops_nobody_at_its_address() {
        let mut throttle = FailureThrottle::new(FailurePolicy::default());
        for second in 0..100_000 {
            for _ in 0..3 {
                let _answer = throttle.failed(suspect(1, 1), after(second));
            }
            assert!(throttle.standing(suspect(2, 1), after(second)).is_ok(), "after {second} s");
        }
    }

    #[test]
    fn t41_who_goes_through_client_ids_is_slowed_down_and_those_who_proved_themselves_are_not() {
        let mut throttle = FailureThrottle::new(FailurePolicy::default());
        throttle.proved(suspect(1, 1), START);
        let allowed =
            (10..10_000).filter(|client| throttle.failed(suspect(*client, 1), START).is_ok()).count();
        assert_eq!(allowed, 300);
        assert!(throttle.before_dear_check(suspect(2, 1), START).is_err());
        assert!(throttle.before_dear_check(suspect(1, 1), START).is_ok());
        assert!(
            throttle.before_dear_check(suspect(10, 2), START).is_ok(),
            "elsewhere nothing is known of it"
        );
    }

    #[test]
    fn t41_who_proves_itself_again_and_again_is_never_forgotten_and_others_are() {
        let mut throttle = FailureThrottle::new(FailurePolicy::default());
        let steady = suspect(1, 1);
        for minute in 0..1000 {
            throttle.proved(steady, after(minute * 60));
            while throttle.failed(steady, after(minute * 60)).is_ok() {}
            assert!(throttle.before_dear_check(steady, after(minute * 60 + 59)).is_ok(), "minute {minute}");
        }
        let end = 999 * 60;
        assert!(throttle.before_dear_check(steady, after(end + 29 * 60)).is_ok());
        let much_later = after(end + 61 * 60);
        while throttle.failed(steady, much_later).is_ok() {}
        assert!(throttle.before_dear_check(steady, much_later).is_err());
    }

    #[test]
    fn t41_a_million_client_ids_and_addresses_stay_within_bounds() {
        let mut throttle = FailureThrottle::new(FailurePolicy::default());
        for number in 0..1_000_000 {
            let _answer = throttle.failed(suspect(number, number), START);
            throttle.proved(suspect(number, number), START);
        }
        let held = [throttle.pairs.len(), throttle.sources.len(), throttle.proved.len()];
        assert!(held[0] <= MAX_PAIRS && held[1] <= MAX_SOURCES && held[2] <= MAX_PROVED, "{held:?}");
        assert!(throttle.before_dear_check(suspect(2_000_000, 2_000_000), START).is_ok());
    }

    proptest! {
        /// Whatever happens at other addresses, the standing of a caller that never failed at its own is clear.
        #[test]
        fn t41_a_caller_whose_address_never_failed_is_always_clear(
            failures in prop::collection::vec((0_u64..5, 1_u64..50, 0_u64..3), 1..500),
        ) {
            let mut throttle = FailureThrottle::new(FailurePolicy::default());
            let mut now = 0;
            for (client, source, pause) in failures {
                now += pause;
                let _answer = throttle.failed(suspect(client, source), after(now));
                for client in 0..5 {
                    prop_assert!(throttle.before_dear_check(suspect(client, 0), after(now)).is_ok());
                }
            }
        }

        /// A source never has more failures answered than its own quota, a pair never more than its own.
        #[test]
        fn r5_6_failures_are_bounded(
            failures in prop::collection::vec((0_u64..400, 0_u64..2), 1..2000),
        ) {
            let mut throttle = FailureThrottle::new(FailurePolicy::default());
            let (mut now, mut answered) = (0, std::collections::HashMap::new());
            for (client, pause) in failures {
                now += pause;
                if throttle.failed(suspect(client, 1), after(now)).is_ok() {
                    *answered.entry(client).or_insert(0) += 1;
                }
            }
            prop_assert!(answered.values().sum::<u64>() <= 300 + now * 2 + 1);
            prop_assert!(answered.values().all(|of_pair| *of_pair <= 10 + now / 5 + 1));
        }
    }
}
