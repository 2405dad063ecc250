//! A server that is killed, and an assertion that was used before.

use super::assertions::{add_with_key, assertion, body, private_key};
use super::{Answer, FORM, read_to_end};
use jeton_proto::jose::assertion_key::AssertionAlgorithm;
use jeton_server::{Config, Listen, Server};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// The same for every process, whatever its port.
const ISSUER: &str = "http://localhost:1";
const DATA_DIR: &str = "JETON_TEST_KILLED_SERVER";
const LISTENING: &str = "listening at ";

/// This test again as a process of its own, which serves until it is killed.
struct Killable {
    child: Child,
    address: SocketAddr,
}

impl Killable {
    /// `before` is what a shell does before it becomes the server.
    fn start(data_dir: &Path, before: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        let test = "assertion_kills::t38_a_server_that_is_killed_knows_what_was_used_before";
        command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(DATA_DIR, data_dir);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map(Result::unwrap).find_map(|line| Some(line.split_once(LISTENING)?.1.to_owned()));
        let address = said.expect("the server did not start").parse().unwrap();
        Self { child, address }
    }

    async fn ask(&self, assertion: &str) -> Answer {
        let body = body(assertion);
        let head = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{FORM}\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        Answer::parse(&read_to_end(&mut stream).await)
    }

    /// With SIGKILL, so that nothing of it has a chance to put anything in order.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn serve_until_killed(data_dir: &str) {
    let config = Config {
        listen: Listen::Localhost { port: 0 },
        issuer: Some(ISSUER.to_owned()),
        ..Config::new(data_dir)
    };
    let server = Server::bind(config).unwrap();
    let mut said = std::io::stdout();
    writeln!(said, "{LISTENING}{}", server.local_addrs()[0]).unwrap();
    server.serve(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn t38_a_server_that_is_killed_knows_what_was_used_before() {
    if let Ok(data_dir) = std::env::var(DATA_DIR) {
        return serve_until_killed(&data_dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = private_key(AssertionAlgorithm::Es256);
    add_with_key(dir.path(), "worker", &key);
    let mut used: Vec<String> = Vec::new();
    for _ in 0..3 {
        let server = Killable::start(dir.path(), "");
        for assertion in &used {
            assert_eq!(server.ask(assertion).await.error(), "invalid_client");
        }
        for _ in 0..5 {
            let assertion = assertion(&key, "worker", ISSUER);
            // Right after the first start of all there may be a second in which an assertion looks older than the server.
            if server.ask(&assertion).await.status == 200 {
                used.push(assertion);
            }
        }
        server.kill();
    }
    assert!(used.len() >= 10, "{}", used.len());
}

#[tokio::test]
async fn t38_where_nothing_can_be_written_tokens_go_on_and_a_kill_makes_nothing_good_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = private_key(AssertionAlgorithm::EdDsa);
    add_with_key(dir.path(), "worker", &key);
    // Files may not grow past 32 KiB, which SQLite can live with, and which is 1021 records; the signal that says so is ignored.
    let server = Killable::start(dir.path(), "trap '' XFSZ; ulimit -f 64;");
    let mut used: Vec<String> = Vec::new();
    while used.len() < 1100 {
        let assertion = assertion(&key, "worker", ISSUER);
        let answer = server.ask(&assertion).await;
        match answer.status {
            200 => used.push(assertion),
            // Too many at once, or the first second of all.
            429 | 503 => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            _ => panic!("{answer:?}"),
        }
    }
    server.kill();
    let server = Killable::start(dir.path(), "");
    for assertion in used.iter().step_by(150) {
        let answer = server.ask(assertion).await;
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    }
    let later = server.ask(used.last().unwrap()).await;
    assert_eq!(later.error(), "temporarily_unavailable", "it is not known whether that was used");
    assert!(later.header("retry-after").is_some());
    server.kill();
}
