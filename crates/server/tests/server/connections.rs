//! Connections that are many, slow, or end in the middle.

use super::{Answer, FORM, Running, add_worker, read_to_end};
use jeton_server::endpoint::{IssuedToken, TokenCall, TokenEndpoint, TokenRefusal};
use jeton_server::http::{Documents, Face};
use jeton_server::{Config, Limits, Listen, Server, listen};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) fn start_with(data_dir: &Path, limits: Limits) -> Running {
    Running::with(Config { listen: Listen::Localhost { port: 0 }, limits, ..Config::new(data_dir) })
}

/// Reads one answer with a `Content-Length` from a connection that stays open.
pub(super) async fn read_one(stream: &mut TcpStream) -> Answer {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let bytes = stream.read(&mut buffer).await.unwrap();
        assert_ne!(bytes, 0, "the connection ended: {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..bytes]);
        let so_far = std::str::from_utf8(&text).unwrap();
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() == length.unwrap_or(0) {
            return Answer::parse(so_far);
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_many_requests() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let mut stream = server.connect().await;
    for good in [true, false, true, false, true] {
        let secret = if good { secret.expose() } else { "wrong" };
        let body = format!("grant_type=client_credentials&client_id=worker&client_secret={secret}");
        let head =
            format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        assert_eq!(read_one(&mut stream).await.status, if good { 200 } else { 401 });
    }
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_has_no_more_to_say_hears_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    // The answer to a wrong secret waits for a look at the registry.
    for (secret, status) in [(secret.expose().as_str(), 200), ("wrong", 401)] {
        let mut stream = server.connect().await;
        let body = format!("grant_type=client_credentials&client_id=worker&client_secret={secret}");
        let head =
            format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = Answer::parse(&read_to_end(&mut stream).await);
        assert_eq!(answer.status, status);
    }
    server.stop().await;
}

/// Refuses everybody after a while.
struct Slow;

impl TokenEndpoint for Slow {
    async fn answer(&self, _: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Err(TokenRefusal::invalid_client())
    }
}

#[tokio::test]
async fn what_comes_behind_the_last_request_takes_nothing_from_its_answer() {
    let documents = Documents::new("http://localhost", b"{\"keys\":[]}".to_vec()).unwrap();
    let face = Arc::new(Face::new(Slow, documents, Limits::default()));
    let listeners = listen::bind(&Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()])).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let serving = tokio::spawn(listen::serve(listeners, face, std::future::pending()));
    let body = "grant_type=client_credentials&client_id=worker&client_secret=x";
    let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let request = format!("{head}{FORM}Content-Length: {}\r\n\r\n{body}", body.len());
    for more in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // While it is answered.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(more.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(Answer::parse(std::str::from_utf8(&answer).unwrap()).status, 401);
        // A reset may come behind the end.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(stream.take_error().unwrap().is_none(), "the connection was reset");
    }
    serving.abort();
}

#[tokio::test]
async fn t36_a_head_has_a_hundred_fields_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    for (fields, status) in [(Limits::MAX_HEADERS, 200), (Limits::MAX_HEADERS + 1, 431)] {
        let mut stream = server.connect().await;
        let others = "X: y\r\n".repeat(fields - 1);
        let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{others}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_one(&mut stream).await.status, status);
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_a_slow_body_is_answered_and_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        start_with(dir.path(), Limits { body_timeout: Duration::from_millis(300), ..Limits::default() });
    let mut stream = server.connect().await;
    let head = format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 100\r\n\r\ngrant");
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    assert_eq!((answer.status, answer.error().as_str()), (408, "invalid_request"));
    assert!((200..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn t36_a_head_sent_slowly_and_a_silent_connection_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        start_with(dir.path(), Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() });
    let begun = Instant::now();
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    let mut used = server.connect().await;
    used.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_one(&mut used).await;
    let dribble = async {
        for byte in b"GET /healthz HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'a')) {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (silent, used, ()) = tokio::join!(read_to_end(&mut silent), read_to_end(&mut used), dribble);
    assert_eq!((silent.as_str(), used.as_str()), ("", ""));
    assert!((250..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn t36_a_peer_that_does_not_read_its_answers_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        start_with(dir.path(), Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() });
    let mut stream = server.connect().await;
    let begun = Instant::now();
    let request = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let sending = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), sending).await.expect("the peer was never cut off");
    assert!(begun.elapsed() > Duration::from_millis(250));
    assert_eq!(server.get("/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_is_open_at_shutdown_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let body = format!("grant_type=client_credentials&client_id=worker&client_secret={}", secret.expose());
    let head =
        format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", body.len());
    let (mut open, mut idle) = (server.connect().await, server.connect().await);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_one(&mut idle).await;
    open.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = server.address;
    server.stop.send(()).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection ends at once");
    assert!(TcpStream::connect(address).await.is_err(), "no new connection is taken");
    open.write_all(body.as_bytes()).await.unwrap();
    let answer = Answer::parse(&read_to_end(&mut open).await);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    server.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_drain_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { drain_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(dir.path(), limits);
    let mut stuck = server.connect().await;
    let head = format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 100\r\n\r\n");
    stuck.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    server.stop().await;
    assert!((250..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(read_to_end(&mut stuck).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_answered() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Arc::new(Running::start(dir.path()));
    let requests: Vec<_> = (0..200)
        .map(|at| {
            let (server, secret) = (Arc::clone(&server), secret.clone());
            let client_id = if at % 4 == 0 { format!("absent-{at}") } else { "worker".to_owned() };
            tokio::spawn(async move { server.request_token(&client_id, &secret, "").await.status })
        })
        .collect();
    let mut granted = 0;
    for request in requests {
        granted += u64::from(request.await.unwrap() == 200);
    }
    let counted = server.counters.values();
    assert_eq!((granted, counted.granted, counted.invalid_client), (150, 150, 50));
}

#[tokio::test]
async fn every_loopback_address_answers() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::bind(Config { listen: Listen::Localhost { port: 0 }, ..Config::new(dir.path()) }).unwrap();
    let addresses = server.local_addrs().to_vec();
    let serving = tokio::spawn(server.serve(std::future::pending()));
    for address in addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(read_one(&mut stream).await.status, 200, "{address}");
    }
    serving.abort();
}
