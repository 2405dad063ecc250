//! One fetch of a key set, over https, or over http from a loopback address.

use super::KeyLocation;
use crate::outbound::{Outbound, OutboundError, innermost};
use http::header::CACHE_CONTROL;
use jeton_proto::jose::jwk::{ClientKeySet, InvalidJwkSet, MAX_JWK_SET_BYTES, PrivateKey};
use jeton_proto::wire::metadata::{MAX_METADATA_BYTES, well_known_urls};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// A set, and for how long its server says that it is good.
pub(super) struct Fetched {
    pub(super) keys: ClientKeySet,
    pub(super) max_age: Option<Duration>,
}

/// Why a set was not fetched. Nothing of a body is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the url is none that is fetched: https is, and http from a loopback address")]
    Url,
    #[error("no answer: {0}")]
    Exchange(String),
    #[error("the answer has the status {0}, and redirects are not followed")]
    Status(u16),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the metadata are not those of the issuer, or have no jwks_uri")]
    Metadata,
    #[error(transparent)]
    KeySet(#[from] InvalidJwkSet),
    #[error("{0}, and no other key in it can be used; publish public keys alone, and make new ones")]
    OnlyPrivate(PrivateKey),
    #[error("no key in it can be used; {0} were left out")]
    NoUsableKey(usize),
    #[error("it took too long")]
    TimedOut,
    #[error("it was cut off by a fault of this program, or its end")]
    CutOff,
}

/// The certificate authorities that keys are to be fetched with cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate authorities for fetching keys must be PEM certificates, at least one")]
pub struct InvalidKeyAuthorities;

/// Sends the requests.
pub(super) struct Fetcher {
    outbound: Outbound,
}

impl Fetcher {
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, InvalidKeyAuthorities> {
        let roots = authorities.map(|pem| {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| InvalidKeyAuthorities)?;
                roots.add(certificate).map_err(|_| InvalidKeyAuthorities)?;
            }
            if roots.is_empty() { Err(InvalidKeyAuthorities) } else { Ok(roots) }
        });
        Ok(Self { outbound: Outbound::new(roots.transpose()?) })
    }

    pub(super) async fn fetch(&self, location: &KeyLocation) -> Result<Fetched, FetchError> {
        let url = match location {
            KeyLocation::JwkSet(url) => url.clone(),
            KeyLocation::Issuer(issuer) => self.discover(issuer).await?,
        };
        let (body, max_age) = self.get(&url, MAX_JWK_SET_BYTES).await?;
        let keys = ClientKeySet::parse(&body)?;
        if keys.is_empty() {
            if let Some(private) = keys.private_key() {
                return Err(FetchError::OnlyPrivate(private));
            }
            return Err(FetchError::NoUsableKey(keys.skipped().len()));
        }
        Ok(Fetched { keys, max_age })
    }

    /// `OpenID` Connect's place first, since that is where platforms publish; then that of RFC 8414.
    async fn discover(&self, issuer: &str) -> Result<String, FetchError> {
        let [rfc_8414, openid] = well_known_urls(issuer).ok_or(FetchError::Url)?;
        match self.jwks_uri(&openid, issuer).await {
            Ok(url) => Ok(url),
            Err(FetchError::Status(_)) => self.jwks_uri(&rfc_8414, issuer).await,
            Err(other) => Err(other),
        }
    }

    /// Not all platforms that sign tokens have a token endpoint, so the metadata are no more than these two members.
    async fn jwks_uri(&self, url: &str, issuer: &str) -> Result<String, FetchError> {
        let (body, _) = self.get(url, MAX_METADATA_BYTES).await?;
        let metadata: Value = serde_json::from_slice(&body).map_err(|_| FetchError::Metadata)?;
        let member = |name| metadata.get(name).and_then(Value::as_str);
        match (member("issuer"), member("jwks_uri")) {
            (Some(named), Some(url)) if named == issuer => Ok(url.to_owned()),
            _ => Err(FetchError::Metadata),
        }
    }

    async fn get(&self, url: &str, most_bytes: usize) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        let client = self.outbound.client(&url).await?;
        let request = client.get(url).header(http::header::ACCEPT, "application/json");
        let mut answer = request.send().await.map_err(exchange)?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let max_age = answer.headers().get_all(CACHE_CONTROL).iter().find_map(max_age);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(exchange)? {
            if body.len() + chunk.len() > most_bytes {
                return Err(FetchError::TooLong(most_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, max_age))
    }
}

impl From<OutboundError> for FetchError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Url => Self::Url,
            OutboundError::Exchange(cause) => Self::Exchange(cause),
        }
    }
}

fn exchange(error: reqwest::Error) -> FetchError {
    if error.is_timeout() { FetchError::TimedOut } else { FetchError::Exchange(innermost(error)) }
}

/// `max-age` (RFC 9111 §5.2.2.1); a set that is not to be kept is kept for as short as can be.
fn max_age(value: &http::HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.split(',').find_map(|directive| {
        let directive = directive.trim();
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        let (name, seconds) = directive.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("max-age");
        named.then(|| seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs))?
    })
}
