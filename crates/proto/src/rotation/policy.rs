//! How often keys are replaced, and how long the changes take.

use super::KeyTimes;
use crate::issuance::{MAX_TOKEN_LIFETIME, MIN_TOKEN_LIFETIME};
use std::time::Duration;

/// For how long a key signs, unless it is set otherwise: 90 days.
pub const DEFAULT_ROTATION_PERIOD: Duration = Duration::from_hours(90 * 24);
/// The longest period that can be set: ten years.
pub const MAX_ROTATION_PERIOD: Duration = Duration::from_hours(3650 * 24);
/// For how long verifiers may keep the JWK Set, unless it is set otherwise.
pub const DEFAULT_JWKS_MAX_AGE: Duration = Duration::from_mins(5);
/// The shortest time that verifiers may be let keep the JWK Set.
pub const MIN_JWKS_MAX_AGE: Duration = Duration::from_secs(1);
/// The longest time that verifiers may be let keep the JWK Set.
pub const MAX_JWKS_MAX_AGE: Duration = Duration::from_hours(24);
/// The most by which the clocks of two machines, instances or verifiers, are thought to differ. It is also the most leeway that
/// a verifier gives an expired token.
pub const CLOCK_DIFFERENCE: Duration = Duration::from_mins(1);
/// For how long a key is published after its last token has expired: one instance decides when it retires, another one may sign
/// with it until it has heard of that, a third one drops it, and a verifier gives leeway, each by a clock of its own.
pub const KEPT_BEYOND: Duration = Duration::from_mins(4);
/// The most keys of one algorithm on record. With all algorithms they are fewer than verifiers read of a set
/// ([`MAX_JWK_SET_KEYS`](crate::jose::jwk::MAX_JWK_SET_KEYS)).
pub const MAX_KEYS_PER_ALGORITHM: usize = 32;

/// The most retired keys of one algorithm that the schedule may lead to; the rest is for commands.
const MOST_RETIRED: u32 = 24;

/// The times of a rotation.
///
/// ```
/// use jeton_proto::rotation::RotationPolicy;
/// use std::time::Duration;
///
/// let policy = RotationPolicy::default();
/// assert_eq!(policy.lead(), Duration::from_secs(2 * 300 + 2 * 60));
/// // Tokens that live for 30 days keep each key in the JWK Set for that long, so one a day would be too many.
/// let day = Duration::from_hours(24);
/// assert!(RotationPolicy::new(day, policy.jwks_max_age(), 30 * day).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    period: Duration,
    jwks_max_age: Duration,
    longest_token_lifetime: Duration,
}

impl RotationPolicy {
    /// A key signs for `period`, verifiers keep the JWK Set for `jwks_max_age` (whole seconds), no token lives longer than
    /// `longest_token_lifetime`.
    ///
    /// # Errors
    /// When the maximal age is not from [`MIN_JWKS_MAX_AGE`] to [`MAX_JWKS_MAX_AGE`], the life not one that a client can have, or
    /// the period longer than [`MAX_ROTATION_PERIOD`], shorter than two [leads](Self::lead), or shorter than a 24th of the time for
    /// which a retired key is published.
    pub fn new(
        period: Duration,
        jwks_max_age: Duration,
        longest_token_lifetime: Duration,
    ) -> Result<Self, InvalidRotationPolicy> {
        let whole = jwks_max_age.subsec_nanos() == 0;
        if !whole || !(MIN_JWKS_MAX_AGE..=MAX_JWKS_MAX_AGE).contains(&jwks_max_age) {
            return Err(InvalidRotationPolicy::JwksMaxAge);
        }
        if !(MIN_TOKEN_LIFETIME..=MAX_TOKEN_LIFETIME).contains(&longest_token_lifetime) {
            return Err(InvalidRotationPolicy::TokenLifetime);
        }
        let policy = Self { period, jwks_max_age, longest_token_lifetime };
        let published_retired = longest_token_lifetime.saturating_add(KEPT_BEYOND);
        let shortest = (2 * policy.lead()).max(published_retired / MOST_RETIRED);
        if !(shortest..=MAX_ROTATION_PERIOD).contains(&period) {
            return Err(InvalidRotationPolicy::Period {
                shortest_seconds: shortest.as_secs().saturating_add(1),
            });
        }
        Ok(policy)
    }

    /// For how long a key signs.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// For how long verifiers may keep the JWK Set: the `max-age` of its `Cache-Control`.
    #[must_use]
    pub const fn jwks_max_age(&self) -> Duration {
        self.jwks_max_age
    }

    /// The longest life of a token.
    #[must_use]
    pub const fn longest_token_lifetime(&self) -> Duration {
        self.longest_token_lifetime
    }

    /// How long a key is in the JWK Set before it signs: twice the maximal age and twice what clocks may differ. The second half
    /// of each is for caches between, and for instances that learn of the key a moment later.
    #[must_use]
    pub fn lead(&self) -> Duration {
        2 * self.jwks_max_age + 2 * CLOCK_DIFFERENCE
    }

    pub(super) const fn of_new(&self, times: KeyTimes) -> KeyTimes {
        KeyTimes { token_lifetime: Some(self.longest_token_lifetime), ..times }
    }
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self {
            period: DEFAULT_ROTATION_PERIOD,
            jwks_max_age: DEFAULT_JWKS_MAX_AGE,
            longest_token_lifetime: MAX_TOKEN_LIFETIME,
        }
    }
}

/// Why times make no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRotationPolicy {
    /// The maximal age of the JWK Set is out of bounds.
    #[error("the max-age of the key set is a whole number of seconds from 1 to 86400 (24 h)")]
    JwksMaxAge,
    /// The longest life is none that a token can have.
    #[error("the longest token lifetime is from 1 s to 30 days")]
    TokenLifetime,
    /// The period is too short for what follows from the rest, or too long.
    #[error(
        "the key rotation period is from {shortest_seconds} s to 3650 days with this max-age and this longest token lifetime: a key \
         is announced before it signs, and published until its last token is over"
    )]
    Period {
        /// The shortest one.
        shortest_seconds: u64,
    },
}
