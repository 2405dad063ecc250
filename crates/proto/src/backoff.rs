//! How long to leave a token endpoint alone after a failure.

use crate::time::Moment;
use std::time::Duration;

/// What kind of failure a token request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// It may pass by itself: transport faults, 5xx, 429, malformed answers.
    Transient,
    /// It stays until somebody changes what is asked for or how the client is registered: `invalid_scope`,
    /// `invalid_target`, `unsupported_grant_type` and their like.
    Terminal,
    /// The client itself was refused: `invalid_client`, `unauthorized_client`. It concerns all that this client would
    /// ask for, and stays until the credential changes: see [`crate::gate`].
    Credential,
    /// Nothing was learned of the server: the request was not sent, or was given up on this side.
    Local,
}

/// A failed token request, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub class: FailureClass,
    /// The pause that the server asked for, if any.
    pub retry_after: Option<Duration>,
}

/// A pause between token requests that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    since: Moment,
    pause: Duration,
    failures: u32,
    class: FailureClass,
}

impl Backoff {
    /// How much of the pause is left at `now`; `None` when it is over. A wall clock that stepped back to before the pause
    /// began ends it, so that no step can prolong it.
    pub fn remaining(&self, now: impl Into<Moment>) -> Option<Duration> {
        now.into().left_of(self.pause, self.since)
    }

    /// How long it is in all.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// How many requests have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The kind of the last failure.
    pub fn class(&self) -> FailureClass {
        self.class
    }
}

/// Bounds of the pauses: exponential with full jitter for transient failures, a longer one for terminal failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    base: Duration,
    cap: Duration,
    terminal: Duration,
}

/// The shortest pause, so that no draw of the jitter makes a loop without one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The most that is added to a `Retry-After`.
const LONGEST_SPREAD: Duration = Duration::from_mins(1);

impl BackoffPolicy {
    /// A policy whose first pause is at most `base` (default 500 ms, 1 ms to 1 h), each later one at most twice the
    /// one before up to `cap` (default 30 s, `base` to 24 h); a terminal failure is remembered for `terminal`
    /// (default 30 s, 1 s to 24 h), doubled for each in a row up to ten times that.
    ///
    /// # Errors
    /// [`InvalidBackoffPolicy`] when a value is out of its bounds.
    pub fn new(base: Duration, cap: Duration, terminal: Duration) -> Result<Self, InvalidBackoffPolicy> {
        let day = Duration::from_hours(24);
        let hour = Duration::from_hours(1);
        if base < Duration::from_millis(1) || base > hour {
            return Err(InvalidBackoffPolicy("the base must be from 1 ms to 1 h"));
        }
        if cap < base || cap > day {
            return Err(InvalidBackoffPolicy("the cap must be from the base to 24 h"));
        }
        if terminal < Duration::from_secs(1) || terminal > day {
            return Err(InvalidBackoffPolicy("the terminal pause must be from 1 s to 24 h"));
        }
        Ok(Self { base, cap, terminal })
    }

    /// The pause after `failure`, given the one before it. `jitter` is a fraction drawn from 0 to 1; with full jitter
    /// a transient pause is that fraction of its bound. A longer `Retry-After` of the server is obeyed.
    #[must_use]
    pub fn after(
        &self,
        previous: Option<&Backoff>,
        failure: Failure,
        jitter: f64,
        now: impl Into<Moment>,
    ) -> Backoff {
        let before = previous.map_or(0, |backoff| backoff.failures);
        // What was not sent says nothing of the server, and makes its next failure no worse.
        let failures = if failure.class == FailureClass::Local { before } else { before.saturating_add(1) };
        let own = match failure.class {
            FailureClass::Transient => self.transient_pause(failures, jitter),
            FailureClass::Terminal | FailureClass::Credential => {
                doubled(self.terminal, failures).min(self.terminal.saturating_mul(10))
            }
            FailureClass::Local => MIN_PAUSE,
        };
        let pause = own.max(failure.retry_after.unwrap_or_default());
        Backoff { since: now.into(), pause, failures, class: failure.class }
    }

    /// How long an endpoint is left alone that asked for `retry_after`: that long, and up to half as long again (at least `base`,
    /// at most 60 s more), so that clients who were told the same do not come back in one instant.
    #[must_use]
    pub fn spread(&self, retry_after: Duration, jitter: f64) -> Duration {
        let room = (retry_after / 2).clamp(self.base, LONGEST_SPREAD.max(self.base));
        retry_after.saturating_add(room.mul_f64(fraction(jitter)))
    }

    /// The pause before the next attempt of one and the same flight, after `attempt` of them (from 1) have failed.
    #[must_use]
    pub fn transient_pause(&self, attempt: u32, jitter: f64) -> Duration {
        let bound = doubled(self.base, attempt).min(self.cap);
        bound.mul_f64(fraction(jitter)).max(MIN_PAUSE)
    }
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            terminal: Duration::from_secs(30),
        }
    }
}

/// A backoff policy whose values are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid backoff policy: {0}")]
pub struct InvalidBackoffPolicy(&'static str);

pub(crate) fn doubled(span: Duration, times: u32) -> Duration {
    span.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1).min(30)))
}

/// `jitter` held between 0 and 1; not a number is 1, the safest draw.
pub(crate) fn fraction(jitter: f64) -> f64 {
    if jitter.is_nan() { 1.0 } else { jitter.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const TRANSIENT: Failure = Failure { class: FailureClass::Transient, retry_after: None };
    const TERMINAL: Failure = Failure { class: FailureClass::Terminal, retry_after: None };

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = BackoffPolicy::default();
        let now = Timestamp::from_unix_seconds(1000);
        let mut backoff = None;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            backoff = Some(policy.after(backoff.as_ref(), TRANSIENT, 1.0, now));
            pauses.push(backoff.unwrap().remaining(now).unwrap().as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn t24_a_terminal_failure_is_remembered_for_a_bounded_time() {
        let policy = BackoffPolicy::default();
        let now = Timestamp::from_unix_seconds(1000);
        let mut backoff = policy.after(None, TERMINAL, 0.0, now);
        assert_eq!(backoff.remaining(now), Some(Duration::from_secs(30)));
        for _ in 0..100 {
            backoff = policy.after(Some(&backoff), TERMINAL, 0.0, now);
        }
        assert_eq!(backoff.remaining(now), Some(Duration::from_secs(300)));
    }

    #[test]
    fn t18_retry_after_is_obeyed_when_it_is_longer() {
        let policy = BackoffPolicy::default();
        let now = Timestamp::from_unix_seconds(1000);
        let asked = Failure { retry_after: Some(Duration::from_secs(3)), ..TRANSIENT };
        let backoff = policy.after(None, asked, 0.0, now);
        assert_eq!(backoff.remaining(now), Some(Duration::from_secs(3)));
        assert_eq!(backoff.remaining(now.saturating_add(Duration::from_secs(3))), None);
    }

    #[test]
    fn t18_clients_that_were_told_the_same_pause_come_back_spread_and_never_early() {
        let policy = BackoffPolicy::default();
        let check = |asked: u64, jitter: f64, expected_millis: u128| {
            assert_eq!(policy.spread(Duration::from_secs(asked), jitter).as_millis(), expected_millis);
        };
        check(3, 0.0, 3000);
        check(3, 1.0, 4500);
        check(0, 1.0, 500);
        check(86_400, 1.0, 86_460_000);
        check(60, f64::NAN, 90_000);
    }

    #[test]
    fn t5_a_clock_that_steps_back_ends_a_pause() {
        let now = Timestamp::from_unix_seconds(1000);
        let backoff = BackoffPolicy::default().after(None, TRANSIENT, 1.0, now);
        assert_eq!(backoff.remaining(now.saturating_sub(Duration::from_secs(1))), None);
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert!(BackoffPolicy::new(ms(0), s(1), s(1)).is_err());
        assert!(BackoffPolicy::new(s(2), s(1), s(1)).is_err());
        assert!(BackoffPolicy::new(s(1), s(1), ms(1)).is_err());
        assert!(BackoffPolicy::new(s(1), Duration::MAX, s(1)).is_err());
        assert!(BackoffPolicy::new(s(1), s(60), s(5)).is_ok());
    }

    proptest! {
        #[test]
        fn a_pause_is_never_zero_nor_longer_than_its_bound(attempt in any::<u32>(), jitter in any::<f64>()) {
            let pause = BackoffPolicy::default().transient_pause(attempt, jitter);
            prop_assert!(pause >= MIN_PAUSE && pause <= Duration::from_secs(30));
        }
    }
}
