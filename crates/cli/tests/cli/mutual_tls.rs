//! Mutual TLS (RFC 8705): the certificate that the token endpoint and the API are shown.

use crate::process::{Ended, Home, finish};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::CertificateThumbprint;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key of a client, as PEM.
    fn client(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn config(&self) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .allow_unauthenticated();
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap()
    }
}

/// What was asked, and the certificate that was shown.
type Seen = Arc<Mutex<Vec<(String, Option<Vec<u8>>)>>>;

/// A server that is a token endpoint, an API and an issuer; it ends when this is dropped.
struct Server {
    address: SocketAddr,
    seen: Seen,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(authority: &Authority) -> Self {
        let config = Arc::new(authority.config());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Seen::default(), Arc::new(AtomicBool::new(false)));
        let (kept, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(connection, stream.unwrap(), address.port(), &kept);
            }
        });
        Self { address, seen, ended, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    fn seen(&self) -> Vec<(String, Option<Vec<u8>>)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// One request a connection. A client that goes away is not of interest.
fn serve(connection: rustls::ServerConnection, stream: TcpStream, port: u16, seen: &Seen) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let (mut text, mut buffer) = (String::new(), [0; 8192]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    let shown = stream.conn.peer_certificates().map(|chain| chain[0].to_vec());
    let body = if text.starts_with("GET /.well-known") {
        format!(
            r#"{{"issuer":"https://localhost:{port}","token_endpoint":"https://localhost:{port}/plain",
               "token_endpoint_auth_methods_supported":["self_signed_tls_client_auth"],
               "mtls_endpoint_aliases":{{"token_endpoint":"https://localhost:{port}/alias"}}}}"#
        )
    } else {
        r#"{"access_token":"bound","token_type":"Bearer","expires_in":3600}"#.to_owned()
    };
    seen.lock().unwrap().push((text, shown));
    let length = body.len();
    let _gone =
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.conn.send_close_notify();
    let _gone = stream.flush();
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn run(home: &Home, args: &[&str]) -> Ended {
    let mut command = home.jeton(args);
    command.env("JETON_CLIENT_ID", "billing").env("JETON_CA_FILE", "ca.pem");
    finish(command)
}

#[test]
fn r4_1_the_certificate_is_shown_to_the_server_and_to_the_api() {
    let (authority, home) = (Authority::new(), Home::new());
    let server = Server::start(&authority);
    home.write("ca.pem", &authority.issuer.pem());
    let (certificate, key) = authority.client("billing");
    home.write_secret("both.pem", &(key.clone() + &certificate));
    home.write_secret("certificate.pem", certificate.trim_end());
    home.write_secret("key.pem", &key);
    let (token_url, api) = (server.url("/token"), server.url("/api"));
    let one = ["--token-url", &token_url, "--client-certificate", "file:both.pem"];
    run(&home, &[&["call", "GET", &api], &one[..]].concat()).done();
    let seen = server.seen();
    let [(token_request, to_server), (api_request, to_api)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((to_server, to_api), (&Some(der(&certificate)), &Some(der(&certificate))));
    assert!(token_request.starts_with("POST /token ") && token_request.contains("client_id=billing"));
    assert!(!token_request.to_ascii_lowercase().contains("authorization"), "{token_request}");
    assert!(api_request.contains("uthorization: Bearer bound"), "{api_request}");
    let two = ["--token-url", &token_url, "--client-certificate", "file:certificate.pem"];
    let two = [&two[..], &["--client-certificate-key", "file:key.pem"]].concat();
    run(&home, &[&["token"], &two[..]].concat()).done();
    assert_eq!(server.seen()[2].1, Some(der(&certificate)));
    run(&home, &[&["token"], &two[..]].concat()).done();
    assert_eq!(server.seen().len(), 3, "the token is kept");
    home.write_secret("key.pem", &authority.client("other").1);
    let ended = run(&home, &[&["token"], &two[..]].concat());
    ended.failed(5, &["the private key is not that of the first certificate"]);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn without_mutual_tls_the_api_is_shown_nothing() {
    let (authority, home) = (Authority::new(), Home::new());
    let server = Server::start(&authority);
    home.write("ca.pem", &authority.issuer.pem());
    home.write_secret("secret", "canary-secret");
    let args = ["call", "GET", &server.url("/api"), "--token-url", &server.url("/token"), "--client-secret"];
    run(&home, &[&args[..], &["file:secret"]].concat()).done();
    let shown: Vec<_> = server.seen().into_iter().map(|(_, shown)| shown).collect();
    assert_eq!(shown, [None, None]);
}

#[test]
fn r4_2_the_issuer_names_the_endpoint_and_the_method_for_mutual_tls() {
    let (authority, home) = (Authority::new(), Home::new());
    let server = Server::start(&authority);
    home.write("ca.pem", &authority.issuer.pem());
    let (certificate, key) = authority.client("billing");
    home.write_secret("both.pem", &(certificate.clone() + &key));
    let args = ["--issuer", &server.url(""), "--client-certificate", "file:both.pem"];
    let login = run(&home, &[&["login", "--output", "json"], &args[..]].concat());
    assert_eq!(login.json()["token_endpoint"], server.url("/alias"));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].1, None, "for metadata nobody has to be known");
    assert!(seen[1].0.starts_with("POST /alias ") && seen[1].1 == Some(der(&certificate)), "{}", seen[1].0);
    run(&home, &[&["token"], &args[..]].concat()).done();
    assert_eq!(server.seen().len(), 2, "no connection");
    let removed = run(&home, &["logout", "--issuer", &server.url("")]);
    assert!(removed.done().contains("removed 1 token"), "{removed}");
}

/// `jeton serve` over TLS, which trusts the authority for clients: its home, and the URL of its token endpoint.
struct OwnServer {
    home: Home,
    server: crate::process::Server,
    token_url: String,
    certificate: String,
    key: String,
}

impl OwnServer {
    fn start(authority: &Authority) -> Self {
        let home = Home::new();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap().pem();
        home.write("ca.pem", &authority.issuer.pem());
        let certificate = home.write("server.pem", &certificate);
        let key = home.write_secret("server.key", &key.serialize_pem());
        let flags = ["--tls-certificate", &certificate, "--tls-key", &key, "--issuer", "https://localhost"];
        let variables = [("JETON_SERVER_TLS_CLIENT_CA", "ca.pem")];
        let server = crate::process::Server::start(&home, &variables, &flags);
        let listening = server.announcement.lines().find(|line| line.starts_with("listening on")).unwrap();
        let port = listening.rsplit(':').next().unwrap().trim();
        let token_url = format!("https://localhost:{port}/oauth/token");
        Self { home, server, token_url, certificate, key }
    }
}

#[test]
fn our_own_server_over_tls_serves_our_own_client() {
    let own = OwnServer::start(&Authority::new());
    let home = &own.home;
    let secret = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
    let mut command = home.jeton(&["token", "--no-cache", "--token-url", &own.token_url]);
    command
        .env("JETON_CLIENT_ID", "billing")
        .env("JETON_CA_FILE", "ca.pem")
        .env("JETON_CLIENT_SECRET", &secret);
    assert_eq!(finish(command).done().matches('.').count(), 2);
    home.run(&["serve", "--listen", "0", "--tls-certificate", &own.certificate])
        .failed(5, &["the key of the certificate is not set", "JETON_SERVER_TLS_KEY"]);
    home.run(&["serve", "--listen", "0", "--tls-key", &own.key]).failed(5, &["server.tls_certificate"]);
    home.run(&["serve", "--listen", "0", "--tls-client-ca", "ca.pem"]).failed(5, &["server.tls_certificate"]);
    let pair = ["--tls-certificate", &own.certificate, "--tls-key", &own.key];
    let plain = ["serve", "--listen", "0", "--issuer", "http://localhost"];
    home.run(&[&plain[..], &pair].concat()).failed(5, &["must begin with https://"]);
}

#[test]
fn a_token_of_our_own_server_is_bound_to_the_certificate_of_our_own_client() {
    let authority = Authority::new();
    let own = OwnServer::start(&authority);
    let home = &own.home;
    let (certified, certified_key) = authority.client("billing");
    let key = KeyPair::generate().unwrap();
    let itself = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
    let registered = home.write("registered.pem", &itself);
    let add = |client: &str, flags: &[&str]| {
        home.run(&[&["client", "add", client, "--no-secret"], flags].concat()).done();
    };
    add("by-authority", &["--tls-subject-dn", "CN=billing"]);
    add("by-itself", &["--certificate", &registered]);
    let token = |client: &str, certificate: &str, key: &str, method: &str| {
        home.write_secret("both.pem", &format!("{key}{certificate}"));
        let args = ["token", "--no-cache", "--token-url", &own.token_url, "--client-id", client];
        let shown = ["--client-certificate", "file:both.pem", "--auth-method", method];
        let mut command = home.jeton(&[&args[..], &shown].concat());
        command.env("JETON_CA_FILE", "ca.pem");
        finish(command)
    };
    let (anchored, self_signed) = ("tls_client_auth", "self_signed_tls_client_auth");
    for (client, certificate, key, method) in [
        ("by-authority", &certified, &certified_key, anchored),
        ("by-itself", &itself, &key.serialize_pem(), self_signed),
    ] {
        let token = token(client, certificate, key, method).done().trim_end().to_owned();
        let claims = home.run(&["inspect", &token, "--output", "json"]).json()["claims"].clone();
        let thumbprint = CertificateThumbprint::of(&der(certificate)).0;
        assert_eq!(claims["cnf"]["x5t#S256"], URL_SAFE_NO_PAD.encode(thumbprint), "{claims}");
        assert_eq!(claims["client_id"], client);
    }
    token("by-itself", &certified, &certified_key, self_signed).failed(3, &["invalid_client"]);
    token("by-authority", &itself, &key.serialize_pem(), anchored).failed(3, &["invalid_client"]);
    let (code, said) = own.server.end();
    assert_eq!(code, 0, "{said}");
}
