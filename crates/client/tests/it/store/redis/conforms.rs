//! The contract, wherever the store may be.

use super::{ACL_RULES, PASSWORD, name};
use crate::support::redis_server::{
    ADMIN_PASSWORD, ClientCertificates, Cluster, RedisServer, Sentinels, TlsServer, text,
};
use jeton::Secret;
use jeton::http::TlsRoots;
use jeton::store::conformance::{self, Stage};
use jeton::store::{RedisStore, RedisStoreBuilder, SharedStore, StoreFaultKind, StoreFuture};
use std::sync::Arc;

/// Opens a store of its own for each handle, and counts subscriptions where the servers do.
struct InRedis<'a, B> {
    build: B,
    servers: Vec<&'a RedisServer>,
}

impl<B: Fn() -> RedisStoreBuilder + Send + Sync> Stage for InRedis<'_, B> {
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
        Box::pin(async {
            let store: Arc<dyn SharedStore> = Arc::new((self.build)().build().unwrap());
            Ok(store)
        })
    }

    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        Box::pin(async { Ok(Some(self.servers.iter().map(|server| subscriptions(server)).sum())) })
    }
}

fn subscriptions(server: &RedisServer) -> usize {
    let clients = text(&server.admin("CLIENT LIST TYPE pubsub"));
    let counts = clients.split_whitespace().filter_map(|field| field.strip_prefix("sub="));
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

async fn conforms(build: impl Fn() -> RedisStoreBuilder + Send + Sync, servers: Vec<&RedisServer>) {
    assert_eq!(conformance::check(&InRedis { build, servers }).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server() {
    let server = RedisServer::start();
    conforms(|| RedisStore::at(server.url()), vec![&server]).await;
}

#[tokio::test]
async fn one_server_on_one_thread_over_a_unix_socket_in_another_database() {
    let server = RedisServer::start();
    conforms(|| RedisStore::at(server.unix_url()).database(3).prefix("{other} "), vec![&server]).await;
    assert!(text(&server.admin("INFO keyspace")).contains("db3:"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_a_certificate_and_a_user_who_may_do_nothing_else() {
    let tls = TlsServer::start("localhost", ClientCertificates::Wanted);
    tls.server.admin(&format!("ACL SETUSER jeton on >{PASSWORD} {ACL_RULES}"));
    let build = || {
        RedisStore::at(format!("rediss://jeton:{PASSWORD}@localhost:{}", tls.tls_port))
            .tls_roots(TlsRoots::Only(tls.ca_pem.clone()))
            .client_certificate(tls.client_pem.clone(), Secret::new(tls.client_key_pem.clone()))
    };
    conforms(build, vec![&tls.server]).await;
    let log = tls.server.admin("ACL LOG");
    assert_eq!(log, redis::Value::Array(Vec::new()), "something was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels() {
    let all = Sentinels::start();
    let build = || {
        RedisStore::through_sentinels(all.urls(), "mymaster").sentinel_password(Secret::from(ADMIN_PASSWORD))
    };
    conforms(build, vec![&all.servers[0]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_of_six() {
    let cluster = Cluster::start();
    conforms(|| RedisStore::in_cluster(cluster.urls()), cluster.nodes.iter().collect()).await;
    // A node alone sends elsewhere, which a store that takes it for the only server does not follow.
    let alone = RedisStore::at(cluster.nodes[0].url()).build().unwrap();
    let mut faults = Vec::new();
    for _ in 0..40 {
        faults.extend(alone.load(&name()).await.err());
    }
    assert!(!faults.is_empty());
    for fault in faults {
        assert_eq!(fault.kind(), StoreFaultKind::Denied);
        assert!(fault.detail().contains("MOVED") && fault.detail().contains("name it as one"), "{fault}");
    }
}
