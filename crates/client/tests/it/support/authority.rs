//! Certificate authorities made for a test, and the identities that they issue.

use jeton::http::TlsRoots;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ConfigBuilder, ServerConfig, SupportedProtocolVersion, WantsVerifier, server};
use std::sync::Arc;

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// All of them have the same name, so that nothing but the signature tells them apart.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// One below this, by a certificate that does not say that it is an authority.
    pub(crate) fn that_may_not_sign(&self) -> Self {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::signed_by(params, key, &*self.issuer).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// This one, and no other.
    pub(crate) fn roots(&self) -> TlsRoots {
        TlsRoots::Only(self.pem().into_bytes())
    }

    /// A good certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_as(names, |_| {})
    }

    /// One that is changed before it is signed.
    pub(crate) fn issue_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone()];
        Identity { chain, key: key.serialize_der(), pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// What this one issued, with its own certificate behind it.
    pub(crate) fn issue_with_chain(&self, names: &[&str]) -> Identity {
        let mut identity = self.issue(names);
        identity.chain.push(self.issuer.der().clone());
        identity
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    /// A certificate for `name` that vouches for itself.
    pub(crate) fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let chain = vec![certificate.der().clone()];
        Self { chain, key: key.serialize_der(), pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// A server with this certificate that asks for none.
    pub(crate) fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        self.finish(settings(versions).with_no_client_auth())
    }

    /// A server with this certificate that wants one of `authority` from its clients.
    pub(crate) fn server_for_clients_of(
        &self,
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        self.finish(settings(versions).with_client_cert_verifier(verifier))
    }

    fn finish(&self, builder: ConfigBuilder<ServerConfig, server::WantsServerCert>) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        Arc::new(builder.with_single_cert(self.chain.clone(), key).unwrap())
    }
}

fn settings(versions: &[&'static SupportedProtocolVersion]) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap()
}
