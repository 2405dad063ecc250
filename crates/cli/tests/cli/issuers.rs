//! Servers that are found by their issuer, and what is kept of them.

use crate::api::Api;
use crate::process::{Ended, Home, finish};
use crate::stub::grant;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An issuer that can be made to say nothing.
struct Issuer {
    home: Home,
    api: Api,
    silent: Arc<AtomicBool>,
}

impl Issuer {
    fn new() -> Self {
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = Arc::clone(&silent);
        let api = Api::start(move |number, asked| {
            let issuer = format!("http://{}", asked.field("host").unwrap());
            if is_silent.load(Ordering::SeqCst) {
                return ("503 Service Unavailable".to_owned(), String::new());
            }
            if asked.line.starts_with("POST ") {
                return grant(&format!("token-{number}"), 3600);
            }
            let document = json!({
                "issuer": issuer,
                "token_endpoint": format!("{issuer}/found"),
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            });
            ("200 OK\r\ncontent-type: application/json".to_owned(), document.to_string())
        });
        let home = Home::new();
        home.write_secret("secret", "canary-secret");
        Self { home, api, silent }
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.run_at(&self.api.url(""), args)
    }

    fn run_at(&self, issuer: &str, args: &[&str]) -> Ended {
        let mut command = self.home.jeton(args);
        command.env("JETON_ISSUER", issuer).env("JETON_CLIENT_ID", "billing");
        command.env("JETON_CLIENT_SECRET_FILE", "secret");
        finish(command)
    }

    fn lines(&self) -> Vec<String> {
        self.api.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// What is kept of issuers.
    fn kept(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.home.path().join(".cache/jeton")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("issuer-")).collect()
    }

    /// Makes what is kept so much older.
    fn age(&self, seconds: u64) {
        let path = self.kept().remove(0);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for name in ["fetched_at", "asked_at"] {
            value[name] = json!(value[name].as_u64().unwrap() - seconds);
        }
        std::fs::write(path, value.to_string()).unwrap();
    }
}

const METADATA: &str = "GET /.well-known/oauth-authorization-server";

#[test]
fn r4_2_an_issuer_is_asked_once_and_a_kept_token_needs_no_connection() {
    let issuer = Issuer::new();
    assert_eq!(issuer.run(&["token"]).done(), "token-1\n");
    assert_eq!(issuer.lines(), [METADATA, "POST /found"]);
    let body = &issuer.api.asked()[1].body;
    assert!(body.contains("client_secret=canary-secret"), "the method that the server offers: {body}");
    let files = issuer.kept();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&files[0]).unwrap().contains("canary"));
    issuer.silent.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let ended = issuer.run(&["token"]);
        assert_eq!((ended.done(), ended.stderr.as_str()), ("token-1\n", ""));
    }
    assert_eq!(issuer.api.asked().len(), 2, "no connection");
    let listed = issuer.run(&["cache", "list"]);
    assert!(listed.done().contains("/found"), "{listed}");
    assert!(issuer.run(&["logout"]).done().contains("removed 1 token"));
    assert_eq!(issuer.api.asked().len(), 2, "no connection");
}

#[test]
fn an_outage_of_the_issuer_is_none_of_ours_for_thirty_days() {
    let Issuer { home, api, silent } = Issuer::new();
    let issuer = Issuer { home, api, silent };
    issuer.run(&["token"]).done();
    issuer.age(25 * 3600);
    issuer.silent.store(true, Ordering::SeqCst);
    let ended = issuer.run(&["token"]);
    assert_eq!(ended.done(), "token-1\n");
    assert!(ended.stderr.contains("warning: what http://") && ended.stderr.contains("1d 1h ago"), "{ended}");
    let asked = issuer.api.asked().len();
    assert!(issuer.run(&["token"]).stderr.contains("did not answer a moment ago"));
    assert_eq!(issuer.api.asked().len(), asked, "it is left alone for a while");
    issuer.age(61);
    issuer.silent.store(false, Ordering::SeqCst);
    let ended = issuer.run(&["token"]);
    assert_eq!((ended.done(), ended.stderr.as_str()), ("token-1\n", ""));
    assert_eq!(issuer.lines().last().unwrap(), METADATA);
    issuer.age(31 * 86_400);
    issuer.silent.store(true, Ordering::SeqCst);
    issuer.run(&["token"]).failed(4, &["no metadata from 127.0.0.1:", "503"]);
}

#[test]
fn what_is_kept_of_an_issuer_is_held_against_it_again() {
    let issuer = Issuer::new();
    issuer.run(&["token"]).done();
    let path = issuer.kept().remove(0);
    let whole = std::fs::read_to_string(&path).unwrap();
    let host = issuer.api.url("");
    let damaged = [
        String::new(),
        whole.chars().take(whole.len() / 2).collect(),
        whole.replace(&format!("\"issuer\":\"{host}\""), "\"issuer\":\"https://evil.example\""),
        whole.replace(&format!("{host}/found"), "http://evil.example/found"),
        whole.replace("asked_at", "asked"),
        " ".repeat(300_000),
    ];
    for text in damaged {
        assert_ne!(text, whole);
        std::fs::write(&path, &text).unwrap();
        let before = issuer.api.asked().len();
        let ended = issuer.run(&["token"]);
        assert_eq!((ended.done(), ended.stderr.as_str()), ("token-1\n", ""));
        assert_eq!(issuer.lines().split_off(before), [METADATA], "{text:.200}");
    }
    let elsewhere = issuer.home.write("elsewhere", &whole);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(elsewhere, &path).unwrap();
    let before = issuer.api.asked().len();
    issuer.run(&["token"]).done();
    assert_eq!(issuer.api.asked().len(), before + 1, "a link is not followed");
}

#[test]
fn without_a_cache_nothing_is_kept_and_with_renew_the_issuer_is_asked_again() {
    let issuer = Issuer::new();
    for _ in 0..2 {
        issuer.run(&["token", "--no-cache"]).done();
    }
    assert_eq!(issuer.lines(), [METADATA, "POST /found", METADATA, "POST /found"]);
    assert!(!issuer.home.path().join(".cache").exists());
    issuer.run(&["login"]).done();
    let login = issuer.run(&["login", "--renew", "--output", "json"]);
    assert_eq!(login.json()["token_endpoint"], issuer.api.url("/found"));
    assert_eq!(issuer.lines()[4..], [METADATA, "POST /found", METADATA, "POST /found"]);
}

#[test]
fn an_issuer_that_is_none_or_another_one_is_refused() {
    let issuer = Issuer::new();
    let url = issuer.api.url("/");
    issuer
        .run_at(&url, &["token"])
        .failed(5, &["names another issuer", "write the issuer as the server does"]);
    issuer.run_at("https://id.example/?a", &["token"]).failed(5, &["JETON_ISSUER: the issuer must be"]);
    issuer.run_at("http://id.example", &["token"]).failed(5, &["JETON_ISSUER: ", "plain http"]);
    assert!(issuer.lines().iter().all(|line| line.starts_with("GET ")), "no secret was sent");
    // With a token url it is the audience of assertions alone, and not asked.
    let args = ["token", "--token-url", &issuer.api.url("/set"), "--issuer", &url];
    let before = issuer.api.asked().len();
    issuer.run(&args).done();
    assert_eq!(issuer.lines().split_off(before), ["POST /set"]);
}

#[test]
fn a_profile_is_checked_without_its_issuer_and_online_with_it() {
    let issuer = Issuer::new();
    issuer.home.write_secret(".config/jeton/secret", "canary-secret");
    let text = format!(
        "[client.a]\nissuer = \"{}\"\nclient_id = \"a\"\nclient_secret_file = \"secret\"\n",
        issuer.api.url("")
    );
    issuer.home.write(".config/jeton/jeton.toml", &text);
    let check = |args: &[&str]| {
        let ended = issuer.home.run(&[&["profile", "check", "--output", "json"], args].concat());
        (ended.code, ended.json()["profiles"][0].clone())
    };
    let (code, report) = check(&[]);
    assert_eq!((code, &report["status"], &report["issuer"]), (0, &json!("ok"), &json!(issuer.api.url(""))));
    assert_eq!(
        (&report["token_endpoint"], &report["token_endpoint_auth_method"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(issuer.api.asked().len(), 0);
    assert_eq!(check(&["--online"]).1["server"]["granted"], true);
    issuer.silent.store(true, Ordering::SeqCst);
    let (code, report) = check(&["--online"]);
    assert_eq!((code, &report["status"]), (4, &json!("unreachable")), "{report}");
    assert!(!issuer.home.path().join(".cache").exists(), "checking makes nothing");
    let listed = issuer.home.run(&["profile", "list"]);
    assert!(listed.done().contains(&issuer.api.url("")), "{listed}");
}
