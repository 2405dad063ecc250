//! A token endpoint and an API, over plain http and over TLS, in the parent.

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::{Arc, Mutex};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) struct Server {
    /// The address of the one, and of the other.
    pub(crate) plain: String,
    pub(crate) tls: String,
    pub(crate) ca_pem: String,
    state: Arc<State>,
}

struct State {
    token: String,
    said: Mutex<String>,
}

impl Server {
    /// Gives `token` and a number behind it. The API refuses the first one.
    pub(crate) async fn start(token: &str) -> Self {
        let state = Arc::new(State { token: token.to_owned(), said: Mutex::default() });
        let (acceptor, ca_pem) = acceptor();
        let (plain, tls) = (listener().await, listener().await);
        let address = |listener: &TcpListener| format!("localhost:{}", listener.local_addr().unwrap().port());
        let server = Self { plain: address(&plain), tls: address(&tls), ca_pem, state };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = plain.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tls.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream, Arc::clone(&state)));
                }
            }
        });
        server
    }

    pub(crate) fn was_given(&self, secret: &str) -> bool {
        use base64::Engine as _;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("billing:{secret}"));
        let said = self.state.said.lock().unwrap();
        said.contains(secret) || said.contains(&basic)
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn acceptor() -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}

/// Any number of requests on one connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut stream = BufReader::new(stream);
    let mut minted = 0;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        state.said.lock().unwrap().push_str(&format!("{head}{}", String::from_utf8(body).unwrap()));
        let (status, body) = if head.starts_with("POST /token ") {
            minted += 1;
            let token = &state.token;
            (
                "200 OK",
                format!(r#"{{"access_token":"{token}{minted}","token_type":"Bearer","expires_in":3600}}"#),
            )
        } else if head.starts_with("POST /refused ") {
            ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
        } else if head.contains(&format!("{}1\r\n", state.token)) {
            ("401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"", "no".to_owned())
        } else {
            ("200 OK", "yes".to_owned())
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        let _gone = stream.flush().await;
    }
}
