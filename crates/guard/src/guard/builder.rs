//! Settings of a guard, checked before there is one.

use super::{Guard, Inner};
use crate::keys::KeyCache;
use crate::keys::schedule::{DEFAULT_KEY_POLICY, KeyPolicy};
use crate::keys::source::KeySource;
use crate::revocations::{InvalidFeedSettings, RevocationFeed, Revocations};
use jeton::http::{EndpointUrl, HttpExchange, InvalidTls, InvalidUrl, PlainHttp, ReqwestExchange, TlsRoots};
use jeton::{Clock, SystemClock};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::verification::{
    DEFAULT_CLOCK_SKEW, DEFAULT_MAX_TOKEN_BYTES, Expectations, InvalidExpectations,
};
use jeton_proto::wire::metadata::well_known_urls;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_FETCH_TIMEOUT: Duration = Duration::from_mins(1);

/// Settings of a [`Guard`]. Only the issuer and the audience must be given.
#[must_use]
pub struct GuardBuilder {
    issuer: String,
    audiences: Vec<String>,
    realm: Option<String>,
    clock_skew: Duration,
    algorithms: Vec<Algorithm>,
    max_token_bytes: usize,
    key_policy: KeyPolicy,
    fetch_timeout: Duration,
    revocation_feed: Option<RevocationFeed>,
    plain_http: PlainHttp,
    tls_roots: TlsRoots,
    clock: Arc<dyn Clock>,
    exchange: Option<Arc<dyn HttpExchange>>,
}

impl GuardBuilder {
    pub(super) fn new(issuer: String, audience: String) -> Self {
        Self {
            issuer,
            audiences: vec![audience],
            realm: None,
            clock_skew: DEFAULT_CLOCK_SKEW,
            algorithms: Algorithm::ALL.to_vec(),
            max_token_bytes: DEFAULT_MAX_TOKEN_BYTES,
            key_policy: DEFAULT_KEY_POLICY,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
            revocation_feed: None,
            plain_http: PlainHttp::to_loopback(),
            tls_roots: TlsRoots::default(),
            clock: Arc::new(SystemClock),
            exchange: None,
        }
    }

    /// Another audience that tokens may be for; at most 32 altogether.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The realm of the challenges (RFC 9110 §11.5); the first audience by default. Callers without credentials see
    /// it.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// How far the clocks of issuer and API may be apart: 0 to 60 s, 5 s by default. An expired token works for as
    /// long.
    pub fn clock_skew(mut self, clock_skew: Duration) -> Self {
        self.clock_skew = clock_skew;
        self
    }

    /// The signature algorithms that are taken; by default ES256, `EdDSA` and RS256, which is all there are.
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = algorithms.to_vec();
        self
    }

    /// The longest token that is looked at: 1 to 65536 bytes, 16384 by default.
    pub fn max_token_bytes(mut self, max_token_bytes: usize) -> Self {
        self.max_token_bytes = max_token_bytes;
        self
    }

    /// The longest time between two fetches of the keys: 10 s to 24 h, 5 min by default. `max-age` of the issuer's
    /// answer shortens it (not below 10 s). A key that the issuer removes stops working within this time: with 5 min,
    /// tokens signed with a key removed at 12:00 are refused from 12:05 at the latest, as long as the issuer answers.
    pub fn refresh_interval(mut self, refresh_interval: Duration) -> Self {
        self.key_policy.refresh_interval = refresh_interval;
        self
    }

    /// The least time between two fetches because of tokens that name an unknown key: 1 s to 1 h, 30 s by default.
    /// The first such token makes a fetch, so a rotated key works at once; with 30 s, somebody who sends made-up keys
    /// all day causes at most two fetches a minute.
    pub fn unknown_key_cooldown(mut self, unknown_key_cooldown: Duration) -> Self {
        self.key_policy.unknown_key_cooldown = unknown_key_cooldown;
        self
    }

    /// How old keys may become while the issuer is out of reach: the refresh interval to 7 days, 24 h by default. With
    /// 24 h, good tokens pass for a day after the issuer went down; after that every request is answered with 503.
    pub fn stale_limit(mut self, stale_limit: Duration) -> Self {
        self.key_policy.stale_limit = stale_limit;
        self
    }

    /// The time for one fetch of metadata and keys together: 100 ms to 1 min, 5 s by default. A request waits for it
    /// when there are no keys yet.
    pub fn fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }

    /// Follows the list of tokens that the issuer has revoked, so that one of them is refused as `invalid_token` within one
    /// poll, 5 s by default. Without this, which is the default, a revoked token passes until it expires.
    ///
    /// The list is followed in the background on the runtime of the first request, and costs a request one look-up in
    /// memory: at most a million revoked tokens are remembered, about 60 bytes each.
    pub fn follow_revocations(mut self, feed: RevocationFeed) -> Self {
        self.revocation_feed = Some(feed);
        self
    }

    /// Where keys may be fetched over plain http besides loopback. Somebody who can change what is on that network can
    /// make tokens of his own.
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.plain_http = plain_http;
        self
    }

    /// The certificate authorities trusted when the keys are fetched; those of the platform by default.
    pub fn tls_roots(mut self, tls_roots: TlsRoots) -> Self {
        self.tls_roots = tls_roots;
        self
    }

    /// The clock; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What sends the requests for metadata and keys; reqwest over rustls by default.
    pub fn exchange(mut self, exchange: Arc<dyn HttpExchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// The guard. Nothing is fetched yet: see [`Guard::prefetch`].
    ///
    /// # Errors
    /// [`BuildError`] says which setting is wrong.
    pub fn build(self) -> Result<Guard, BuildError> {
        let source = self.source()?;
        let key_policy = self.key_policy.checked().map_err(BuildError::Keys)?;
        let feed = self.revocation_feed.map(|feed| feed.checked(&self.plain_http)).transpose();
        let feed = feed.map_err(|invalid| match invalid {
            InvalidFeedSettings::Bounds(text) => BuildError::Keys(text),
            InvalidFeedSettings::Url(error) => BuildError::RevocationFeed(error),
        })?;
        let realm = self.realm.or_else(|| self.audiences.first().cloned()).unwrap_or_default();
        let expectations = Expectations::new(self.issuer, self.audiences)?
            .with_clock_skew(self.clock_skew)?
            .with_algorithms(&self.algorithms)?
            .with_max_token_bytes(self.max_token_bytes)?;
        let keys = KeyCache::new(source, key_policy, Arc::clone(&self.clock));
        let revocations = feed.map(|feed| Revocations::new(keys.clone(), feed, Arc::clone(&self.clock)));
        Ok(Guard {
            inner: Arc::new(Inner {
                keys,
                expectations,
                revocations,
                realm: realm.into(),
                clock: self.clock,
            }),
        })
    }

    fn source(&self) -> Result<KeySource, BuildError> {
        if !(Duration::from_millis(100)..=MAX_FETCH_TIMEOUT).contains(&self.fetch_timeout) {
            return Err(BuildError::Keys("the time for a fetch must be from 100 ms to 1 min"));
        }
        EndpointUrl::parse(&self.issuer, &self.plain_http).map_err(BuildError::Issuer)?;
        let urls = well_known_urls(&self.issuer).ok_or(BuildError::IssuerQuery)?;
        let [first, second] = urls.map(|url| EndpointUrl::parse(&url, &self.plain_http));
        let exchange = match &self.exchange {
            Some(exchange) => Arc::clone(exchange),
            None => Arc::new(ReqwestExchange::new(&self.tls_roots, self.fetch_timeout)?),
        };
        Ok(KeySource {
            issuer: self.issuer.clone(),
            metadata_urls: [first.map_err(BuildError::Issuer)?, second.map_err(BuildError::Issuer)?],
            exchange,
            plain_http: self.plain_http.clone(),
            timeout: self.fetch_timeout,
        })
    }
}

impl fmt::Debug for GuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("key_policy", &self.key_policy)
            .finish_non_exhaustive()
    }
}

/// Which setting of a guard is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The issuer is no URL that may be asked for keys.
    #[error("the issuer: {0}")]
    Issuer(InvalidUrl),
    /// The issuer has a query (RFC 8414 §2).
    #[error("the issuer: an issuer identifier has no query")]
    IssuerQuery,
    /// Issuer, audiences, clock skew, algorithms or token length.
    #[error(transparent)]
    Expectations(#[from] InvalidExpectations),
    /// The list of revoked tokens is at no URL that may be asked.
    #[error("the list of revoked tokens: {0}")]
    RevocationFeed(InvalidUrl),
    /// A setting about the keys or the list of revoked tokens is out of its bounds.
    #[error("{0}")]
    Keys(&'static str),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}
