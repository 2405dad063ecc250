//! When a token is renewed: fractions of its real life, bounded by absolute values.

use super::CachedToken;
use crate::backoff::fraction;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest life that a token is believed to have: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_hours(720);
const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The least gap between two mints of one key, however short its tokens live.
const MIN_GAP: Duration = Duration::from_secs(1);
const MAX_PROBATION: Duration = Duration::from_mins(1);
/// The mandatory window is this part of the life at most.
const MANDATORY_PART: u32 = 10;

/// When to renew: in the background from the *advisory* time on, with callers waiting from the *mandatory* time on.
///
/// The numbers are fractions of each token's real life, so that they fit lives from one second to 30 days. A token of
/// one hour is, by default, renewed in the background between 36 and 48 minutes after it was asked for, and callers
/// wait for a new one in its last 30 seconds; one of 20 seconds between 12 and 16, and in its last 2 seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshPolicy {
    advisory: RangeInclusive<f64>,
    mandatory_margin: Duration,
    assumed_lifetime: Duration,
}

impl RefreshPolicy {
    /// The part of the life after which a token is renewed in the background, drawn once for each token from this
    /// range, so that a fleet does not renew in one instant. Default 0.60 to 0.80; bounds 0.5 to 0.95.
    ///
    /// # Errors
    /// [`InvalidRefreshPolicy`] when the range is empty or out of its bounds.
    pub fn with_advisory(mut self, part: RangeInclusive<f64>) -> Result<Self, InvalidRefreshPolicy> {
        let bounds = 0.5..=0.95;
        if !bounds.contains(part.start()) || !bounds.contains(part.end()) || part.start() > part.end() {
            return Err(InvalidRefreshPolicy("the advisory part of the life must lie within 0.5 to 0.95"));
        }
        self.advisory = part;
        Ok(self)
    }

    /// How long before the expiry callers wait for the next token rather than take the one in hand: this, or a tenth
    /// of the life where that is less. Default 30 s; bounds 0 to 1 h.
    ///
    /// # Errors
    /// [`InvalidRefreshPolicy`] when it is out of its bounds.
    pub fn with_mandatory_margin(mut self, margin: Duration) -> Result<Self, InvalidRefreshPolicy> {
        if margin > Duration::from_hours(1) {
            return Err(InvalidRefreshPolicy("the mandatory margin must be at most 1 h"));
        }
        self.mandatory_margin = margin;
        Ok(self)
    }

    /// The life of a token whose `expires_in` is missing, null, zero or negative. Default 5 min; bounds 1 s to 30 d.
    ///
    /// # Errors
    /// [`InvalidRefreshPolicy`] when it is out of its bounds.
    pub fn with_assumed_lifetime(mut self, lifetime: Duration) -> Result<Self, InvalidRefreshPolicy> {
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&lifetime) {
            return Err(InvalidRefreshPolicy("the assumed lifetime must be from 1 s to 30 days"));
        }
        self.assumed_lifetime = lifetime;
        Ok(self)
    }

    /// The life of a token whose server does not state one.
    pub fn assumed_lifetime(&self) -> Duration {
        self.assumed_lifetime
    }

    /// `lifetime` held between one millisecond and [`MAX_LIFETIME`].
    pub(super) fn bounded(lifetime: Duration) -> Duration {
        lifetime.clamp(Duration::from_millis(1), MAX_LIFETIME)
    }

    /// How long the rejection of a token is not believed that was itself minted for a rejection: a quarter of its
    /// life, at least 1 s and at most 60 s. An API that takes the token ends it.
    #[must_use]
    pub fn probation(&self, lifetime: Duration) -> Duration {
        (lifetime / 4).clamp(MIN_GAP, MAX_PROBATION)
    }

    pub(super) fn windows(&self, token: &CachedToken, jitter: f64) -> Windows {
        let life = token.lifetime().min(MAX_LIFETIME);
        let part = self.advisory.start() + fraction(jitter) * (self.advisory.end() - self.advisory.start());
        let least_gap = (life / 4).max(MIN_GAP);
        let advisory = life.mul_f64(part).max(least_gap).min(life);
        let margin = self.mandatory_margin.min(life / MANDATORY_PART);
        Windows { advisory, mandatory: life.saturating_sub(margin).max(advisory), life }
    }
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            advisory: 0.60..=0.80,
            mandatory_margin: Duration::from_secs(30),
            assumed_lifetime: Duration::from_mins(5),
        }
    }
}

/// A refresh policy whose values are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid refresh policy: {0}")]
pub struct InvalidRefreshPolicy(&'static str);

/// The ages of a token that [`super::Slot::decide`] compares with, `advisory <= mandatory <= life`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) advisory: Duration,
    pub(super) mandatory: Duration,
    pub(super) life: Duration,
}
