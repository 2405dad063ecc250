//! Starts `OpenBao`, the server that the interface of `HashiCorp` Vault is tested against. Tests take this file in by its path.

#![allow(dead_code, reason = "each test takes what it needs of it")]

use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that a server takes to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// The token that may do everything, on a server that is ready.
pub(crate) const ROOT_TOKEN: &str = "canary-root-token";

/// An `OpenBao` that keeps all in memory, on a free port of 127.0.0.1. It is killed when this is dropped.
pub(crate) struct OpenBao {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    kind: Kind,
    /// A second port with TLS, and the certificate and key there, in PEM.
    tls: Option<(u16, String, String)>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Unsealed, with the root token [`ROOT_TOKEN`] and a key-value engine of version 2 at `secret`.
    Ready,
    /// As it is before its operator does anything.
    Bare,
}

impl OpenBao {
    /// One that is unsealed, with the root token [`ROOT_TOKEN`] and a key-value engine of version 2 at `secret`.
    pub(crate) fn start() -> Self {
        Self::of_kind(Kind::Ready, None)
    }

    /// The same, with a port for TLS besides, where it shows this certificate; both in PEM.
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> Self {
        Self::of_kind(Kind::Ready, Some((certificate, key)))
    }

    /// One that is not initialized.
    pub(crate) fn start_bare() -> Self {
        Self::of_kind(Kind::Bare, None)
    }

    fn of_kind(kind: Kind, tls: Option<(&str, &str)>) -> Self {
        for _ in 0..20 {
            let tls = tls.map(|(certificate, key)| (free_port(), certificate.to_owned(), key.to_owned()));
            let dir = tempfile::tempdir().unwrap();
            let mut server = Self { child: None, port: free_port(), dir, kind, tls };
            // Somebody else may have taken the port in the meantime.
            if server.spawn() {
                return server;
            }
        }
        panic!("no OpenBao would start");
    }

    fn spawn(&mut self) -> bool {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let program = program.join("target/foreign/python/bin/bao");
        assert!(program.exists(), "{} is missing: run `cargo xtask setup`", program.display());
        let address = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new(&program);
        command.arg("server");
        let settings = self.dir.path().join("settings.hcl");
        let mut lines = Vec::new();
        if let Some((port, certificate, key)) = &self.tls {
            let write = |name: &str, content: &str| {
                let path = self.dir.path().join(name);
                fs::write(&path, content).unwrap();
                path.display().to_string()
            };
            lines.push(format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\""));
            lines.push(format!(" tls_cert_file = \"{}\"", write("certificate.pem", certificate)));
            lines.push(format!(" tls_key_file = \"{}\"\n}}", write("key.pem", key)));
        }
        match self.kind {
            Kind::Ready => {
                command.args(["-dev", "-dev-no-store-token"]);
                command.arg(format!("-dev-root-token-id={ROOT_TOKEN}"));
                command.arg(format!("-dev-listen-address={address}"));
            }
            Kind::Bare => {
                lines.push("storage \"inmem\" {}".to_owned());
                lines.push(format!("listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}"));
            }
        }
        if !lines.is_empty() {
            fs::write(&settings, lines.join("\n")).unwrap();
            command.arg("-config").arg(settings);
        }
        // A proxy that the environment names is not for loopback.
        command.env("HOME", self.dir.path()).env("NO_PROXY", "*").env("no_proxy", "*");
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let patience = Instant::now() + START_TIMEOUT;
        let is_up = loop {
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            if self.is_up() {
                break true;
            }
            assert!(Instant::now() < patience, "OpenBao does not answer: {}", self.log());
            thread::sleep(POLL_PAUSE);
        };
        self.child = Some(child);
        is_up
    }

    fn is_up(&self) -> bool {
        let Ok((status, answer)) = self.try_ask("GET", "sys/health", None, &Value::Null) else {
            return false;
        };
        match self.kind {
            // The engine at `secret` is put there last.
            Kind::Ready => {
                status == 200
                    && self
                        .try_ask("GET", "secret/config", Some(ROOT_TOKEN), &Value::Null)
                        .is_ok_and(|(status, _)| status == 200)
            }
            Kind::Bare => answer["initialized"] == false,
        }
    }

    /// `kill -9`: whatever it held is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again at the same place, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.spawn(), "OpenBao does not start again: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL with TLS, by this name of the host.
    pub(crate) fn tls_url(&self, host: &str) -> String {
        let (port, ..) = self.tls.as_ref().expect("it was started with TLS");
        format!("https://{host}:{port}")
    }

    /// Does what `path` below `/v1` stands for, as root; it has to go well.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.done("POST", path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.done("GET", path, &Value::Null)
    }

    pub(crate) fn delete(&self, path: &str) {
        self.done("DELETE", path, &Value::Null);
    }

    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_ask(method, path, Some(ROOT_TOKEN), body).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Writes another version of the secret at `path` of the engine of version 2.
    pub(crate) fn put(&self, path: &str, fields: &Value) {
        self.post(&format!("secret/data/{path}"), &json!({ "data": fields }));
    }

    /// Lets the policy `name` read all secrets, and nothing else.
    pub(crate) fn policy_to_read(&self, name: &str) {
        let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }\npath \"kv1/*\" { capabilities = [\"read\"] }";
        self.post(&format!("sys/policies/acl/{name}"), &json!({ "policy": rules }));
    }

    /// A token with these properties.
    pub(crate) fn token(&self, properties: &Value) -> String {
        let answer = self.post("auth/token/create", properties);
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// What any caller gets, over a socket of its own, so that no client under test is in the way.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> std::io::Result<(u16, Value)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = token.map(|token| format!("X-Vault-Token: {token}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(
            stream,
            "{method} /v1/{path} HTTP/1.0\r\nHost: {address}\r\n{token}Content-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let malformed = || std::io::Error::other(answer.clone());
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended_meanwhile = child.kill();
            let _reaped = child.wait();
        }
    }
}
