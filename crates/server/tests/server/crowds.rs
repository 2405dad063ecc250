//! More callers than there are connections.

use super::connections::{read_one, start_with};
use super::throttling::{ELSEWHERE, connect_from};
use super::{Answer, FORM, Running, add_worker, read_to_end};
use jeton_server::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

async fn ask_for_health(stream: &mut TcpStream) -> Answer {
    stream.write_all(HEALTH).await.unwrap();
    read_one(stream).await
}

/// A connection on which a token request has begun, and the rest of the request.
async fn begin_request(server: &Running, client_id: &str) -> (TcpStream, String) {
    let body = format!("grant_type=client_credentials&client_id={client_id}&client_secret=wrong");
    let head =
        format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", body.len());
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    (stream, body)
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    // One of them is kept for other addresses.
    let server = start_with(dir.path(), Limits { max_connections: 9, ..Limits::default() });
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = server.connect().await;
        assert_eq!(ask_for_health(&mut stream).await.status, 200);
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ask_for_health(&mut held[0]).await.status, 200, "while nobody waits, nobody is sent away");
    let begun = Instant::now();
    for _ in 0..8 {
        assert_eq!(ask_for_health(&mut server.connect().await).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for stream in &mut held {
        assert_eq!(read_to_end(stream).await, "", "the idle connections were ended");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_before_its_connection_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_with(dir.path(), Limits { max_connections: 2, ..Limits::default() });
    let (mut one, rest_of_one) = begin_request(&server, "one").await;
    let (mut two, rest_of_two) = begin_request(&server, "two").await;
    let mut third = server.connect().await;
    third.write_all(HEALTH).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), read_one(&mut third)).await;
    assert!(early.is_err(), "there was no place for a third connection");
    for (stream, rest) in [(&mut one, rest_of_one), (&mut two, rest_of_two)] {
        stream.write_all(rest.as_bytes()).await.unwrap();
        let answer = Answer::parse(&read_to_end(stream).await);
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    }
    assert_eq!(read_one(&mut third).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn who_has_waited_for_a_place_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_with(dir.path(), Limits { max_connections: 4, ..Limits::default() });
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.push(server.connect().await);
    }
    let mut fifth = server.connect().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for caller in &mut callers {
        let answer = ask_for_health(caller).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(read_to_end(caller).await, "");
    }
    assert_eq!(ask_for_health(&mut fifth).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn t36_silent_connections_keep_health_and_tokens_waiting_for_seconds_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = start_with(dir.path(), Limits { max_connections: 16, ..Limits::default() });
    let mut silent = Vec::new();
    for at in 0..32 {
        let mut stream = server.connect().await;
        if at % 2 == 0 {
            stream.write_all(b"POST /oauth/token HTTP/1.1\r\nHost").await.unwrap();
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
    // The 32 are before them in the queue, 16 at a time.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(silent);
    server.stop().await;
}

/// Holds a silent connection from [`ELSEWHERE`], and opens another one whenever the server ends it.
async fn hold_and_reopen(server: Arc<Running>, opened: Arc<AtomicUsize>) {
    loop {
        let Ok(mut stream) = connect_from(ELSEWHERE, server.address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        opened.fetch_add(1, Ordering::Relaxed);
        let _begun = stream.write_all(b"POST /oauth/token HTTP/1.1\r\nHost").await;
        let _ended = stream.read(&mut [0; 16]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_an_address_that_reopens_silent_connections_keeps_no_other_address_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Arc::new(start_with(dir.path(), Limits { max_connections: 16, ..Limits::default() }));
    let opened = Arc::new(AtomicUsize::new(0));
    let attackers: Vec<_> =
        (0..128).map(|_| tokio::spawn(hold_and_reopen(Arc::clone(&server), Arc::clone(&opened)))).collect();
    while opened.load(Ordering::Relaxed) < 128 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Fourteen of 128 are served in 2 s, so 150 callers that wait for their turn each time would wait for minutes.
    let honest = async {
        for _ in 0..150 {
            assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), honest).await.expect("the honest caller waits");
    assert!(server.counters.values().connections_refused > 0, "more waited than there is room for");
    for attacker in &attackers {
        attacker.abort();
    }
    for attacker in attackers {
        drop(attacker.await);
    }
    Arc::into_inner(server).unwrap().stop().await;
}
