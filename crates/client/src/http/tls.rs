//! What TLS trusts, and why it could not be set up: the same for every connection of this crate.

#[cfg(feature = "reqwest")]
use super::ClientIdentity;
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
    /// The client's own certificate, or its key.
    #[error("the client certificate cannot be used: {0}")]
    Identity(String),
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

/// The settings of a TLS client that shows `identity`.
#[cfg(feature = "reqwest")]
pub(crate) fn showing(identity: &ClientIdentity, roots: &TlsRoots) -> Result<ClientConfig, InvalidTls> {
    let key = certified_key(identity)?;
    let shown = rustls::sign::SingleCertAndKey::from(key);
    Ok(trusting(roots)?.with_client_cert_resolver(Arc::new(shown)))
}

/// The certificates of `identity` with their key, which is held against the first of them.
#[cfg(feature = "reqwest")]
pub(crate) fn certified_key(identity: &ClientIdentity) -> Result<rustls::sign::CertifiedKey, InvalidTls> {
    use rustls::pki_types::PrivateKeyDer;

    let pem = identity.pem().expose().as_bytes();
    let fault = |what: &str| InvalidTls::Identity(what.to_owned());
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| fault("a certificate in it is not PEM"))?;
    if chain.is_empty() {
        return Err(fault("there is no PEM certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            fault("there is no unencrypted private key in it; PEM of PKCS#8, SEC 1 or PKCS#1 is taken")
        }
        _ => fault("the private key in it is not PEM"),
    })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => fault("the private key is not that of the first certificate"),
        _ => fault("the private key or the certificate is of a kind that is not supported"),
    })
}

/// The settings of a TLS client that takes no certificate.
#[cfg(feature = "reqwest")]
pub(crate) fn trusting_nobody() -> Result<ClientConfig, InvalidTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| InvalidTls::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
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
