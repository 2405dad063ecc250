//! When the keys are fetched again: pure, from a time and what happened before.

use jeton::{BackoffPolicy, Timestamp};
use jeton_proto::backoff::{Backoff, Failure, FailureClass};
use std::time::Duration;

/// How old keys may become and how often they may be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPolicy {
    /// The longest time between two fetches while the issuer answers.
    pub(crate) refresh_interval: Duration,
    /// The least time between two fetches for the sake of unknown keys.
    pub(crate) unknown_key_cooldown: Duration,
    /// The age at which keys are no longer used, however long the issuer has been out of reach.
    pub(crate) stale_limit: Duration,
}

pub(crate) const DEFAULT_KEY_POLICY: KeyPolicy = KeyPolicy {
    refresh_interval: Duration::from_mins(5),
    unknown_key_cooldown: Duration::from_secs(30),
    stale_limit: Duration::from_hours(24),
};

/// The shortest time between two regular fetches, whatever `Cache-Control` says.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const MAX_REFRESH_INTERVAL: Duration = Duration::from_hours(24);
const MAX_UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_hours(1);
const MAX_STALE_LIMIT: Duration = Duration::from_hours(24 * 7);

impl KeyPolicy {
    /// The policy, or what is wrong with it.
    pub(crate) fn checked(self) -> Result<Self, &'static str> {
        if !(MIN_REFRESH_INTERVAL..=MAX_REFRESH_INTERVAL).contains(&self.refresh_interval) {
            return Err("the refresh interval must be from 10 s to 24 h");
        }
        if !(Duration::from_secs(1)..=MAX_UNKNOWN_KEY_COOLDOWN).contains(&self.unknown_key_cooldown) {
            return Err("the cooldown for unknown keys must be from 1 s to 1 h");
        }
        if !(self.refresh_interval..=MAX_STALE_LIMIT).contains(&self.stale_limit) {
            return Err("the stale limit must be from the refresh interval to 7 days");
        }
        Ok(self)
    }
}

/// The life of one set of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    fetched_at: Timestamp,
    due_from: Timestamp,
    overdue_from: Timestamp,
    too_old_from: Timestamp,
}

/// What the age of the keys asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Use them.
    Fresh,
    /// Use them and fetch in the background.
    Due,
    /// Fetch before using them, so that a removed key ends within one interval. With the issuer out of reach, use them.
    Overdue,
    /// Do not use them.
    TooOld,
}

impl Lifetime {
    /// `max_age` shortens the interval and never lengthens it. `jitter`, from 0 to 1, spreads the background fetches
    /// of a fleet over the last third of the interval.
    pub(crate) fn new(
        policy: &KeyPolicy,
        fetched_at: Timestamp,
        max_age: Option<Duration>,
        jitter: f64,
    ) -> Self {
        let shortest = MIN_REFRESH_INTERVAL.min(policy.refresh_interval);
        let interval =
            max_age.map_or(policy.refresh_interval, |age| age.clamp(shortest, policy.refresh_interval));
        Self {
            fetched_at,
            due_from: fetched_at.saturating_add(interval.mul_f64(2.0 / 3.0 + jitter.clamp(0.0, 1.0) / 4.0)),
            overdue_from: fetched_at.saturating_add(interval),
            too_old_from: fetched_at.saturating_add(policy.stale_limit),
        }
    }

    pub(crate) fn age(&self, now: Timestamp) -> Age {
        if now >= self.too_old_from {
            Age::TooOld
        } else if now >= self.overdue_from || now < self.fetched_at {
            // A clock before the fetch has stepped back, and would keep the keys for ever.
            Age::Overdue
        } else if now >= self.due_from {
            Age::Due
        } else {
            Age::Fresh
        }
    }
}

/// Why keys are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There are none, or they are getting old.
    Age,
    /// A token names a key that is not among them.
    UnknownKey,
}

/// What earlier fetches mean for the next one.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    backoff: Option<Backoff>,
    unknown_key_fetch_at: Option<Timestamp>,
}

impl Schedule {
    /// Whether a fetch may start now. A clock that has stepped back opens every gate rather than closing one for ever.
    pub(crate) fn allows(&self, reason: Reason, policy: &KeyPolicy, now: Timestamp) -> bool {
        if self.pause(now).is_some() {
            return false;
        }
        match (reason, self.unknown_key_fetch_at) {
            (Reason::UnknownKey, Some(last)) => {
                now < last || now >= last.saturating_add(policy.unknown_key_cooldown)
            }
            (Reason::UnknownKey, None) | (Reason::Age, _) => true,
        }
    }

    pub(crate) fn started(&mut self, reason: Reason, now: Timestamp) {
        match reason {
            Reason::UnknownKey => self.unknown_key_fetch_at = Some(now),
            Reason::Age => {}
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.backoff = None;
    }

    /// `retry_after` is what the issuer asked for; it is obeyed up to one refresh interval.
    pub(crate) fn failed(
        &mut self,
        policy: &KeyPolicy,
        retry_after: Option<Duration>,
        jitter: f64,
        now: Timestamp,
    ) {
        let failure = Failure {
            class: FailureClass::Transient,
            retry_after: retry_after.map(|pause| pause.min(policy.refresh_interval)),
        };
        self.backoff = Some(BackoffPolicy::default().after(self.backoff.as_ref(), failure, jitter, now));
    }

    /// How many fetches have failed since one succeeded.
    pub(crate) fn failures(&self) -> u32 {
        self.backoff.as_ref().map_or(0, Backoff::failures)
    }

    /// What is left of the pause after a failure.
    pub(crate) fn pause(&self, now: Timestamp) -> Option<Duration> {
        self.backoff.as_ref().and_then(|backoff| backoff.remaining(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn after(seconds: u64) -> Timestamp {
        T0.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn keys_pass_through_the_ages_in_order() {
        let lifetime = Lifetime::new(&DEFAULT_KEY_POLICY, T0, None, 0.0);
        for (seconds, expected) in [
            (0, Age::Fresh),
            (199, Age::Fresh),
            (201, Age::Due),
            (299, Age::Due),
            (300, Age::Overdue),
            (86_399, Age::Overdue),
            (86_400, Age::TooOld),
        ] {
            assert_eq!(lifetime.age(after(seconds)), expected, "{seconds}");
        }
        let late = Lifetime::new(&DEFAULT_KEY_POLICY, T0, None, 1.0);
        assert_eq!(late.age(after(274)), Age::Fresh);
        assert_eq!(late.age(after(276)), Age::Due);
    }

    #[test]
    fn max_age_shortens_the_interval_and_never_lengthens_it() {
        let age_at = |max_age: u64, seconds: u64| {
            let max_age = Some(Duration::from_secs(max_age));
            Lifetime::new(&DEFAULT_KEY_POLICY, T0, max_age, 0.0).age(after(seconds))
        };
        assert_eq!(age_at(60, 59), Age::Due);
        assert_eq!(age_at(60, 60), Age::Overdue);
        assert_eq!(age_at(0, 9), Age::Due);
        assert_eq!(age_at(0, 10), Age::Overdue);
        assert_eq!(age_at(86_400, 300), Age::Overdue);
    }

    #[test]
    fn t5_a_clock_that_steps_back_makes_keys_overdue_not_fresh_for_ever() {
        let lifetime = Lifetime::new(&DEFAULT_KEY_POLICY, T0, None, 0.0);
        assert_eq!(lifetime.age(Timestamp::EPOCH), Age::Overdue);
        let mut schedule = Schedule::default();
        schedule.started(Reason::UnknownKey, T0);
        schedule.failed(&DEFAULT_KEY_POLICY, Some(Duration::from_mins(5)), 1.0, T0);
        assert!(!schedule.allows(Reason::UnknownKey, &DEFAULT_KEY_POLICY, after(299)));
        assert!(schedule.allows(Reason::UnknownKey, &DEFAULT_KEY_POLICY, Timestamp::EPOCH));
    }

    #[test]
    fn t44_unknown_keys_open_the_gate_once_per_cooldown() {
        let mut schedule = Schedule::default();
        let mut fetches = 0;
        for second in 0..600 {
            if schedule.allows(Reason::UnknownKey, &DEFAULT_KEY_POLICY, after(second)) {
                schedule.started(Reason::UnknownKey, after(second));
                schedule.succeeded();
                fetches += 1;
            }
            assert!(schedule.allows(Reason::Age, &DEFAULT_KEY_POLICY, after(second)));
        }
        assert_eq!(fetches, 20);
    }

    #[test]
    fn failures_are_backed_off_for_every_reason() {
        let mut schedule = Schedule::default();
        schedule.failed(&DEFAULT_KEY_POLICY, None, 1.0, T0);
        assert_eq!(schedule.failures(), 1);
        assert!(!schedule.allows(Reason::Age, &DEFAULT_KEY_POLICY, T0));
        assert!(!schedule.allows(Reason::UnknownKey, &DEFAULT_KEY_POLICY, T0));
        assert!(schedule.allows(Reason::Age, &DEFAULT_KEY_POLICY, after(1)));
        schedule.failed(&DEFAULT_KEY_POLICY, Some(Duration::from_hours(20)), 1.0, T0);
        assert_eq!(schedule.pause(T0), Some(DEFAULT_KEY_POLICY.refresh_interval));
        schedule.succeeded();
        assert!(schedule.allows(Reason::Age, &DEFAULT_KEY_POLICY, T0));
    }

    #[test]
    fn a_policy_out_of_bounds_is_refused() {
        assert!(DEFAULT_KEY_POLICY.checked().is_ok());
        let second = Duration::from_secs(1);
        for bad in [
            KeyPolicy { refresh_interval: second, ..DEFAULT_KEY_POLICY },
            KeyPolicy { refresh_interval: Duration::from_hours(25), ..DEFAULT_KEY_POLICY },
            KeyPolicy { unknown_key_cooldown: Duration::ZERO, ..DEFAULT_KEY_POLICY },
            KeyPolicy { unknown_key_cooldown: Duration::from_hours(2), ..DEFAULT_KEY_POLICY },
            KeyPolicy { stale_limit: Duration::from_mins(4), ..DEFAULT_KEY_POLICY },
            KeyPolicy { stale_limit: Duration::from_hours(24 * 8), ..DEFAULT_KEY_POLICY },
        ] {
            assert!(bad.checked().is_err(), "{bad:?}");
        }
    }
}
