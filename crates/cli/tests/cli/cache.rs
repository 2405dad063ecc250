//! The tokens that commands keep for each other.

use crate::api::Api;
use crate::process::{Registered, Running, finish};
use crate::programs::ForeignServer;
use crate::stub::{SECRET, Stub};
use rustix::process::Signal;
use serde_json::json;
use std::collections::HashSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

#[test]
fn r2_1_processes_that_begin_together_cause_one_token_request() {
    let stub = Stub::new(Duration::from_millis(200), 3600);
    for round in 1..=4 {
        let ended = stub.run_together(8, &["token"]);
        let tokens: HashSet<_> = ended.iter().map(|ended| ended.done().to_owned()).collect();
        assert_eq!((tokens.len(), stub.requests()), (1, round), "{}", ended[0]);
        assert!(ended.iter().all(|ended| ended.stderr.is_empty()), "{}", ended[0]);
        assert_eq!(stub.run(&["cache", "clear", "--all"]).done().split(' ').nth(1), Some("1"));
    }
}

#[test]
fn r2_1_processes_live_on_one_token_of_the_real_server_too() {
    let registered = Registered::new();
    let tokens: HashSet<String> = std::thread::scope(|scope| {
        let ask = || registered.run(&["token", "--scope", "a"]).done().to_owned();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(tokens.len(), 1);
    let answer = registered.run(&["token", "--scope", "a", "--output", "json"]).json();
    assert!(tokens.contains(&format!("{}\n", answer["access_token"].as_str().unwrap())));
    assert!((3500..=3600).contains(&answer["expires_in"].as_u64().unwrap()), "{answer}");
    assert_eq!(answer["scope"], "a");
}

#[test]
fn r5_9_processes_live_on_one_token_of_the_servers_of_others_as_these_count() {
    let clients =
        json!([{ "client_id": "canary-client-id", "client_secret": SECRET, "scope": "orders:read" }]);
    for server in [ForeignServer::oidc_provider(&clients, &[]), ForeignServer::authlib(&clients, &[])] {
        let stub = Stub::quick();
        let url = server.token_url();
        let begin = |_| Running::start(stub.command_at(&url, &["token", "--scope", "orders:read"]));
        let running: Vec<_> = (0..8).map(begin).collect();
        let tokens: HashSet<_> = running.into_iter().map(|running| running.end().done().to_owned()).collect();
        assert_eq!((tokens.len(), server.token_requests()), (1, 1));
        let login = finish(stub.command_at(&url, &["login", "--scope", "orders:read", "--renew"]));
        assert!(login.done().contains("the server, just now"), "{login}");
        assert_eq!(server.token_requests(), 2);
    }
}

#[test]
fn a_token_that_is_kept_needs_no_server() {
    let stub = Stub::quick();
    let url = stub.api.url("/token");
    let token = stub.run(&["token"]).done().to_owned();
    let Stub { home, api } = stub;
    drop(api);
    // Nobody listens there any more.
    let nobody = Api::answering("500 Internal Server Error", "");
    let stub = Stub { home, api: nobody };
    for args in [&["token"][..], &["login"]] {
        let ended = finish(stub.command_at(&url, args));
        assert!(ended.code == 0 && ended.stderr.is_empty(), "{args:?}: {ended}");
    }
    assert_eq!(finish(stub.command_at(&url, &["token"])).done(), token);
    finish(stub.command_at(&url, &["token", "--no-cache"])).failed(4, &["cannot connect"]);
    let login = finish(stub.command_at(&url, &["login", "--renew"]));
    login.failed(4, &["Authenticating", "cannot connect"]);
    assert_eq!(finish(stub.command_at(&url, &["token"])).done(), token, "a failure removes no good token");
}

/// Variables and flags.
type Asking<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn whoever_asks_for_something_else_or_as_somebody_else_takes_nothing() {
    let stub = Stub::quick();
    let other_url = stub.api.url("/other");
    let asking: [Asking<'_>; 10] = [
        (&[], &[]),
        (&[("JETON_CLIENT_SECRET", "another secret")], &[]),
        (&[("JETON_CLIENT_ID", "other")], &[]),
        (&[("JETON_TOKEN_URL", &other_url)], &[]),
        (&[], &["--scope", "a"]),
        (&[], &["--scope", "a b"]),
        (&[], &["--audience", "a"]),
        (&[], &["--resource", "https://a"]),
        (&[], &["--endpoint-param", "a=1"]),
        (&[], &["--auth-method", "client_secret_post"]),
    ];
    let ask = |(variables, args): Asking<'_>| {
        stub.run_with(variables, &[&["token"], args].concat()).done().to_owned()
    };
    let first: Vec<_> = asking.into_iter().map(ask).collect();
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), asking.len());
    let second: Vec<_> = asking.into_iter().map(ask).collect();
    assert_eq!((first, stub.requests()), (second, asking.len()));
    assert_eq!(stub.run(&["token", "--scope", "b", "--scope", "a"]).done(), "canary-token-5\n");

    let registered = Registered::new();
    registered.run(&["token"]).done();
    registered.run_with(&[("JETON_CLIENT_SECRET", "wrong")], &["token"]).failed(3, &["invalid_client"]);
}

#[test]
fn r3_1_a_token_that_an_api_refuses_is_replaced_once_for_all_processes() {
    let stub = Stub::new(Duration::from_millis(100), 3600);
    assert_eq!(stub.run(&["token"]).done(), "canary-token-0\n");
    let api = Api::start(|_, asked| match asked.field("authorization") {
        Some("Bearer canary-token-0") => {
            ("401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"".to_owned(), String::new())
        }
        _ => ("200 OK".to_owned(), "served".to_owned()),
    });
    for ended in stub.run_together(8, &["call", "GET", &api.url("/")]) {
        assert_eq!(ended.done(), "served");
    }
    assert_eq!(stub.requests(), 2);
    assert_eq!(stub.run(&["token"]).done(), "canary-token-1\n");
}

#[test]
fn a_token_is_not_given_out_when_it_is_over_or_nearly() {
    let stub = Stub::new(Duration::ZERO, 3);
    let begun = Instant::now();
    let mut tokens = Vec::new();
    while begun.elapsed() < Duration::from_secs(7) {
        let answer = stub.run(&["token", "--output", "json"]).json();
        assert!(answer["expires_at"].as_u64().unwrap() >= 1, "{answer}");
        tokens.push(answer["access_token"].as_str().unwrap().to_owned());
        std::thread::sleep(Duration::from_millis(100));
    }
    tokens.dedup();
    let distinct: HashSet<_> = tokens.iter().collect();
    assert_eq!(distinct.len(), tokens.len(), "none came back");
    assert!((2..=5).contains(&stub.requests()), "{}", stub.requests());
}

#[test]
fn a_process_that_is_killed_holds_nobody_up_for_long() {
    let stub = Stub::quick();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    let url = format!("http://{address}/token");
    for _ in 0..3 {
        let mut running = Running::start(stub.command_at(&url, &["token"]));
        let (_request, _) = hanging.accept().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        let next = Running::start(stub.command_at(&url, &["token"]));
        let begun = Instant::now();
        let (_request, _) = hanging.accept().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        next.signal(Signal::KILL);
        drop(next);
        stub.run(&["cache", "clear", "--all"]).done();
    }
    let left = std::fs::read_dir(stub.cache_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| !name.to_string_lossy().starts_with("lock-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_that_hangs_does_not_hold_the_end() {
    let (stub, expires_in) = (Stub::new(Duration::ZERO, 12), Duration::from_secs(12));
    let url = stub.api.url("/token");
    let begun = Instant::now();
    let token = stub.run(&["token"]).done().to_owned();
    let Stub { home, api } = stub;
    let address = url.trim_start_matches("http://").trim_end_matches("/token").to_owned();
    drop(api);
    let hanging = TcpListener::bind(address).unwrap();
    let stub = Stub { home, api: Api::answering("500 Internal Server Error", "") };
    // Renewed ahead from 0.8 of the life on, and waited for in its last tenth.
    std::thread::sleep((expires_in.mul_f64(0.81)).saturating_sub(begun.elapsed()));
    let asked = Instant::now();
    let ended = finish(stub.command_at(&url, &["token"]));
    assert_eq!(ended.done(), token);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    hanging.set_nonblocking(true).unwrap();
    assert!(hanging.accept().is_ok(), "it was to be renewed");
    let list = stub.run(&["cache", "list", "--output", "json"]).json();
    assert_eq!(
        list["records"][0]["lease_left_seconds"],
        serde_json::Value::Null,
        "the lease is given back: {list}"
    );
}

#[test]
fn no_cache_writes_nothing() {
    let stub = Stub::quick();
    let settings = stub.home.write("off.toml", "cache = \"off\"\n");
    for (variables, args) in [
        (&[][..], &["--no-cache"][..]),
        (&[], &["--cache", "off"]),
        (&[("JETON_CACHE", "off")], &[]),
        (&[("JETON_CONFIG", &*settings)], &[]),
    ] {
        stub.run_with(variables, &[&["token"], args].concat()).done();
        let login = stub.run_with(variables, &[&["login"], args].concat());
        assert!(login.done().contains("not kept") && login.stderr.contains("turned off"), "{login}");
    }
    assert_eq!(stub.requests(), 8);
    assert!(!stub.home.path().join(".cache").exists() && !stub.home.path().join(".local").exists());
    // A flag wins over the environment.
    stub.run_with(&[("JETON_CACHE", "off")], &["token", "--cache", "file"]).done();
    assert!(stub.cache_dir().exists());
}

#[test]
fn t31_what_is_written_is_for_the_owner_alone() {
    let stub = Stub::quick();
    stub.run_after("umask 000", &["token"]).done();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&stub.cache_dir()), mode(&stub.key_file())), (0o700, 0o600));
    assert_eq!(mode(stub.key_file().parent().unwrap()), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(stub.cache_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2 && files.iter().all(|path| mode(path) == 0o600), "{files:?}");
    stub.run_after("umask 777", &["token"]).done();
    assert_eq!(stub.requests(), 1);
}

#[test]
fn cache_and_keys_are_where_xdg_says() {
    let stub = Stub::quick();
    let at = |name: &str| stub.home.path().join(name).display().to_string();
    let variables = [("XDG_CACHE_HOME", &*at("c")), ("XDG_STATE_HOME", &*at("s"))];
    stub.run_with(&variables, &["token"]).done();
    let records = stub.run_with(&variables, &["cache", "list"]);
    assert!(records.done().lines().count() == 2 && records.stderr.contains(&at("c/jeton")), "{records}");
    assert!(stub.home.path().join("s/jeton/cache.key").is_file());
    assert!(!stub.cache_dir().exists() && !stub.key_file().exists());
}

#[test]
fn keys_that_are_named_are_used_and_replaced_without_losing_a_token() {
    let stub = Stub::quick();
    let key = |digit: &str| digit.repeat(64);
    stub.home.write("conf/old.key", &format!("{}\n", key("1")));
    stub.home.write("conf/new.key", &key("2"));
    let run = |keys: &str| {
        let settings =
            format!("cache_dir = \"kept\"\ncache_keys = [{keys}]\ncache_name_key = \"env:NAMES\"\n");
        let path = stub.home.write("conf/jeton.toml", &settings);
        stub.run_with(&[("JETON_CONFIG", &path), ("NAMES", &key("9"))], &["token"])
    };
    run("\"file:old.key\"").done();
    assert!(stub.home.path().join("conf/kept").exists(), "relative to the settings file");
    run("\"file:new.key\", \"file:old.key\"").done();
    assert_eq!((stub.requests(), stub.key_file().exists()), (1, false));
    run("\"file:new.key\"").done();
    assert_eq!(stub.requests(), 2, "what the old key sealed cannot be opened any more");
    run("\"file:absent.key\"").failed(5, &["absent.key"]);
    run("\"env:NAMES\", \"canary\"").failed(5, &["cache_keys", "file:PATH"]);
    let bad = stub.run_with(&[("JETON_CACHE_KEYS", "env:A"), ("A", "canary")], &["token"]);
    bad.failed(5, &["JETON_CACHE_KEYS", "64 hexadecimal digits"]);
    assert!(!bad.stderr.contains("canary"), "{bad}");
    stub.run_with(&[("JETON_CACHE", "memory")], &["token"])
        .failed(5, &["JETON_CACHE: it is file, off, or the url of a redis"]);
    stub.run(&["token", "--cache", "memory"]).failed(2, &["--cache: it is file, off, or"]);
    stub.run(&["token", "--client-secret", "-", "--cache-key", "-"]).failed(5, &["standard input"]);
}
