//! The real exchange, over reqwest and rustls.

use super::tls::{InvalidTls, TlsRoots, showing, trusting, trusting_nobody};
use super::{ClientIdentity, ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use bytes::Bytes;
use jeton_proto::wire::error_response::printable;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use std::error::Error;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// The most client certificates whose connections are kept at the same time.
const MAX_IDENTITIES: usize = 8;

/// [`HttpExchange`] over reqwest: TLS 1.2 and 1.3 through rustls, pooled connections, redirects never followed.
///
/// https goes through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`); plain http never goes through
/// a proxy, because the proxy would read the secret.
///
/// Connections are set up for when the first request is sent: a process that finds its token in a store sends none, and
/// reading the certificate authorities of the platform takes longer than all else that it does.
#[derive(Clone, Debug)]
pub struct ReqwestExchange {
    https: Arc<OnceCell<reqwest::Client>>,
    plain: Arc<OnceCell<reqwest::Client>>,
    /// Those that show a certificate, each with connections of its own; the one used last is the last.
    identified: Arc<Mutex<Vec<(ClientIdentity, reqwest::Client)>>>,
    roots: TlsRoots,
    connect_timeout: Duration,
}

impl ReqwestExchange {
    /// An exchange that trusts `roots` and takes at most `connect_timeout` for a connection.
    ///
    /// # Errors
    /// [`InvalidTls`] when the certificates cannot be read.
    pub fn new(roots: &TlsRoots, connect_timeout: Duration) -> Result<Self, InvalidTls> {
        // What somebody gave is looked at now, so that they learn of a fault before anything waits for a token.
        if let TlsRoots::Only(_) = roots {
            let _readable = trusting(roots)?;
        }
        Ok(Self {
            https: Arc::default(),
            plain: Arc::default(),
            identified: Arc::default(),
            roots: roots.clone(),
            connect_timeout,
        })
    }

    /// Who sends to a server of `scheme` on behalf of `identity`. Over plain http nothing is shown.
    async fn client(
        &self,
        scheme: Option<&str>,
        identity: Option<&ClientIdentity>,
    ) -> Result<reqwest::Client, InvalidTls> {
        match (scheme, identity) {
            (Some("https"), None) => self.https.get_or_try_init(|| self.https()).await.cloned(),
            (Some("https"), Some(identity)) => self.identified(identity),
            _ => self.plain.get_or_try_init(|| ready(self.plain())).await.cloned(),
        }
    }

    async fn https(&self) -> Result<reqwest::Client, InvalidTls> {
        let (roots, connect_timeout) = (self.roots.clone(), self.connect_timeout);
        // It reads files.
        let built =
            spawn_blocking(move || build(builder(trusting(&roots)?.with_no_client_auth(), connect_timeout)));
        built.await.unwrap_or_else(|error| Err(InvalidTls::Client(error.to_string())))
    }

    /// The client for plain http trusts nobody: should it ever be led to https, it gets no connection.
    fn plain(&self) -> Result<reqwest::Client, InvalidTls> {
        build(builder(trusting_nobody()?, self.connect_timeout).no_proxy())
    }

    fn identified(&self, identity: &ClientIdentity) -> Result<reqwest::Client, InvalidTls> {
        let mut identified = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = identified.iter().position(|(known, _)| known == identity) {
            let found = identified.remove(at);
            let client = found.1.clone();
            identified.push(found);
            return Ok(client);
        }
        let client = build(builder(showing(identity, &self.roots)?, self.connect_timeout))?;
        if identified.len() >= MAX_IDENTITIES {
            identified.remove(0);
        }
        identified.push((identity.clone(), client.clone()));
        Ok(client)
    }

    async fn send(
        &self,
        request: http::Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<http::Response<Bytes>, ExchangeError> {
        let client = self.client(request.uri().scheme_str(), request.extensions().get()).await;
        let client = client.map_err(|error| ExchangeError::Request(error.to_string()))?;
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

fn builder(tls: ClientConfig, connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .connect_timeout(connect_timeout)
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, InvalidTls> {
    builder.build().map_err(|error| InvalidTls::Client(described(&error)))
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
