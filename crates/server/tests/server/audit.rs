//! The audit log of a server, beside what its callers are told.

use super::{FORM, Running, add_worker, basic};
use jeton_server::audit::{AuditLimits, AuditLog, log_files, verify};
use jeton_server::{Config, Listen, Registry};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The records of a log that holds together.
#[track_caller]
fn records(path: &Path) -> Vec<Value> {
    let files = log_files(path).unwrap();
    let verdict = verify(&files, None).unwrap();
    assert_eq!((&verdict.fault, &verdict.torn), (&None, &None));
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_token_request_is_told_with_its_rule_and_the_id_that_its_caller_has() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let (peer, grant) = ("127.0.0.1", "grant_type=client_credentials");
    let right = format!("{FORM}{}", basic("worker", secret.expose()));
    let wrong = format!("{FORM}{}", basic("worker", "wrong"));
    let unknown = format!("{FORM}{}", basic("nobody", "wrong"));
    let granted = server.post(&right, format!("{grant}&scope=a")).await;
    assert_eq!(granted.status, 200);
    let mut asked = vec![(granted, None)];
    for (headers, body, rule) in [
        (&*wrong, grant, "secret_wrong"),
        (&unknown, grant, "client_unknown"),
        (FORM, grant, "no_credential"),
        ("", grant, "content_type"),
        (FORM, "a=1&scope=a&scope=b", "form_malformed"),
        (&format!("{right}Authorization: Basic eA==\r\n"), grant, "two_authorizations"),
        (&right, &format!("{grant}&client_secret=x"), "two_methods"),
        (&right, &format!("{grant}&client_id=other"), "client_id_mismatch"),
        (&format!("{FORM}Authorization: Basic !\r\n"), grant, "basic_malformed"),
        (&right, "grant_type=password", "grant_type_unsupported"),
        (&right, "scope=a", "grant_type_missing"),
        (&right, &format!("{grant}&scope=a%22"), "scope_malformed"),
        (&right, &format!("{grant}&scope=c"), "scope_not_allowed"),
        (&right, &format!("{grant}&audience=https://x"), "target_not_allowed"),
        (&format!("{right}Host: y\r\n"), grant, "head_malformed"),
        (&right, &"x".repeat(70_000), "body_too_long"),
    ] {
        asked.push((server.post(headers, body).await, Some(rule)));
    }
    Registry::open(dir.path()).unwrap().disable("worker").unwrap();
    let mut disabled = server.post(&right, grant).await;
    while disabled.status == 200 {
        // Slowly, or the client has had as many tokens as it may.
        tokio::time::sleep(Duration::from_millis(20)).await;
        disabled = server.post(&right, grant).await;
    }
    asked.push((disabled, Some("client_disabled")));
    asked.push((server.get("/oauth/token").await, Some("method_not_allowed")));
    server.stop().await;

    let records = records(&dir.path().join("audit.jsonl"));
    let of = |id: &str| records.iter().find(|record| record["request_id"] == id).unwrap();
    for (answer, rule) in &asked {
        let record = of(&answer.request_id);
        assert_eq!(record["rule"].as_str(), *rule, "{record}");
        assert_eq!(record["error"].as_str(), answer.json()["error"].as_str(), "{record}");
        assert!(
            record["peer"].as_str().unwrap().starts_with(peer) && record["duration_us"].is_u64(),
            "{record}"
        );
    }
    let granted = of(&asked[0].0.request_id);
    assert_eq!(granted["event"], "token_granted");
    for (member, expected) in [("client_id", "worker"), ("method", "client_secret_basic"), ("scope", "a")] {
        assert_eq!(granted[member], expected);
    }
    assert_eq!((granted["jti"].as_str().unwrap().len(), &granted["expires_in"]), (22, &3600.into()));
    assert!(granted["audience"].as_str().unwrap().starts_with("http://localhost:"));
    let ends: Vec<_> = [0, records.len() - 1].map(|at| records[at]["event"].as_str().unwrap()).into();
    assert_eq!(ends, ["server_started", "server_ended"]);
}

#[tokio::test]
async fn no_secret_token_or_assertion_is_in_the_log_wherever_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let answer = server.request_token("worker", &secret, "&grant_type_=x").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let grant = "grant_type=client_credentials";
    for canary in [secret.expose(), &token] {
        let authorized = format!("{FORM}{}", basic("worker", secret.expose()));
        for body in [
            format!("{grant}&client_id={canary}&client_secret=x"),
            format!("{grant}&client_id={canary}"),
            format!("{grant}&scope={canary}"),
            format!("{grant}&audience={canary}&resource={canary}"),
            format!("grant_type={canary}"),
            format!("{grant}&client_assertion={canary}&client_assertion_type={canary}"),
        ] {
            server.post(&authorized, &body).await;
            server.post(FORM, &body).await;
        }
        server.post(&format!("{FORM}{}", basic(canary, canary)), grant).await;
        server.post(&format!("{FORM}Authorization: Bearer {canary}\r\n"), grant).await;
    }
    server.stop().await;
    let text = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    assert!(text.lines().count() > 20);
    for canary in [secret.expose(), &token, token.split('.').next().unwrap()] {
        assert!(!text.contains(canary), "{text}");
    }
}

/// A small file system of its own, which is taken away when this is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(place: &'a Path) -> Self {
        fs::create_dir(place).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(place).status();
        assert!(mounted.unwrap().success(), "a small file system cannot be mounted: this wants root");
        Self(place)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_keeps_tokens_going_and_what_was_lost_is_told_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let place = dir.path().join("disk");
    let disk = SmallDisk::mount(&place);
    let filler = place.join("filler");
    let path = place.join("audit.jsonl");
    let server = Running::with(Config {
        listen: Listen::Localhost { port: 0 },
        audit_log: AuditLog::File(path.clone()),
        audit_limits: AuditLimits { queue_bytes: 16 * 1024, ..AuditLimits::default() },
        ..Config::new(dir.path())
    });
    let audit = server.audit.clone().unwrap();
    let granted = async || {
        let answer = server.request_token("worker", &secret, "").await;
        assert_eq!(answer.status, 200);
    };
    granted().await;
    let mut fill = File::create(&filler).unwrap();
    while fill.write_all(&[b'x'; 256]).is_ok() {}
    while audit.counts().lost == 0 {
        granted().await;
    }
    drop(fill);
    fs::remove_file(&filler).unwrap();
    for _ in 0..600 {
        if fs::read_to_string(&path).unwrap().contains("records_lost") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    granted().await;
    let granted_count = server.counters.values().granted;
    server.stop().await;
    let records = records(&path);
    let lost: u64 = records.iter().filter_map(|record| record["records_lost"].as_u64()).sum();
    assert_eq!(lost, audit.counts().lost);
    let told = records.iter().filter(|record| record["event"] == "token_granted").count() as u64;
    assert_eq!(told + lost, granted_count, "every token is told or counted");
    drop(disk);
}
