//! What an authorization server says of itself: its metadata (RFC 8414), found by its issuer identifier.

use crate::handle::LONGEST_WAIT;
use crate::http::{EndpointUrl, ExchangeError, ExchangeLimits, HttpExchange, InvalidUrl, PlainHttp};
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use jeton_proto::wire::metadata::{InvalidMetadata, MAX_METADATA_BYTES, well_known_urls};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub use jeton_proto::wire::metadata::AuthorizationServerMetadata;

/// Asks an issuer for its metadata: at the well-known path of RFC 8414 §3.1, then at `OpenID` Connect's (RFC 8414 §5).
///
/// A document that names another issuer than the one it was asked of is refused (RFC 8414 §3.3), whatever else is in it: it would
/// send the credential to somebody else's token endpoint.
///
/// ```no_run
/// use jeton::discovery::Discovery;
/// use jeton::{Secret, TokenManager};
///
/// # async fn example(secret: Secret<String>) -> Result<(), Box<dyn std::error::Error>> {
/// let metadata = Discovery::of("https://id.example.com").fetch().await?;
/// let manager = TokenManager::builder(&metadata.token_endpoint, "billing")
///     .metadata(metadata)
///     .client_secret(secret)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Discovery {
    issuer: String,
    plain_http: PlainHttp,
    exchange: Option<Arc<dyn HttpExchange>>,
    timeout: Duration,
    #[cfg(feature = "reqwest")]
    tls_roots: crate::http::TlsRoots,
}

impl Discovery {
    /// Of the issuer with this identifier: an https URL without query and fragment (RFC 8414 §2).
    pub fn of(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            plain_http: PlainHttp::to_loopback(),
            exchange: None,
            timeout: Duration::from_secs(10),
            #[cfg(feature = "reqwest")]
            tls_roots: crate::http::TlsRoots::default(),
        }
    }

    /// The hosts that may be asked over plain http. Default: this machine alone.
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.plain_http = plain_http;
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

    /// The longest time for all of it. Default 10 s, at most 24 h.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_WAIT);
        self
    }

    /// Asks for the metadata. Redirects are not followed, and nothing but the issuer's own word is believed.
    ///
    /// # Errors
    /// [`DiscoveryError`] of the place that told more, where both failed.
    pub async fn fetch(self) -> Result<AuthorizationServerMetadata, DiscoveryError> {
        let urls = well_known_urls(&self.issuer).ok_or(DiscoveryError::Issuer)?;
        let deadline = Instant::now() + self.timeout;
        let exchange = self.own_exchange()?;
        let mut first: Option<DiscoveryError> = None;
        for url in urls {
            let url = EndpointUrl::parse(&url, &self.plain_http)?;
            match self.ask(&*exchange, &url, deadline).await {
                Ok(metadata) => {
                    EndpointUrl::parse(&metadata.token_endpoint, &self.plain_http)
                        .map_err(DiscoveryError::TokenEndpoint)?;
                    return Ok(metadata);
                }
                // Nobody answers there: the other place is at the same host.
                Err(error @ DiscoveryError::Exchange { .. }) => return Err(error),
                Err(error) => {
                    first = Some(match first {
                        // Anything else tells more than a page that is not there.
                        Some(DiscoveryError::Status { status: 404, .. }) | None => error,
                        Some(known) => known,
                    });
                }
            }
        }
        Err(first.unwrap_or(DiscoveryError::Issuer))
    }

    async fn ask(
        &self,
        exchange: &dyn HttpExchange,
        url: &EndpointUrl,
        deadline: Instant,
    ) -> Result<AuthorizationServerMetadata, DiscoveryError> {
        let server = || url.authority().to_owned();
        let failed = |fault| DiscoveryError::Exchange { server: server(), fault };
        let request = Request::builder()
            .method(Method::GET)
            .uri(url.as_str())
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| failed(ExchangeError::Request(error.to_string())))?;
        let time = deadline.saturating_duration_since(Instant::now());
        let limits = ExchangeLimits { time, body_bytes: MAX_METADATA_BYTES };
        let answer = tokio::time::timeout(time, exchange.exchange(request, limits)).await;
        let answer = answer.unwrap_or(Err(ExchangeError::TimedOut)).map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(DiscoveryError::Status { server: server(), status: answer.status().as_u16() });
        }
        AuthorizationServerMetadata::parse(answer.body(), &self.issuer)
            .map_err(|fault| DiscoveryError::Metadata { server: server(), fault })
    }

    #[cfg(feature = "reqwest")]
    fn own_exchange(&self) -> Result<Arc<dyn HttpExchange>, DiscoveryError> {
        match &self.exchange {
            Some(exchange) => Ok(Arc::clone(exchange)),
            None => Ok(Arc::new(crate::http::ReqwestExchange::new(&self.tls_roots, self.timeout)?)),
        }
    }

    #[cfg(not(feature = "reqwest"))]
    fn own_exchange(&self) -> Result<Arc<dyn HttpExchange>, DiscoveryError> {
        self.exchange.clone().ok_or(DiscoveryError::NoExchange)
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Why the metadata of an issuer is not to be had. Nothing of an answer's body is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The issuer is no URL that metadata can be found by.
    #[error("the issuer must be an https url without query and fragment")]
    Issuer,
    /// The issuer may not be asked.
    #[error("the issuer cannot be asked: {0}")]
    Url(#[from] InvalidUrl),
    /// No answer.
    #[error("no metadata from {server}: {fault}")]
    Exchange {
        /// Host and port.
        server: String,
        /// What happened.
        fault: ExchangeError,
    },
    /// An answer that is not 200. Redirects are not followed.
    #[error(
        "no metadata from {server}: it answered with the status {status}; set the token url instead if it has none"
    )]
    Status {
        /// Host and port.
        server: String,
        /// The HTTP status.
        status: u16,
    },
    /// The document is malformed, or of another issuer.
    #[error("{server}: {fault}")]
    Metadata {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        fault: InvalidMetadata,
    },
    /// The document names a token endpoint that no secret may be sent to.
    #[error("the \"token_endpoint\" of the issuer cannot be used: {0}")]
    TokenEndpoint(InvalidUrl),
    /// TLS.
    #[cfg(feature = "reqwest")]
    #[error(transparent)]
    Tls(#[from] crate::http::InvalidTls),
    /// No exchange was given, and the feature `reqwest`, which brings one, is off.
    #[cfg(not(feature = "reqwest"))]
    #[error("no HTTP exchange was given, and the feature `reqwest` is off")]
    NoExchange,
}
