//! A certificate that says too much.

use crate::support::socket::builder;
use crate::support::{key, secs};
use jeton::http::TlsRoots;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn t34_a_certificate_of_a_thousand_names_fills_no_log() {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let names: Vec<_> = (0..1000).map(|number| format!("host-{number}.example")).collect();
    let server_key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _refused_by_the_client = acceptor.accept(stream).await;
        }
    });
    let roots = TlsRoots::Only(issuer.pem().into_bytes());
    let manager = builder(&url).tls_roots(roots).total_timeout(secs(5)).build().unwrap();
    let error = manager.token(&key()).await.unwrap_err();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
    assert!(error.to_string().len() < 512 && format!("{error:?}").len() < 1024, "{error}");
}
