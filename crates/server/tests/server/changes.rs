//! Changes of the registry while the server runs, and restarts.

use super::{Running, add_worker};
use jeton_proto::issuance::ClientSettings;
use jeton_server::{Config, Listen, Registry, Server};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_client_works_in_the_moment_in_which_it_was_added() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    for at in 0..10 {
        let client_id = format!("client-{at}");
        let secret = registry.add(ClientSettings::new(&client_id)).unwrap();
        assert_eq!(server.request_token(&client_id, &secret, "").await.status, 200, "{client_id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_disabled_or_removed_has_no_token_after_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let becomes = async |status| {
        let begun = Instant::now();
        while server.request_token("worker", &secret, "").await.status != status {
            assert!(begun.elapsed() < Duration::from_secs(1), "{status} was not seen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    becomes(200).await;
    registry.disable("worker").unwrap();
    becomes(401).await;
    registry.enable("worker").unwrap();
    becomes(200).await;
    registry.remove("worker").unwrap();
    becomes(401).await;
    server.stop().await;
}

#[tokio::test]
async fn while_the_registry_cannot_be_read_known_clients_have_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    assert_eq!(server.get("/readyz").await.status, 200);
    for name in ["registry.sqlite3", "registry.sqlite3-wal", "registry.sqlite3-shm"] {
        std::fs::write(dir.path().join(name), "damaged").unwrap();
    }
    assert_eq!(server.request_token("absent", &secret, "").await.status, 401);
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn keys_and_clients_stay_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let first = Running::start(dir.path());
    let jwks = first.get("/oauth/jwks").await.body;
    first.stop().await;
    let second = Running::start(dir.path());
    assert_eq!(second.get("/oauth/jwks").await.body, jwks);
    assert_eq!(second.request_token("worker", &secret, "").await.status, 200);
    second.stop().await;
}

#[tokio::test]
async fn two_servers_on_one_directory_have_one_key_and_the_same_clients() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                Server::bind(Config { listen: Listen::Localhost { port: 0 }, ..Config::new(path) }).unwrap()
            })
        })
        .collect();
    for start in starts {
        drop(start.await.unwrap());
    }
    let (one, two) = (Running::start(&path), Running::start(&path));
    assert_eq!(one.get("/oauth/jwks").await.body, two.get("/oauth/jwks").await.body);
    let secret = add_worker(&path);
    for server in [&one, &two] {
        assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn what_keeps_a_server_from_starting_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let listen = Listen::Localhost { port: running.address.port() };
    let message = Server::bind(Config { listen, ..Config::new(dir.path()) }).unwrap_err().to_string();
    assert!(message.contains("another program holds the port"), "{message}");
    running.stop().await;

    let file = dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let free = || Listen::Localhost { port: 0 };
    let message =
        Server::bind(Config { listen: free(), ..Config::new(file.join("data")) }).unwrap_err().to_string();
    assert!(message.contains("data directory") && message.contains("choose another one"), "{message}");

    let key_file = dir.path().join("signing-key-es256.p8");
    std::fs::write(&key_file, "damaged").unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let message = Server::bind(Config { listen: free(), ..Config::new(dir.path()) }).unwrap_err().to_string();
    assert!(message.contains("signing-key-es256.p8") && message.contains("backup"), "{message}");

    let listen = Listen::Addresses(vec!["0.0.0.0:0".parse().unwrap()]);
    let message = Server::bind(Config { listen, ..Config::new(dir.path()) }).unwrap_err().to_string();
    assert!(message.contains("issuer must be set"), "{message}");
}
