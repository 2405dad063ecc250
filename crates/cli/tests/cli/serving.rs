//! `jeton serve`, `jeton client` and `jeton token` together.

use crate::process::{Home, Registered, Server};
use rustix::process::Signal;
use serde_json::json;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_client_added_to_a_running_server_has_tokens_at_once() {
    let registered = Registered::new();
    let token = registered.run(&["token", "--scope", "a"]).done().to_owned();
    assert_eq!(token.lines().count(), 1, "the token alone");
    assert_eq!(token.matches('.').count(), 2);

    let answer = registered.run(&["token", "--scope", "b a", "--output", "json"]).json();
    assert_eq!((&answer["token_type"], &answer["scope"]), (&json!("Bearer"), &json!("a b")));
    let (expires_in, expires_at) =
        (answer["expires_in"].as_u64().unwrap(), answer["expires_at"].as_u64().unwrap());
    assert!((3590..=3600).contains(&expires_in), "{answer}");
    let now =
        registered.run(&["inspect", answer["access_token"].as_str().unwrap(), "--output", "json"]).json();
    assert!(now["expires_at"].as_u64().unwrap().abs_diff(expires_at) <= 1, "{now} {answer}");
}

#[test]
fn a_client_is_disabled_enabled_and_removed_while_the_server_runs() {
    let registered = Registered::new();
    let change = |what: &str| registered.home.run(&["client", what, "billing"]);
    let token = || registered.run(&["token", "--no-cache"]);
    let settles = |code: i32| crate::process::eventually("the change", || token().code == code);
    token().done();
    let disabled = change("disable");
    assert_eq!(disabled.done(), "");
    assert!(disabled.stderr.contains(registered.home.data_dir().to_str().unwrap()), "{disabled}");
    settles(3);
    let list = registered.home.run(&["client", "list"]);
    assert!(list.done().contains("disabled") && list.stderr.contains("1 client in"), "{list}");
    change("enable").done();
    settles(0);
    change("remove").done();
    settles(3);
    change("remove").failed(1, &["there is no client billing in", "hint: "]);
    assert_eq!(registered.home.run(&["client", "list"]).done(), "");
}

#[test]
fn a_client_is_told_with_the_names_of_rfc_7591() {
    let home = Home::new();
    let data_dir = home.path().join("data").display().to_string();
    let flags =
        ["--scope", "b", "--scope", "a c", "--default-scope", "a", "--audience", "https://api.example"];
    let mut args = vec!["client", "--data-dir", &data_dir, "--output", "json", "add", "billing"];
    args.extend(flags);
    args.extend(["--token-lifetime", "90s"]);
    let added = home.run(&args).json();
    assert!(added["client_secret"].as_str().unwrap().len() > 40);
    assert_eq!(added["client_secret_expires_at"], 0);
    for told in [
        &added,
        &home.run(&["client", "--data-dir", &data_dir, "--output", "json", "list"]).json()["clients"][0],
    ] {
        assert_eq!(told["client_id"], "billing");
        assert_eq!((&told["scope"], &told["default_scope"]), (&json!("a b c"), &json!("a")));
        assert_eq!(
            (&told["audience"], &told["token_lifetime_seconds"]),
            (&json!(["https://api.example"]), &json!(90))
        );
    }
    home.run(&args).failed(1, &["there is a client billing already"]);
}

#[test]
fn a_secret_is_written_to_a_new_file_of_the_owner_or_no_client_is_added() {
    let home = Home::new();
    let path = home.path().join("secret");
    let add = |path: &str| home.run(&["client", "add", "billing", "--secret-file", path]);
    let added = add(path.to_str().unwrap());
    assert_eq!(added.done(), "", "the secret is in the file, and nowhere else");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).unwrap();
    assert!(!added.stderr.contains(secret.trim_end()));

    home.run(&["client", "remove", "billing"]).done();
    add(path.to_str().unwrap()).failed(1, &["cannot be made", "no client was added"]);
    add("/dev/null/secret").failed(1, &["cannot be made"]);
    assert_eq!(home.run(&["client", "list"]).done(), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), secret, "a file that is there is left alone");
    // A client that cannot be added leaves no file.
    let other = home.path().join("other");
    let bad = home.run(&["client", "add", "é", "--secret-file", other.to_str().unwrap()]);
    bad.failed(2, &["client id"]);
    home.run(&["client", "add", "a b"]).failed(2, &["letters, digits and -._~ and not ' '"]);
    assert!(!other.exists());
}

#[test]
fn a_secret_that_cannot_be_printed_adds_no_client() {
    let home = Home::new();
    for format in ["text", "json"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut add = home.jeton(&["client", "add", "billing", "--output", format]);
        let ended = add.stdout(full).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("no client was added") && !said.contains("added in"), "{said}");
        assert_eq!(home.run(&["client", "list"]).done(), "");
    }
}

#[test]
fn settings_of_a_client_that_make_none_are_usage_errors() {
    let home = Home::new();
    for (flags, words) in [
        (["--scope", "a\"b"], "--scope: a scope token has a character"),
        (["--default-scope", "a"], "default scope"),
        (["--token-lifetime", "60"], "--token-lifetime: a span of time is written with its unit"),
        (["--token-lifetime", "31d"], "token lifetime"),
        (["--audience", "a b"], "audience"),
    ] {
        let mut args = vec!["client", "add", "billing"];
        args.extend(flags);
        home.run(&args).failed(2, &[words]);
    }
    assert_eq!(home.run(&["client", "list"]).done(), "");
}

#[test]
fn to_look_into_a_data_directory_does_not_make_one() {
    let home = Home::new();
    for args in [&["client", "list"][..], &["client", "disable", "billing"]] {
        home.run(args).failed(1, &["there is no data directory", "--data-dir"]);
    }
    assert!(!home.data_dir().exists());
}

#[test]
fn a_server_says_where_it_is_and_how_to_add_a_client() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "off")], &[]);
    let address = server.issuer.strip_prefix("http://").unwrap().to_owned();
    for words in [&address, &server.token_url(), home.data_dir().to_str().unwrap(), "clients         0"] {
        assert!(server.announcement.contains(words), "{words}: {}", server.announcement);
    }
    TcpStream::connect(&address).unwrap();
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("hint: add one by: jeton client add"), "{said}");
    assert!(TcpStream::connect(&address).is_err(), "the socket is closed");
}

#[test]
fn either_signal_ends_a_server_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mut server = Server::start(&home, &[], &[]);
        server.signal(signal);
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_client_is_refused_when_the_command_that_disables_it_has_ended() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "off")], &[]);
    let secret = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
    let (url, secret) = (server.token_url(), ("JETON_CLIENT_SECRET", secret.as_str()));
    let token =
        || home.run_with(&[secret], &["token", "--no-cache", "--token-url", &url, "--client-id", "billing"]);
    for _ in 0..3 {
        token().done();
        home.run(&["client", "disable", "billing"]).done();
        token().failed(3, &["invalid_client"]);
        home.run(&["client", "enable", "billing"]).done();
    }
    home.run(&["client", "remove", "billing"]).done();
    token().failed(3, &["invalid_client"]);
}

#[test]
fn a_server_outlives_the_reader_of_its_log() {
    let home = Home::new();
    let mut server = Server::start(&home, &[("JETON_LOG", "trace")], &[]);
    let secret = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
    server.stop_listening();
    let (url, secret) = (server.token_url(), ("JETON_CLIENT_SECRET", secret.as_str()));
    for _ in 0..3 {
        home.run_with(&[secret], &["token", "--no-cache", "--token-url", &url, "--client-id", "billing"])
            .done();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_port_that_is_held_is_told_with_what_to_do() {
    let home = Home::new();
    let server = Server::start(&home, &[], &[]);
    let address = server.issuer.strip_prefix("http://").unwrap();
    home.run(&["serve", "--listen", address])
        .failed(1, &["cannot listen on", "another program holds the port", "--listen"]);
}

#[test]
fn the_log_can_be_json() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG_FORMAT", "json")], &["--log-level", "info"]);
    let (_, said) = server.end();
    let ended = said.lines().filter(|line| line.starts_with('{'));
    let ended: Vec<serde_json::Value> = ended.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ended.iter().any(|line| line["fields"]["message"] == "server ended"), "{said}");
}
