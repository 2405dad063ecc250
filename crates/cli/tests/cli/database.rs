//! `jeton serve` and `jeton client` over `PostgreSQL`.

use crate::postgresql::{self, Postgres};
use crate::process::{Home, Running, Server, eventually};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A home whose settings file names the database.
fn home(postgres: &Postgres) -> Home {
    let home = Home::new();
    home.write_secret("password", postgresql::PASSWORD);
    home.write_secret("key", KEY);
    let file = format!(
        "[server]\ndatabase = \"{}\"\ndatabase_password = \"file:../../password\"\nkey = \"file:../../key\"\n",
        postgres.url()
    );
    home.write(".config/jeton/jeton.toml", &file);
    home
}

#[test]
fn instances_share_clients_that_are_added_beside_them() {
    let mut postgres = Postgres::start();
    let homes = [home(&postgres), home(&postgres)];
    let servers = homes.each_ref().map(|home| Server::start(home, &[], &[]));
    let home = &homes[0];
    let added = home.run(&["client", "add", "billing", "--scope", "a"]);
    let secret = added.done().trim_end().to_owned();
    let place = "the database jeton at 127.0.0.1:";
    assert!(added.stderr.contains(place), "{added}");
    assert!(!home.path().join(".local/share/jeton/registry.sqlite3").exists());
    let token = |server: &Server| {
        let token_url = server.token_url();
        let variables = [("JETON_TOKEN_URL", token_url.as_str()), ("JETON_CLIENT_SECRET", &secret)];
        homes[1].run_with(&variables, &["token", "--no-cache", "--client-id", "billing"])
    };
    for server in &servers {
        token(server).done();
    }
    postgres.kill();
    for server in &servers {
        token(server).done();
    }
    let away = home.run(&["client", "add", "other"]);
    away.failed(5, &["the registry in the database jeton at", "cannot be reached"]);
    assert!(!away.stderr.contains("canary"), "{away}");
    postgres.restart();
    let listed = home.run(&["client", "--output", "json", "list"]).json();
    assert!(listed["database"].as_str().unwrap().contains(place), "{listed}");
    assert_eq!(listed["clients"].as_array().unwrap().len(), 1, "{listed}");
    let removed = home.run(&["client", "remove", "billing"]);
    removed.done();
    eventually("the removal", || servers.iter().all(|server| token(server).code == 3));
    for server in servers {
        let (code, said) = server.end();
        assert!(code == 0 && !said.contains("canary"), "{code}: {said}");
    }
}

#[test]
fn a_database_is_named_without_secrets_and_with_a_key() {
    let postgres = Postgres::start();
    let home = home(&postgres);
    let list = |variables: &[(&str, &str)]| home.run_with(variables, &["client", "list"]);
    let url = postgres.url();
    let with_password = url.replace("jeton@", "jeton:canary@");
    list(&[("JETON_SERVER_DATABASE", &with_password)]).failed(
        5,
        &["JETON_SERVER_DATABASE: the url of the database must have no password", "database_password"],
    );
    list(&[("JETON_SERVER_DATABASE", "postgresql://u@db.example/auth?sslmode=disable")])
        .failed(5, &["sslmode=disable is for a database on this machine"]);
    list(&[("JETON_SERVER_DATABASE_PASSWORD", "canary")]).failed(5, &["it must say where the secret is"]);
    let wrong = home.write_secret("wrong", "canary-wrong");
    let place = format!("file:{wrong}");
    let refused = list(&[("JETON_SERVER_DATABASE_PASSWORD", &place)]);
    refused.failed(5, &["refuses the user or the password"]);
    assert!(!refused.stderr.contains("canary"), "{refused}");
    list(&[("JETON_SERVER_KEY", &place)]).failed(5, &["64 hexadecimal digits", "openssl rand -hex 32"]);
    list(&[("JETON_SERVER_DATABASE_PASSWORD", "file:/absent")])
        .failed(5, &["its password cannot be read", "/absent"]);
    let keyless = format!("[server]\ndatabase = \"{url}\"\ndatabase_password = \"env:PASSWORD\"\n");
    let keyless = home.write("keyless.toml", &keyless);
    let variables = [("PASSWORD", postgresql::PASSWORD)];
    home.run_with(&variables, &["client", "--config", &keyless, "list"])
        .failed(5, &["a registry in PostgreSQL needs a server key that all instances share"]);
    let both = ["client", "--config", &keyless, "--database-password", "-", "--server-key", "-", "list"];
    home.run(&both).failed(2, &["cannot both be read from standard input"]);
    let input = ["client", "--config", &keyless, "--server-key", "-", "add", "piped"];
    home.run_reading(&format!("{KEY}\n"), &variables, &input).done();
}

#[test]
fn signing_keys_are_rotated_and_taken_out_for_all_instances() {
    let postgres = Postgres::start();
    let homes = [home(&postgres), home(&postgres)];
    let servers = homes.each_ref().map(|home| Server::start(home, &[], &[]));
    let [home, other] = &homes;
    let listed = home.run(&["keys", "list", "--output", "json"]).json();
    assert!(listed["database"].as_str().unwrap().contains("the database jeton at 127.0.0.1:"), "{listed}");
    let first = listed["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "both instances have one key: {listed}");
    let rotated = home.run(&["keys", "rotate", "--output", "json"]).json();
    let next = rotated["keys"][0]["kid"].as_str().unwrap();
    eventually("the announcement", || servers.iter().all(|server| published(server).contains(next)));
    let dropped = other.run(&["keys", "drop", &first, "--emergency"]);
    dropped.done();
    eventually("the end", || servers.iter().all(|server| !published(server).contains(&first)));
    let wrong = home.write_secret("other-key", &KEY.replace('0', "1"));
    home.run(&["keys", "--server-key", &format!("file:{wrong}"), "list"]).failed(5, &["another server key"]);
    // What was done stands in the log of the machine on which it was done.
    let log = |home: &Home| std::fs::read_to_string(home.data_dir().join("audit.jsonl")).unwrap();
    assert!(log(home).contains("\"signing_key_announced\"") && log(home).contains(next));
    assert!(log(other).contains("\"signing_key_dropped\"") && log(other).contains(&first));
    assert!(log(other).contains("\"signing_key_replaced\""));
}

/// The key set that the server publishes.
fn published(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.issuer.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whoever administers may be killed at any moment: a client is whole or not there, and nobody waits for the dead.
#[test]
fn one_who_is_killed_while_adding_leaves_all_or_nothing() {
    let postgres = Postgres::start();
    let home = home(&postgres);
    home.run(&["client", "add", "first", "--scope", "a b"]).done();
    for round in 0..24 {
        let command = home.jeton(&["client", "add", &format!("killed-{round}"), "--scope", "a b"]);
        let adding = Running::start(command);
        std::thread::sleep(Duration::from_millis(round * 15));
        adding.signal(Signal::KILL);
        drop(adding.end());
    }
    home.run(&["client", "add", "last"]).done();
    let listed = home.run(&["client", "--output", "json", "list"]).json();
    let clients = listed["clients"].as_array().unwrap();
    assert!(clients.len() >= 2, "{listed}");
    for client in clients {
        let id = client["client_id"].as_str().unwrap();
        assert!(id == "last" || client["scope"] == "a b", "{client}");
    }
    let counted = postgres.sql("SELECT records FROM jeton.tally WHERE kind = 'client'");
    assert_eq!(counted, clients.len().to_string());
    let torn = "SELECT count(*) FROM jeton.record WHERE change > (SELECT change FROM jeton.counter)";
    assert_eq!(postgres.sql(torn), "0");
}

/// Whether the process has said what is to be done at SIGTERM.
fn catches_the_end(running: &Running) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid().as_raw_nonzero())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
}

#[test]
fn a_database_that_hangs_holds_the_end_of_no_process() {
    let postgres = Postgres::start();
    let home = home(&postgres);
    let server = Server::start(&home, &[], &[]);
    let added = home.run(&["client", "add", "billing", "--scope", "a"]);
    let token_url = server.token_url();
    let variables =
        [("JETON_TOKEN_URL", token_url.as_str()), ("JETON_CLIENT_SECRET", added.done().trim_end())];
    // The use of the secret is to be written down at the end.
    home.run_with(&variables, &["token", "--no-cache", "--client-id", "billing"]).done();
    let frozen = postgres.freeze();
    let begun = Instant::now();
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}: {said}", begun.elapsed());
    let log = std::fs::read_to_string(home.data_dir().join("audit.jsonl")).unwrap();
    assert!(log.lines().last().unwrap().contains("\"server_ended\""), "{log}");
    home.run(&["audit", "verify"]).done();
    // One that has not started yet ends at once.
    let starting = Running::start(home.jeton(&["serve", "--listen", "127.0.0.1:0"]));
    eventually("that it catches the signal", || catches_the_end(&starting));
    starting.signal(Signal::TERM);
    let ended = starting.end();
    assert!(ended.code == 0 && ended.stderr.contains("ended before it had started"), "{ended}");
    drop(frozen);
}
