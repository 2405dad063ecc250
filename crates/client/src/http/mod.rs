//! One HTTP request and its answer: the exchange trait, its real form, and the URLs that may be asked.

mod client_identity;
mod endpoint_url;
#[cfg(feature = "reqwest")]
mod reqwest_exchange;
#[cfg(any(feature = "reqwest", feature = "redis"))]
pub(crate) mod tls;

pub use client_identity::ClientIdentity;
pub use endpoint_url::{EndpointUrl, InvalidUrl, PlainHttp};
#[cfg(feature = "reqwest")]
pub use reqwest_exchange::ReqwestExchange;
#[cfg(any(feature = "reqwest", feature = "redis"))]
pub use tls::{InvalidTls, TlsRoots};

use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Sends a request and brings the whole answer back.
///
/// What an implementation has to keep: a redirect is an answer like any other and is *never followed*, since the
/// request carries a secret; nothing takes longer than [`ExchangeLimits::time`]; no more than
/// [`ExchangeLimits::body_bytes`] are kept; a request with a [`ClientIdentity`] in its extensions goes over a connection on which
/// that was shown, and never over one of another identity. A wrong answer is harmless to the process, since every answer is judged by
/// strict parsers; a followed redirect is not harmless.
pub trait HttpExchange: Send + Sync + 'static {
    /// Sends `request` and waits for its answer, within `limits`.
    fn exchange(&self, request: http::Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_>;
}

/// The answer to come.
pub type ExchangeFuture<'a> =
    Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, ExchangeError>> + Send + 'a>>;

/// Bounds of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// From the start of the request to the last byte of the answer.
    pub time: Duration,
    /// The most bytes of body that are taken.
    pub body_bytes: usize,
}

/// Why there is no answer. Nothing of the request is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// No connection: the name is unknown, the port is closed, or TLS was refused.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke before the answer was whole.
    #[error("the connection broke: {0}")]
    Interrupted(String),
    /// [`ExchangeLimits::time`] or the time to connect ran out.
    #[error("no answer within the time allowed")]
    TimedOut,
    /// The answer is longer than [`ExchangeLimits::body_bytes`].
    #[error("the answer is longer than {limit} bytes")]
    BodyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The request could not be built.
    #[error("the request could not be built: {0}")]
    Request(String),
}
