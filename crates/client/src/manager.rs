//! The token manager: one client at one authorization server, and all its tokens.

mod builder;

pub use builder::TokenManagerBuilder;

use crate::authorization_server::AuthorizationServer;
use crate::clock::HotClock;
use crate::error::{TokenError, TokenErrorKind};
use crate::handle::TokenHandle;
use crate::key::TokenKey;
use crate::shared_slot::SharedSlot;
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::lifecycle::{CachedToken, RefreshPolicy};
use jeton_proto::time::Clock;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// The most different keys that one manager holds.
pub const MAX_KEYS: usize = 10_000;

/// Mints tokens for one client at one authorization server, and shares each among all who ask for it. Cheap to clone;
/// all clones are one manager. Build one for a process and keep it; in a process that forks, build it after the fork,
/// since the thread that sets the tick of the hot path does not live on in the child.
#[derive(Clone)]
pub struct TokenManager {
    engine: Arc<Engine>,
    slots: Arc<papaya::HashMap<TokenKey, Arc<SharedSlot>>>,
    /// Held while a key is added, so that no race exceeds [`MAX_KEYS`].
    adding: Arc<Mutex<()>>,
}

/// Whether a token is renewed in the background even when nobody asks for it at the right moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshAhead {
    /// A token that was used is renewed when its advisory time comes, so that the next caller never waits; a key that
    /// nobody uses for a whole life falls silent. The default.
    #[default]
    WhileUsed,
    /// A token is renewed when somebody asks for it, and not otherwise.
    OnDemand,
}

/// What to do with a token whose scope is narrower than the one asked for (RFC 6749 §3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrantedScope {
    /// It is given out; [`CachedToken::granted_scope`] tells its scope. The default.
    #[default]
    MayBeNarrower,
    /// It is refused with [`TokenErrorKind::NarrowedScope`]. A server that leaves `scope` out of its answer says
    /// that it granted what was asked for (RFC 6749 §5.1), and is believed; the API's 403 tells where it was not so.
    MustBeComplete,
}

/// What all slots of a manager share.
pub(crate) struct Engine {
    pub(crate) server: AuthorizationServer,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) refresh_policy: RefreshPolicy,
    pub(crate) backoff_policy: BackoffPolicy,
    pub(crate) refresh_ahead: RefreshAhead,
    pub(crate) granted_scope: GrantedScope,
    pub(crate) total_timeout: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) runtime: Option<Handle>,
}

impl Engine {
    pub(crate) fn hot_clock(&self) -> HotClock {
        match &self.clock {
            Some(clock) => HotClock::injected(Arc::clone(clock)),
            None => HotClock::system(),
        }
    }

    /// The caller's runtime, or the one in which the manager was built.
    pub(crate) fn runtime(&self) -> Result<Handle, TokenError> {
        let current = Handle::try_current().ok().or_else(|| self.runtime.clone());
        current.ok_or_else(|| TokenError::new(TokenErrorKind::NoRuntime))
    }
}

impl TokenManager {
    /// A manager for `client_id` at the token endpoint `token_url`.
    pub fn builder(token_url: impl Into<String>, client_id: impl Into<String>) -> TokenManagerBuilder {
        TokenManagerBuilder::new(token_url.into(), client_id.into())
    }

    /// A token for `key`; any number of concurrent callers cause one token request. Waits at most for the manager's
    /// time to wait (default 15 s).
    ///
    /// # Errors
    /// As [`TokenHandle::token`], and [`TokenErrorKind::TooManyKeys`].
    pub async fn token(&self, key: &TokenKey) -> Result<Arc<CachedToken>, TokenError> {
        self.handle(key)?.token().await
    }

    /// As [`TokenManager::token`], waiting at most for `wait`.
    ///
    /// # Errors
    /// As [`TokenHandle::token_within`], and [`TokenErrorKind::TooManyKeys`].
    pub async fn token_within(&self, key: &TokenKey, wait: Duration) -> Result<Arc<CachedToken>, TokenError> {
        self.handle(key)?.token_within(wait).await
    }

    /// Resolves `key` once and for all, for a hot path.
    ///
    /// # Errors
    /// [`TokenErrorKind::TooManyKeys`] beyond [`MAX_KEYS`] different keys.
    pub fn handle(&self, key: &TokenKey) -> Result<TokenHandle, TokenError> {
        let slots = self.slots.pin();
        if let Some(slot) = slots.get(key) {
            return Ok(TokenHandle::new(Arc::clone(slot)));
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_KEYS && !slots.contains_key(key) {
            return Err(TokenError::new(TokenErrorKind::TooManyKeys { limit: MAX_KEYS }));
        }
        let new = || SharedSlot::new(Arc::clone(&self.engine), key.clone());
        Ok(TokenHandle::new(Arc::clone(slots.get_or_insert_with(key.clone(), new))))
    }

    /// Says that an API refused `token`, which was given out for `key`: see [`TokenHandle::reject`].
    pub fn reject(&self, key: &TokenKey, token: &CachedToken) {
        if let Some(slot) = self.slots.pin().get(key) {
            slot.reject(token.id());
        }
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.engine.server.credential.client_id
    }

    pub(crate) fn from_engine(engine: Engine) -> Self {
        Self { engine: Arc::new(engine), slots: Arc::default(), adding: Arc::default() }
    }
}

impl fmt::Debug for TokenManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("token_endpoint", &self.engine.server.token_endpoint)
            .field("client_id", &self.client_id())
            .field("keys", &self.slots.len())
            .finish_non_exhaustive()
    }
}
