//! What to do with a cached token now, and how a slot changes when a token request ends or an API refuses a token.
//!
//! | the token's age is in | the way is clear | backing off, or the way is closed | the way is doubtful |
//! |---|---|---|---|
//! | `[0, advisory)` | [`Serve`](Decision::Serve) | [`Serve`](Decision::Serve) | [`Serve`](Decision::Serve) |
//! | `[advisory, mandatory)` | [`ServeAndRefresh`](Decision::ServeAndRefresh) | [`Serve`](Decision::Serve) | [`ServeAndRefresh`](Decision::ServeAndRefresh) |
//! | `[mandatory, life)`, or a wall clock that cannot be right | [`Await`](Decision::Await) | [`Serve`](Decision::Serve) | [`ServeAndRefresh`](Decision::ServeAndRefresh) |
//! | past its life, empty, or the rejected token | [`Await`](Decision::Await) | [`Refuse`](Decision::Refuse) | [`RefuseAndRefresh`](Decision::RefuseAndRefresh) |
//!
//! The age is the time that has passed since the token was asked for, by the boot clock where there is one. The [`Way`] is
//! what is known of the endpoint beyond this slot: its breaker, a `Retry-After`, a client that was refused.
//!
//! A [`Slot`] changes by [`granted`](Slot::granted), [`failed`](Slot::failed), [`rejected`](Slot::rejected) and
//! [`accepted`](Slot::accepted) only. There is no terminal state: a failure never clears a good token, and never ends
//! refreshing for ever.

mod cached_token;
mod policy;

pub use cached_token::{CachedToken, Life, TokenId};
pub use policy::{InvalidRefreshPolicy, MAX_LIFETIME, RefreshPolicy};

use crate::backoff::{Backoff, BackoffPolicy, Failure, FailureClass};
use crate::time::Moment;
use crate::wire::token_response::ExpiresIn;
use policy::Windows;
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
    /// Answer with the last failure at once, and let one flight find out in the background whether it has passed.
    RefuseAndRefresh {
        /// Why a token is needed.
        reason: MintReason,
        /// When it is worth asking again.
        retry_after: Duration,
    },
}

/// Whether the endpoint may be asked, as far as is known beyond one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// It may.
    #[default]
    Clear,
    /// It may, but it was down a short while ago: nobody is to wait for the one request that finds out.
    Doubtful,
    /// It may not.
    Closed {
        /// When it is worth looking again.
        retry_after: Duration,
    },
}

/// When a caller is to come back that was refused while the endpoint is being asked.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

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
    /// When the token was asked for. The wall time is set anew when the server vouches for the token again.
    since: Moment,
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
        /// When the probation began.
        since: Moment,
        /// How long it is.
        span: Duration,
    },
    /// It was rejected, and the server gave it out again: rejecting it once more changes nothing.
    Reissued,
}

/// Where a token is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Advisory,
    /// In its last part, or a wall clock that cannot be right leaves it in doubt.
    Mandatory,
    Expired,
}

impl Slot {
    /// What to do with this slot at `now` when the way is clear; the table is at the top of this module. The windows were
    /// drawn when the token was granted.
    pub fn decide(&self, now: impl Into<Moment>) -> Decision<'_> {
        self.decide_on(Way::Clear, now)
    }

    /// What to do with this slot at `now`; the table is at the top of this module.
    pub fn decide_on(&self, way: Way, now: impl Into<Moment>) -> Decision<'_> {
        let now = now.into();
        let own = self.backing_off(now);
        let closed = match way {
            Way::Closed { retry_after } => Some(own.map_or(retry_after, |own| own.max(retry_after))),
            Way::Clear | Way::Doubtful => own,
        };
        let Some((held, stage)) = self.usable(now) else {
            return match (closed, way) {
                (Some(retry_after), _) => Decision::Refuse { retry_after },
                (None, Way::Doubtful) => {
                    Decision::RefuseAndRefresh { reason: self.reason_of_need(), retry_after: PROBE_PATIENCE }
                }
                (None, Way::Clear | Way::Closed { .. }) => {
                    Decision::Await { reason: self.reason_of_need(), backup: None }
                }
            };
        };
        let token = &held.token;
        match (stage, closed, way) {
            (Stage::Fresh, _, _) | (_, Some(_), _) => Decision::Serve(token),
            (Stage::Advisory, None, _) | (_, None, Way::Doubtful) => Decision::ServeAndRefresh(token),
            (Stage::Mandatory | Stage::Expired, None, Way::Clear | Way::Closed { .. }) => {
                Decision::Await { reason: MintReason::Needed, backup: Some(token) }
            }
        }
    }

    /// The token in hand with the beginning and the length of the window in which it is served and nothing else happens,
    /// for a hot path that wants to compare and no more.
    pub fn first_window(&self) -> Option<(&Arc<CachedToken>, Moment, Duration)> {
        let held = self.held.as_ref().filter(|_| self.rejected.is_none())?;
        Some((&held.token, held.since, held.windows.advisory))
    }

    /// The token, unless it has expired or was rejected.
    fn usable(&self, now: Moment) -> Option<(&Held, Stage)> {
        let held = self.held.as_ref().filter(|_| self.rejected.is_none())?;
        match held.stage(now) {
            Stage::Expired => None,
            stage @ (Stage::Fresh | Stage::Advisory | Stage::Mandatory) => Some((held, stage)),
        }
    }

    /// Why a token is needed, where one is: what is in hand was rejected, or there is none that is good.
    #[must_use]
    pub fn reason_of_need(&self) -> MintReason {
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
        now: impl Into<Moment>,
    ) -> Self {
        let now = now.into();
        let standing = match (reason, self.rejected == Some(token.id())) {
            (MintReason::Early | MintReason::Needed, true) => return Self { backoff: None, ..self.clone() },
            (MintReason::Forced, true) => Standing::Reissued,
            (MintReason::Forced, false) => {
                Standing::OnProbation { since: now, span: policy.probation(token.lifetime()) }
            }
            (MintReason::Early | MintReason::Needed, false) => Standing::Ordinary,
        };
        let held = match self.usable(now).filter(|(held, _)| held.outlasts(&token, now)) {
            Some((held, _)) => held.clone().kept_over(token, now),
            None => {
                Held { since: token.obtained(), windows: policy.windows(&token, jitter), token, standing }
            }
        };
        Self { held: Some(held), backoff: None, rejected: None }
    }

    /// Notes a failed token request at `now`, with `jitter` (a fraction from 0 to 1) placing the next one. The token
    /// in hand is not touched. What concerns the whole client, or nothing but this side, makes no pause of this slot's own:
    /// the [gate](crate::gate) sees to it. The exception is a failure on this side that says when it is worth trying again, as a
    /// quota that is used up does: until then whoever asks is told so, and nobody tries in vain.
    #[must_use]
    pub fn failed(
        &self,
        failure: Failure,
        policy: &BackoffPolicy,
        jitter: f64,
        now: impl Into<Moment>,
    ) -> Self {
        let backoff = match failure.class {
            FailureClass::Transient | FailureClass::Terminal => {
                Some(policy.after(self.backoff.as_ref(), failure, jitter, now))
            }
            FailureClass::Local if failure.retry_after.is_some() => {
                Some(policy.after(self.backoff.as_ref(), failure, jitter, now))
            }
            FailureClass::Credential | FailureClass::Local => self.backoff,
        };
        Self { backoff, ..self.clone() }
    }

    /// Forgets at once what was remembered of a terminal failure: the credential was replaced, and what the server
    /// would not give to the old one it may give to the new.
    #[must_use]
    pub fn credential_replaced(&self) -> Self {
        let backoff = self.backoff.filter(|backoff| match backoff.class() {
            FailureClass::Transient | FailureClass::Local => true,
            FailureClass::Terminal | FailureClass::Credential => false,
        });
        Self { backoff, ..self.clone() }
    }

    /// Notes at `now` that an API refused the token `id`. Without effect when another token is in hand, so that a
    /// late refusal cannot drop a newer token, or when that token's rejection was already answered by a mint.
    #[must_use]
    pub fn rejected(&self, id: TokenId, now: impl Into<Moment>) -> Self {
        let now = now.into();
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
        sent_at: impl Into<Moment>,
    ) -> Option<Life> {
        let assumed = Life::Assumed(policy.assumed_lifetime());
        let again = self.held.as_ref().filter(|held| held.token.id() == id);
        match (expires_in, again) {
            (ExpiresIn::Stated(lifetime), _) => Some(Life::Stated(RefreshPolicy::bounded(lifetime))),
            (ExpiresIn::NotStated, None) => Some(assumed),
            (ExpiresIn::NotStated, Some(held)) => {
                let left = held.left(sent_at.into());
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
    pub fn backup(&self, now: impl Into<Moment>) -> Option<&Arc<CachedToken>> {
        self.usable(now.into()).map(|(held, _)| &held.token)
    }

    /// How much of its life is left to the token in hand at `now`; `None` when it may not be given out.
    pub fn left(&self, now: impl Into<Moment>) -> Option<Duration> {
        let now = now.into();
        self.usable(now).map(|(held, _)| held.left(now))
    }

    /// How much of a pause after failures is left at `now`.
    pub fn backing_off(&self, now: impl Into<Moment>) -> Option<Duration> {
        self.backoff.and_then(|backoff| backoff.remaining(now))
    }

    /// Whether the last token request failed.
    pub fn has_failed(&self) -> bool {
        self.backoff.is_some()
    }

    /// The token in hand, whatever its state.
    pub fn token(&self) -> Option<&Arc<CachedToken>> {
        self.held.as_ref().map(|held| &held.token)
    }

    /// How long it is at `now` until the next token should be fetched in the background, zero when it is time; `None`
    /// without a token that is good for that.
    pub fn until_advisory(&self, now: impl Into<Moment>) -> Option<Duration> {
        let now = now.into();
        let (held, stage) = self.usable(now)?;
        match stage {
            Stage::Mandatory | Stage::Expired => Some(Duration::ZERO),
            Stage::Fresh | Stage::Advisory => {
                let passed = now.since(held.since).unwrap_or_default();
                let ahead = held.windows.advisory < held.windows.life;
                ahead.then(|| held.windows.advisory.saturating_sub(passed))
            }
        }
    }
}

impl Held {
    fn stage(&self, now: Moment) -> Stage {
        let Some(age) = now.since(self.since) else {
            return Stage::Mandatory;
        };
        // A wall clock that says "expired" where the boot clock does not was set forward, or the machine was held still
        // in a way that its boot clock did not see. Nobody can tell which; a new token ends the doubt.
        let wall_doubts = now.since_by_wall(self.since).is_some_and(|age| age >= self.windows.life);
        if age >= self.windows.life {
            Stage::Expired
        } else if wall_doubts || age >= self.windows.mandatory {
            Stage::Mandatory
        } else if age >= self.windows.advisory {
            Stage::Advisory
        } else {
            Stage::Fresh
        }
    }

    fn left(&self, now: Moment) -> Duration {
        self.windows.life.saturating_sub(now.since(self.since).unwrap_or_default())
    }

    /// Whether this token should stay rather than give way to `new`. When the wall clock is before the time at which this
    /// token was obtained and nothing tells better, nothing that is known of it can be trusted and the new one is taken.
    fn outlasts(&self, new: &CachedToken, now: Moment) -> bool {
        let clock_is_possible = now.since(self.since).is_some();
        clock_is_possible && (self.token.id() == new.id() || new.left(now) <= self.left(now))
    }

    /// This token, kept although `new` was granted: it is not asked for again before its end, since the server has
    /// nothing better. What the server now says of the same token may shorten its life and never lengthens it.
    fn kept_over(mut self, new: Arc<CachedToken>, now: Moment) -> Self {
        if self.token.id() == new.id() && new.left(now) < self.left(now) {
            self.since = new.obtained();
            self.windows.life = new.lifetime();
            self.token = new;
        } else if let Some(age) = now.since(self.since) {
            // The server has just vouched for it: what a stepped wall clock said against it is settled.
            self.since = Moment::new(now.wall().saturating_sub(age), self.since.since_boot());
        }
        self.windows.advisory = self.windows.life;
        self.windows.mandatory = self.windows.life;
        self
    }

    fn rejection_counts(&self, now: Moment) -> bool {
        match self.standing {
            Standing::Ordinary => true,
            Standing::OnProbation { since, span } => now.left_of(span, since).is_none(),
            Standing::Reissued => false,
        }
    }
}

#[cfg(test)]
mod tests;
