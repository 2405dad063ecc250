//! What others put into our place, or answer in a server's place: bounded, and no record.

use super::{body, key, name, put, version, write};
use crate::support::redis_server::{RedisServer, impostor};
use jeton::store::{BodyChange, Change, RedisStore, SharedStore, StoreFaultKind, Swap};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn t29_whatever_lies_under_the_key_is_no_record_and_is_overwritten() {
    let server = RedisServer::start();
    let store = RedisStore::at(server.url()).build().unwrap();
    let name = name();
    let key = key(&name);
    let record = {
        write(&store, &name, None, "ours").await;
        redis::from_redis_value::<Vec<u8>>(server.admin(&format!("GET {key}"))).unwrap()
    };
    let huge = "x".repeat(1 << 20);
    let foreign: Vec<Vec<&str>> = vec![
        vec!["LPUSH", &key, "canary"],
        vec!["HSET", &key, "field", "canary"],
        vec!["SADD", &key, "canary"],
        vec!["ZADD", &key, "1", "canary"],
        vec!["XADD", &key, "*", "field", "canary"],
        vec!["SET", &key, "canary"],
        vec!["SET", &key, ""],
        vec!["SET", &key, &huge],
        vec!["SETRANGE", &key, "100000000", "far"],
        vec!["SET", &key, "J1aaaaaaaaaaaaaaaa-00000000000000-00000000000000-00000000000000000"],
        vec!["SET", &key, "J1aaaaaaaaaaaaaaaa999999999999999999999999999999999999999999999000"],
        vec!["SET", &key, "J1aaaaaaaaaaaaaaaa000000000000000000000000000000000000000000000999"],
    ];
    for command in foreign {
        server.admin(&format!("DEL {key}"));
        server.admin_words(&command);
        let begun = Instant::now();
        assert!(store.load(&name).await.unwrap().record.is_none(), "{}", command[0]);
        let swap = store.compare_and_swap(&name, Some(version()), put("never")).await.unwrap();
        assert!(matches!(&swap, Swap::Conflict(reading) if reading.record.is_none()), "{swap:?}");
        write(&store, &name, None, "ours again").await;
        assert_eq!(body(&store, &name).await.unwrap().1, "ours again", "{}", command[0]);
        assert!(begun.elapsed() < Duration::from_secs(1), "{} took {:?}", command[0], begun.elapsed());
    }
    // A record that somebody took the end from is over at its end all the same.
    let mut over = record;
    over[18..63].fill(b'0');
    let over = String::from_utf8_lossy(&over).into_owned();
    server.admin_words(&["SET", &key, &over]);
    assert!(store.load(&name).await.unwrap().record.is_none());
}

#[tokio::test]
async fn records_end_by_themselves_with_the_last_of_their_parts() {
    let server = RedisServer::start();
    let store = RedisStore::at(server.url()).build().unwrap();
    let lives = |lease: Option<u64>, keep: u64, life: u64| Change {
        lease: lease.map(Duration::from_secs),
        keep_for: Duration::from_secs(keep),
        body: BodyChange::Put { body: "body".into(), life: Duration::from_secs(life) },
        ..put("")
    };
    for (change, seconds) in
        [(lives(Some(30), 10, 20), 30), (lives(None, 40, 20), 40), (lives(Some(30), 10, 50), 50)]
    {
        let name = name();
        store.compare_and_swap(&name, None, change).await.unwrap();
        let left: i64 = redis::from_redis_value(server.admin(&format!("PTTL {}", key(&name)))).unwrap();
        assert!((seconds * 1000 - 2000..=seconds * 1000).contains(&left), "{left} of {seconds} s");
    }
    let name = name();
    let change = Change { body: BodyChange::Drop, keep_for: Duration::ZERO, ..put("") };
    store.compare_and_swap(&name, None, change).await.unwrap();
    assert_eq!(server.admin(&format!("EXISTS {}", key(&name))), redis::Value::Int(0));
}

#[tokio::test]
async fn a_change_that_is_too_large_is_refused_before_it_is_sent() {
    let store = RedisStore::at("redis://127.0.0.1:1").build().unwrap();
    let change = Change { note: vec![0; 257].into(), ..put("") };
    let fault = store.compare_and_swap(&name(), None, change).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable, "{fault}");
    let change = put(&"x".repeat(128 * 1024 + 1));
    let fault = store.compare_and_swap(&name(), None, change).await.unwrap_err();
    assert!(fault.detail().contains("too large"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_not_kept() {
    let sent = Arc::new(AtomicUsize::new(0));
    let port = impostor({
        let sent = Arc::clone(&sent);
        move |stream| {
            let chunk = vec![b'x'; 1 << 16];
            let _ = stream.write_all(b"$9999999999\r\n");
            while stream.write_all(&chunk).is_ok() {
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        }
    });
    let store = RedisStore::at(format!("redis://127.0.0.1:{port}")).build().unwrap();
    let fault = store.load(&name()).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Unreachable, "{fault}");
    // What is in the buffers of the sockets is on top.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20, "{} bytes were taken", sent.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_server_of_something_else_is_malformed() {
    let port = impostor(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    let store = RedisStore::at(format!("redis://127.0.0.1:{port}")).build().unwrap();
    let fault = store.load(&name()).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Malformed, "{fault}");
    let store = RedisStore::at(format!("redis://:password@127.0.0.1:{port}")).build().unwrap();
    let fault = store.load(&name()).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Malformed, "{fault}");
}
