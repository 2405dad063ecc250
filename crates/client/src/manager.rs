//! The token manager: one client at one authorization server, and all its tokens.

mod builder;

pub use builder::TokenManagerBuilder;

use crate::authorization_server::AuthorizationServer;
use crate::clock::{HotClock, StepDetector};
use crate::credentials::{CredentialStatus, Credentials, InvalidCredential};
use crate::error::{TokenError, TokenErrorKind};
use crate::gatekeeper::Gatekeeper;
use crate::handle::{LONGEST_WAIT, TokenHandle};
use crate::key::TokenKey;
use crate::operations::{Drained, Operations};
use crate::shared_slot::SharedSlot;
use crate::store::link::StoreLink;
use crate::telemetry::Telemetry;
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, RefreshPolicy, Way};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Moment};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub(crate) use crate::operations::InAir;

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
    prefetched: Arc<[TokenHandle]>,
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
    pub(crate) credentials: Credentials,
    /// How often their source is read again.
    pub(crate) credential_period: Duration,
    pub(crate) rotation_due_after: Duration,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) operations: Arc<Operations>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clock_source: ClockSource,
    pub(crate) steps: Mutex<StepDetector>,
    /// From when overdue flights and keepers are counted.
    pub(crate) epoch: Instant,
    pub(crate) jitter: Mutex<fastrand::Rng>,
    pub(crate) refresh_policy: RefreshPolicy,
    pub(crate) backoff_policy: BackoffPolicy,
    pub(crate) refresh_ahead: RefreshAhead,
    pub(crate) granted_scope: GrantedScope,
    pub(crate) total_timeout: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) runtime: Option<Handle>,
    pub(crate) telemetry: Telemetry,
    /// The store that is shared with other processes.
    pub(crate) store: Option<Arc<StoreLink>>,
}

/// Whether the hot path has a tick to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockSource {
    System,
    Injected,
}

impl Engine {
    pub(crate) fn hot_clock(&self) -> HotClock {
        match self.clock_source {
            ClockSource::System => HotClock::system(),
            ClockSource::Injected => HotClock::injected(Arc::clone(&self.clock)),
        }
    }

    /// The caller's runtime, or the one in which the manager was built.
    pub(crate) fn runtime(&self) -> Result<Handle, TokenError> {
        let current = Handle::try_current().ok().or_else(|| self.runtime.clone());
        current.ok_or_else(|| TokenError::new(TokenErrorKind::NoRuntime))
    }

    /// The time since the engine was built, by the clock that timers go by.
    pub(crate) fn uptime(&self) -> Duration {
        Instant::now().saturating_duration_since(self.epoch)
    }

    /// A fraction from 0 to 1.
    pub(crate) fn draw(&self) -> f64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// What is known of the endpoint.
    pub(crate) fn way(&self, now: Moment) -> Way {
        self.gatekeeper.way(self.credentials.generation(), now)
    }

    pub(crate) fn reserve_turn(&self, patience: Duration) -> Result<Duration, TokenError> {
        self.gatekeeper.reserve(patience, self.clock.moment(), || TokenErrorKind::QuotaExhausted {
            server: self.server.name(),
            client_id: self.server.client_id.clone(),
        })
    }

    /// The least that must be left of a flight's time for another request: a quarter of what the first one has.
    pub(crate) fn least_time_for_a_request(&self) -> Duration {
        self.server.request_timeout.min(self.total_timeout) / 4
    }

    /// How long a flight takes at most: its requests, and before them what it leaves another process to go first.
    pub(crate) fn longest_flight(&self) -> Duration {
        let asking = self.store.as_ref().map(|link| self.following_patience() + link.timeout * 2);
        self.total_timeout + asking.unwrap_or_default()
    }

    /// How long a flight lets another process go first: nearly all of its time, since a server that is slow is not made
    /// faster by as many requests as there are processes. What another brings meanwhile is taken all the same.
    pub(crate) fn following_patience(&self) -> Duration {
        self.total_timeout.saturating_sub(self.least_time_for_a_request())
    }

    /// Why no request may be sent with the credential `with`, as far as is known.
    pub(crate) fn why_closed(&self, with: CredentialGeneration) -> TokenError {
        let now = self.clock.moment();
        let why = self.gatekeeper.reason(with, now).unwrap_or_else(|| self.left_alone());
        why.retry_after_of(self.gatekeeper.closed_for(with, now))
    }

    pub(crate) fn left_alone(&self) -> TokenError {
        TokenError::new(TokenErrorKind::LeftAlone { server: self.server.name() })
    }

    /// What a slot's callers are told that has no token: that the client was refused, else `own`, which happened to the slot
    /// itself and is the reason of its pause, else what happened to another.
    pub(crate) fn refusal(&self, own: Option<&TokenError>, now: Moment) -> TokenError {
        let with = self.credentials.generation();
        let known = self.gatekeeper.refused(with, now).or_else(|| own.cloned());
        known.unwrap_or_else(|| self.why_closed(with))
    }

    /// Looks whether the wall clock was set since the last look.
    pub(crate) fn watch_clock(&self, now: Moment) {
        let step = self.steps.lock().unwrap_or_else(PoisonError::into_inner).look(now);
        if let Some(step_millis) = step {
            self.telemetry.clock_stepped();
            tracing::warn!(step_millis, "the wall clock was set, or the machine was held still");
        }
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

    /// Puts another credential in force, of the kind that the manager was built with: the next token request is made with it,
    /// and what was remembered of the old one's refusal is forgotten at once. Tokens in hand stay. Without effect when it is the
    /// one in force. Beside a source it stays in force until the source holds another one than it did before, or until it is
    /// refused.
    ///
    /// # Errors
    /// [`InvalidCredential`] when it is none of that kind, such as a key that cannot be read; the one in force stays.
    pub fn replace_credential(&self, credential: Secret<String>) -> Result<(), InvalidCredential> {
        self.engine.credentials.replace(credential)
    }

    /// What is known of the credential in force: its age and generation, and whether its rotation is due.
    pub fn credential(&self) -> CredentialStatus {
        self.engine.credentials.status(self.engine.rotation_due_after)
    }

    /// Publishes what was counted since the last time to the application's `metrics` recorder. Hits are counted without
    /// the recorder, and reach it through this, when the token is renewed, and every half minute while the key is kept fresh in
    /// the background: call it before each scrape for numbers of that moment. Gauges of keys that nobody asks for are shown as
    /// they are now. Its work grows with the number of keys.
    pub fn publish_metrics(&self) {
        for slot in self.slots.pin().values() {
            slot.publish();
            slot.tell_trouble();
        }
        self.engine.telemetry.breaker(self.engine.gatekeeper.breaker.phase());
        self.engine.tell_credential();
        self.engine.telemetry.publish();
    }

    /// Waits until every key that is [prefetched](TokenManagerBuilder::prefetch) has a token, for `within` (24 h at most): what a
    /// readiness probe asks. At once when there is none.
    ///
    /// # Errors
    /// As [`TokenHandle::token_within`], of the first key that has none.
    pub async fn ready(&self, within: Duration) -> Result<(), TokenError> {
        let deadline = Instant::now() + within.min(LONGEST_WAIT);
        for handle in self.prefetched.iter() {
            handle.token_within(deadline.saturating_duration_since(Instant::now())).await?;
        }
        Ok(())
    }

    /// Closes the manager: no token request begins any more, background tasks end, and those under way are waited for
    /// `within` at most and then given up. Tokens in hand are given out as before while they are good; who would have to
    /// wait for one gets [`TokenErrorKind::Closed`]. Closes all clones, since they are one manager.
    ///
    /// Dropping every clone and handle ends everything too, without waiting. Outside of a tokio runtime there is nothing to
    /// wait by, and what is under way is given up at once.
    pub async fn close(&self, within: Duration) -> Drained {
        self.engine.operations.close(within).await
    }

    /// How many seconds the server's clock is ahead of this machine's at least, negative when it is behind, as its last
    /// answer with a `Date` told; `None` before that. A wrong clock is told of and never trusted: tokens live as long as
    /// `expires_in` says from when they were asked for.
    pub fn clock_skew_seconds(&self) -> Option<f64> {
        self.engine.server.skew().map(|skew| skew.at_least_seconds())
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.engine.server.client_id
    }

    fn from_engine(engine: Engine, prefetch: &[TokenKey]) -> Result<Self, TokenError> {
        let mut manager = Self {
            engine: Arc::new(engine),
            slots: Arc::default(),
            adding: Arc::default(),
            prefetched: Arc::default(),
        };
        let handles: Result<Vec<_>, _> = prefetch.iter().map(|key| manager.handle(key)).collect();
        manager.prefetched = handles?.into();
        manager.prefetched.iter().for_each(TokenHandle::keep_fresh);
        Ok(manager)
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
