//! Requests that two readers could take apart in two ways, and connections that carry more than one request.

use super::{Answer, FORM, Running, add_worker, basic, read_to_end};
use jeton_proto::secret::Secret;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

const GRANT: &str = "grant_type=client_credentials";

struct Target {
    server: Running,
    secret: Secret<String>,
    _data_dir: TempDir,
}

impl Target {
    fn start() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let secret = add_worker(data_dir.path());
        Self { server: Running::start(data_dir.path()), secret, _data_dir: data_dir }
    }

    /// A form that has everything.
    fn form(&self) -> String {
        format!("{GRANT}&client_id=worker&client_secret={}", self.secret.expose())
    }

    /// A request that is granted, after which the connection ends.
    fn last_request(&self) -> String {
        let form = self.form();
        format!(
            "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{FORM}Content-Length: {}\r\n\r\n{form}",
            form.len()
        )
    }

    fn in_chunks(&self, framing: &str, trailers: &str) -> String {
        let form = self.form();
        format!(
            "POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}{framing}\r\n{:x}\r\n{form}\r\n0\r\n{trailers}\r\n",
            form.len()
        )
    }

    /// The status codes of all answers on one connection, until the server ends it.
    async fn statuses(&self, requests: &str) -> Vec<u16> {
        let text = self.server.raw(requests).await;
        // A body ends without a line break, so the next answer begins in the middle of a line.
        text.split("HTTP/1.").skip(1).map(|answer| answer.get(2..5).unwrap().parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn t36_a_body_with_two_lengths_is_the_last_on_its_connection() {
    let target = Target::start();
    let hidden = target.last_request();
    for framing in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 99999999\r\n",
    ] {
        let answers = target.statuses(&(target.in_chunks(framing, "") + &hidden)).await;
        assert_eq!(answers, [200], "{framing}: nothing that comes after it is read");
    }
    for framing in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
    ] {
        let answers = target.statuses(&(target.in_chunks(framing, "") + &hidden)).await;
        assert_eq!(answers, [400], "{framing}");
    }
    assert_eq!(target.server.counters.values().granted, 3);
    target.server.stop().await;
}

#[tokio::test]
async fn t36_a_head_that_can_be_read_in_two_ways_is_refused() {
    let target = Target::start();
    let good = target.last_request();
    assert_eq!(target.statuses(&good).await, [200]);
    for (from, to) in [
        ("Host: x\r\n", ""),
        ("Host: x\r\n", "Host: x\r\nHost: x\r\n"),
        ("Host: x\r\n", "Host: user@x\r\n"),
        ("Host: x\r\n", "Host: x\r\nX: a\r\n b\r\n"),
        ("Host: x\r\n", "Host: x\r\nX: a\rb\r\n"),
        ("Host: x\r\n", "Host: x\r\nX: a\0b\r\n"),
        ("Host: x\r\n", "Host: x\r\nX y: a\r\n"),
        ("Host: x\r\n", "Host: x\r\n: a\r\n"),
        ("HTTP/1.1", "HTTP/1.2"),
        ("HTTP/1.1", "HTTP/1.1 x"),
        ("POST /oauth/token HTTP/1.1", "POST oauth/token HTTP/1.1"),
        ("POST /oauth/token HTTP/1.1", "POST /oauth/token"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert_eq!(
            target.statuses(&(bad.replacen("Connection: close\r\n", "", 1) + &good)).await,
            [400],
            "{to:?}"
        );
    }
    let answer = Answer::parse(&target.server.raw(good.replacen("Host: x\r\n", "", 1)).await);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    assert!(answer.body.contains("there is no Host header"), "{answer:?}");
    let answer = Answer::parse(&target.server.raw("GET /healthz HTTP/1.1\r\n\r\n").await);
    assert_eq!((answer.status, answer.body.as_str()), (400, "bad request\n"));
    target.server.stop().await;
}

#[tokio::test]
async fn what_http_allows_is_understood() {
    let target = Target::start();
    let good = target.last_request();
    for request in [
        good.replacen("/oauth/token", "/oauth/token?x=1", 1),
        good.replacen("/oauth/token", "http://elsewhere.example/oauth/token", 1),
        good.replacen("Host: x", "hOST:\tx:80  ", 1),
        good.replacen("Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n", 1),
        good.replacen("Host: x\r\n", &format!("Host: x\r\nX: {}\r\n", "a".repeat(30_000)), 1),
        good.replacen("Host: x\r\n", "", 1).replacen("HTTP/1.1", "HTTP/1.0", 1),
        good.replacen("Connection: close\r\n", "", 1).replacen("HTTP/1.1", "HTTP/1.0", 1),
        format!("\r\n{good}"),
        target.in_chunks("Connection: close\r\nTransfer-Encoding: Chunked\r\n", ""),
        target.in_chunks("Connection: close\r\nTransfer-Encoding: chunked\r\n", "X: 1\r\nY: 2\r\n"),
    ] {
        let answers = target.statuses(&request).await;
        assert_eq!(answers.last(), Some(&200), "{request}");
        assert!(answers[..answers.len() - 1].iter().all(|status| *status == 100), "{answers:?}: {request}");
    }
    target.server.stop().await;
}

#[tokio::test]
async fn trailers_are_bounded_and_say_nothing() {
    let target = Target::start();
    let credential = basic("worker", target.secret.expose());
    let in_trailer = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{GRANT}\r\n0\r\n{credential}\r\n",
        GRANT.len()
    );
    assert_eq!(target.statuses(&in_trailer).await, [401], "a credential in a trailer is none");
    for (framing, trailers) in [
        ("Transfer-Encoding: chunked\r\n", "X: aaaaaaaaaa\r\n".repeat(20_000)),
        ("Transfer-Encoding: chunked\r\n", format!("X: {}\r\n", "a".repeat(200_000))),
    ] {
        assert_eq!(target.statuses(&target.in_chunks(framing, &trailers)).await, [400]);
    }
    for chunks in [
        format!("1;{}\r\ng\r\n0\r\n\r\n", "a".repeat(100_000)),
        "fffffffffffffffff\r\n".to_owned(),
        "-1\r\n".to_owned(),
        "zz\r\n".to_owned(),
        "2\r\nabc\r\n0\r\n\r\n".to_owned(),
    ] {
        let head =
            format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(target.statuses(&(head + &chunks + &target.last_request())).await, [400], "{chunks:.20}");
    }
    target.server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_each_in_its_turn() {
    let target = Target::start();
    let keep = |request: String| request.replacen("Connection: close\r\n", "", 1);
    let good = keep(target.last_request());
    let wrong = good.replace("client_id=worker", "client_id=absent");
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let get = "GET /oauth/token HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "HEAD /oauth/token HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = [&good, &wrong, health, get, head, &wrong, &good, &target.last_request()].concat();
    assert_eq!(target.statuses(&requests).await, [200, 401, 200, 405, 405, 401, 200, 200]);
    target.server.stop().await;
}

#[tokio::test]
async fn a_body_that_was_not_read_is_never_read_as_a_request() {
    let target = Target::start();
    let hidden = target.last_request();
    for line in ["POST /healthz", "GET /healthz", "POST /elsewhere", "PUT /oauth/token", "GET /oauth/jwks"] {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", hidden.len());
        let answers = target.statuses(&(head + &hidden + &target.last_request())).await;
        assert!(
            answers.len() <= 2 && answers[1..].iter().all(|status| *status == 200),
            "{line}: {answers:?}"
        );
        let long = "a".repeat(300_000);
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", long.len());
        let answers = target.statuses(&(head + &long + &target.last_request())).await;
        assert_eq!(answers.len(), 1, "{line}: {answers:?}");
    }
    let granted = target.server.counters.values().granted;
    assert!(granted <= 5, "{granted} granted, and the hidden ones are five");
    target.server.stop().await;
}

#[tokio::test]
async fn other_protocols_are_turned_away_at_once() {
    let target = Target::start();
    for greeting in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"GET /healthz\r\n\r\n",
        b"EHLO x\r\n",
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
    ] {
        let mut stream = target.server.connect().await;
        stream.write_all(greeting).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(2), read_to_end(&mut stream)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{} is waited for", greeting.escape_ascii()));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    for line in ["CONNECT x:443", "OPTIONS *", "TRACE /", "GET //x/../oauth/token"] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(target.statuses(&request).await, [404], "{line}");
    }
    target.server.stop().await;
}
