//! Requests that no honest client sends.

use super::{Answer, FORM, Running, add_worker, basic, read_to_end};
use jeton_server::Registry;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

const GRANT: &str = "grant_type=client_credentials";

fn authorization(value: &str) -> String {
    format!("{FORM}Authorization: {value}\r\n")
}

#[tokio::test]
async fn t35_unknown_wrong_and_disabled_are_one_answer() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let disabled = registry.add(jeton_proto::issuance::ClientSettings::new("disabled")).unwrap();
    registry.disable("disabled").unwrap();
    let server = Running::start(dir.path());
    let mut answers = Vec::new();
    for (client_id, secret) in [
        ("unknown", secret.expose().as_str()),
        ("worker", "jeton_secret_wrong"),
        ("worker", ""),
        ("disabled", disabled.expose()),
        ("disabled", "wrong"),
        ("", ""),
    ] {
        answers.push(server.post(&format!("{FORM}{}", basic(client_id, secret)), GRANT).await);
        if !secret.is_empty() && !client_id.is_empty() {
            let body = format!("{GRANT}&client_id={client_id}&client_secret={secret}");
            answers.push(server.post(FORM, body).await);
        }
    }
    for answer in &answers {
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
        assert_eq!(answer.header("www-authenticate"), Some("basic realm=\"jeton\", charset=\"utf-8\""));
        assert_eq!((&answer.headers, &answer.body), (&answers[0].headers, &answers[0].body));
    }
    assert_eq!(server.counters.values().invalid_client, answers.len() as u64);
    server.stop().await;
}

#[tokio::test]
async fn t35_every_invalid_client_carries_the_challenge() {
    let dir = tempfile::tempdir().unwrap();
    add_worker(dir.path());
    let server = Running::start(dir.path());
    for (headers, body) in [
        (FORM.to_owned(), GRANT.to_owned()),
        (FORM.to_owned(), format!("{GRANT}&client_id=worker")),
        (FORM.to_owned(), format!("{GRANT}&client_assertion_type=x&client_assertion=y")),
        (authorization("Bearer abc"), GRANT.to_owned()),
        (authorization("Basic"), GRANT.to_owned()),
        (authorization("Basic !!!"), GRANT.to_owned()),
        (authorization("Basic bm8tY29sb24="), GRANT.to_owned()),
        (authorization("Basic d29ya2VyOiU="), GRANT.to_owned()),
        (authorization("Basic d29ya2VyOv/+"), GRANT.to_owned()),
        (authorization("Basic d29ya2VyOgA="), GRANT.to_owned()),
        (authorization(&format!("Basic {}", "A".repeat(16_000))), GRANT.to_owned()),
        (authorization("Digest username=\"worker\""), String::new()),
    ] {
        let answer = server.post(&headers, &body).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{headers}{body}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("basic realm="), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_ambiguous_requests_are_invalid_request() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let header = basic("worker", secret.expose());
    let in_body = format!("client_id=worker&client_secret={}", secret.expose());
    for (headers, body) in [
        (format!("{FORM}{header}{header}"), GRANT.to_owned()),
        (format!("{FORM}{header}"), format!("{GRANT}&{in_body}")),
        (format!("{FORM}{header}"), format!("{GRANT}&client_assertion=x")),
        (format!("{FORM}{header}"), format!("{GRANT}&client_id=other")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&client_assertion=x")),
        (FORM.to_owned(), format!("{GRANT}&client_secret={}", secret.expose())),
        (FORM.to_owned(), format!("{GRANT}&{GRANT}&{in_body}")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&scope=a&scope=a")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&canary=1&canary=2")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&scope=%00")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&scope=%ff")),
        (FORM.to_owned(), format!("{GRANT}&{in_body}&scope=%zz")),
        ("Content-Type: application/json\r\n".to_owned(), format!("{{\"{GRANT}\":1}}")),
        (String::new(), format!("{GRANT}&{in_body}")),
    ] {
        let answer = server.post(&headers, &body).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{headers}{body}");
        assert!(!answer.body.contains("canary") && !answer.body.contains(secret.expose()), "{answer:?}");
    }
    assert_eq!(server.counters.values().granted, 0);
    server.stop().await;
}

#[tokio::test]
async fn t36_other_methods_are_told_which_one_to_use() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let send = async |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        Answer::parse(&server.raw(request).await)
    };
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let answer = send(method, "/oauth/token?grant_type=client_credentials").await;
        assert_eq!((answer.status, answer.error().as_str()), (405, "invalid_request"), "{method}");
        assert_eq!(answer.header("allow"), Some("post"));
    }
    assert_eq!(send("HEAD", "/oauth/token").await.status, 405);
    let answer = send("POST", "/oauth/jwks").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")));
    for path in ["/oauth/jwks", "/.well-known/openid-configuration", "/healthz"] {
        let (get, head) = (send("GET", path).await, send("HEAD", path).await);
        assert_eq!((head.status, head.body.as_str(), &head.headers), (200, "", &get.headers), "{path}");
    }
    for path in ["/", "/oauth/token/", "/oauth", "/../oauth/token", "/%6fauth/token", "/canary"] {
        let answer = send("POST", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("canary"));
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_ten_thousand_parameters_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let many = (0..=10_000).map(|at| at.to_string()).collect::<Vec<_>>().join("&p");
    assert!(many.len() < 64 * 1024, "so that it is the count that is refused");
    let answer = server.request_token("worker", &secret, &many).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    assert!(answer.body.contains("64 parameters"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn t36_a_body_of_64_megabytes_is_refused_with_a_reason() {
    const BYTES: usize = 64 * 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let chunk = vec![b'a'; 1024 * 1024];
    for framing in ["Content-Length: 67108864", "Transfer-Encoding: chunked"] {
        let begun = Instant::now();
        let (mut read, mut write) = server.connect().await.into_split();
        let sending = tokio::spawn({
            let chunk = chunk.clone();
            let head = format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}{framing}\r\n\r\n");
            async move {
                write.write_all(head.as_bytes()).await?;
                for _ in 0..BYTES / chunk.len() {
                    if framing.starts_with("Transfer") {
                        write.write_all(b"100000\r\n").await?;
                    }
                    write.write_all(&chunk).await?;
                    if framing.starts_with("Transfer") {
                        write.write_all(b"\r\n").await?;
                    }
                }
                Ok::<_, std::io::Error>(write)
            }
        });
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer).await.unwrap();
        let answer = Answer::parse(std::str::from_utf8(&answer).unwrap());
        assert_eq!((answer.status, answer.error().as_str()), (413, "invalid_request"), "{framing}");
        assert_eq!(answer.header("connection"), Some("close"));
        // The rest of the body is taken and thrown away, so the caller is not cut off before it reads the answer.
        drop(sending.await.unwrap().unwrap());
        assert!(begun.elapsed() < Duration::from_secs(10), "{framing} took {:?}", begun.elapsed());
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_a_body_announced_and_not_sent_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let begun = Instant::now();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Expect: 100-continue\r\nContent-Length: 67108864\r\n\r\n"
    );
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    assert_eq!(answer.status, 413);
    assert!(begun.elapsed() < Duration::from_secs(2));
    server.stop().await;
}

#[tokio::test]
async fn t36_heads_are_bounded_and_broken_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let many = "X: 1\r\n".repeat(200);
    let long = format!("X: {}\r\n", "a".repeat(100_000));
    for (request, status) in [
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{long}\r\n"), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)), "431"),
        ("\0\0\0\r\n\r\n".to_owned(), "400"),
        ("POST /oauth/token HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), "400"),
        ("POST /oauth/token HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = server.raw(&request).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(&format!(" {status} ")), "{status} expected, got {first:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn t37_nothing_that_the_caller_sent_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let in_body = format!("client_id=worker&client_secret={}", secret.expose());
    for body in [
        format!("grant_type=canary&{in_body}"),
        format!("{GRANT}&{in_body}&scope=canary"),
        format!("{GRANT}&{in_body}&resource=canary"),
        format!("{GRANT}&{in_body}&canary=canary"),
        format!("{GRANT}&client_id=canary&client_secret=canary"),
        format!("{GRANT}&canary=1&canary=2"),
    ] {
        let answer = server.post(&format!("{FORM}X-Canary: canary\r\n"), &body).await;
        assert!(!format!("{answer:?}").contains("canary"), "{body}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn t42_the_host_header_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let path = "/.well-known/oauth-authorization-server";
    let expected = server.get(path).await.body;
    for request in [
        format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n"
        ),
        format!("GET http://evil.example{path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        format!("GET {path} HTTP/1.0\r\n\r\n"),
    ] {
        assert_eq!(Answer::parse(&server.raw(request).await).body, expected);
    }
    server.stop().await;
}
