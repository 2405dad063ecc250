//! The server over TLS: which versions, whose certificates, and certificates that are replaced.

use super::{Answer, Running, add_worker};
use jeton_server::endpoint::{IssuedToken, TokenCall, TokenEndpoint, TokenRefusal};
use jeton_server::http::{Documents, Face};
use jeton_server::{
    CertificateTrust, ClientCertificate, Config, Limits, Listen, Reload, RequestRate, Server, SystemClock,
    Throttling, Tls, TlsFiles, listen,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority, and the files of a server that it has certified.
pub(super) struct Authority {
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Certificate and key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed when it has the name of its issuer.
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn certify(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(super) fn server(&self) -> Identity {
        self.certify(&CertificateParams::new(vec!["localhost".to_owned()]).unwrap())
    }

    pub(super) fn client(&self) -> Identity {
        self.certify(&client_params())
    }

    pub(super) fn client_config(&self, identity: Option<&Identity>) -> rustls::ClientConfig {
        self.client_config_of(rustls::ALL_VERSIONS, identity)
    }

    fn client_config_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![identity.der()],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        }
    }
}

fn client_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "billing");
    params
}

impl Identity {
    pub(super) fn self_signed() -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: client_params().self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    pub(super) fn write(&self, dir: &Path) -> TlsFiles {
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        TlsFiles { poll_interval: Duration::from_millis(20), ..TlsFiles::new(certificate, key) }
    }
}

pub(super) async fn connect(
    address: SocketAddr,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks, and reads until the server ends the connection, which it does in good order.
pub(super) async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Answer::parse(&answer)
}

pub(super) fn post(body: &str, connection: &str) -> String {
    let length = body.len();
    format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    )
}

pub(super) fn start(dir: &Path, tls: TlsFiles) -> Running {
    let listen = Listen::Localhost { port: 0 };
    let throttling = Throttling { client_requests: RequestRate::Off, ..Throttling::default() };
    Running::with(Config { tls: Some(tls), listen, throttling, ..Config::new(dir) })
}

#[tokio::test]
async fn tokens_are_had_over_tls_1_3_and_1_2_and_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, authority) = (add_worker(dir.path()), Authority::new());
    let server = start(dir.path(), authority.server().write(dir.path()));
    assert!(server.issuer.starts_with("https://localhost:"), "{}", server.issuer);
    let body = format!("grant_type=client_credentials&client_id=worker&client_secret={}", secret.expose());
    for alpn in [&[][..], &[b"h2".to_vec(), b"http/1.1".to_vec()]] {
        let mut config = authority.client_config(None);
        config.alpn_protocols = alpn.to_vec();
        let mut stream = connect(server.address, config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(ask(&mut stream, &post(&body, "close")).await.status, 200);
    }
    let mut only_h2 = authority.client_config(None);
    only_h2.alpn_protocols = vec![b"h2".to_vec()];
    connect(server.address, only_h2).await.unwrap_err();
    // Plain http on the port of TLS ends the connection.
    let mut plain = server.connect().await;
    plain.write_all(post(&body, "close").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_served_from_tls_1_2_on_and_refused_below() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, authority) = (add_worker(dir.path()), Authority::new());
    let server = start(dir.path(), authority.server().write(dir.path()));
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, authority.issuer.pem()).unwrap();
    let client = Identity::self_signed();
    let (certificate, key) = (dir.path().join("client.pem"), dir.path().join("client.key"));
    fs::write(&certificate, &client.certificate).unwrap();
    fs::write(&key, &client.key).unwrap();
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(&ca);
        command.arg("--user").arg(format!("worker:{}", secret.expose()));
        command.args(arguments).args(["--data", "grant_type=client_credentials"]);
        command.arg(format!("{}/oauth/token", server.issuer)).output().unwrap()
    };
    let pair = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        for arguments in [version.to_vec(), [version, &pair].concat()] {
            let ended = curl(&arguments);
            assert!(ended.status.success(), "{arguments:?} {ended:?}");
            let answer: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
            assert_eq!(answer["token_type"], "Bearer");
        }
    }
    for version in ["1.0", "1.1"] {
        let lowered = ["--tlsv1.0", "--tls-max", version, "--ciphers", "ALL:@SECLEVEL=0"];
        let ended = curl(&lowered);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && said.contains("alert"), "{said}");
    }
    server.stop().await;
}

/// What an endpoint was told of the certificate of its caller.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<Option<ClientCertificate>>>>);

impl TokenEndpoint for Witness {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        self.0.lock().unwrap().push(call.certificate.cloned());
        Err(TokenRefusal::invalid_client())
    }
}

/// A listener with TLS before a witness.
struct Watched {
    witness: Witness,
    tls: Arc<Tls>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Watched {
    fn start(files: TlsFiles, limits: Limits) -> Self {
        let witness = Witness::default();
        let documents = Documents::new("https://localhost", b"{\"keys\":[]}".to_vec()).unwrap();
        let face = Arc::new(Face::new(witness.clone(), documents, limits));
        let tls = Arc::new(Tls::load(files, Arc::new(SystemClock)).unwrap());
        let listeners = listen::bind(&Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()])).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let of_listener = Some(Arc::clone(&tls));
        let serving = tokio::spawn(async move {
            listen::serve_over(of_listener, listeners, face, async { stopped.await.unwrap_or(()) }).await
        });
        Self { witness, tls, address, stop, serving }
    }

    async fn stop(self) -> Vec<Option<ClientCertificate>> {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        let seen = self.witness.0.lock().unwrap();
        seen.clone()
    }
}

#[tokio::test]
async fn a_certificate_is_taken_with_a_proof_and_told_with_who_vouches_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let client_ca = dir.path().join("clients.pem");
    fs::write(&client_ca, authority.issuer.pem()).unwrap();
    let files = TlsFiles { client_ca: Some(client_ca), ..authority.server().write(dir.path()) };
    let watched = Watched::start(files, Limits::default());
    let mut expired = client_params();
    (expired.not_before, expired.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let mut for_servers = client_params();
    for_servers.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let identities = [
        (authority.client(), CertificateTrust::Anchored),
        (other.client(), CertificateTrust::Presented),
        (Identity::self_signed(), CertificateTrust::Presented),
        (authority.certify(&expired), CertificateTrust::Presented),
        (authority.certify(&for_servers), CertificateTrust::Presented),
    ];
    let mut expected = Vec::new();
    for (identity, trust) in &identities {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let config = authority.client_config_of(&[version], Some(identity));
            // The second connection resumes the session of the first.
            for _ in 0..2 {
                let mut stream = connect(watched.address, config.clone()).await.unwrap();
                assert_eq!(
                    ask(&mut stream, &post("grant_type=client_credentials", "close")).await.status,
                    401
                );
                expected.push(Some(ClientCertificate { der: identity.der().to_vec(), trust: *trust }));
            }
        }
    }
    let mut stream = connect(watched.address, authority.client_config(None)).await.unwrap();
    ask(&mut stream, &post("grant_type=client_credentials", "close")).await;
    expected.push(None);
    assert_eq!(watched.stop().await, expected);
}

/// Asks, and reads one answer without a chunked body.
async fn ask_and_stay(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_authority_that_was_taken_away_vouches_for_nobody_on_connections_that_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, next) = (Authority::new(), Authority::new());
    let client_ca = dir.path().join("clients.pem");
    fs::write(&client_ca, authority.issuer.pem()).unwrap();
    let files = TlsFiles { client_ca: Some(client_ca.clone()), ..authority.server().write(dir.path()) };
    let watched = Watched::start(files, Limits::default());
    let identity = authority.client();
    let mut stream = connect(watched.address, authority.client_config(Some(&identity))).await.unwrap();
    let request = post("grant_type=client_credentials", "keep-alive");
    assert!(ask_and_stay(&mut stream, &request).await.contains("401"));
    fs::write(&client_ca, next.issuer.pem()).unwrap();
    assert_eq!(watched.tls.reload(), Reload::Replaced);
    assert!(ask_and_stay(&mut stream, &request).await.contains("401"));
    fs::write(&client_ca, [authority.issuer.pem(), next.issuer.pem()].concat()).unwrap();
    assert_eq!(watched.tls.reload(), Reload::Replaced);
    assert!(ask_and_stay(&mut stream, &request).await.contains("401"));
    drop(stream);
    let seen: Vec<_> = watched.stop().await.into_iter().map(|seen| seen.unwrap().trust).collect();
    let (anchored, presented) = (CertificateTrust::Anchored, CertificateTrust::Presented);
    assert_eq!(seen, [anchored, presented, anchored]);
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let watched = Watched::start(authority.server().write(dir.path()), Limits::default());
    let (shown, own) = (authority.client(), Identity::self_signed());
    let mut config = authority.client_config(None);
    // Rustls itself would find the pair out, so it is made from its parts.
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(
        &PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
    );
    let forged = rustls::sign::CertifiedKey::new(vec![shown.der()], key.unwrap());
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(forged));
    // With TLS 1.3 the client hears of it when it reads.
    if let Ok(mut stream) = connect(watched.address, config).await {
        let _reset = stream.write_all(post("", "close").as_bytes()).await;
        stream.read_to_string(&mut String::new()).await.unwrap_err();
    }
    assert_eq!(watched.stop().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stand_still_keep_nobody_waiting_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let limits = Limits { max_connections: 3, ..Limits::default() };
    let watched = Watched::start(authority.server().write(dir.path()), limits);
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect(watched.address).await.unwrap());
    }
    let ask_once = async || {
        let mut stream = connect(watched.address, authority.client_config(None)).await.unwrap();
        assert_eq!(ask(&mut stream, &post("", "close")).await.status, 401);
    };
    ask_once().await;
    // Every place is taken, and no handshake has come further than a few bytes.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(watched.address).await.unwrap();
        stream.write_all(&[22, 3, 1]).await.unwrap();
        idle.push(stream);
    }
    tokio::time::timeout(Duration::from_secs(60), ask_once()).await.unwrap();
    watched.stop().await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load_without_a_failed_request() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, authority) = (add_worker(dir.path()), Authority::new());
    let identities: Vec<_> = (0..4).map(|_| authority.server()).collect();
    let server = start(dir.path(), identities[0].write(dir.path()));
    let body = format!("grant_type=client_credentials&client_id=worker&client_secret={}", secret.expose());
    let ended = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (config, address) = (authority.client_config(None), server.address);
            let (request, ended) = (post(&body, "close"), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut answered = 0;
                while !ended.load(Ordering::Relaxed) {
                    let mut stream = connect(address, config.clone()).await.unwrap();
                    assert_eq!(ask(&mut stream, &request).await.status, 200);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let shown = async || {
        let stream = connect(server.address, authority.client_config(None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    for identity in &identities[1..] {
        // Key and certificate are two files, so in between they do not fit.
        identity.write(dir.path());
        while shown().await != identity.der().to_vec() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let files = TlsFiles::new(dir.path().join("server.pem"), dir.path().join("server.key"));
        for broken in ["", "-----BEGIN CERTIFICATE-----\nAA", &identities[0].certificate] {
            fs::write(&files.certificate, broken).unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
            assert_eq!(shown().await, identity.der().to_vec(), "the one before stays");
        }
        fs::remove_file(&files.certificate).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(shown().await, identity.der().to_vec());
    }
    ended.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    server.stop().await;
}

#[test]
fn files_that_make_no_tls_are_told_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let write = |name: &str, content: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (server, other) = (authority.server(), authority.server());
    let (certificate, key) = (write("a.pem", &server.certificate), write("a.key", &server.key));
    let other_key = write("b.key", &other.key);
    let told = |config: Config| Server::bind(config).map(drop).unwrap_err().to_string();
    let data_dir = dir.path().join("data");
    let with = |files: TlsFiles| Config {
        tls: Some(files),
        listen: Listen::Localhost { port: 0 },
        ..Config::new(&data_dir)
    };
    for (files, words) in [
        (TlsFiles::new(dir.path().join("none.pem"), &key), "none.pem cannot be read"),
        (TlsFiles::new(&key, &key), "a.key has no certificate"),
        (TlsFiles::new(&certificate, &certificate), "a.pem has no private key"),
        (TlsFiles::new(&certificate, &other_key), "cannot be used together"),
        (
            TlsFiles { client_ca: Some(key.clone()), ..TlsFiles::new(&certificate, &key) },
            "a.key has no certificate",
        ),
    ] {
        let said = told(with(files));
        assert!(said.contains(words), "{said}");
    }
    let plain =
        Config { issuer: Some("http://id.example".to_owned()), ..with(TlsFiles::new(&certificate, &key)) };
    assert!(told(plain).contains("must begin with https://"));
}
