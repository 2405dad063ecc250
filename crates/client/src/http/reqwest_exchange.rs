//! The real exchange, over reqwest and rustls.

use super::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use bytes::Bytes;
use jeton_proto::wire::error_response::printable;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use std::error::Error;
use std::sync::Arc;
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

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// Those of the platform; the Mozilla list where the platform has none, as in a container without any.
    #[default]
    Platform,
    /// The PEM certificates given, and no others.
    Only(Vec<u8>),
}

impl ReqwestExchange {
    /// An exchange that trusts `roots` and takes at most `connect_timeout` for a connection.
    ///
    /// # Errors
    /// [`InvalidTls`] when the certificates cannot be read.
    pub fn new(roots: &TlsRoots, connect_timeout: Duration) -> Result<Self, InvalidTls> {
        let tls = tls_config(roots)?;
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

/// Why TLS could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTls {
    /// The PEM text has no certificate, or a broken one.
    #[error("the certificate authorities cannot be read: {0}")]
    Certificates(String),
    /// rustls or reqwest refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Client(String),
}

fn tls_config(roots: &TlsRoots) -> Result<ClientConfig, InvalidTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = |error: rustls::Error| InvalidTls::Client(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(client)?;
    match roots {
        TlsRoots::Platform => match builder.clone().with_platform_verifier() {
            Ok(with_verifier) => Ok(with_verifier.with_no_client_auth()),
            // A machine without any certificate authority, such as a container made from nothing.
            Err(_) => Ok(builder.with_root_certificates(mozilla_roots()).with_no_client_auth()),
        },
        TlsRoots::Only(pem) => {
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| InvalidTls::Certificates(error.to_string()))?;
                store.add(certificate).map_err(|error| InvalidTls::Certificates(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(InvalidTls::Certificates("no PEM certificate in it".to_owned()));
            }
            Ok(builder.with_root_certificates(store).with_no_client_auth())
        }
    }
}

fn mozilla_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    store
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
