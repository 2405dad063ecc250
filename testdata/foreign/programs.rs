//! Starts the programs of this folder. The tests of several crates take this file in by its path, so that none of them
//! starts a server in a way of its own.

#![allow(dead_code, reason = "each test takes what it needs of it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const END_POLLS: u32 = 100;
const END_POLL_PAUSE: Duration = Duration::from_millis(10);

/// `script` of this folder, with Node.js.
pub(crate) fn node(script: &str) -> Command {
    command("node", script)
}

/// `script` of this folder, with Python.
pub(crate) fn python(script: &str) -> Command {
    command("python", script)
}

fn command(interpreter: &str, script: &str) -> Command {
    let root = workspace();
    let program = root.join("target/foreign").join(interpreter).join("bin").join(interpreter);
    assert!(program.exists(), "{} is missing: run `cargo xtask setup`", program.display());
    let mut command = Command::new(program);
    // A proxy that the environment names is not for loopback.
    command.arg(root.join("testdata/foreign").join(script)).env("NO_PROXY", "*").env("no_proxy", "*");
    command
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// An authorization server of others, on a free port of 127.0.0.1. It ends when this is dropped.
pub(crate) struct ForeignServer {
    child: Child,
    ports: Ports,
    token_path: &'static str,
    /// Held open, so that nothing that the server prints breaks it.
    _stdout: BufReader<ChildStdout>,
}

impl ForeignServer {
    /// `oidc-provider` of npm with these clients, as README.md has them, and further arguments.
    pub(crate) fn oidc_provider(clients: &Value, arguments: &[&str]) -> Self {
        Self::start(node("oidc_provider.mjs"), "/token", clients, arguments)
    }

    /// The same over TLS, with the files `certificate` and `key` for `localhost`, and another port where clients are asked for
    /// certificates, of which those signed by `client_authority` are verified.
    pub(crate) fn oidc_provider_over_tls(
        clients: &Value,
        [certificate, key, client_authority]: [&Path; 3],
        arguments: &[&str],
    ) -> Self {
        let mut command = node("oidc_provider.mjs");
        command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        command.arg("--client-ca").arg(client_authority);
        Self::start(command, "/token", clients, arguments)
    }

    /// `Authlib` of Python with these clients and further arguments.
    pub(crate) fn authlib(clients: &Value, arguments: &[&str]) -> Self {
        Self::start(python("authlib_server.py"), "/oauth/token", clients, arguments)
    }

    /// `moto` of Python, which answers as AWS does, without any secret in it.
    pub(crate) fn moto() -> Self {
        let (child, ports, stdout) = listening(python("moto_server.py"));
        Self { child, ports, token_path: "", _stdout: stdout }
    }

    /// A collector of OpenTelemetry: `opentelemetry-proto` of Python reads what is sent to it, and `/_seen` has it.
    pub(crate) fn otlp_receiver() -> Self {
        let (child, ports, stdout) = listening(python("otlp_receiver.py"));
        Self { child, ports, token_path: "", _stdout: stdout }
    }

    fn start(mut command: Command, token_path: &'static str, clients: &Value, arguments: &[&str]) -> Self {
        command.arg("--clients").arg(clients.to_string()).args(arguments);
        let (child, ports, stdout) = listening(command);
        Self { child, ports, token_path, _stdout: stdout }
    }

    /// The URL of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        match &self.ports {
            Ports { main, over_tls: None } => format!("http://127.0.0.1:{main}{path}"),
            Ports { main, over_tls: Some(_) } => format!("https://localhost:{main}{path}"),
        }
    }

    /// The URL of the token endpoint.
    pub(crate) fn token_url(&self) -> String {
        self.url(self.token_path)
    }

    /// The URL of the token endpoint that asks for certificates (RFC 8705 §5).
    pub(crate) fn mutual_tls_token_url(&self) -> String {
        let port = self.ports.over_tls.as_ref().unwrap().with_certificates;
        format!("https://localhost:{port}{}", self.token_path)
    }

    /// How many token requests the server has had, by its own count.
    pub(crate) fn token_requests(&self) -> u64 {
        self.ask("GET", "/_count")["token_requests"].as_u64().unwrap()
    }

    /// What each token request proved itself with, as README.md has it, and why it was refused; `oidc-provider` alone tells.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.ask("GET", "/_seen").as_array().unwrap().clone()
    }

    /// The JSON that is found at `path`.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path)
    }

    /// Revokes every token issued so far and says how many those are; Authlib alone does that.
    pub(crate) fn revoke_all(&self) -> u64 {
        self.ask("POST", "/_revoke")["revoked"].as_u64().unwrap()
    }

    /// Asks over a socket of its own, so that no client under test is in the way.
    fn ask(&self, method: &str, path: &str) -> Value {
        let port = self.ports.over_tls.as_ref().map_or(self.ports.main, |ports| ports.in_the_clear);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().next().unwrap().contains(" 200 "), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// OpenSSL as a server that speaks one version of TLS alone, on a free port of 127.0.0.1. It ends when this is dropped.
pub(crate) struct OldTls {
    child: Child,
    pub(crate) port: u16,
    stdout: BufReader<ChildStdout>,
}

impl OldTls {
    /// `version` is `TLSv1`, `TLSv1.1` or `TLSv1.2`; certificate and key are files with PEM.
    pub(crate) fn start(version: &str, certificate: &Path, key: &Path) -> Self {
        let mut command = python("old_tls.py");
        command.args(["serve", "--version", version]).arg("--cert").arg(certificate).arg("--key").arg(key);
        let (child, ports, stdout) = listening(command);
        Self { child, port: ports.main, stdout }
    }

    /// What the next connection that ended was: `version` and `said`, or `error`.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for OldTls {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

struct Ports {
    main: u16,
    over_tls: Option<PortsBesideTls>,
}

/// What a server over TLS has besides.
struct PortsBesideTls {
    in_the_clear: u16,
    with_certificates: u16,
}

impl Ports {
    fn parse(line: &str) -> Option<Self> {
        let ports: Result<Vec<u16>, _> =
            line.strip_prefix("listening ")?.split_whitespace().map(str::parse).collect();
        match ports.ok()?[..] {
            [main] => Some(Self { main, over_tls: None }),
            [main, in_the_clear, with_certificates] => {
                Some(Self { main, over_tls: Some(PortsBesideTls { in_the_clear, with_certificates }) })
            }
            _ => None,
        }
    }
}

/// Starts a server and waits for the line that tells its ports.
fn listening(mut command: Command) -> (Child, Ports, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        let _nobody_waits = sender.send(read.map(|_| (line, stdout)));
    });
    let listening = receiver.recv_timeout(START_TIMEOUT).ok().and_then(Result::ok);
    let ports = listening.as_ref().and_then(|(line, _)| Ports::parse(line));
    match (listening, ports) {
        (Some((_, stdout)), Some(ports)) => (child, ports, stdout),
        (listening, _) => {
            end(&mut child);
            let line = listening.map(|(line, _)| line);
            panic!("{command:?} does not listen, it says {line:?} and on stderr why");
        }
    }
}

/// Asks the program to end by closing its stdin, and ends it where it does not.
fn end(child: &mut Child) {
    drop(child.stdin.take());
    for _ in 0..END_POLLS {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(END_POLL_PAUSE);
    }
    let _ended_meanwhile = child.kill();
    let _reaped = child.wait();
}
