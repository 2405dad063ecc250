//! The administrative API over real sockets.

mod clients;
mod durable;
mod hostile;
mod tokens;

use super::{Answer, Running, read_to_end};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::secret::Secret;
use jeton_server::{Config, Listen, Registry};
use serde_json::{Value, json};
use std::path::Path;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A server with an administrative API, and a token for it.
pub(super) struct Administered {
    pub(super) server: Running,
    pub(super) dir: tempfile::TempDir,
    pub(super) token: String,
}

pub(super) fn config(data_dir: &Path) -> Config {
    let free = || Listen::Localhost { port: 0 };
    Config { listen: free(), admin_listen: Some(free()), ..Config::new(data_dir) }
}

fn add_client(data_dir: &Path, client_id: &str, scope: &str) -> Secret<String> {
    let settings = ClientSettings { allowed_scope: scope.parse().unwrap(), ..ClientSettings::new(client_id) };
    Registry::open(data_dir).unwrap().add(settings).unwrap()
}

impl Administered {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::with(config(dir.path()), dir).await
    }

    async fn with(config: Config, dir: tempfile::TempDir) -> Self {
        let secret = add_client(dir.path(), "root", "jeton:admin jeton:admin:read");
        let server = Running::with(config);
        let token = token_of(&server, "root", &secret, "&scope=jeton:admin").await;
        Self { server, dir, token }
    }

    /// Asks as the administrator. The body is JSON, unless there is none.
    async fn ask(&self, method: &str, path: &str, more: &str, body: Option<Value>) -> Answer {
        self.ask_as(Some(&self.token), method, path, more, body).await
    }

    pub(super) async fn ask_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        more: &str,
        body: Option<Value>,
    ) -> Answer {
        let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let (length, body) = body.map_or((String::new(), String::new()), |body| {
            let body = body.to_string();
            (format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body)
        });
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        Answer::parse(&self.raw(format!("{head}{authorization}{more}{length}\r\n{body}")).await)
    }

    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.server.admin[0]).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", None).await
    }

    /// Adds a client, and gives its secret.
    pub(super) async fn add(&self, client: Value) -> Secret<String> {
        let added = self.ask("POST", "/admin/clients", "", Some(client)).await;
        assert_eq!(added.status, 201, "{added:?}");
        Secret::new(added.json()["client_secret"].as_str().unwrap().to_owned())
    }

    /// The status of a token request of this client.
    async fn token_status(&self, client_id: &str, secret: &Secret<String>) -> u16 {
        self.server.request_token(client_id, secret, "").await.status
    }
}

async fn token_of(server: &Running, client_id: &str, secret: &Secret<String>, more: &str) -> String {
    let answer = server.request_token(client_id, secret, more).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// That `answer` is a problem of RFC 9457 with this status and code.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{answer:?}");
    assert_eq!(problem["status"], json!(status));
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
}
