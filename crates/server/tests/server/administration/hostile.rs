//! Callers that mean ill, or are broken.

use super::{Administered, assert_problem};
use crate::{Answer, read_to_end};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CANARY: &str = "canary-7f3a";

impl Administered {
    async fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        Answer::parse(&self.raw([head.as_bytes(), body].concat()).await)
    }
}

#[tokio::test]
async fn t36_bodies_that_are_no_objects_are_refused() {
    let api = Administered::start().await;
    let deep = format!("{{\"client_id\":{}", "[".repeat(20_000));
    for body in [
        &b""[..],
        b"null",
        b"[]",
        b"7",
        b"\"a\"",
        b"{",
        b"{}{}",
        b"{\"client_id\":\"a\",\"client_id\":\"b\"}",
        b"{\"client_id\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"{\"token_lifetime_seconds\":1e999}",
        deep.as_bytes(),
    ] {
        let refused = api.post("/admin/clients", "application/json", body).await;
        assert_problem(&refused, 400, "invalid_request");
    }
    for content_type in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"] {
        let refused = api.post("/admin/clients", content_type, b"{\"client_id\":\"a\"}").await;
        assert_problem(&refused, 415, "unsupported_media_type");
    }
    let long = [b"{\"client_id\":\"".to_vec(), vec![b'a'; 70_000], b"\"}".to_vec()].concat();
    assert_problem(&api.post("/admin/clients", "application/json", &long).await, 413, "body_too_long");
    let odd = json!({ "client_id": "a\u{0}b" }).to_string();
    let refused = api.post("/admin/clients", "application/json", odd.as_bytes()).await;
    assert_problem(&refused, 400, "invalid_client_metadata");
    api.server.stop().await;
}

#[tokio::test]
async fn t37_nothing_of_the_caller_is_in_a_header_or_raw_in_the_audit_log() {
    let api = Administered::start().await;
    let path = format!("/admin/clients/{CANARY}%0d%0aX-Evil:%20{CANARY}%22");
    for (method, body) in [("GET", None), ("DELETE", None), ("PATCH", Some(json!({ CANARY: CANARY })))] {
        let answer = api.ask(method, &path, "", body).await;
        assert!(answer.status == 404 || answer.status == 400, "{answer:?}");
        assert!(!answer.headers.iter().any(|line| line.contains(CANARY)), "{answer:?}");
    }
    let foreign = format!("Authorization: Bearer {CANARY}\r\n");
    let refused = api.ask_as(None, "GET", "/admin/clients", &foreign, None).await;
    assert!(!refused.body.contains(CANARY) && !refused.headers.iter().any(|line| line.contains(CANARY)));
    let dir = api.dir.path().to_owned();
    api.server.stop().await;
    let log = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(!log.contains('\r') && !log.contains("\\r\\n"), "{log}");
}

#[tokio::test]
async fn every_act_is_told_with_who_did_it_and_no_secret() {
    let api = Administered::start().await;
    let secret = api.add(json!({ "client_id": "a", "scope": "x" })).await;
    let (path, changes) =
        ("/admin/clients/a", json!({ "status": "disabled", "scope": "y", "labels": { "k": "v" } }));
    assert_eq!(api.ask("PATCH", path, "", Some(changes)).await.status, 200);
    let rotated =
        api.ask("POST", "/admin/clients/a/secrets", "", Some(json!({ "name": "next" }))).await.json();
    assert_eq!(api.ask("DELETE", "/admin/clients/a/secrets/next", "", None).await.status, 204);
    assert_eq!(api.ask("POST", "/admin/keys/rotate", "", Some(json!({}))).await.status, 200);
    assert_eq!(api.ask("DELETE", path, "", None).await.status, 204);
    assert_eq!(api.ask("DELETE", path, "", None).await.status, 404);
    api.ask_as(None, "DELETE", path, "", None).await;
    let (dir, token) = (api.dir.path().to_owned(), api.token.clone());
    api.server.stop().await;
    let log = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let told: Vec<_> = records
        .filter(|record| record.get("outcome").is_some())
        .map(|record| {
            let text = |name| record[name].as_str().unwrap_or("-").to_owned();
            assert_eq!(text("request_id").len(), 22);
            let detail =
                if text("event") == "signing_key_announced" { "a key".to_owned() } else { text("detail") };
            [text("event"), text("actor"), text("client_id"), detail, text("outcome")].join(" ")
        })
        .collect();
    let expected = [
        "client_added root a - done",
        "client_disabled root a - done",
        "client_changed root a scope labels done",
        "secret_added root a next done",
        "secret_revoked root a next done",
        "signing_key_announced root - a key done",
        "client_removed root a - done",
        "admin_refused root a DELETE /admin/clients/{client_id} no_such_client",
        "admin_refused - a DELETE /admin/clients/{client_id} unauthenticated",
    ];
    assert_eq!(told, expected);
    for hidden in [secret.expose().as_str(), rotated["client_secret"].as_str().unwrap(), &token] {
        assert!(!log.contains(hidden));
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing_half_done() {
    let api = Administered::start().await;
    for at in 0..20 {
        let body = json!({ "client_id": format!("gone-{at}") }).to_string();
        let mut stream = TcpStream::connect(api.server.admin[0]).await.unwrap();
        let head = format!(
            "POST /admin/clients HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            api.token,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        drop(stream);
    }
    // Whatever was begun is told: as many clients as there are acts.
    let there = api.get("/admin/clients?limit=100").await.json()["clients"].as_array().unwrap().len() - 1;
    let dir = api.dir.path().to_owned();
    api.server.stop().await;
    let log = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    let registry = jeton_server::Registry::open(&dir).unwrap();
    let now = registry.list().unwrap().clients.len() - 1;
    assert!(now >= there);
    assert_eq!(log.matches("\"client_added\"").count(), now);
}

#[tokio::test]
async fn one_who_sends_slowly_is_answered_in_time_and_ended() {
    let api = Administered::start().await;
    let mut slow = TcpStream::connect(api.server.admin[0]).await.unwrap();
    slow.write_all(b"GET /admin/clients HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut body = TcpStream::connect(api.server.admin[0]).await.unwrap();
    let head = format!(
        "POST /admin/clients HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
        api.token
    );
    body.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(api.server.admin[0]).await.unwrap();
    assert_eq!(api.get("/admin/clients").await.status, 200, "others go on");
    let refused = Answer::parse(&read_to_end(&mut body).await);
    assert_problem(&refused, 408, "body_slow");
    for stream in [&mut slow, &mut idle] {
        let ended = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 4096])).await;
        drop(ended.expect("a connection stands still and is not ended"));
    }
    api.server.stop().await;
}
