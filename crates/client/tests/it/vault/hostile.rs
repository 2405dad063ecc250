//! Servers that are no Vault, or one that means harm: bounded, told, and given nothing.

use super::{OpenBao, ROOT_TOKEN, around, assert_fault, current, opened};
use crate::support::socket::{RawScript, Server, raw, text};
use http::Response;
use jeton::credentials::{SecretPlace, SourceFaultKind as Kind, Surroundings};
use serde_json::json;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const TOKEN: &str = "s.canary-token";

fn with_token(url: &str) -> Surroundings {
    around(url, &[("VAULT_TOKEN", TOKEN)])
}

/// That a server which answers every request so is told so, within the time that a read has.
async fn check(status: u16, body: &str, kind: Kind, words: &[&str]) {
    let body = body.to_owned();
    let server = Server::start(move |_, _, _| text(status, body.clone())).await;
    let begun = Instant::now();
    assert_fault(&opened("vault:secret/a", &with_token(&server.url(""))), kind, words).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(server.requests() <= 4, "{} requests", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_no_redirect_takes_the_token_along() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = elsewhere.local_addr().unwrap();
        let standby = Server::start(move |_, request, _| {
            let location = format!("http://{address}{}", request.uri());
            Response::builder()
                .status(status)
                .header("location", location)
                .body(http_body_util::Full::default())
                .unwrap()
        })
        .await;
        let source = opened("vault:secret/a", &with_token(&standby.url("")));
        let told = format!(
            "it redirects to http://{address}, and a token is not sent there: set the option address"
        );
        assert_fault(&source, Kind::Unusable, &[&told]).await;
        let visit = tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await;
        assert!(visit.is_err(), "{status}: somebody came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_behind_tls_is_trusted_by_its_own_authority_alone() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.pem();
    let server = OpenBao::start_with_tls(&certificate, &certified.signing_key.serialize_pem());
    server.put("a", &json!({ "client_secret": "found" }));
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("ca.pem"), &certificate).unwrap();
    fs::write(files.path().join("none.pem"), "canary").unwrap();
    let (url, place) = (server.tls_url("localhost"), "vault:secret/a");
    let at = |url: &str, variables: &[(&str, &str)]| {
        let variables = [&[("VAULT_TOKEN", ROOT_TOKEN)], variables].concat();
        Surroundings { directory: files.path().to_owned(), ..around(url, &variables) }
    };
    assert_eq!(current(&opened("vault:secret/a?ca_file=ca.pem", &at(&url, &[]))).await, "found");
    assert_eq!(current(&opened(place, &at(&url, &[("VAULT_CACERT", "ca.pem")]))).await, "found");
    let roots = jeton::http::TlsRoots::Only(certificate.into_bytes());
    assert_eq!(current(&opened(place, &Surroundings { tls_roots: roots, ..at(&url, &[]) })).await, "found");

    // Nobody can say that it need not be trusted, and it is trusted by its name.
    let unverified = at(&url, &[("VAULT_SKIP_VERIFY", "true"), ("BAO_SKIP_VERIFY", "true")]);
    assert_fault(&opened(place, &unverified), Kind::Unreachable, &["cannot connect", "certificate"]).await;
    let by_address = at(&server.tls_url("127.0.0.1"), &[("BAO_CACERT", "ca.pem")]);
    assert_fault(&opened(place, &by_address), Kind::Unreachable, &["cannot connect", "certificate"]).await;
    let no_certificate = at(&url, &[("BAO_CACERT", "none.pem")]);
    let fault = place.parse::<SecretPlace>().unwrap().open(&no_certificate).err().unwrap();
    assert!(fault.to_string().contains("no PEM certificate in it"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_vault_answers_is_told_without_a_word_of_it() {
    for body in [
        "",
        "<html>canary</html>",
        "null",
        "[]",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":"canary"}"#,
        r#"{"data":{"ttl":"canary"}}"#,
        r#"{"data":{"data":null,"metadata":{"version":3}}}"#,
        r#"{"data":{"data":["canary"]}}"#,
        "{\"data\":{\"data\":{\"a\":",
    ] {
        check(200, body, Kind::Malformed, &["its answer is not that of a Vault: is the address right"]).await;
    }
    let deep = format!(r#"{{"data":{{"ttl":0,"data":{{"a":{}}}}}}}"#, "[".repeat(100_000));
    check(200, &deep, Kind::Malformed, &["not that of a Vault"]).await;
    check(500, "<html>canary</html>", Kind::Unreachable, &["it answered 500"]).await;
    check(502, r#"{"errors":["upstream"]}"#, Kind::Unreachable, &["it answered 502; it says \"upstream\""])
        .await;
    check(503, "<html>canary</html>", Kind::Unreachable, &["it answered 503"]).await;
    check(
        429,
        r#"{"errors":["request path: rate limit quota exceeded"]}"#,
        Kind::Unreachable,
        &["asks to be left alone"],
    )
    .await;
    check(418, "{}", Kind::Unreachable, &["it answered 418"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_what_a_server_says_is_told_unless_it_repeats_the_token() {
    let echo = json!({ "errors": [format!("no right for {TOKEN}")] }).to_string();
    check(400, &echo, Kind::Unusable, &["it does not take this for a secret"]).await;
    check(403, &echo, Kind::Denied, &["the token is not accepted"]).await;
    let escapes = json!({ "errors": ["a\u{1b}[2Jb\n\n c"] }).to_string();
    check(400, &escapes, Kind::Unusable, &["it says \"a?[2Jb c\""]).await;
    // A login tells its proofs to the server, which must not tell them to the log.
    let login = Server::start(|_, _, body| {
        text(400, json!({ "errors": [String::from_utf8_lossy(body)] }).to_string())
    })
    .await;
    let variables = [("R", "canary-role"), ("S", "canary-secret-id")];
    let source = opened(
        "vault:secret/a?auth=approle&role_id=env:R&secret_id=env:S",
        &around(&login.url(""), &variables),
    );
    assert_fault(&source, Kind::Denied, &["the login at auth/approle was refused"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_end_is_bounded() {
    let huge = text_of(2 * 1024 * 1024);
    check(200, &huge, Kind::Unreachable, &["the answer is longer than 1048576 bytes"]).await;
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), huge.into_bytes()].concat();
    let address = raw(RawScript { bytes: endless, drip: None, stay_open: true }).await;
    let source = opened("vault:secret/a", &with_token(&format!("http://{address}")));
    assert_fault(&source, Kind::Unreachable, &["the answer is longer than 1048576 bytes"]).await;

    let silent = raw(RawScript { bytes: b"HTTP/1.1 200 OK\r\n".to_vec(), drip: None, stay_open: true }).await;
    let source = opened("vault:secret/a", &with_token(&format!("http://{silent}")));
    let begun = Instant::now();
    assert_fault(&source, Kind::Unreachable, &["no answer within the time allowed"]).await;
    assert!(begun.elapsed() < Duration::from_secs(9));
}

/// Who waits behind a login that fails is told so with it, and does not try for itself.
#[tokio::test(flavor = "multi_thread")]
async fn t8_many_reads_behind_a_login_that_is_refused_share_its_refusal() {
    let server = Server::start(|_, _, _| text(400, r#"{"errors":["invalid role or secret ID"]}"#)).await;
    let around = around(&server.url(""), &[("R", "0f5e-1d2c")]);
    let source = opened("vault:secret/a?auth=approle&role_id=env:R", &around);
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.read().await })
        })
        .collect();
    for read in reads {
        let fault = read.await.unwrap().unwrap_err();
        assert!(
            fault.to_string().contains("check the role and the role_id; it says \"invalid role"),
            "{fault}"
        );
    }
    let logins = server.requests();
    assert!(logins <= 10, "{logins} logins for a hundred reads at once");
    source.read().await.unwrap_err();
    assert_eq!(server.requests(), logins + 1, "the next read tries again");
}

fn text_of(bytes: usize) -> String {
    format!(r#"{{"data":{{"data":{{"client_secret":"{}"}}}}}}"#, "x".repeat(bytes))
}

/// A slow answer about the previous version does not take the current one away.
#[tokio::test(flavor = "multi_thread")]
async fn a_previous_version_that_cannot_be_read_is_done_without() {
    let server = Server::start(|_, request, _| match (request.uri().path(), request.uri().query()) {
        ("/base/v1/auth/token/lookup-self", None) => text(200, r#"{"data":{"ttl":0}}"#),
        ("/base/v1/secret/data/a", None) => {
            text(200, r#"{"data":{"data":{"client_secret":"new"},"metadata":{"version":7}}}"#)
        }
        ("/base/v1/secret/data/a", Some("version=6")) => text(500, ""),
        (path, query) => panic!("{path} {query:?}"),
    })
    .await;
    let source = opened("vault:secret/a", &with_token(&server.url("/base/")));
    assert_eq!(current(&source).await, "new");
    assert_eq!(server.requests(), 3);
}

/// What goes with each request, and what does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_carries_the_token_and_says_that_it_is_meant() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let source = opened("vault:secret/a?namespace=team/b", &with_token(&url));
    let reading = tokio::spawn(async move { source.read().await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await.unwrap();
        head.extend_from_slice(&buffer[..count]);
    }
    drop(stream);
    let head = String::from_utf8(head).unwrap();
    for line in [
        "GET /v1/auth/token/lookup-self HTTP/1.1",
        "x-vault-token: s.canary-token",
        "x-vault-namespace: team/b",
        "x-vault-request: true",
    ] {
        assert!(head.lines().any(|it| it.eq_ignore_ascii_case(line)), "{head}");
    }
    reading.await.unwrap().unwrap_err();
}
