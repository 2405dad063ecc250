//! What to do with a cached token now, and how a slot changes when a token request ends or an API refuses a token.
//!
//! | now is in | no backoff | backing off |
//! |---|---|---|
//! | `[obtained_at, advisory_at)` | [`Serve`](Decision::Serve) | [`Serve`](Decision::Serve) |
//! | `[advisory_at, mandatory_at)` | [`ServeAndRefresh`](Decision::ServeAndRefresh) | [`Serve`](Decision::Serve) |
//! | `[mandatory_at, expires_at)`, or a clock that cannot be right | [`Await`](Decision::Await) | [`Serve`](Decision::Serve) |
//! | past `expires_at`, empty, or the rejected token | [`Await`](Decision::Await) | [`Refuse`](Decision::Refuse) |
//!
//! A [`Slot`] changes by [`granted`](Slot::granted), [`failed`](Slot::failed), [`rejected`](Slot::rejected) and
//! [`accepted`](Slot::accepted) only. There is no terminal state: a failure never clears a good token, and never ends
//! refreshing for ever.

mod cached_token;
mod policy;

pub use cached_token::{CachedToken, Life, TokenId};
pub use policy::{InvalidRefreshPolicy, MAX_LIFETIME, RefreshPolicy};

use crate::backoff::{Backoff, BackoffPolicy, Failure};
use crate::time::Timestamp;
use crate::wire::token_response::ExpiresIn;
use policy::Windows;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What is known of one token key: the token in hand, a pause after failures, a refusal by the API.
///
/// ```
/// use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, RefreshPolicy, Slot};
/// use jeton_proto::secret::Secret;
/// use jeton_proto::time::Timestamp;
/// use std::{sync::Arc, time::Duration};
///
/// let policy = RefreshPolicy::default();
/// let sent_at = Timestamp::from_unix_seconds(1_000_000);
/// let life = Duration::from_secs(3600);
/// let token = CachedToken::new(Secret::from("abc"), None, sent_at, life)?;
/// let slot = Slot::default().granted(Arc::new(token), MintReason::Needed, &policy, 0.5, sent_at);
///
/// assert!(matches!(slot.decide(sent_at), Decision::Serve(_)));
/// let at_three_quarters = sent_at.saturating_add(life.mul_f64(0.75));
/// assert!(matches!(slot.decide(at_three_quarters), Decision::ServeAndRefresh(_)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Slot {
    held: Option<Held>,
    backoff: Option<Backoff>,
    rejected: Option<TokenId>,
}

/// What to do now.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// Give this token out.
    Serve(&'a Arc<CachedToken>),
    /// Give this token out, and let one flight fetch the next in the background.
    ServeAndRefresh(&'a Arc<CachedToken>),
    /// Wait for a flight, with the caller's deadline.
    Await {
        /// Why a token is needed.
        reason: MintReason,
        /// A token that is good for a little longer, should the flight fail or be late.
        backup: Option<&'a Arc<CachedToken>>,
    },
    /// Answer with the last failure at once.
    Refuse {
        /// When it is worth asking again.
        retry_after: Duration,
    },
}

/// Why a token is requested. A flight joins another only when that one was begun for a reason at least as strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MintReason {
    /// The token in hand is good; the next is fetched ahead of time.
    Early,
    /// There is no good token.
    Needed,
    /// The API refused the token in hand.
    Forced,
}

#[derive(Clone, Debug)]
struct Held {
    token: Arc<CachedToken>,
    windows: Windows,
    standing: Standing,
}

/// How far a token's rejection is believed. An API that refuses every token must not cause a mint per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A rejection forces one mint.
    Ordinary,
    /// It was minted because its predecessor was rejected, and no API has taken it yet: its own rejection counts
    /// only once [`RefreshPolicy::probation`] is over.
    OnProbation {
        /// When the probation ends.
        until: Timestamp,
    },
    /// It was rejected, and the server gave it out again: rejecting it once more changes nothing.
    Reissued,
}

impl Slot {
    /// What to do with this slot at `now`; the table is at the top of this module. The windows were drawn when the
    /// token was granted.
    pub fn decide(&self, now: Timestamp) -> Decision<'_> {
        match self.first_window() {
            Some((token, window)) if window.contains(&now) => Decision::Serve(token),
            Some(_) | None => self.decide_outside_the_first_window(now),
        }
    }

    /// The token in hand with the window in which it is served and nothing else happens, for a hot path that wants to
    /// compare and no more.
    pub fn first_window(&self) -> Option<(&Arc<CachedToken>, Range<Timestamp>)> {
        let held = self.held.as_ref().filter(|_| self.rejected.is_none())?;
        Some((&held.token, held.windows.obtained_at..held.windows.advisory_at))
    }

    fn decide_outside_the_first_window(&self, now: Timestamp) -> Decision<'_> {
        let backing_off = self.backing_off(now);
        let Some(held) = self.usable(now) else {
            return match backing_off {
                Some(retry_after) => Decision::Refuse { retry_after },
                None => Decision::Await { reason: self.reason_of_need(), backup: None },
            };
        };
        let clock_is_impossible = now < held.windows.obtained_at;
        if backing_off.is_some() {
            Decision::Serve(&held.token)
        } else if clock_is_impossible || held.windows.mandatory_at <= now {
            Decision::Await { reason: MintReason::Needed, backup: Some(&held.token) }
        } else {
            Decision::ServeAndRefresh(&held.token)
        }
    }

    /// The token, unless it has expired or was rejected.
    fn usable(&self, now: Timestamp) -> Option<&Held> {
        self.held.as_ref().filter(|held| now < held.windows.expires_at && self.rejected.is_none())
    }

    fn reason_of_need(&self) -> MintReason {
        if self.rejected.is_some() { MintReason::Forced } else { MintReason::Needed }
    }

    /// Takes a granted token in, at `now`, with `jitter` (a fraction from 0 to 1) placing its advisory window.
    ///
    /// The token in hand stays when the new one is the same, or would expire no later while the one in hand is good;
    /// the next request then waits for its end, so that a server which returns one token until it dies is not asked
    /// in a loop. A rejected token stays rejected when a request brings it that was not made for the rejection: it was
    /// under way before, and may be older than what made the API refuse the token.
    #[must_use]
    pub fn granted(
        &self,
        token: Arc<CachedToken>,
        reason: MintReason,
        policy: &RefreshPolicy,
        jitter: f64,
        now: Timestamp,
    ) -> Self {
        let standing = match (reason, self.rejected == Some(token.id())) {
            (MintReason::Early | MintReason::Needed, true) => return Self { backoff: None, ..self.clone() },
            (MintReason::Forced, true) => Standing::Reissued,
            (MintReason::Forced, false) => {
                let probation = policy.probation(token.lifetime());
                Standing::OnProbation { until: now.saturating_add(probation) }
            }
            (MintReason::Early | MintReason::Needed, false) => Standing::Ordinary,
        };
        let held = match self.usable(now).filter(|held| held.outlasts(&token, now)) {
            Some(held) => held.clone().kept_over(token),
            None => Held { windows: policy.windows(&token, jitter), token, standing },
        };
        Self { held: Some(held), backoff: None, rejected: None }
    }

    /// Notes a failed token request at `now`, with `jitter` (a fraction from 0 to 1) placing the next one. The token
    /// in hand is not touched.
    #[must_use]
    pub fn failed(&self, failure: Failure, policy: &BackoffPolicy, jitter: f64, now: Timestamp) -> Self {
        let backoff = policy.after(self.backoff.as_ref(), failure, jitter, now);
        Self { backoff: Some(backoff), ..self.clone() }
    }

    /// Notes at `now` that an API refused the token `id`. Without effect when another token is in hand, so that a
    /// late refusal cannot drop a newer token, or when that token's rejection was already answered by a mint.
    #[must_use]
    pub fn rejected(&self, id: TokenId, now: Timestamp) -> Self {
        let counts =
            self.held.as_ref().is_some_and(|held| held.token.id() == id && held.rejection_counts(now));
        let rejected = if counts { Some(id) } else { self.rejected };
        Self { rejected, ..self.clone() }
    }

    /// Notes that an API took the token `id`: a later refusal of it is news, and is believed.
    #[must_use]
    pub fn accepted(&self, id: TokenId) -> Self {
        let mut slot = self.clone();
        if let Some(held) = slot.held.as_mut().filter(|held| held.token.id() == id) {
            held.standing = match held.standing {
                Standing::OnProbation { .. } | Standing::Ordinary => Standing::Ordinary,
                Standing::Reissued => Standing::Reissued,
            };
        }
        slot
    }

    /// Whether [`Slot::accepted`] would change anything for the token `id`.
    pub fn awaits_acceptance(&self, id: TokenId) -> bool {
        let on_probation = |held: &&Held| matches!(held.standing, Standing::OnProbation { .. });
        self.held.as_ref().filter(on_probation).is_some_and(|held| held.token.id() == id)
    }

    /// How long the token `id` lives that was granted with `expires_in` to a request sent at `sent_at`. A life that
    /// the server does not state is the policy's assumption for a new token; for the one in hand it is what is left
    /// of it. When that is nothing, an assumed life is assumed anew, since the server has just vouched for the token
    /// and never said that it ends; after a stated one it is `None`: the server gave out a token that has expired.
    pub fn lifetime_of(
        &self,
        id: TokenId,
        expires_in: ExpiresIn,
        policy: &RefreshPolicy,
        sent_at: Timestamp,
    ) -> Option<Life> {
        let assumed = Life::Assumed(policy.assumed_lifetime());
        let again = self.held.as_ref().filter(|held| held.token.id() == id);
        match (expires_in, again) {
            (ExpiresIn::Stated(lifetime), _) => Some(Life::Stated(RefreshPolicy::bounded(lifetime))),
            (ExpiresIn::NotStated, None) => Some(assumed),
            (ExpiresIn::NotStated, Some(held)) => {
                let left = held.windows.expires_at.saturating_since(sent_at);
                match (left.is_zero(), held.token.life()) {
                    (false, Life::Stated(_)) => Some(Life::Stated(RefreshPolicy::bounded(left))),
                    (false, Life::Assumed(_)) => Some(Life::Assumed(RefreshPolicy::bounded(left))),
                    (true, Life::Stated(_)) => None,
                    (true, Life::Assumed(_)) => Some(assumed),
                }
            }
        }
    }

    /// The token in hand as long as it may still be given out at `now`, though a newer one would be better.
    pub fn backup(&self, now: Timestamp) -> Option<&Arc<CachedToken>> {
        self.usable(now).map(|held| &held.token)
    }

    /// How much of a pause after failures is left at `now`.
    pub fn backing_off(&self, now: Timestamp) -> Option<Duration> {
        self.backoff.and_then(|backoff| backoff.remaining(now))
    }

    /// The token in hand, whatever its state.
    pub fn token(&self) -> Option<&Arc<CachedToken>> {
        self.held.as_ref().map(|held| &held.token)
    }

    /// When the next token should be fetched in the background; `None` without a token that is good for that.
    pub fn advisory_at(&self) -> Option<Timestamp> {
        let held = self.held.as_ref().filter(|_| self.rejected.is_none())?;
        (held.windows.advisory_at < held.windows.expires_at).then_some(held.windows.advisory_at)
    }
}

impl Held {
    /// Whether this token should stay rather than give way to `new`. When the clock is before the time at which this
    /// token was obtained, nothing that is known of it can be trusted and the new one is taken.
    fn outlasts(&self, new: &CachedToken, now: Timestamp) -> bool {
        let clock_is_possible = self.windows.obtained_at <= now;
        clock_is_possible && (self.token.id() == new.id() || new.expires_at() <= self.windows.expires_at)
    }

    /// This token, kept although `new` was granted: it is not asked for again before its end, since the server has
    /// nothing better. What the server now says of the same token may shorten its life and never lengthens it.
    fn kept_over(mut self, new: Arc<CachedToken>) -> Self {
        if self.token.id() == new.id() && new.expires_at() < self.windows.expires_at {
            self.windows.expires_at = new.expires_at();
            self.token = new;
        }
        self.windows.advisory_at = self.windows.expires_at;
        self.windows.mandatory_at = self.windows.expires_at;
        self
    }

    fn rejection_counts(&self, now: Timestamp) -> bool {
        match self.standing {
            Standing::Ordinary => true,
            Standing::OnProbation { until } => now >= until || now < self.windows.obtained_at,
            Standing::Reissued => false,
        }
    }
}

#[cfg(test)]
mod tests;
