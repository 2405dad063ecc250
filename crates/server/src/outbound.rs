//! The HTTP clients with which the server asks others: over https, or over http at a loopback address.

use jeton_proto::wire::error_response::printable;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The clients. They follow no redirects, and have no bound on time but that of connecting.
pub(crate) struct Outbound {
    roots: Option<RootCertStore>,
    /// Made when it is first needed: reading the authorities of the platform takes longer than all else.
    https: OnceCell<reqwest::Client>,
    plain: OnceCell<reqwest::Client>,
}

/// Why nobody was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("the url is none that is asked: https is, and http at a loopback address")]
    Url,
    #[error("no answer: {0}")]
    Exchange(String),
}

impl Outbound {
    /// Clients that trust these authorities, or those of the machine.
    pub(crate) const fn new(roots: Option<RootCertStore>) -> Self {
        Self { roots, https: OnceCell::const_new(), plain: OnceCell::const_new() }
    }

    /// Whether there is a client for `url`.
    pub(crate) fn reaches(url: &Url) -> bool {
        way(url).is_some()
    }

    /// The client for `url`.
    pub(crate) async fn client(&self, url: &Url) -> Result<reqwest::Client, OutboundError> {
        let client = match way(url).ok_or(OutboundError::Url)? {
            Way::Https => self.https.get_or_try_init(|| self.https()).await,
            // Never through a proxy, which would be another machine.
            Way::Loopback => {
                let plain = async { build(builder(Some(RootCertStore::empty()))?.no_proxy()) };
                self.plain.get_or_try_init(|| plain).await
            }
        };
        client.cloned()
    }

    async fn https(&self) -> Result<reqwest::Client, OutboundError> {
        let roots = self.roots.clone();
        // It reads files.
        let built = tokio::task::spawn_blocking(move || build(builder(roots)?)).await;
        built.unwrap_or_else(|error| Err(OutboundError::Exchange(printable(&error.to_string()))))
    }
}

/// The innermost cause, which is the one that tells something. It may quote the server, so it is cut and cleaned.
pub(crate) fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

enum Way {
    Https,
    Loopback,
}

fn way(url: &Url) -> Option<Way> {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Some(Way::Https),
        ("http", Some(host)) if is_loopback(&host) => Some(Way::Loopback),
        _ => None,
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn builder(roots: Option<RootCertStore>) -> Result<reqwest::ClientBuilder, OutboundError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let refused = |error: rustls::Error| OutboundError::Exchange(printable(&error.to_string()));
    let tls = tls.map_err(refused)?;
    let tls = match roots {
        Some(roots) => tls.with_root_certificates(roots),
        None => tls.with_platform_verifier().map_err(refused)?,
    };
    Ok(reqwest::Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION"))))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, OutboundError> {
    builder.build().map_err(|error| OutboundError::Exchange(innermost(error)))
}
