//! The real exchange, over reqwest and rustls.

use super::tls::{InvalidTls, TlsRoots, trusting};
use super::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use bytes::Bytes;
use jeton_proto::wire::error_response::printable;
use reqwest::redirect::Policy;
use std::error::Error;
use std::time::Duration;

/// [`HttpExchange`] over reqwest: TLS 1.2 and 1.3 through rustls, pooled connections, redirects never followed.
///
/// https goes through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`); plain http never goes through
/// a proxy, because the proxy would read the secret.
#[derive(Clone, Debug)]
pub struct ReqwestExchange {
    https: reqwest::Client,
    plain: reqwest::Client,
}

impl ReqwestExchange {
    /// An exchange that trusts `roots` and takes at most `connect_timeout` for a connection.
    ///
    /// # Errors
    /// [`InvalidTls`] when the certificates cannot be read.
    pub fn new(roots: &TlsRoots, connect_timeout: Duration) -> Result<Self, InvalidTls> {
        let tls = trusting(roots)?.with_no_client_auth();
        let builder = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .connect_timeout(connect_timeout)
                .tls_backend_preconfigured(tls.clone())
                .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")))
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| InvalidTls::Client(described(&error)))
        };
        Ok(Self { https: build(builder())?, plain: build(builder().no_proxy())? })
    }

    async fn send(
        &self,
        request: http::Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<http::Response<Bytes>, ExchangeError> {
        let client = if request.uri().scheme_str() == Some("https") { &self.https } else { &self.plain };
        let request =
            reqwest::Request::try_from(request).map_err(|error| ExchangeError::Request(described(&error)))?;
        let mut response = client.execute(request).await.map_err(classified)?;
        let too_large = ExchangeError::BodyTooLarge { limit: limits.body_bytes };
        let announced = response.content_length().unwrap_or_default();
        if announced > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(classified)? {
            if body.len() + chunk.len() > limits.body_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(jeton_proto::secret::wiped_bytes(body));
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

impl HttpExchange for ReqwestExchange {
    fn exchange(&self, request: http::Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            match tokio::time::timeout(limits.time, self.send(request, limits)).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(ExchangeError::TimedOut),
            }
        })
    }
}

fn classified(error: reqwest::Error) -> ExchangeError {
    // The URL may hold what should not be shown.
    let error = error.without_url();
    if error.is_timeout() {
        ExchangeError::TimedOut
    } else if error.is_connect() {
        ExchangeError::Connect(described(&error))
    } else if error.is_builder() {
        ExchangeError::Request(described(&error))
    } else {
        ExchangeError::Interrupted(described(&error))
    }
}

/// The innermost cause, which is the one that tells something. It may quote the server, all the names of a certificate
/// for one, so it is cut and cleaned like the words of an error answer.
fn described(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}
