//! Where the keys come from: the metadata of the issuer (RFC 8414), then its JWK Set (RFC 7517 §5).

use super::schedule::Reason;
use http::header::{ACCEPT, CACHE_CONTROL, IF_NONE_MATCH, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use jeton::Timestamp;
use jeton::http::{EndpointUrl, ExchangeError, ExchangeLimits, HttpExchange, InvalidUrl, PlainHttp};
use jeton_proto::jose::jwk::{InvalidJwkSet, JwkSet, MAX_JWK_SET_BYTES};
use jeton_proto::wire::metadata::{AuthorizationServerMetadata, InvalidMetadata, MAX_METADATA_BYTES};
use jeton_proto::wire::retry_after::parse_retry_after;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct KeySource {
    pub(crate) issuer: String,
    /// Where the metadata may be, in the order to try.
    pub(crate) metadata_urls: [EndpointUrl; 2],
    pub(crate) exchange: Arc<dyn HttpExchange>,
    pub(crate) plain_http: PlainHttp,
    /// The time for one fetch of metadata and keys together.
    pub(crate) timeout: Duration,
}

/// Where a fetch begins.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// At the key set, where it was the last time.
    KeySet(EndpointUrl),
    /// At the metadata; when that is out of reach, at the key set where it was the last time.
    Metadata { last: Option<EndpointUrl> },
}

impl Route {
    /// Where the keys were the last time is asked directly, unless a key is missing there. After failures the ways take
    /// turns, so that neither metadata that is down nor a key set that has moved stops the refresh for ever.
    pub(crate) fn choose(reason: Reason, last: Option<EndpointUrl>, failures: u32) -> Self {
        match (reason, last) {
            (Reason::Age, Some(last)) if failures.is_multiple_of(2) => Self::KeySet(last),
            (Reason::Age | Reason::UnknownKey, last) => Self::Metadata { last },
        }
    }
}

/// Keys, and what the issuer said about them.
#[derive(Debug)]
pub(crate) struct FetchedKeys {
    pub(crate) set: JwkSet,
    pub(crate) jwks_uri: EndpointUrl,
    pub(crate) max_age: Option<Duration>,
}

/// Whether an answer may say that nothing has changed (RFC 9110 §13.1.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unchanged<'a> {
    /// Nothing is known that it could be the same as.
    Impossible,
    /// It may, since the answer with this entity tag.
    Since(&'a str),
}

/// Why the keys could not be fetched. Nothing of a body is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer.
    #[error("{server} gave no answer: {fault}")]
    Exchange {
        /// Host and port.
        server: String,
        /// What happened.
        fault: ExchangeError,
    },
    /// An answer that is not 200. Redirects are not followed.
    #[error("{server} answered with the status {status}{}", hint(*.status))]
    Status {
        /// Host and port.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The pause that the server asks for.
        retry_after: Option<Duration>,
    },
    /// The metadata is malformed or of another issuer.
    #[error("{server}: {fault}")]
    Metadata {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        fault: InvalidMetadata,
    },
    /// The metadata names no key set.
    #[error("the metadata of the issuer has no \"jwks_uri\", so its tokens cannot be checked")]
    NoJwksUri,
    /// The metadata names a key set that may not be fetched.
    #[error("the \"jwks_uri\" of the issuer cannot be used: {0}")]
    JwksUri(InvalidUrl),
    /// The key set is malformed.
    #[error("{server}: {fault}")]
    KeySet {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        fault: InvalidJwkSet,
    },
    /// The key set has no key for ES256, `EdDSA` or RS256.
    #[error("{server} published no key that can be used; {skipped} were left out")]
    NoUsableKey {
        /// Host and port.
        server: String,
        /// How many keys there were.
        skipped: usize,
    },
    /// The whole fetch took longer than allowed.
    #[error("the keys could not be fetched within the time allowed")]
    TimedOut,
    /// The fetch ended in a panic: the exchange has a fault.
    #[error("the fetch of the keys ended in a panic, see its message")]
    Panicked,
    /// There is no tokio runtime to fetch on.
    #[error("the keys cannot be fetched outside a tokio runtime")]
    NoRuntime,
}

impl FetchError {
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Exchange { .. }
            | Self::Metadata { .. }
            | Self::NoJwksUri
            | Self::JwksUri(_)
            | Self::KeySet { .. }
            | Self::NoUsableKey { .. }
            | Self::TimedOut
            | Self::Panicked
            | Self::NoRuntime => None,
        }
    }
}

impl KeySource {
    /// Fetches the keys.
    pub(crate) async fn fetch(&self, route: Route, now: Timestamp) -> Result<FetchedKeys, FetchError> {
        let jwks_uri = match route {
            Route::KeySet(last) => last,
            Route::Metadata { last } => match (self.jwks_uri(now).await, last) {
                (Err(FetchError::Exchange { .. } | FetchError::Status { .. }), Some(last)) => last,
                (discovered, _) => discovered?,
            },
        };
        let answer = self.ask(&jwks_uri, MAX_JWK_SET_BYTES, Unchanged::Impossible, now).await?;
        let server = || jwks_uri.authority().to_owned();
        let set =
            JwkSet::parse(answer.body()).map_err(|fault| FetchError::KeySet { server: server(), fault })?;
        for skipped in set.skipped() {
            tracing::debug!(
                index = skipped.index,
                kid = skipped.key_id,
                reason = %skipped.reason,
                "left a key of the issuer out"
            );
        }
        if set.is_empty() {
            return Err(FetchError::NoUsableKey { server: server(), skipped: set.skipped().len() });
        }
        let max_age = max_age(&answer);
        Ok(FetchedKeys { set, jwks_uri, max_age })
    }

    /// The metadata, at the first of its two places that has some.
    pub(crate) async fn discover(&self, now: Timestamp) -> Result<AuthorizationServerMetadata, FetchError> {
        let [first, second] = &self.metadata_urls;
        match self.metadata(first, now).await {
            // Not there, or a page that says so in its own way: RFC 8414 §5 has a second place.
            Err(error @ (FetchError::Status { .. } | FetchError::Metadata { .. })) => {
                self.metadata(second, now).await.map_err(|other| more_telling(error, other))
            }
            other => other,
        }
    }

    /// Finds the key set through the metadata.
    async fn jwks_uri(&self, now: Timestamp) -> Result<EndpointUrl, FetchError> {
        let metadata = self.discover(now).await?;
        let jwks_uri = metadata.jwks_uri.ok_or(FetchError::NoJwksUri)?;
        EndpointUrl::parse(&jwks_uri, &self.plain_http).map_err(FetchError::JwksUri)
    }

    async fn metadata(
        &self,
        url: &EndpointUrl,
        now: Timestamp,
    ) -> Result<AuthorizationServerMetadata, FetchError> {
        let answer = self.ask(url, MAX_METADATA_BYTES, Unchanged::Impossible, now).await?;
        AuthorizationServerMetadata::parse(answer.body(), &self.issuer)
            .map_err(|fault| FetchError::Metadata { server: url.authority().to_owned(), fault })
    }

    /// One request. An answer is 200, or 304 where `unchanged` lets it be.
    pub(crate) async fn ask(
        &self,
        url: &EndpointUrl,
        body_bytes: usize,
        unchanged: Unchanged<'_>,
        now: Timestamp,
    ) -> Result<Response<bytes::Bytes>, FetchError> {
        let server = || url.authority().to_owned();
        let failed = |fault| FetchError::Exchange { server: server(), fault };
        let request = Request::builder().method(Method::GET).uri(url.as_str());
        let request = match unchanged {
            Unchanged::Impossible => request.header(ACCEPT, "application/json"),
            Unchanged::Since(tag) => request.header(ACCEPT, "*/*").header(IF_NONE_MATCH, tag),
        };
        let request = request
            .body(bytes::Bytes::new())
            .map_err(|error| failed(ExchangeError::Request(error.to_string())))?;
        let limits = ExchangeLimits { time: self.timeout, body_bytes };
        let answer = self.exchange.exchange(request, limits).await.map_err(failed)?;
        let may_be_unchanged = matches!(unchanged, Unchanged::Since(_));
        let is_answer = answer.status() == StatusCode::OK
            || (answer.status() == StatusCode::NOT_MODIFIED && may_be_unchanged);
        if !is_answer {
            let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(FetchError::Status {
                server: server(),
                status: answer.status().as_u16(),
                retry_after: retry_after.and_then(|value| parse_retry_after(value, now)),
            });
        }
        Ok(answer)
    }
}

/// What was wrong at the first place, unless there simply was nothing.
fn more_telling(first: FetchError, second: FetchError) -> FetchError {
    match first {
        FetchError::Status { status: 404, .. } => second,
        first => first,
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "; a redirect is not followed, name the issuer as it names itself",
        404 => "; is the issuer right, and does it publish metadata (RFC 8414)?",
        _ => "",
    }
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1).
fn max_age(answer: &Response<bytes::Bytes>) -> Option<Duration> {
    answer
        .headers()
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|directive| {
            let (name, value) = directive.split_once('=')?;
            let named = name.trim().eq_ignore_ascii_case("max-age");
            named.then(|| value.trim().trim_matches('"').parse().ok().map(Duration::from_secs))?
        })
}
