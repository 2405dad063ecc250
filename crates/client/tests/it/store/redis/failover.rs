//! Masters that fall, step down or hand over their slots, while a number is counted up.

use super::{Counting, Losing, key, name, until_it_works, write};
use crate::support::redis_server::{
    ADMIN_PASSWORD, Cluster, RedisServer, Sentinels, impostor, text, wait_until,
};
use jeton::Secret;
use jeton::store::{RedisStore, SharedStore};
use std::io::{Read, Write};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Detecting and electing takes the servers a second or two.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_sentinels_tell_the_new_master() {
    let mut all = Sentinels::start();
    let urls = all.urls();
    let open = || {
        let builder = RedisStore::through_sentinels(urls.clone(), "mymaster");
        builder.sentinel_password(Secret::from(ADMIN_PASSWORD)).build().unwrap()
    };
    let stores = [open(), open()];
    let first = all.master().port;
    let counting = Counting::begin(&stores, name()).await;
    sleep(Duration::from_millis(200)).await;
    all.master().kill();
    let after = until_it_works(&stores[0], SOON).await;
    assert_ne!(all.master().port, first);
    let (successes, faults) = counting.end(&stores[0], Losing::TheLast).await;
    assert!(successes > 0 && !faults.is_empty(), "{successes} successes after {after:?}");
    // The old one comes back as a replica, and nobody goes to it.
    for server in &mut all.servers {
        if server.port == first {
            server.restart();
        }
    }
    let counting = Counting::begin(&stores, name()).await;
    wait_until("the old master is a replica", &|| {
        all.servers
            .iter()
            .any(|it| it.port == first && text(&it.admin("INFO replication")).contains("role:slave"))
    });
    sleep(Duration::from_millis(200)).await;
    let (successes, _) = counting.end(&stores[1], Losing::Nothing).await;
    assert!(successes > 10, "only {successes}");
    // A master that is told to step down hangs up on everyone.
    all.sentinels[0].admin("SENTINEL FAILOVER mymaster");
    wait_until("the first is the master again", &|| {
        all.servers
            .iter()
            .any(|it| it.port == first && text(&it.admin("INFO replication")).contains("role:master"))
    });
    until_it_works(&stores[0], SOON).await;
}

#[tokio::test]
async fn an_unknown_master_is_denied_and_a_sentinel_that_is_wrong_is_passed_over() {
    let all = Sentinels::start();
    let through = |master: &str, password: &str| {
        let builder = RedisStore::through_sentinels(all.urls().split_off(1), master);
        builder.sentinel_password(Secret::from(password)).build().unwrap()
    };
    let fault = through("other", ADMIN_PASSWORD).load(&name()).await.unwrap_err();
    assert!(fault.to_string().contains("knows no master `other`"), "{fault}");
    let fault = through("mymaster", "canary-wrong").load(&name()).await.unwrap_err();
    assert!(fault.to_string().contains("WRONGPASS") && !fault.to_string().contains("canary"), "{fault}");
    // One that is cut off tells what was, and it is the first to be asked.
    let outdated = impostor(|stream| {
        let _ = stream.write_all(b"+OK\r\n");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n");
    });
    let urls = std::iter::once(format!("redis://127.0.0.1:{outdated}")).chain(all.urls());
    let builder = RedisStore::through_sentinels(urls, "mymaster");
    let store = builder.sentinel_password(Secret::from(ADMIN_PASSWORD)).build().unwrap();
    assert!(store.load(&name()).await.unwrap_err().to_string().contains("127.0.0.1:1"));
    until_it_works(&store, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_a_cluster_hands_over_falls_and_moves_slots() {
    let mut cluster = Cluster::start();
    let urls = cluster.urls();
    let open = || RedisStore::in_cluster(urls.clone()).build().unwrap();
    let (stores, name) = ([open(), open()], name());

    // Handing over in good order loses nothing.
    let counting = Counting::begin(&stores, name).await;
    let mut subscription = stores[0].subscribe(&name).await.unwrap();
    let first = cluster.owner(&key(&name)).port;
    let replica = replica_of(&cluster, first);
    cluster.nodes[replica].admin("CLUSTER FAILOVER");
    let successor = cluster.nodes[replica].port;
    wait_until("the replica took over", &|| {
        text(&cluster.nodes[replica].admin("INFO replication")).contains("role:master")
    });
    sleep(Duration::from_millis(200)).await;
    let (successes, _) = counting.end(&stores[0], Losing::Nothing).await;
    assert!(successes > 10, "only {successes}");
    wait_until("the subscription moved along, and nothing is left behind", &|| {
        let subscribed = |node: &&RedisServer| text(&node.admin("CLIENT LIST TYPE pubsub")).contains("sub=1");
        cluster.nodes.iter().filter(subscribed).map(|node| node.port).collect::<Vec<_>>() == [successor]
    });

    // A slot that moves while it is used, key by key.
    let other = super::name();
    let counting = Counting::begin(&stores, other).await;
    migrate(&mut cluster, &key(&other));
    sleep(Duration::from_millis(200)).await;
    let (successes, faults) = counting.end(&stores[1], Losing::Nothing).await;
    assert!(successes > 10, "only {successes}; {faults:?}");

    // The master falls, and its followers are told by the one that took its place.
    until_it_works(&stores[0], SOON).await;
    assert_eq!(cluster.owner(&key(&name)).port, successor);
    cluster.owner(&key(&name)).kill();
    let begun = std::time::Instant::now();
    let there = loop {
        if let Ok(reading) = stores[1].load(&name).await {
            break reading.record.map(|record| record.version);
        }
        assert!(begun.elapsed() < SOON, "the slot is still not served");
        sleep(Duration::from_millis(20)).await;
    };
    wait_until("the subscription is made at the new master", &|| {
        let node = cluster.nodes.iter().find(|it| it.port == first).unwrap();
        text(&node.admin("CLIENT LIST TYPE pubsub")).contains("sub=1")
    });
    while timeout(Duration::from_millis(300), subscription.changed()).await.is_ok() {}
    write(&stores[1], &name, there, "after").await;
    timeout(Duration::from_secs(1), subscription.changed()).await.expect("told by the new master");
}

/// The node that follows the master at `port`.
fn replica_of(cluster: &Cluster, port: u16) -> usize {
    let follows =
        |node: &RedisServer| text(&node.admin("INFO replication")).contains(&format!("master_port:{port}"));
    cluster.nodes.iter().position(follows).expect("a replica")
}

fn id(node: &RedisServer) -> String {
    text(&node.admin("CLUSTER MYID"))
}

/// Moves the slot of `key` to another master, as redis-cli does it: with a while in which both have a part of it.
fn migrate(cluster: &mut Cluster, key: &str) {
    let source = cluster.owner(key).port;
    let is_master = |node: &RedisServer| text(&node.admin("INFO replication")).contains("role:master");
    let find = |port: u16| cluster.nodes.iter().position(|node| node.port == port).unwrap();
    let target = cluster.nodes.iter().position(|node| node.port != source && is_master(node)).unwrap();
    let (source, target) = (&cluster.nodes[find(source)], &cluster.nodes[target]);
    let slot: i64 = redis::from_redis_value(source.admin(&format!("CLUSTER KEYSLOT {key}"))).unwrap();
    target.admin(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(source)));
    source.admin(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(target)));
    std::thread::sleep(Duration::from_millis(100));
    let moved = source.admin(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port));
    assert_eq!(moved, redis::Value::Okay, "the key was moved");
    // Now the source sends on with ASK.
    std::thread::sleep(Duration::from_millis(300));
    for node in [target, source] {
        node.admin(&format!("CLUSTER SETSLOT {slot} NODE {}", id(target)));
    }
}
