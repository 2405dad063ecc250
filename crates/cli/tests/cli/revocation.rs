//! Tokens that `jeton serve` revokes, when it is killed and when its registry cannot be written.

use crate::process::{Home, Server};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The issuer is in the tokens, and the port changes with each start.
pub(crate) const ISSUER: [&str; 2] = ["--issuer", "http://localhost:1"];

/// Where a server can be reached, and who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: String,
    secret: String,
}

impl Caller {
    pub(crate) fn of(server: &Server, secret: &str) -> Self {
        let line = server.announcement.lines().find(|line| line.starts_with("listening on")).unwrap();
        let address = line.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();
        Self { address, secret: secret.to_owned() }
    }

    /// Status and body; `None` when there is no whole answer.
    fn post(&self, path: &str, form: &str) -> Option<(u16, String)> {
        let body = format!("{form}&client_id=billing&client_secret={}", self.secret);
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The status of a path.
    pub(crate) fn get(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let (_, body) = self.post("/oauth/token", "grant_type=client_credentials").unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn revoke(&self, token: &str) -> Option<u16> {
        self.post("/oauth/revoke", &format!("token={token}")).map(|(status, _)| status)
    }

    pub(crate) fn is_active(&self, token: &str) -> bool {
        let (status, body) = self.post("/oauth/introspect", &format!("token={token}")).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["active"].as_bool().unwrap()
    }
}

pub(crate) fn add_billing(home: &Home) -> String {
    home.run(&["client", "add", "billing", "--scope", "a"]).done().trim_end().to_owned()
}

#[test]
fn t40_what_was_acknowledged_outlives_a_server_that_is_killed() {
    const CALLERS: usize = 8;
    const TOKENS: usize = 40;
    let home = Home::new();
    let secret = add_billing(&home);
    let (mut server, mut revoked) = (Server::start(&home, &[], &ISSUER), Vec::new());
    for round in 1..=3 {
        let caller = Caller::of(&server, &secret);
        let good = caller.token();
        let tokens: Vec<_> = (0..TOKENS).map(|_| caller.token()).collect();
        let (acknowledged, killing) = channel();
        let queue = Arc::new(Mutex::new(tokens));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (queue, caller, acknowledged) =
                    (Arc::clone(&queue), caller.clone(), acknowledged.clone());
                std::thread::spawn(move || {
                    let next = || queue.lock().unwrap().pop();
                    while let Some(token) = next() {
                        match caller.revoke(&token) {
                            Some(status) => {
                                assert_eq!(status, 200);
                                acknowledged.send(token).unwrap();
                            }
                            None => break,
                        }
                    }
                })
            })
            .collect();
        drop(acknowledged);
        // In the midst of it, each round elsewhere.
        revoked.extend(killing.iter().take(round * 7));
        server.signal(Signal::KILL);
        for caller in callers {
            caller.join().unwrap();
        }
        revoked.extend(killing.iter());
        drop(server);
        server = Server::start(&home, &[], &ISSUER);
        let caller = Caller::of(&server, &secret);
        for token in &revoked {
            assert!(!caller.is_active(token), "a revocation was acknowledged and lost");
        }
        assert!(caller.is_active(&good));
    }
    assert!(revoked.len() >= 3 * 7, "{}", revoked.len());
    assert_eq!(server.end().0, 0);
}

#[test]
fn t40_a_registry_that_cannot_be_written_is_told_and_tokens_go_on() {
    let home = Home::new();
    let secret = add_billing(&home);
    let server = Server::start(&home, &[], &ISSUER);
    let caller = Caller::of(&server, &secret);
    let (token, other) = (caller.token(), caller.token());
    assert_eq!(caller.revoke(&other), Some(200));
    // What a disk that fails makes of the file.
    for name in ["registry.sqlite3", "registry.sqlite3-wal", "registry.sqlite3-shm"] {
        std::fs::write(home.data_dir().join(name), "damaged").unwrap();
    }
    let (status, body) = caller.post("/oauth/revoke", &format!("token={token}")).unwrap();
    assert_eq!(status, 503, "{body}");
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(error["error"], "temporarily_unavailable");
    assert!(caller.is_active(&token) && !caller.is_active(&other) && caller.is_active(&caller.token()));
}
