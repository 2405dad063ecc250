//! What is to be done with a token for Vault now: the decision alone.

use std::time::Duration;
use tokio::time::Instant;

/// For how long a token has to last that is not renewed at this look: the time until the next one, by the default period
/// of five minutes, and what that may be late. A token that ends between two looks cannot be renewed any more.
const NEXT_LOOK: Duration = Duration::from_secs(360);
/// A token is not begun with this shortly before its end: it would end on the way.
const LAST_MOMENTS: Duration = Duration::from_secs(10);
/// What a renewal must add to be one, beyond what the clocks of two machines may differ by.
const SLACK: Duration = Duration::from_secs(1);
/// A longer life counts as this long, so that no number of a server is too large for the clock.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// For how long a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// For ever, or nobody said.
    Open,
    /// For `life` from `since` on.
    Until { since: Instant, life: Duration, renewal: Renewal },
}

/// Whether a token can be made to last longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    Possible,
    /// It was never, or the token has come to the end that no renewal moves.
    Exhausted,
}

/// What to do before the token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Use,
    Renew,
    LogIn,
}

impl Lease {
    /// One of `life` from `since`, when it was asked for; no life means that there is no end.
    pub(super) fn new(since: Instant, life: Duration, renewal: Renewal) -> Self {
        if life.is_zero() { Self::Open } else { Self::Until { since, life: life.min(LONGEST), renewal } }
    }

    /// What to do `now`.
    pub(super) fn step(self, now: Instant) -> Step {
        let Self::Until { since, life, renewal } = self else {
            return Step::Use;
        };
        let age = now.saturating_duration_since(since);
        let left = life.saturating_sub(age);
        match renewal {
            _ if left.is_zero() => Step::LogIn,
            // Many looks at once make one renewal.
            Renewal::Possible if age < life / 10 => Step::Use,
            Renewal::Possible if left < NEXT_LOOK.max(life / 3) => Step::Renew,
            Renewal::Exhausted if left < LAST_MOMENTS.min(life / 10) => Step::LogIn,
            Renewal::Possible | Renewal::Exhausted => Step::Use,
        }
    }

    /// The lease that a renewal brought. One that is shorter than the one before, and ends when that did, has met the end
    /// beyond which the server renews nothing.
    pub(super) fn renewed(self, since: Instant, life: Duration, renewal: Renewal) -> Self {
        let Self::Until { since: before, life: life_before, .. } = self else {
            return Self::new(since, life, renewal);
        };
        let life = life.min(LONGEST);
        let met_its_end = life < life_before && since + life <= before + life_before + SLACK;
        let renewal = if met_its_end { Renewal::Exhausted } else { renewal };
        Self::new(since, life, renewal)
    }

    /// The same, when the server would not renew it.
    pub(super) fn not_renewable(self) -> Self {
        match self {
            Self::Open => Self::Open,
            Self::Until { since, life, .. } => Self::Until { since, life, renewal: Renewal::Exhausted },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn a_token_is_renewed_while_it_lasts_until_the_next_look() {
        let since = Instant::now();
        for (life, age, expected) in [
            // A day: at two thirds.
            (86_400.0, 0.0, Step::Use),
            (86_400.0, 57_599.0, Step::Use),
            (86_400.0, 57_601.0, Step::Renew),
            (86_400.0, 86_399.0, Step::Renew),
            (86_400.0, 86_400.0, Step::LogIn),
            // A quarter of an hour: when it would not last until the next look.
            (900.0, 539.0, Step::Use),
            (900.0, 541.0, Step::Renew),
            // A minute: at each look, and once for many at once.
            (60.0, 5.9, Step::Use),
            (60.0, 6.1, Step::Renew),
            (60.0, 61.0, Step::LogIn),
        ] {
            let lease = Lease::new(since, secs(life), Renewal::Possible);
            assert_eq!(lease.step(since + secs(age)), expected, "{age} s of {life} s");
        }
    }

    #[test]
    fn a_token_that_cannot_be_renewed_is_used_up() {
        let since = Instant::now();
        for (life, age, expected) in [
            (3600.0, 3589.0, Step::Use),
            (3600.0, 3591.0, Step::LogIn),
            (3600.0, 9999.0, Step::LogIn),
            (5.0, 4.4, Step::Use),
            (5.0, 4.6, Step::LogIn),
        ] {
            let lease = Lease::new(since, secs(life), Renewal::Exhausted);
            assert_eq!(lease.step(since + secs(age)), expected, "{age} s of {life} s");
            let possible = Lease::new(since, secs(life), Renewal::Possible);
            assert_eq!(possible.not_renewable(), lease);
        }
    }

    #[test]
    fn what_has_no_end_is_left_alone() {
        let since = Instant::now();
        for renewal in [Renewal::Possible, Renewal::Exhausted] {
            let lease = Lease::new(since, Duration::ZERO, renewal);
            assert_eq!((lease, lease.not_renewable()), (Lease::Open, Lease::Open));
            assert_eq!(lease.step(since + secs(1e9)), Step::Use);
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let since = Instant::now();
        let longest = Lease::new(since, Duration::MAX, Renewal::Possible);
        assert_eq!(longest.step(since + secs(1.0)), Step::Use);
        assert_eq!(longest.renewed(since, Duration::MAX, Renewal::Possible), longest);
    }

    #[test]
    fn a_renewal_that_adds_nothing_is_the_last() {
        let since = Instant::now();
        let renewal_after = |life: f64, age: f64, new_life: f64| {
            let lease = Lease::new(since, secs(life), Renewal::Possible);
            match lease.renewed(since + secs(age), secs(new_life), Renewal::Possible) {
                Lease::Open => panic!("it has an end"),
                Lease::Until { renewal, .. } => renewal,
            }
        };
        assert_eq!(renewal_after(60.0, 40.0, 60.0), Renewal::Possible);
        assert_eq!(renewal_after(60.0, 40.0, 20.0), Renewal::Exhausted, "the end has not moved");
        assert_eq!(renewal_after(60.0, 40.0, 30.0), Renewal::Possible, "shorter, and yet later");
        assert_eq!(renewal_after(60.0, 0.2, 60.0), Renewal::Possible, "renewed twice at once");
        let never = Lease::Open.renewed(since, secs(60.0), Renewal::Exhausted);
        assert_eq!(never.step(since + secs(61.0)), Step::LogIn);
    }
}
