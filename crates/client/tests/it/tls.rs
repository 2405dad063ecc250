//! https to the token endpoint: what is trusted, and that a refused server learns nothing.

use crate::support::{SECRET, key, secs};
use jeton::http::TlsRoots;
use jeton::{Secret, TokenError, TokenManager};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct TlsServer {
    port: u16,
    ca_pem: Vec<u8>,
    received: Arc<Mutex<Vec<u8>>>,
}

/// A token endpoint with a certificate for `name`, signed by a CA made for the test.
async fn start(name: &str, valid: bool, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsServer {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if !valid {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&received)));
    TlsServer { port, ca_pem: issuer.pem().into_bytes(), received }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, received: Arc<Mutex<Vec<u8>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        received.lock().unwrap().extend_from_slice(&buffer[..count]);
        let body = r#"{"access_token":"over-tls","token_type":"Bearer","expires_in":60}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _sent = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let _closed = stream.shutdown().await;
    }
}

async fn ask(url: String, roots: TlsRoots) -> Result<String, TokenError> {
    let builder = TokenManager::builder(url, "billing").client_secret(Secret::from(SECRET));
    let manager = builder.tls_roots(roots).total_timeout(secs(3)).build().unwrap();
    manager.token(&key()).await.map(|token| token.access_token().to_owned())
}

#[tokio::test]
async fn r4_4_a_certificate_of_the_given_authority_is_trusted_under_tls_1_2_and_1_3() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = start("localhost", true, &[version]).await;
        let url = format!("https://localhost:{}/token", server.port);
        assert_eq!(ask(url, TlsRoots::Only(server.ca_pem)).await.unwrap(), "over-tls");
        assert!(!server.received.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn r4_4_unknown_authorities_wrong_names_and_expired_certificates_get_nothing() {
    let all = rustls::ALL_VERSIONS;
    let (good, other) = (start("localhost", true, all).await, start("localhost", true, all).await);
    let wrong_name = start("elsewhere.example", true, all).await;
    let expired = start("localhost", false, all).await;
    for (server, roots) in [
        (&good, TlsRoots::Platform),
        (&good, TlsRoots::Only(other.ca_pem.clone())),
        (&wrong_name, TlsRoots::Only(wrong_name.ca_pem.clone())),
        (&expired, TlsRoots::Only(expired.ca_pem.clone())),
    ] {
        let error = ask(format!("https://localhost:{}/token", server.port), roots).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(server.received.lock().unwrap().is_empty(), "a refused server received something");
    }
}
