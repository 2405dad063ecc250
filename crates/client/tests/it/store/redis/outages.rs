//! Servers that fail and come back: clear faults at once, and the store is used again within seconds.

use super::{
    ACL_RULES, Counting, Losing, PASSWORD, body, name, put, until_it_fails, until_it_works, works, write,
};
use crate::support::redis_server::{ADMIN_PASSWORD, RedisServer, text, wait_until};
use jeton::Secret;
use jeton::store::{RedisStore, SharedStore, StoreFaultKind, Subscription, Swap};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// "Within seconds."
const SOON: Duration = Duration::from_secs(3);

fn at(server: &RedisServer) -> RedisStore {
    RedisStore::at(server.url()).build().unwrap()
}

/// Waits until nothing more is told of what was before.
async fn quiet(subscription: &mut Subscription) {
    while timeout(Duration::from_millis(300), subscription.changed()).await.is_ok() {}
}

#[tokio::test]
async fn t30_a_killed_server_fails_at_once_and_is_used_again_with_its_followers() {
    let mut server = RedisServer::start();
    let (store, other, name) = (at(&server), at(&server), name());
    until_it_works(&store, SOON).await;
    let mut subscription = store.subscribe(&name).await.unwrap();
    server.kill();
    timeout(SOON, subscription.changed())
        .await
        .expect("followers look for themselves when the connection is lost");
    let fault = until_it_fails(&store).await;
    assert_eq!(fault.kind(), StoreFaultKind::Unreachable, "{fault}");
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(works(&store).await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "a dead server costs {:?}", begun.elapsed() / 100);

    server.restart();
    let after = until_it_works(&store, SOON).await;
    assert!(after < Duration::from_millis(1500), "a second between tries, but it took {after:?}");
    wait_until("the subscription is made again", &|| {
        text(&server.admin("CLIENT LIST TYPE pubsub")).contains("sub=1")
    });
    quiet(&mut subscription).await;
    write(&other, &name, None, "after").await;
    timeout(Duration::from_millis(500), subscription.changed()).await.expect("told over the new connection");
}

#[tokio::test]
async fn what_is_under_way_when_a_server_dies_fails_at_once() {
    let mut server = RedisServer::start();
    let store = at(&server);
    until_it_works(&store, SOON).await;
    server.signal("-STOP");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.load(&name()).await.map(|_| ()) }
    });
    sleep(Duration::from_millis(100)).await;
    let killed = Instant::now();
    server.kill();
    let fault = waiting.await.unwrap().unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Unreachable, "{fault}");
    assert!(killed.elapsed() < Duration::from_millis(500), "it took {:?}", killed.elapsed());
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_used_again_when_it_goes_on() {
    let server = RedisServer::start();
    let store = at(&server);
    until_it_works(&store, SOON).await;
    server.signal("-STOP");
    // The driver is in more of a hurry than the store.
    let hurried = timeout(Duration::from_millis(250), store.load(&name())).await;
    assert!(hurried.is_err());
    // Nobody waits any more, and yet the connection is looked at: soon everything fails at once.
    let patience = Instant::now() + Duration::from_secs(6);
    loop {
        let begun = Instant::now();
        let outcome = timeout(Duration::from_millis(250), store.load(&name())).await;
        if matches!(&outcome, Ok(Err(_))) && begun.elapsed() < Duration::from_millis(50) {
            break;
        }
        assert!(Instant::now() < patience, "a server that hangs still costs time");
        sleep(Duration::from_millis(50)).await;
    }
    server.signal("-CONT");
    until_it_works(&store, SOON).await;
}

#[tokio::test]
async fn t30_a_pause_and_a_long_command_are_sat_out() {
    let server = RedisServer::start();
    let store = at(&server);
    until_it_works(&store, SOON).await;
    server.admin("CLIENT PAUSE 1500 ALL");
    let fault = store.load(&name()).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::TimedOut, "{fault}");
    until_it_works(&store, SOON).await;
    let sleeping = std::thread::spawn({
        let url = server.unix_url();
        move || {
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            redis::cmd("DEBUG").arg("SLEEP").arg("1.5").exec(&mut connection).unwrap();
        }
    });
    until_it_fails(&store).await;
    until_it_works(&store, SOON).await;
    sleeping.join().unwrap();
}

#[tokio::test]
async fn t30_busy_with_a_script() {
    let server = RedisServer::with(&["busy-reply-threshold 50"]);
    let store = at(&server);
    until_it_works(&store, SOON).await;
    let busy = std::thread::spawn({
        let url = server.unix_url();
        move || {
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection).unwrap_err()
        }
    });
    let fault = until_it_fails(&store).await;
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable, "{fault}");
    assert!(fault.detail().contains("BUSY"), "{fault}");
    let mut killer = redis::Client::open(server.unix_url()).unwrap().get_connection().unwrap();
    redis::cmd("SCRIPT").arg("KILL").exec(&mut killer).unwrap();
    busy.join().unwrap();
    until_it_works(&store, SOON).await;
}

#[tokio::test]
async fn t30_flushed_with_its_scripts() {
    let server = RedisServer::start();
    let (store, name) = (at(&server), name());
    let version = write(&store, &name, None, "before").await;
    server.admin("FLUSHALL");
    server.admin("SCRIPT FLUSH");
    assert!(store.load(&name).await.unwrap().record.is_none());
    let swap = store.compare_and_swap(&name, Some(version), put("lost")).await.unwrap();
    assert!(matches!(&swap, Swap::Conflict(reading) if reading.record.is_none()), "{swap:?}");
    write(&store, &name, None, "after").await;
    assert_eq!(body(&store, &name).await.unwrap().1, "after");
}

#[tokio::test]
async fn t30_out_of_memory_it_is_read_but_not_written() {
    let server = RedisServer::start();
    let (store, name) = (at(&server), name());
    let version = write(&store, &name, None, "before").await;
    server.admin("CONFIG SET maxmemory 1");
    let fault = store.compare_and_swap(&name, Some(version), put("after")).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable);
    assert!(fault.detail().contains("OOM"), "{fault}");
    assert_eq!(body(&store, &name).await.unwrap(), (version, "before".to_owned()));
    server.admin("CONFIG SET maxmemory 0");
    write(&store, &name, Some(version), "after").await;
}

#[tokio::test]
async fn t30_a_replica_is_not_written_until_it_is_a_master() {
    let master = RedisServer::start();
    let replica = RedisServer::with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    wait_until("the replica follows", &|| {
        text(&replica.admin("INFO replication")).contains("link_status:up")
    });
    let store = at(&replica);
    let fault = until_it_fails(&store).await;
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable);
    assert!(fault.detail().contains("READONLY"), "{fault}");
    replica.admin("REPLICAOF NO ONE");
    until_it_works(&store, SOON).await;
    // A replica that lost its master and does not answer for it.
    replica.admin("CONFIG SET replica-serve-stale-data no");
    replica.admin("REPLICAOF 127.0.0.1 1");
    let fault = store.load(&name()).await.unwrap_err();
    assert!(fault.detail().contains("MASTERDOWN"), "{fault}");
    replica.admin("REPLICAOF NO ONE");
    until_it_works(&store, SOON).await;
}

#[tokio::test]
async fn t30_loading() {
    let mut server = RedisServer::start();
    let (store, name) = (at(&server), name());
    write(&store, &name, None, "before").await;
    server.admin("DEBUG POPULATE 20000");
    server.admin("SAVE");
    server.kill();
    server.set("key-load-delay 100");
    server.set("loading-process-events-interval-bytes 1024");
    server.restart();
    let patience = Instant::now() + SOON;
    let fault = loop {
        match store.load(&name).await {
            Err(fault) if fault.detail().contains("LOADING") => break fault,
            Ok(_) => panic!("it is not loading"),
            Err(_) => assert!(Instant::now() < patience, "there is no connection"),
        }
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable, "{fault}");
    wait_until("the server has loaded", &|| text(&server.admin("INFO persistence")).contains("\nloading:0"));
    until_it_works(&store, Duration::from_millis(500)).await;
    assert_eq!(body(&store, &name).await.unwrap().1, "before");
}

#[tokio::test]
async fn t30_the_password_changed_and_changed_back() {
    let server = RedisServer::with(&[&format!("requirepass {ADMIN_PASSWORD}")]);
    server.admin(&format!("ACL SETUSER jeton on >{PASSWORD} {ACL_RULES}"));
    let store = RedisStore::at(server.url()).user("jeton").password(Secret::from(PASSWORD)).build().unwrap();
    until_it_works(&store, SOON).await;
    server.admin("ACL SETUSER jeton resetpass >another");
    server.admin("CLIENT KILL USER jeton");
    let fault = until_it_fails(&store).await;
    let fault =
        if fault.kind() == StoreFaultKind::Unreachable { until_it_fails(&store).await } else { fault };
    assert_eq!(fault.kind(), StoreFaultKind::Denied, "{fault}");
    assert!(fault.detail().contains("WRONGPASS") && !fault.to_string().contains("canary"), "{fault}");
    server.admin(&format!("ACL SETUSER jeton >{PASSWORD}"));
    until_it_works(&store, SOON).await;
    // The rights are taken while the connection is up, and given back.
    server.admin("ACL SETUSER jeton -evalsha -eval");
    let fault = works(&store).await.unwrap_err();
    assert!(fault.kind() == StoreFaultKind::Denied && fault.detail().contains("NOPERM"), "{fault}");
    server.admin("ACL SETUSER jeton +evalsha +eval -set");
    let fault = works(&store).await.unwrap_err();
    assert!(fault.kind() == StoreFaultKind::Denied, "{fault}");
    server.admin("ACL SETUSER jeton +set -getrange");
    let fault = works(&store).await.unwrap_err();
    assert!(fault.kind() == StoreFaultKind::Denied, "{fault}");
    server.admin("ACL SETUSER jeton +getrange");
    works(&store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_while_connections_are_cut() {
    let server = RedisServer::start();
    let (stores, name) = ([at(&server), at(&server), at(&server)], name());
    let counting = Counting::begin(&stores, name).await;
    for round in 0..40 {
        sleep(Duration::from_millis(40)).await;
        match round % 10 {
            3 => drop(server.admin("SCRIPT FLUSH")),
            7 => drop(server.admin("CLIENT PAUSE 60 WRITE")),
            _ => drop(server.admin("CLIENT KILL TYPE normal SKIPME yes")),
        }
    }
    let (successes, faults) = counting.end(&stores[0], Losing::Nothing).await;
    // How many there are is the machine's affair; that they are counted right is not.
    assert!(successes > 20, "only {successes} changes, {faults:?}");
    assert!(!faults.is_empty(), "nothing was cut off");
    assert!(faults.keys().all(|fault| fault.contains("cannot be reached")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_takes_nobody_elses_answer() {
    let server = RedisServer::start();
    let store = at(&server);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let (name, mut given_up) = (name(), 0);
            let own = format!("own {task}");
            write(&store, &name, None, &own).await;
            for round in 0..300_u64 {
                let wait = Duration::from_micros(fastrand::u64(0..400));
                let cut = match round % 3 {
                    0 => timeout(wait, store.subscribe(&name)).await.map(|it| it.map(drop)),
                    1 => timeout(wait, store.load(&name)).await.map(|it| it.map(drop)),
                    _ => timeout(wait, store.compare_and_swap(&name, None, put("never")))
                        .await
                        .map(|it| it.map(drop)),
                };
                match cut {
                    Ok(done) => done.unwrap(),
                    Err(_) => given_up += 1,
                }
                assert_eq!(body(&store, &name).await.unwrap().1, own);
            }
            given_up
        });
    }
    let given_up: u32 = tasks.join_all().await.into_iter().sum();
    assert!(given_up > 100, "only {given_up} were given up");
    wait_until("no subscription is left", &|| {
        !text(&server.admin("CLIENT LIST TYPE pubsub")).contains("sub=")
    });
}
