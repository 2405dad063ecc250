//! Mutual TLS (RFC 8705): which certificate is shown, and when another one is.

use crate::support::{Endpoint, InMemory, key, secs};
use jeton::credentials::{Environment, FileSource, SecretPlace, Surroundings};
use jeton::http::TlsRoots;
use jeton::{ClientAuthMethod, Secret, TokenError, TokenKey, TokenManager, TokenManagerBuilder};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key of a client called `name`, as PEM.
    fn client(&self, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        certificate.pem() + &key.serialize_pem()
    }
}

/// The certificate of who asked, and the request.
type Seen = Arc<Mutex<Vec<(Vec<u8>, String)>>>;

/// A token endpoint that keeps the certificate of who asks, and the body.
struct Server {
    url: String,
    roots: TlsRoots,
    seen: Seen,
}

impl Server {
    async fn start(authority: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&seen)));
        Self { url, roots: TlsRoots::Only(authority.issuer.pem().into_bytes()), seen }
    }

    fn builder(&self) -> TokenManagerBuilder {
        TokenManager::builder(&self.url, "billing").tls_roots(self.roots.clone()).total_timeout(secs(3))
    }

    fn shown(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().iter().map(|(certificate, _)| certificate.clone()).collect()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, seen: Seen) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let mut buffer = [0; 8192];
            // Kept open, so that a client which uses a connection again does so.
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                seen.lock().unwrap().push((shown.clone(), text));
                let body = r#"{"access_token":"bound","token_type":"Bearer","expires_in":60}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

async fn ask(manager: &TokenManager, scope: &str) -> Result<(), TokenError> {
    manager.token(&TokenKey::scope(scope).unwrap()).await.map(drop)
}

#[tokio::test]
async fn r4_1_the_certificate_is_shown_and_the_body_names_the_client_alone() {
    let authority = Authority::new();
    let (server, identity) = (Server::start(&authority).await, authority.client("billing"));
    let manager = server.builder().client_certificate(Secret::from(identity.as_str())).build().unwrap();
    ask(&manager, "a").await.unwrap();
    let (shown, request) = server.seen.lock().unwrap()[0].clone();
    assert_eq!(shown, der(&identity));
    assert!(request.contains("client_id=billing") && !request.contains("client_secret"), "{request}");
    assert!(!request.to_ascii_lowercase().contains("authorization"), "{request}");
}

#[tokio::test]
async fn without_a_certificate_the_server_answers_nobody() {
    let authority = Authority::new();
    let server = Server::start(&authority).await;
    let manager = server.builder().client_secret(Secret::from("canary")).build().unwrap();
    ask(&manager, "a").await.unwrap_err();
    assert!(server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn r4_3_a_certificate_that_is_replaced_in_its_file_is_shown_from_the_next_request_on() {
    let authority = Authority::new();
    let server = Server::start(&authority).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    let (first, second) = (authority.client("first"), authority.client("second"));
    std::fs::write(&path, &first).unwrap();
    let place: SecretPlace = format!("file:{}", path.display()).parse().unwrap();
    let surroundings = Surroundings { environment: Environment::default(), ..Surroundings::default() };
    let manager = server
        .builder()
        .client_certificate_source(place.open(&surroundings).unwrap())
        .auth_method(ClientAuthMethod::SelfSignedTlsClientAuth)
        .build()
        .unwrap();
    ask(&manager, "a").await.unwrap();
    ask(&manager, "b").await.unwrap();
    let next = dir.path().join("next.pem");
    std::fs::write(&next, &second).unwrap();
    std::fs::rename(&next, &path).unwrap();
    ask(&manager, "c").await.unwrap();
    // Half of a new one, as it is while somebody writes it, leaves the one in hand in force.
    std::fs::write(&path, first.split_at(first.len() / 2).0).unwrap();
    ask(&manager, "d").await.unwrap();
    assert_eq!(server.shown(), [der(&first), der(&first), der(&second), der(&second)]);
    assert_eq!(manager.credential().generation, 1);
}

#[test]
fn a_certificate_and_the_key_of_another_are_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.client("one"), authority.client("other"));
    let certificate_of = |pem: &str| pem.split("-----BEGIN PRIVATE").next().unwrap().to_owned();
    let key_of = |pem: &str| format!("-----BEGIN PRIVATE{}", pem.split("-----BEGIN PRIVATE").nth(1).unwrap());
    let check = |pem: String, expected: &str| {
        let exchange = Arc::new(InMemory(Endpoint::granting(60)));
        let builder = TokenManager::builder("https://as.example/token", "billing").exchange(exchange);
        let error = builder.client_certificate(Secret::new(pem)).build().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(certificate_of(&one) + &key_of(&other), "the private key is not that of the first certificate");
    check(certificate_of(&one), "there is no unencrypted private key in it");
    check(key_of(&one), "there is no PEM certificate in it");
}

#[tokio::test]
async fn a_file_source_is_what_the_place_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3cr3t\n").unwrap();
    let endpoint = Endpoint::granting(60);
    let manager = TokenManager::builder("https://as.example/token", "billing")
        .exchange(Arc::new(InMemory(Arc::clone(&endpoint))))
        .client_secret_source(Arc::new(FileSource::new(&path)))
        .build()
        .unwrap();
    manager.token(&key()).await.unwrap();
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(crate::support::basic("s3cr3t")));
}
