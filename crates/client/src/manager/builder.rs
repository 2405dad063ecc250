//! Settings of a token manager, held against their bounds when it is built.

mod credential;

use super::{ClockSource, Engine, GrantedScope, MAX_KEYS, RefreshAhead, TokenManager};
use crate::authorization_server::AuthorizationServer;
use crate::clock::{StepDetector, SystemClock};
use crate::error::BuildError;
use crate::gatekeeper::{BreakerCell, Gatekeeper};
use crate::http::{EndpointUrl, HttpExchange, PlainHttp};
use crate::key::TokenKey;
use crate::operations::Operations;
use crate::store::link::{LinkSettings, StoreLink};
use crate::store::{KeyRing, SharedStore};
use crate::telemetry::Telemetry;
use credential::CredentialSettings;
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::breaker::BreakerPolicy;
use jeton_proto::flight::LONGEST_LEASE;
use jeton_proto::lifecycle::RefreshPolicy;
use jeton_proto::quota::QuotaPolicy;
use jeton_proto::time::Clock;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Settings of a [`TokenManager`].
#[must_use]
pub struct TokenManagerBuilder {
    token_url: String,
    client_id: String,
    credential: CredentialSettings,
    plain_http: PlainHttp,
    refresh_policy: RefreshPolicy,
    backoff_policy: BackoffPolicy,
    breaker_policy: BreakerPolicy,
    request_quota: QuotaPolicy,
    refresh_ahead: RefreshAhead,
    prefetch: Vec<TokenKey>,
    granted_scope: GrantedScope,
    timeouts: Timeouts,
    jitter_seed: Option<u64>,
    neighbour: Option<TokenManager>,
    clock: Option<Arc<dyn Clock>>,
    exchange: Option<Arc<dyn HttpExchange>>,
    store: Option<(Arc<dyn SharedStore>, KeyRing)>,
    lease: Option<Duration>,
    #[cfg(feature = "reqwest")]
    tls_roots: crate::http::TlsRoots,
}

#[derive(Clone, Copy, Debug)]
struct Timeouts {
    connect: Duration,
    request: Duration,
    total: Duration,
    wait: Duration,
    store: Duration,
}

/// How much later than its own time-out a probe may be back before it is taken for lost.
const PROBE_GRACE: Duration = Duration::from_secs(1);

const DEFAULT_LEASE: Duration = Duration::from_secs(3);
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

impl TokenManagerBuilder {
    pub(super) fn new(token_url: String, client_id: String) -> Self {
        Self {
            token_url,
            client_id,
            credential: CredentialSettings::default(),
            plain_http: PlainHttp::to_loopback(),
            refresh_policy: RefreshPolicy::default(),
            backoff_policy: BackoffPolicy::default(),
            breaker_policy: BreakerPolicy::default(),
            request_quota: QuotaPolicy::default(),
            prefetch: Vec::new(),
            jitter_seed: None,
            neighbour: None,
            refresh_ahead: RefreshAhead::default(),
            granted_scope: GrantedScope::default(),
            timeouts: Timeouts {
                connect: Duration::from_secs(3),
                request: Duration::from_secs(10),
                total: Duration::from_secs(15),
                wait: Duration::from_secs(15),
                store: Duration::from_millis(500),
            },
            clock: None,
            exchange: None,
            store: None,
            lease: None,
            #[cfg(feature = "reqwest")]
            tls_roots: crate::http::TlsRoots::default(),
        }
    }

    /// The hosts that may be asked over plain http. Default: this machine alone.
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.plain_http = plain_http;
        self
    }

    /// When tokens are renewed.
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.refresh_policy = policy;
        self
    }

    /// How long the server is left alone after a failure.
    pub fn backoff_policy(mut self, policy: BackoffPolicy) -> Self {
        self.backoff_policy = policy;
        self
    }

    /// When the endpoint counts as down, and how rarely it is asked then. Without effect with
    /// [`beside`](Self::beside), where the other manager's breaker is shared.
    pub fn breaker_policy(mut self, policy: BreakerPolicy) -> Self {
        self.breaker_policy = policy;
        self
    }

    /// How many token requests this manager may make, whatever its callers do. Default 100 at once and ten a second;
    /// requests beyond that wait for their turn, and fail with
    /// [`QuotaExhausted`](crate::TokenErrorKind::QuotaExhausted) where it would come too late.
    pub fn request_quota(mut self, quota: QuotaPolicy) -> Self {
        self.request_quota = quota;
        self
    }

    /// Fetches a token for `key` when the manager is built, and keeps one in hand as long as the manager lives, whether
    /// it is used or not. May be given for several keys, [`MAX_KEYS`] in all. [`TokenManager::ready`] waits for them.
    pub fn prefetch(mut self, key: TokenKey) -> Self {
        self.prefetch.push(key);
        self
    }

    /// Shares the connections and the breaker of `other`, which asks the same token endpoint for another client: the endpoint
    /// is down for both or for neither, and one probe finds out.
    pub fn beside(mut self, other: &TokenManager) -> Self {
        self.neighbour = Some(other.clone());
        self
    }

    /// Makes what is drawn at random (windows, pauses) repeatable. Give each manager of a fleet another seed, or none:
    /// those that draw the same do everything at the same time.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    /// Whether tokens are renewed without being asked for.
    pub fn refresh_ahead(mut self, refresh_ahead: RefreshAhead) -> Self {
        self.refresh_ahead = refresh_ahead;
        self
    }

    /// Whether a token with less scope than was asked for is given out.
    pub fn granted_scope(mut self, granted_scope: GrantedScope) -> Self {
        self.granted_scope = granted_scope;
        self
    }

    /// The longest time to connect. Default 3 s; bounds 1 ms to 1 h, as for all time-outs here.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// The longest time from sending one token request to the end of its answer. Default 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.request = timeout;
        self
    }

    /// The longest time for all attempts of one flight, with the pauses between them. Default 15 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.total = timeout;
        self
    }

    /// The longest time that a caller waits who sets no deadline of its own. Default 15 s.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.wait = timeout;
        self
    }

    /// Shares tokens with every process that uses the same `store` and `keys`: one token request for each key serves all, and one
    /// of them renews the token for all. What goes into the store is sealed with `keys`. A store that does not work costs nobody a token; the
    /// manager goes on by itself. Default: no store.
    ///
    /// Processes share the token of a key if they name the same token endpoint, client id, authentication method and
    /// [`TokenKey`].
    pub fn shared_store(mut self, store: Arc<dyn SharedStore>, keys: KeyRing) -> Self {
        self.store = Some((store, keys));
        self
    }

    /// For how long other processes leave a key to the one that fetches its token, should they not hear of it any more. It is
    /// prolonged while the request lasts, so it is what a killed process costs the others. Default 3 s, or half of
    /// [`wait_timeout`](Self::wait_timeout) where that is less; bounds 100 ms to 60 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The longest time for one answer of the shared store, after which the manager goes on without it. Default 500 ms. A store that did
    /// not answer is not waited for again until it is found to be back.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.store = timeout;
        self
    }

    /// The clock. Default [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The HTTP exchange. Default `ReqwestExchange`, with the feature `reqwest`.
    pub fn exchange(mut self, exchange: Arc<dyn HttpExchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// Which certificate authorities the default exchange trusts.
    #[cfg(feature = "reqwest")]
    pub fn tls_roots(mut self, roots: crate::http::TlsRoots) -> Self {
        self.tls_roots = roots;
        self
    }

    /// Checks the settings. Sends nothing.
    ///
    /// # Errors
    /// [`BuildError`] says which setting is wrong.
    pub fn build(mut self) -> Result<TokenManager, BuildError> {
        let credential = std::mem::take(&mut self.credential);
        let token_url = credential.token_url(std::mem::take(&mut self.token_url));
        let token_endpoint = EndpointUrl::parse(&token_url, &self.plain_http)?;
        if self.client_id.is_empty() {
            return Err(BuildError::ClientId);
        }
        self.timeouts.check()?;
        let lease =
            self.lease.unwrap_or_else(|| DEFAULT_LEASE.min(self.timeouts.wait / 2).max(SHORTEST_LEASE));
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
            return Err(BuildError::Lease);
        }
        if !self.prefetch.is_empty() && Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        if self.prefetch.len() > MAX_KEYS {
            return Err(BuildError::TooManyKeys { limit: MAX_KEYS });
        }
        let probe_time = self.timeouts.request.min(self.timeouts.total) + PROBE_GRACE;
        self.breaker_policy = self.breaker_policy.with_probe_time(probe_time);
        let clock_source = if self.clock.is_some() { ClockSource::Injected } else { ClockSource::System };
        let clock = self.clock.take().unwrap_or_else(|| Arc::new(SystemClock));
        let (credential_period, rotation_due_after) = (credential.period, credential.rotation_due_after);
        let credentials =
            credential.credentials(self.client_id.clone(), &token_endpoint, Arc::clone(&clock))?;
        let (exchange, breaker) = self.endpoint(&token_endpoint)?;
        let server = AuthorizationServer::new(
            token_endpoint,
            std::mem::take(&mut self.client_id),
            exchange,
            Arc::clone(&clock),
            self.timeouts.request,
        );
        let telemetry = Telemetry::new(&server.name(), &server.client_id);
        let timeout = self.timeouts.store;
        let store = self.store.take().map(|(store, ring)| {
            StoreLink::new(LinkSettings { store, ring, lease, timeout }, telemetry.clone())
        });
        let engine = Engine {
            server,
            credentials,
            credential_period,
            rotation_due_after,
            gatekeeper: Gatekeeper::new(breaker, self.backoff_policy, self.request_quota),
            operations: Operations::open(),
            clock,
            clock_source,
            steps: Mutex::new(StepDetector::default()),
            epoch: Instant::now(),
            jitter: Mutex::new(self.jitter_seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            refresh_policy: self.refresh_policy,
            backoff_policy: self.backoff_policy,
            refresh_ahead: self.refresh_ahead,
            granted_scope: self.granted_scope,
            total_timeout: self.timeouts.total,
            wait_timeout: self.timeouts.wait,
            runtime: Handle::try_current().ok(),
            telemetry,
            store,
        };
        let too_many = |_| BuildError::TooManyKeys { limit: MAX_KEYS };
        TokenManager::from_engine(engine, &self.prefetch).map_err(too_many)
    }

    /// How the endpoint is reached, and its breaker: its own, or those of the manager beside this one.
    fn endpoint(
        &mut self,
        token_endpoint: &EndpointUrl,
    ) -> Result<(Arc<dyn HttpExchange>, Arc<BreakerCell>), BuildError> {
        if let Some(neighbour) = self.neighbour.take() {
            let server = &neighbour.engine.server;
            if server.token_endpoint.as_str() != token_endpoint.as_str() {
                return Err(BuildError::AnotherEndpoint);
            }
            let breaker = Arc::clone(&neighbour.engine.gatekeeper.breaker);
            return Ok((self.exchange.take().unwrap_or_else(|| Arc::clone(&server.exchange)), breaker));
        }
        let exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => self.default_exchange()?,
        };
        Ok((exchange, Arc::new(BreakerCell::new(self.breaker_policy))))
    }

    #[cfg(feature = "reqwest")]
    fn default_exchange(&self) -> Result<Arc<dyn HttpExchange>, BuildError> {
        Ok(Arc::new(crate::http::ReqwestExchange::new(&self.tls_roots, self.timeouts.connect)?))
    }

    #[cfg(not(feature = "reqwest"))]
    #[allow(clippy::unused_self, reason = "the form with the feature needs it")]
    fn default_exchange(&self) -> Result<Arc<dyn HttpExchange>, BuildError> {
        Err(BuildError::NoExchange)
    }
}

impl Timeouts {
    fn check(self) -> Result<(), BuildError> {
        let bounds = Duration::from_millis(1)..=Duration::from_hours(1);
        for (name, value) in [
            ("connect_timeout", self.connect),
            ("request_timeout", self.request),
            ("total_timeout", self.total),
            ("wait_timeout", self.wait),
            ("store_timeout", self.store),
        ] {
            if !bounds.contains(&value) {
                return Err(BuildError::Timeout { name });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TokenManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManagerBuilder").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
