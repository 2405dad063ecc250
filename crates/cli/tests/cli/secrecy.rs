//! No secret and no token in any stream or log, in any of the forms in which they travel.

use crate::api::Api;
use crate::canary::Canaries;
use crate::process::{Home, Registered, Server};
use crate::stub::grant;
use std::path::{Path, PathBuf};

#[track_caller]
fn assert_absent(value: &str, output: &str) {
    Canaries::of("a secret value", value).assert_absent("the output", output);
}

#[test]
fn t34_secrets_and_tokens_are_in_no_log_at_any_level() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "trace")], &[]);
    let secret = home.run(&["client", "add", "billing", "--scope", "a"]).done().trim_end().to_owned();
    let refusal = "401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"";
    let api = Api::answering(refusal, "");
    let url = server.token_url();
    let run = |secret: &str, args: &[&str]| {
        let variables = [
            ("JETON_LOG", "trace"),
            ("JETON_TOKEN_URL", &url),
            ("JETON_CLIENT_ID", "billing"),
            ("JETON_CLIENT_SECRET", secret),
        ];
        home.run_with(&variables, args)
    };
    let mut outputs = String::new();
    let mut tokens = Vec::new();
    for method in ["client_secret_basic", "client_secret_post"] {
        let token = run(&secret, &["token", "--no-cache", "--auth-method", method]);
        tokens.push(token.done().trim_end().to_owned());
        outputs += &token.stderr;
        let called = run(&secret, &["call", "GET", &api.url("/"), "--auth-method", method]);
        called.done();
        outputs += &called.stdout;
        outputs += &called.stderr;
    }
    let bearer = api.asked().into_iter().map(|asked| asked.field("authorization").unwrap().to_owned());
    tokens.extend(bearer.map(|value| value.strip_prefix("Bearer ").unwrap().to_owned()));
    let wrong = "canary: wrong+secret&with=%é\"\\";
    for method in ["client_secret_basic", "client_secret_post"] {
        let refused = run(wrong, &["token", "--auth-method", method]);
        refused.failed(3, &["invalid_client"]);
        outputs += &refused.stderr;
    }
    let (_, log) = server.end();
    assert!(outputs.contains("TRACE") && log.contains("billing"), "the logs are there: {log}");
    assert_eq!(tokens.len(), 6, "four of the calls, each of which was tried twice");
    for output in [&outputs, &log] {
        assert_absent(&secret, output);
        assert_absent(wrong, output);
        for token in &tokens {
            assert_absent(token, output);
            // The signature is what makes it good.
            assert_absent(token.rsplit('.').next().unwrap(), output);
        }
    }
}

#[test]
fn t34_what_a_server_echoes_is_not_shown() {
    let registered = Registered::new();
    let echo = Api::start(|_, asked| {
        let all = format!("{} {}", asked.field("authorization").unwrap_or_default(), asked.body);
        ("500 Internal Server Error".to_owned(), all)
    });
    let (url, secret) = (echo.url("/token"), "canary-secret-of-the-client");
    for method in ["client_secret_basic", "client_secret_post"] {
        let args = ["token", "--token-url", &url, "--auth-method", method, "--log-level", "trace"];
        let ended = registered.run_with(&[("JETON_CLIENT_SECRET", secret)], &args);
        assert_ne!(ended.code, 0);
        assert_eq!(ended.stdout, "");
        assert_absent(secret, &ended.stderr);
    }
    assert!(!echo.asked().is_empty());
}

/// Every command that takes a secret or keeps a token, through what goes well and what does not.
#[test]
fn t34_no_command_writes_a_secret_or_a_token_whatever_happens() {
    const ODD: &str = "ca\u{f1}ary secret: of+the&client=%\"\\/~?{0}";
    const TOKEN: &str = "canary.token-of_the~api+which/nobody=may.see.";
    let token = |number: usize| format!("{TOKEN}{number}");
    let server = Api::start(move |number, asked| match asked.line.as_str() {
        "POST /token" => grant(&token(number), 3600),
        "POST /short" => grant(&token(number), 2),
        "POST /refused" => ("401 Unauthorized".to_owned(), r#"{"error":"invalid_client"}"#.to_owned()),
        "POST /told" => {
            let told = format!("{} {}", asked.field("authorization").unwrap_or_default(), asked.body);
            let told = serde_json::json!({ "error": "invalid_request", "error_description": told });
            ("400 Bad Request".to_owned(), told.to_string())
        }
        "POST /broken" => ("200 OK".to_owned(), format!("{{\"access_token\":\"{}\"", token(number))),
        "POST /away" => {
            (format!("302 Found\r\nlocation: http://localhost:1/{}", token(number)), String::new())
        }
        _ => {
            ("401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"".to_owned(), String::new())
        }
    });
    let (home, api) = (Home::new(), server.url("/api"));
    let mut canaries = Canaries::of("the secret", ODD);
    canaries.add("the token", TOKEN);
    let mut tokens = 0;
    for path in ["token", "short", "refused", "told", "broken", "away"] {
        for method in ["client_secret_basic", "client_secret_post"] {
            let url = server.url(&format!("/{path}"));
            let variables =
                [("JETON_TOKEN_URL", &*url), ("JETON_CLIENT_ID", "billing"), ("JETON_CLIENT_SECRET", ODD)];
            for args in [
                &["login"][..],
                &["login", "--renew", "--output", "json"],
                &["token"],
                &["call", "GET", &api, "--include"],
                &["cache", "list", "--output", "json"],
                &["cache", "show"],
                &["logout"],
            ] {
                let mut args = args.to_vec();
                args.extend(["--log-level", "trace"]);
                if matches!(args[0], "login" | "token" | "call") {
                    args.extend(["--auth-method", method, "--timeout", "2s"]);
                }
                let ended = home.run_with(&variables, &args);
                canaries.assert_absent(&format!("what {args:?} said of /{path}"), &ended.stderr);
                if args[0] == "token" {
                    // Its result is the token, and nothing else is.
                    tokens += usize::from(ended.code == 0);
                } else {
                    canaries.assert_absent(&format!("the result of {args:?}"), &ended.stdout);
                }
                for kept in files_of(home.path()) {
                    canaries.assert_absent(&kept.display().to_string(), std::fs::read(&kept).unwrap());
                }
            }
        }
    }
    assert_eq!(tokens, 4, "of two endpoints in two ways");
    for literal in [ODD, "canary-literal-of-a-secret"] {
        let variables = [("JETON_TOKEN_URL", &*api), ("JETON_CLIENT_ID", "billing")];
        let ended = home.run_with(&variables, &["token", "--client-secret", literal]);
        ended.failed(2, &["it must say where the secret is"]);
        assert_absent(literal, &ended.stderr);
    }
}

/// All files below `dir`.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}
