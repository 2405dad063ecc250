//! Servers that do not let us in: a clear fault of the right kind, and nothing secret in it.

use super::{ACL_RULES, PASSWORD, name, put, until_it_fails, until_it_works, write};
use crate::secrecy::Log;
use crate::support::redis_server::{ADMIN_PASSWORD, ClientCertificates, RedisServer, TlsServer, impostor};
use jeton::Secret;
use jeton::http::TlsRoots;
use jeton::store::{RedisStore, RedisStoreBuilder, SharedStore, StoreFaultKind};
use std::io::Write;
use std::time::{Duration, Instant};

/// The fault of a store, whatever is asked of it, which is to have `words`.
async fn refused(builder: RedisStoreBuilder, kind: StoreFaultKind, words: &[&str]) {
    let shown_before = format!("{builder:?}");
    let store = builder.build().unwrap();
    let name = name();
    let begun = Instant::now();
    let faults = [
        store.load(&name).await.unwrap_err(),
        store.compare_and_swap(&name, None, put("canary-body")).await.unwrap_err(),
        store.subscribe(&name).await.unwrap_err(),
    ];
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for fault in faults {
        assert_eq!(fault.kind(), kind, "{fault}");
        for word in words {
            assert!(fault.to_string().contains(word), "`{word}` is not in: {fault}");
        }
        let shown = format!("{fault} {fault:?} {store:?} {shown_before}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn t30_wrong_passwords_users_and_permissions_are_denied() {
    let server = RedisServer::with(&[&format!("requirepass {ADMIN_PASSWORD}")]);
    server.admin(&format!("ACL SETUSER jeton on >{PASSWORD} {ACL_RULES}"));
    server.admin(&format!("ACL SETUSER reader on >{PASSWORD} ~* &* -@all +hello +ping"));
    server.admin(&format!("ACL SETUSER elsewhere on >{PASSWORD} ~other:* &other:* +@all"));
    let at = || RedisStore::at(server.url());
    let here = format!("127.0.0.1:{}", server.port);
    let denied = StoreFaultKind::Denied;
    refused(at(), denied, &[&here, "NOAUTH"]).await;
    refused(at().password(Secret::from("canary-wrong")), denied, &[&here, "WRONGPASS"]).await;
    refused(at().user("jeton").password(Secret::from("canary-wrong")), denied, &["WRONGPASS"]).await;
    refused(at().user("canary-user").password(Secret::from(PASSWORD)), denied, &["WRONGPASS"]).await;
    refused(at().user("reader").password(Secret::from(PASSWORD)), denied, &[&here, "NOPERM"]).await;
    refused(at().user("elsewhere").password(Secret::from(PASSWORD)), denied, &["NOPERM"]).await;
    let url = format!("redis://jeton:canary-wrong@{here}");
    refused(RedisStore::at(url), denied, &["WRONGPASS"]).await;
    // The same user with the right password, and with the rules that the documentation names.
    let store = at().user("jeton").password(Secret::from(PASSWORD)).build().unwrap();
    until_it_works(&store, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_login_where_none_is_wanted_and_a_database_that_is_not_there_are_denied() {
    let server = RedisServer::start();
    let builder = RedisStore::at(server.url()).password(Secret::from("canary-needless"));
    refused(builder, StoreFaultKind::Denied, &["the login was refused", "ERR"]).await;
    refused(RedisStore::at(server.url()).database(99), StoreFaultKind::Denied, &["out of range"]).await;
    let in_cluster = RedisStore::in_cluster([server.url()]);
    refused(in_cluster, StoreFaultKind::Denied, &["cluster support disabled"]).await;
}

#[tokio::test]
async fn r4_4_a_server_whose_certificate_is_not_trusted_learns_no_password() {
    let (tls, other) = (
        TlsServer::start("localhost", ClientCertificates::Ignored),
        TlsServer::start("localhost", ClientCertificates::Ignored),
    );
    let at = |host: &str| {
        RedisStore::at(format!("rediss://{host}:{}", tls.tls_port)).password(Secret::from(PASSWORD))
    };
    let unreachable = StoreFaultKind::Unreachable;
    let own = || TlsRoots::Only(tls.ca_pem.clone());
    refused(at("localhost"), unreachable, &["certificate"]).await;
    refused(at("localhost").tls_roots(TlsRoots::Only(other.ca_pem.clone())), unreachable, &["certificate"])
        .await;
    refused(at("127.0.0.1").tls_roots(own()), unreachable, &["certificate"]).await;
    // Now it is trusted, and the password is what is wrong.
    refused(at("localhost").tls_roots(own()), StoreFaultKind::Denied, &["WRONGPASS"]).await;
    let store = RedisStore::at(format!("rediss://localhost:{}", tls.tls_port))
        .password(Secret::from(ADMIN_PASSWORD))
        .tls_roots(own())
        .build()
        .unwrap();
    until_it_works(&store, Duration::from_secs(1)).await;
    // TLS where none is spoken, and none where it is.
    let plain = RedisStore::at(format!("rediss://127.0.0.1:{}", tls.server.port));
    refused(plain, StoreFaultKind::TimedOut, &["no connection"]).await;
    refused(RedisStore::at(format!("redis://127.0.0.1:{}", tls.tls_port)), unreachable, &["127.0.0.1"]).await;
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let unreachable = StoreFaultKind::Unreachable;
    refused(RedisStore::at("redis://127.0.0.1:1"), unreachable, &["127.0.0.1:1", "refused"]).await;
    refused(RedisStore::at("unix:///nowhere/redis.sock"), unreachable, &["/nowhere/redis.sock"]).await;
    let sentinels = RedisStore::through_sentinels(["redis://127.0.0.1:1", "redis://127.0.0.1:2"], "mymaster");
    refused(sentinels, unreachable, &["no sentinel tells the master"]).await;
    let cluster = RedisStore::in_cluster(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]);
    refused(cluster, unreachable, &["no node tells the map"]).await;
}

#[tokio::test]
async fn t34_a_server_that_repeats_the_password_is_not_quoted() {
    let port = impostor(|stream| {
        let text = format!("-ERR unknown command 'AUTH', with args beginning with: 'jeton' '{PASSWORD}'\r\n");
        let _ = stream.write_all(text.as_bytes());
    });
    let builder = RedisStore::at(format!("redis://jeton:{PASSWORD}@127.0.0.1:{port}"));
    refused(builder, StoreFaultKind::Denied, &["the login was refused with ERR"]).await;
}

#[test]
fn settings_that_cannot_be_are_told_without_quoting_them() {
    let invalid = |builder: RedisStoreBuilder, words: &str| {
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    };
    let secret = || Secret::from("canary");
    invalid(RedisStore::at("canary"), "redis://host:6379");
    invalid(RedisStore::at("https://u:canary@cache"), "another scheme");
    invalid(RedisStore::at("redis://u:canary@cache/canary"), "no number");
    invalid(RedisStore::at("redis://canary@cache"), "a user but no password");
    invalid(RedisStore::in_cluster(Vec::<String>::new()), "at least one");
    invalid(RedisStore::in_cluster(["redis://cache"]).database(1), "no other");
    invalid(RedisStore::in_cluster(["redis://a:canary@b", "redis://c:canary@d"]), "user or password");
    invalid(RedisStore::in_cluster(["redis://b", "rediss://d"]), "the scheme");
    invalid(RedisStore::at("redis://cache").prefix("canary".repeat(100)), "longer than 256");
    let tls = || RedisStore::at("rediss://cache").password(secret());
    invalid(tls().tls_roots(TlsRoots::Only(b"canary".to_vec())), "certificate");
    invalid(tls().client_certificate(b"canary".to_vec(), Secret::new(b"canary".to_vec())), "PEM");
}

#[tokio::test]
async fn a_store_that_is_dropped_leaves_no_connection() {
    let server = RedisServer::start();
    let store = RedisStore::at(server.url()).build().unwrap();
    until_it_works(&store, Duration::from_secs(1)).await;
    let subscription = store.subscribe(&name()).await.unwrap();
    let clients = || {
        let info = crate::support::redis_server::text(&server.admin("INFO clients"));
        let line = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
        line.unwrap().trim().parse::<usize>().unwrap()
    };
    assert_eq!(clients(), 2, "one for all, and the administrator's");
    drop((store.clone(), subscription));
    assert_eq!(clients(), 2);
    drop(store);
    let patience = Instant::now() + Duration::from_secs(2);
    while clients() != 1 {
        assert!(Instant::now() < patience, "the connection is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(server);
    let _fault = until_it_fails(&RedisStore::at("redis://127.0.0.1:1").build().unwrap()).await;
}

#[test]
fn a_store_outlives_the_runtime_that_connected_it() {
    let server = RedisServer::start();
    let store = RedisStore::at(server.url()).build().unwrap();
    let name = name();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = runtime.block_on(async {
            until_it_works(&store, Duration::from_secs(1)).await;
            let mut subscription = store.subscribe(&name).await.unwrap();
            let seen = store.load(&name).await.unwrap().record.map(|record| record.version);
            write(&store, &name, seen, "told").await;
            tokio::time::timeout(Duration::from_secs(1), subscription.changed()).await
        });
        assert!(told.is_ok(), "whoever settles subscriptions ended with its runtime");
    }
}

#[tokio::test]
async fn t34_no_password_in_the_log_even_at_its_most_verbose() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let tls = TlsServer::start("localhost", ClientCertificates::Ignored);
    let at = |password: &str| {
        RedisStore::at(format!("rediss://:{password}@localhost:{}", tls.tls_port))
            .tls_roots(TlsRoots::Only(tls.ca_pem.clone()))
            .build()
            .unwrap()
    };
    let store = at(ADMIN_PASSWORD);
    until_it_works(&store, Duration::from_secs(2)).await;
    tls.server.admin("CLIENT KILL TYPE normal SKIPME yes");
    until_it_works(&store, Duration::from_secs(2)).await;
    until_it_fails(&at("canary-wrong")).await;
    let text = log.text();
    assert!(text.contains("a connection to the store is over") && text.contains("WRONGPASS"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
