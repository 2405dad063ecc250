//! Each way to fail has its exit code, an empty stdout, and a message that says what to do.

use crate::api::Api;
use crate::process::{Home, Registered};
use std::net::TcpListener;
use std::process::Stdio;

/// An address on which nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/oauth/token", listener.local_addr().unwrap())
}

fn variables(url: &str) -> [(&'static str, &str); 3] {
    [("JETON_TOKEN_URL", url), ("JETON_CLIENT_ID", "billing"), ("JETON_CLIENT_SECRET", "s")]
}

#[test]
fn help_and_version_are_results() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    for code in ["0  done", "2  the command line", "5  the settings"] {
        assert!(help.done().contains(code), "{help}");
    }
    assert!(home.run(&["--version"]).done().starts_with("jeton "));
    for command in [
        "serve", "client", "apply", "drift", "token", "call", "login", "logout", "cache", "profile",
        "inspect", "sandbox",
    ] {
        assert!(home.run(&[command, "--help"]).done().contains("Usage:"));
    }
}

#[test]
fn code_2_the_command_line_is_wrong() {
    let home = Home::new();
    for args in [
        &[][..],
        &["nonsense"],
        &["token", "--nonsense"],
        &["client", "add"],
        &["call", "GET"],
        &["token", "--output", "xml"],
        &["inspect"],
        &["inspect", "t", "--audience", "a"],
        &["sandbox", "--callers", "0"],
        &["token", "--log-format", "xml"],
        &["token", "--log-level", "a=b=c"],
    ] {
        let ended = home.run(args);
        ended.failed(2, &[]);
        assert!(!ended.stderr.is_empty(), "{args:?}");
    }
    let secret =
        home.run(&["token", "--token-url", &closed(), "--client-id", "a", "--client-secret", "canary"]);
    secret.failed(2, &["--client-secret", "file:PATH"]);
    assert!(!secret.stderr.contains("canary"), "{secret}");
}

#[test]
fn code_3_the_credential_is_refused() {
    let registered = Registered::new();
    let wrong = registered.run_with(&[("JETON_CLIENT_SECRET", "wrong")], &["token"]);
    wrong.failed(3, &["invalid_client", "billing", "hint: "]);
    registered.run_with(&[("JETON_CLIENT_ID", "nobody")], &["token"]).failed(3, &["invalid_client"]);
    registered.run(&["token", "--scope", "c"]).failed(3, &["invalid_scope"]);
    registered.run(&["token", "--resource", "https://other.example"]).failed(3, &["invalid_target"]);
    let wall = Api::answering("401 Unauthorized", "");
    Home::new().run_with(&variables(&wall.url("/")), &["token"]).failed(3, &["401"]);
    let api = Api::answering("200 OK", "");
    registered.run_with(&[("JETON_CLIENT_SECRET", "wrong")], &["call", "GET", &api.url("/")]).failed(3, &[]);
    assert!(api.asked().is_empty(), "t23: without a token the request is not sent");
}

#[test]
fn code_4_the_server_is_unreachable() {
    let home = Home::new();
    let url = closed();
    home.run_with(&variables(&url), &["token"]).failed(4, &["cannot connect", "hint: "]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    home.run_with(&variables(&url), &["token", "--timeout", "300ms"]).failed(4, &[]);
    let busy = Api::answering(
        "503 Service Unavailable\r\nretry-after: 900",
        "{\"error\":\"temporarily_unavailable\"}",
    );
    home.run_with(&variables(&busy.url("/")), &["token"])
        .failed(4, &["temporarily_unavailable", "ask again in"]);
    for (status, said) in [("502 Bad Gateway", "502"), ("429 Too Many Requests\r\nretry-after: 60", "429")] {
        let proxy = Api::answering(status, "<html>canary</html>");
        let ended = home.run_with(&variables(&proxy.url("/")), &["token"]);
        ended.failed(4, &[said, "cannot answer now", "ask again in"]);
        assert!(!ended.stderr.contains("canary"), "{ended}");
    }

    let registered = Registered::new();
    registered.run(&["call", "GET", &closed()]).failed(4, &["cannot connect"]);
    let url = format!("http://{}/", silent.local_addr().unwrap());
    registered.run(&["call", "GET", &url, "--max-time", "500ms"]).failed(4, &["no answer within"]);
}

#[test]
fn code_5_the_settings_are_wrong() {
    let home = Home::new();
    home.run(&["token"]).failed(5, &["the token url is not set", "JETON_TOKEN_URL"]);
    home.run(&["--config", "absent.toml", "token"]).failed(5, &["absent.toml"]);
    let url = closed();
    let plain = home.run_with(&variables("http://id.example.com/token"), &["token"]);
    plain.failed(5, &["JETON_TOKEN_URL", "plain http to id.example.com"]);
    home.run_with(&variables("nonsense"), &["token"]).failed(5, &["JETON_TOKEN_URL", "not a URL"]);
    let empty = home.write("empty", "\n");
    for source in ["env:ABSENT", "file:absent", &format!("file:{empty}")] {
        home.run_with(&variables(&url), &["token", "--client-secret", source]).failed(5, &["the secret"]);
    }
    home.run_with(&variables(&url), &["token", "--ca-file", "absent.pem"]).failed(2, &["--ca-file"]);
    home.run_with(&variables(&url), &["token", "--ca-file", &empty])
        .failed(2, &["--ca-file", &empty, "no PEM certificate"]);
    home.run_with(&[("JETON_LOG", "a=b=c")], &["client", "list"]).failed(5, &["JETON_LOG"]);
    home.run(&["serve", "--listen", "0.0.0.0:0"]).failed(5, &["the issuer must be set"]);
    home.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "/dev/null/x"]).failed(5, &["/dev/null/x"]);
    let moved = Api::answering("302 Found\r\nlocation: http://other.example/", "");
    home.run_with(&variables(&moved.url("/")), &["token"]).failed(5, &["redirected", "302"]);
}

#[test]
fn code_1_what_is_none_of_these() {
    let home = Home::new();
    let page = Api::answering("200 OK\r\ncontent-type: text/html", "<html>canary</html>");
    let malformed = home.run_with(&variables(&page.url("/")), &["token"]);
    malformed.failed(1, &["malformed answer", "token endpoint"]);
    assert!(!malformed.stderr.contains("canary"), "nothing of a foreign body is told: {malformed}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let registered = Registered::new();
    for args in [&["token"][..], &["--help"], &["inspect", "opaque"]] {
        let mut command = registered.home.jeton(args);
        command
            .envs(registered.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}
