//! What TLS trusts, and why it could not be set up: the same for every connection of this crate.

use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// Those of the platform; the Mozilla list where the platform has none, as in a container without any.
    #[default]
    Platform,
    /// The PEM certificates given, and no others.
    Only(Vec<u8>),
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

/// The settings of a TLS client but for the certificate that it may show.
pub(crate) fn trusting(roots: &TlsRoots) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, InvalidTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = |error: rustls::Error| InvalidTls::Client(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(client)?;
    match roots {
        TlsRoots::Platform => match builder.clone().with_platform_verifier() {
            Ok(with_verifier) => Ok(with_verifier),
            // A machine without any certificate authority, such as a container made from nothing.
            Err(_) => Ok(builder.with_root_certificates(mozilla_roots())),
        },
        TlsRoots::Only(pem) => Ok(builder.with_root_certificates(only(pem)?)),
    }
}

fn only(pem: &[u8]) -> Result<RootCertStore, InvalidTls> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|error| InvalidTls::Certificates(error.to_string()))?;
    }
    Ok(store)
}

/// The certificates in a PEM text, of which there has to be one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| InvalidTls::Certificates(error.to_string()))?;
    if all.is_empty() {
        return Err(InvalidTls::Certificates("no PEM certificate in it".to_owned()));
    }
    Ok(all)
}

fn mozilla_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    store
}
