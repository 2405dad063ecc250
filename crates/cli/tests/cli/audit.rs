//! `jeton audit` and `jeton explain`, beside a server that runs, ends, and is killed.

use crate::process::{Home, Registered, Server};
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn log(home: &Home) -> PathBuf {
    home.data_dir().join("audit.jsonl")
}

/// Sends one token request; `None` when the server is not there or gone before it has answered.
fn ask(server: &Server, body: &str) -> Option<String> {
    let address = server.issuer.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).ok()?;
    let length = body.len();
    write!(
        stream,
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("\r\n\r\n{").then_some(answer)
}

fn request_id(answer: &str) -> &str {
    answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap()
}

fn grant(secret: &str, more: &str) -> String {
    format!("grant_type=client_credentials&client_id=billing&client_secret={secret}{more}")
}

#[test]
fn a_refusal_is_explained_by_the_id_that_its_caller_was_told() {
    let registered = Registered::new();
    let (home, server) = (&registered.home, &registered.server);
    let explain = |answer: &str| home.run(&["explain", request_id(answer)]);
    let wrong = ask(server, &grant("wrong", "")).unwrap();
    let explained = explain(&wrong);
    for words in ["invalid_client", "secret_wrong", "RFC 6749 section 2.3.1", "client_secret_post", "billing"]
    {
        assert!(explained.done().contains(words), "{words}: {explained}");
    }
    assert!(!wrong.contains("secret_wrong"), "the answer stays uniform: {wrong}");
    let scope = ask(server, &grant(&registered.secret, "&scope=c")).unwrap();
    let told = home.run(&["explain", request_id(&scope), "--output", "json"]).json();
    assert_eq!((&told["rule"], &told["error"]), (&"scope_not_allowed".into(), &"invalid_scope".into()));
    assert!(told["advice"].as_str().unwrap().contains("register the scope"), "{told}");
    let granted = ask(server, &grant(&registered.secret, "&scope=a")).unwrap();
    assert!(explain(&granted).done().contains("a token for 3600 s"));
    home.run(&["explain", "-AAAAAAAAAAAAAAAAAAAAA"])
        .failed(1, &["no token request with this id", "X-Request-Id"]);
    home.run(&["explain", "x", "--data-dir", "nowhere"]).failed(1, &["there is no audit log", "--data-dir"]);
}

#[test]
fn administrative_acts_stand_in_the_chain_of_the_server() {
    let registered = Registered::new();
    let home = &registered.home;
    for act in ["disable", "enable", "remove"] {
        home.run(&["client", act, "billing"]).done();
    }
    home.run(&["keys", "rotate"]).done();
    assert_eq!(registered.server.end().0, 0);
    let text = fs::read_to_string(log(home)).unwrap();
    let events: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["event"].as_str().unwrap().to_owned())
        .collect();
    let acts =
        ["client_added", "client_disabled", "client_enabled", "client_removed", "signing_key_announced"];
    assert_eq!(events, [&["server_started"][..], &acts, &["server_ended"]].concat());
    assert!(text.contains("\"actor\":\"uid="));
    assert!(home.run(&["audit", "verify"]).done().contains("lines   7"));
}

#[test]
fn an_edit_is_told_with_its_line_and_a_digest_that_was_kept_shows_what_was_cut() {
    let registered = Registered::new();
    for _ in 0..3 {
        ask(&registered.server, &grant("wrong", "")).unwrap();
    }
    registered.server.end();
    let home = &registered.home;
    let path = log(home);
    let verified = home.run(&["audit", "verify", "--output", "json"]).json();
    let digest = verified["digest"].as_str().unwrap();
    home.run(&["audit", "verify", path.to_str().unwrap(), "--contains", digest]).done();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();

    fs::write(&path, text.replacen("secret_wrong", "no_credential", 1)).unwrap();
    home.run(&["audit", "verify"]).failed(1, &["audit.jsonl:3: ", "edited", "hint: "]);
    fs::write(&path, [&lines[..2], &lines[3..]].concat().concat()).unwrap();
    home.run(&["audit", "verify"]).failed(1, &["audit.jsonl:3: ", "removed"]);
    fs::write(&path, lines[..4].concat()).unwrap();
    home.run(&["audit", "verify"]).done();
    home.run(&["audit", "verify", "--contains", digest]).failed(1, &["lines were removed"]);
    fs::write(&path, [&text, "{\"sequence\":99,"].concat()).unwrap();
    let torn = home.run(&["audit", "verify"]);
    assert!(torn.done().contains("cut off"), "{torn}");
}

#[test]
fn a_server_that_is_killed_under_load_leaves_a_log_that_the_next_one_mends() {
    let home = Home::new();
    let mut secret = String::new();
    let told = AtomicU64::new(0);
    for round in 0..3 {
        let mut server = Server::start(&home, &[("JETON_LOG", "off")], &[]);
        if round == 0 {
            secret = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
        }
        let until = told.load(Ordering::SeqCst) + 100;
        let granted = || fs::read_to_string(log(&home)).unwrap().matches("token_granted").count();
        let before = granted();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while ask(&server, &grant(&secret, "")).is_some() {
                        told.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            // Some are in the file, so that it is none of the first lines that is cut off.
            while told.load(Ordering::SeqCst) < until || granted() < before + 10 {
                thread::sleep(Duration::from_millis(10));
            }
            server.signal(Signal::KILL);
        });
        server.child.wait().unwrap();
        // What a writer leaves that is cut off in a line.
        let path = log(&home);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 10]).unwrap();
        let verified = home.run(&["audit", "verify"]);
        assert!(verified.done().contains("cut off"), "{verified}");
    }
    let server = Server::start(&home, &[], &[]);
    assert_eq!(server.end().0, 0);
    let verified = home.run(&["audit", "verify"]);
    assert!(!verified.done().contains("cut off"), "{verified}");
    let text = fs::read_to_string(log(&home)).unwrap();
    assert_eq!(text.matches("\"event\":\"log_resumed\"").count(), 3);
}

#[test]
fn the_log_can_be_elsewhere_or_off() {
    let home = Home::new();
    let elsewhere = home.path().join("other.jsonl");
    let server = Server::start(&home, &[], &["--audit-log", "other.jsonl"]);
    server.end();
    assert!(elsewhere.exists() && !log(&home).exists());
    home.run(&["audit", "verify", "--audit-log", "other.jsonl"]).done();
    let server = Server::start(&home, &[("JETON_SERVER_AUDIT_LOG", "off")], &[]);
    server.end();
    assert!(!log(&home).exists());
    home.run(&["audit", "verify", "--audit-log", "off"]).failed(5, &["the audit log is off"]);
    home.run(&["serve", "--listen", "0", "--audit-log", "missing/audit.jsonl"])
        .failed(5, &["missing/audit.jsonl cannot be written", "--audit-log"]);
    home.run(&["client", "add", "billing"]).done();
}
