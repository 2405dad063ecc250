//! The server over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod administration;
mod assertion_attacks;
mod assertion_kills;
mod assertions;
mod attack_credentials;
mod attack_framing;
mod audit;
mod changes;
mod connections;
mod crowds;
mod database_disks;
mod descriptions;
mod exports;
mod foreign_clients;
#[path = "../../../../testdata/foreign/programs.rs"]
mod foreign_programs;
mod hostile;
mod inquiries;
mod instances;
mod log;
mod mutual_tls;
mod negative;
#[path = "../../../../testdata/foreign/postgresql.rs"]
mod postgresql;
mod rotations;
mod shared_assertions;
mod throttling;
mod tls;
mod tokens;
mod workers;

use jeton_proto::issuance::ClientSettings;
use jeton_proto::secret::Secret;
use jeton_server::audit::Audit;
use jeton_server::{Config, Counters, InquiryCounters, Listen, Registry, ServeError, Server};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs on a free port, with a data directory that goes with it.
struct Running {
    issuer: String,
    address: SocketAddr,
    admin: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    counters: Arc<Counters>,
    inquiry_counters: Arc<InquiryCounters>,
    audit: Option<Audit>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    fn start(data_dir: &Path) -> Self {
        Self::with(Config { listen: Listen::Localhost { port: 0 }, ..Config::new(data_dir) })
    }

    fn with(config: Config) -> Self {
        Self::serving(Server::bind(config).unwrap())
    }

    fn serving(server: Server) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self {
            issuer: server.issuer().to_owned(),
            address: server.local_addrs()[0],
            admin: server.admin_addrs(),
            metrics: server.metrics_addrs(),
            counters: server.counters(),
            inquiry_counters: server.inquiry_counters(),
            audit: server.audit().cloned(),
            stop,
            serving: tokio::spawn(server.serve(async { stopped.await.unwrap_or(()) })),
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` and reads until the server ends the connection.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Posts a form with these header lines, each ended by CRLF.
    async fn post(&self, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let mut request = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        Answer::parse(&self.raw(request).await)
    }

    /// A token request by `client_secret_post`.
    async fn request_token(&self, client_id: &str, secret: &Secret<String>, more: &str) -> Answer {
        let body = format!(
            "grant_type=client_credentials&client_id={client_id}&client_secret={}{more}",
            secret.expose()
        );
        self.post(FORM, body).await
    }

    /// The value of a sample, by its name and labels, where the server has a listener for metrics.
    async fn metric(&self, sample: &str) -> u64 {
        let mut stream = TcpStream::connect(self.metrics[0]).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let page = Answer::parse(&read_to_end(&mut stream).await).body;
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{sample} is not told: {page}")).parse().unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::parse(&self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await)
    }
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A client `worker` with the scopes `a` and `b`, and its secret.
fn add_worker(data_dir: &Path) -> Secret<String> {
    let settings = ClientSettings { allowed_scope: "a b".parse().unwrap(), ..ClientSettings::new("worker") };
    Registry::open(data_dir).unwrap().add(settings).unwrap()
}

fn basic(client_id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{client_id}:{secret}"));
    format!("Authorization: Basic {encoded}\r\n")
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read =
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the server does not end this");
    // A reset after the answer is the end of it too; one before it leaves no answer to look at.
    drop(read);
    String::from_utf8(answer).unwrap()
}

/// An answer of the server, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// The header lines in lower case, sorted, without those that every answer has anew: `Date` and `X-Request-Id`.
    headers: Vec<String>,
    request_id: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let anew = |line: &str| line.starts_with("date:") || line.starts_with("x-request-id:");
        let request_id =
            lines.clone().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap_or_default();
        let mut headers: Vec<_> = lines.map(str::to_ascii_lowercase).filter(|line| !anew(line)).collect();
        headers.sort();
        Self { status, headers, request_id: request_id.to_owned(), body: body.to_owned() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn error(&self) -> String {
        assert_never_cached(self);
        self.json()["error"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn assert_never_cached(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
}
