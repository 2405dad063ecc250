//! Settings of a token manager, held against their bounds when it is built.

use super::{Engine, GrantedScope, RefreshAhead, TokenManager};
use crate::authorization_server::AuthorizationServer;
use crate::clock::SystemClock;
use crate::credentials::Credential;
use crate::error::BuildError;
use crate::http::{EndpointUrl, HttpExchange, PlainHttp};
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::lifecycle::RefreshPolicy;
use jeton_proto::secret::Secret;
use jeton_proto::time::Clock;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Settings of a [`TokenManager`].
#[must_use]
pub struct TokenManagerBuilder {
    token_url: String,
    client_id: String,
    client_secret: Option<Secret<String>>,
    method: ClientAuthMethod,
    basic_encoding: BasicEncoding,
    plain_http: PlainHttp,
    refresh_policy: RefreshPolicy,
    backoff_policy: BackoffPolicy,
    refresh_ahead: RefreshAhead,
    granted_scope: GrantedScope,
    timeouts: Timeouts,
    clock: Option<Arc<dyn Clock>>,
    exchange: Option<Arc<dyn HttpExchange>>,
    #[cfg(feature = "reqwest")]
    tls_roots: crate::http::TlsRoots,
}

#[derive(Clone, Copy, Debug)]
struct Timeouts {
    connect: Duration,
    request: Duration,
    total: Duration,
    wait: Duration,
}

impl TokenManagerBuilder {
    pub(super) fn new(token_url: String, client_id: String) -> Self {
        Self {
            token_url,
            client_id,
            client_secret: None,
            method: ClientAuthMethod::default(),
            basic_encoding: BasicEncoding::default(),
            plain_http: PlainHttp::to_loopback(),
            refresh_policy: RefreshPolicy::default(),
            backoff_policy: BackoffPolicy::default(),
            refresh_ahead: RefreshAhead::default(),
            granted_scope: GrantedScope::default(),
            timeouts: Timeouts {
                connect: Duration::from_secs(3),
                request: Duration::from_secs(10),
                total: Duration::from_secs(15),
                wait: Duration::from_secs(15),
            },
            clock: None,
            exchange: None,
            #[cfg(feature = "reqwest")]
            tls_roots: crate::http::TlsRoots::default(),
        }
    }

    /// The client secret. Read it from a file, the environment or a secret manager, never from the source code.
    pub fn client_secret(mut self, secret: Secret<String>) -> Self {
        self.client_secret = Some(secret);
        self
    }

    /// How the credential is sent. Default `client_secret_basic`.
    pub fn auth_method(mut self, method: ClientAuthMethod) -> Self {
        self.method = method;
        self
    }

    /// How Basic is encoded. Default as RFC 6749 §2.3.1 wants it; [`BasicEncoding::Raw`] for servers that do not
    /// decode.
    pub fn basic_encoding(mut self, encoding: BasicEncoding) -> Self {
        self.basic_encoding = encoding;
        self
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
        let token_endpoint = EndpointUrl::parse(&self.token_url, &self.plain_http)?;
        if self.client_id.is_empty() {
            return Err(BuildError::ClientId);
        }
        self.timeouts.check()?;
        let client_secret = self.client_secret.take().filter(|secret| !secret.expose().is_empty());
        let credential = Credential {
            client_id: std::mem::take(&mut self.client_id),
            client_secret: client_secret.ok_or(BuildError::ClientSecret)?,
            method: self.method,
            basic_encoding: self.basic_encoding,
        };
        credential.header()?;
        let exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => self.default_exchange()?,
        };
        let server = AuthorizationServer {
            token_endpoint,
            credential,
            exchange,
            clock: self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock)),
            request_timeout: self.timeouts.request,
        };
        Ok(TokenManager::from_engine(Engine {
            server,
            clock: self.clock,
            refresh_policy: self.refresh_policy,
            backoff_policy: self.backoff_policy,
            refresh_ahead: self.refresh_ahead,
            granted_scope: self.granted_scope,
            total_timeout: self.timeouts.total,
            wait_timeout: self.timeouts.wait,
            runtime: Handle::try_current().ok(),
        }))
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
