//! A resolved key: what a hot path holds.

use crate::error::TokenError;
use crate::shared_slot::SharedSlot;
use http::HeaderValue;
use jeton_proto::lifecycle::{CachedToken, TokenId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest time that a caller waits, whatever it asks for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// One (client, key), resolved: asking it costs no look-up. Cheap to clone; all clones share one token.
#[derive(Clone)]
pub struct TokenHandle {
    slot: Arc<SharedSlot>,
}

impl TokenHandle {
    pub(crate) fn new(slot: Arc<SharedSlot>) -> Self {
        Self { slot }
    }

    /// Hands the token in hand to `take`, at once: no lock, no await, no allocation. Begins a background refresh where
    /// one is due. `None` when a caller would have to wait; then ask [`TokenHandle::token`].
    ///
    /// ```
    /// # fn example(handle: &jeton::TokenHandle) {
    /// let seconds = handle.get_with(|token| token.expires_at().as_unix_seconds());
    /// # }
    /// ```
    #[allow(clippy::inline_always, reason = "the call costs a fifth of what it does")]
    #[inline(always)]
    pub fn get_with<R>(&self, take: impl FnOnce(&CachedToken) -> R) -> Option<R> {
        self.slot.get_with(take)
    }

    /// The `Authorization` value of the token in hand, as [`TokenHandle::get_with`] gives it.
    #[inline]
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.get_with(|token| token.authorization().clone())
    }

    /// A token, waiting for one at most for the manager's time to wait (default 15 s).
    ///
    /// # Errors
    /// [`TokenError`]: whose fault it is, whether asking again helps, and when. While a token request has just failed
    /// and no token is left, the same error is answered at once. Where a wait is needed outside of a tokio runtime, it is
    /// [`TokenErrorKind::NoRuntime`](crate::TokenErrorKind::NoRuntime).
    pub async fn token(&self) -> Result<Arc<CachedToken>, TokenError> {
        self.token_within(self.slot.engine.wait_timeout).await
    }

    /// A token, waiting for one at most for `wait` (0 to 24 h; longer is cut to that). Where that is too short, the token request goes on for the others,
    /// and what is left of the token in hand is given out while it is good.
    ///
    /// # Errors
    /// As [`TokenHandle::token`], and [`TokenErrorKind::DeadlinePassed`](crate::TokenErrorKind::DeadlinePassed).
    pub async fn token_within(&self, wait: Duration) -> Result<Arc<CachedToken>, TokenError> {
        let wait = wait.min(LONGEST_WAIT);
        self.slot.token_by(Instant::now() + wait, wait).await
    }

    /// Says that an API refused `token`. Only that token is dropped, never a newer one; the next caller gets another.
    /// One rejection causes one token request at most: see [`RefreshPolicy::probation`].
    ///
    /// [`RefreshPolicy::probation`]: crate::RefreshPolicy::probation
    pub fn reject(&self, token: TokenId) {
        self.slot.reject(token);
    }

    /// Says that an API took `token`. Costs next to nothing, and lets a later rejection of a token that was itself
    /// minted for a rejection count at once. [`bearer`](crate::bearer) does it by itself.
    pub fn accept(&self, token: TokenId) {
        self.slot.accept(token);
    }

    pub(crate) fn keep_fresh(&self) {
        self.slot.keep_fresh();
    }

    /// Begins to fetch a token where one is needed, and does not wait for it.
    pub fn prefetch(&self) {
        self.slot.refresh_in_background();
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHandle").field("key", &self.slot.key).finish_non_exhaustive()
    }
}
