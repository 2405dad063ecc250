//! A token endpoint and an API, over plain http and over TLS. The path says how it answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
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
    minted: AtomicU32,
    said: Mutex<String>,
}

impl Server {
    /// Gives `token` and a number behind it. The API refuses the first one.
    pub(crate) async fn start(token: &str) -> Self {
        let state =
            Arc::new(State { token: token.to_owned(), minted: AtomicU32::new(0), said: Mutex::default() });
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

    /// Whether `secret` came, as Basic has it or in a body.
    pub(crate) fn was_given(&self, secret: &str) -> bool {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let basic = STANDARD.encode(format!("billing:{form}"));
        let said = self.state.said.lock().unwrap();
        said.contains(&form) || said.contains(&basic)
    }
}

impl Server {
    /// The client assertions that came.
    #[allow(dead_code, reason = "not every test sends some")]
    pub(crate) fn assertions(&self) -> Vec<String> {
        let said = self.state.said.lock().unwrap();
        let parts = said.split("client_assertion=").skip(1);
        parts.map(|part| part.split(['&', '\n']).next().unwrap_or_default().to_owned()).collect()
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
        let body = String::from_utf8(body).unwrap();
        writeln!(state.said.lock().unwrap(), "{head}{body}").unwrap();
        let answer = state.answer(&head, &body);
        let Some((head, body)) = answer else { return std::future::pending().await };
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        let _gone = stream.flush().await;
    }
}

impl State {
    /// What is answered: nothing, for ever, or a head and a body; an empty head ends the connection.
    fn answer(&self, head: &str, body: &str) -> Option<(String, String)> {
        let token = &self.token;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (head, body) = match path {
            "/token" => {
                let minted = self.minted.fetch_add(1, Ordering::SeqCst) + 1;
                let body = format!(
                    r#"{{"access_token":"{token}{minted}","token_type":"Bearer","expires_in":3600}}"#
                );
                ("200 OK", body)
            }
            "/refused" => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            "/told" => {
                let told = serde_json::json!({ "error": "invalid_scope", "error_description": format!("{head}{body}") });
                ("400 Bad Request", told.to_string())
            }
            "/echo" => ("500 Internal Server Error", format!("{head}{body}")),
            "/broken" => ("200 OK", format!(r#"{{"access_token":"{token}","token_type":5"#)),
            "/other-type" => ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"{token}"}}"#)),
            "/redirect" => {
                let to = format!("307 Temporary Redirect\r\nlocation: http://localhost:1/{token}?{body}");
                return Some((to, String::new()));
            }
            "/ends" => ("", String::new()),
            "/hangs" => return None,
            // The API.
            _ if head.contains(&format!("{token}1\r\n")) => {
                ("401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"", "no".to_owned())
            }
            _ => ("200 OK", "yes".to_owned()),
        };
        Some((head.to_owned(), body))
    }
}
