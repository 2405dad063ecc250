//! No secret and no token in any stream or log, in any of the forms in which they travel.

use crate::api::Api;
use crate::process::{Home, Registered, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The forms in which a value could be found in an output.
fn forms(value: &str) -> Vec<String> {
    let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = serde_json::to_string(value).unwrap();
    // In base64 a value looks different at each of three offsets; the characters at its ends depend on its neighbours.
    let base64 = (0..3).map(|offset| {
        let padded = format!("{}{value}", "x".repeat(offset));
        let text = STANDARD.encode(padded);
        let inner = text.get(4..text.len() - 4).unwrap_or_default();
        inner.to_owned()
    });
    [value.to_owned(), encoded, json.trim_matches('"').to_owned()].into_iter().chain(base64).collect()
}

#[track_caller]
fn assert_absent(value: &str, output: &str) {
    for form in forms(value) {
        assert!(form.len() > 8 && !output.contains(&form), "{form} is in:\n{output}");
    }
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

#[test]
fn t34_the_forms_of_a_secret_are_found_where_they_are() {
    let secret = "canary/secret&value";
    let basic = STANDARD.encode(format!("billing:{secret}"));
    for output in [secret, "canary%2Fsecret%26value", &basic] {
        assert!(forms(secret).iter().any(|form| output.contains(form)), "{output}");
    }
}
