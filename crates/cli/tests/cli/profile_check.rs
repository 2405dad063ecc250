//! `jeton profile list` and `check`.

use crate::api::Api;
use crate::process::{Ended, Home, Server};
use crate::stub::grant;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

fn settings(home: &Home, text: &str) -> String {
    home.write(".config/jeton/jeton.toml", text)
}

fn profile(name: &str, url: &str, rest: &str) -> String {
    format!("[client.{name}]\ntoken_url = \"{url}\"\nclient_id = \"{name}-id\"\n{rest}\n")
}

fn check(home: &Home, code: i32, args: &[&str]) -> Value {
    let ended = home.run(&[&["profile", "check", "--output", "json"], args].concat());
    assert_eq!(ended.code, code, "{ended}");
    ended.json()
}

fn statuses(report: &Value) -> Vec<(&str, &str)> {
    let profiles = report["profiles"].as_array().unwrap().iter();
    profiles.map(|one| (one["name"].as_str().unwrap(), one["status"].as_str().unwrap())).collect()
}

/// An address on which nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/token", listener.local_addr().unwrap())
}

#[test]
fn profiles_are_listed_with_what_they_take_from_the_top() {
    let home = Home::new();
    home.run(&["profile", "list"]).failed(5, &["there is no settings file"]);
    home.run(&["profile", "check"]).failed(5, &["there is no settings file"]);
    let path = settings(&home, "client_id = \"x\"\n");
    let none = home.run(&["profile", "list"]);
    assert!(none.done().is_empty() && none.stderr == format!("0 profiles in {path}\n"), "{none}");
    let text = format!(
        "token_url = \"https://id.example/token\"\nscopes = [\"a\", \"b\"]\n{}[client.half]\nauth_method = \"client_secret_post\"\n\
         client_secret = \"canary-literal\"\n[client.z]\nclient_secret = \"env:CANARY\"\n",
        profile("billing", "https://other.example/", "client_secret_file = \"billing.secret\"\nscopes = []")
    );
    settings(&home, &text);
    let listed = home.run_with(&[("CANARY", "canary-value"), ("JETON_SCOPES", "e")], &["profile", "list"]);
    assert_eq!(listed.done().lines().count(), 4, "{listed}");
    assert!(listed.stderr.contains("not all of half can be read"), "{listed}");
    assert!(listed.stderr.contains("3 profiles in "), "{listed}");
    for words in [
        "billing-id",
        "https://other.example/",
        "client_secret_post",
        "a b",
        "billing.secret",
        "variable CANARY",
    ] {
        assert!(listed.stdout.contains(words), "{words}: {listed}");
    }
    assert!(!listed.stdout.contains("canary") && !listed.stderr.contains("canary"), "{listed}");
    let document = home.run(&["profile", "list", "--output", "json"]).json();
    assert_eq!(document["settings_file"], json!(path));
    let secret = home.path().join(".config/jeton/billing.secret");
    let expected = json!([
        { "name": "billing", "token_endpoint": "https://other.example/", "issuer": null, "credential": "client_secret", "client_id": "billing-id",
          "token_endpoint_auth_method": "client_secret_basic", "scope": null,
          "secret_place": format!("the secret file {}", secret.display()) },
        { "name": "half", "token_endpoint": "https://id.example/token", "issuer": null, "credential": null, "client_id": null,
          "token_endpoint_auth_method": "client_secret_post", "scope": "a b", "secret_place": null },
        { "name": "z", "token_endpoint": "https://id.example/token", "issuer": null, "credential": "client_secret", "client_id": null,
          "token_endpoint_auth_method": "client_secret_basic", "scope": "a b",
          "secret_place": "the secret in the environment variable CANARY" },
    ]);
    assert_eq!(document["profiles"], expected);
}

#[test]
fn every_fault_of_every_profile_is_told_with_its_place() {
    let home = Home::new();
    let text = "[client.a]\n\
                token_url = \"http://elsewhere.example/\"\n\
                client_id = 5\n\
                client_secret_file = \"absent\"\n\
                auth_method = \"basic\"\n\
                tokn_url = \"x\"\n\
                scopes = [\"a\\\"b\"]\n\
                [client.b]\n\
                token_url = \"nonsense\"\n\
                client_id = \"x\"\n\
                client_secret_file = \"absent\"\n\
                cache_keys = [\"env:ABSENT\"]\n\
                [client.c]\n\
                client_secret = \"canary\"\n\
                [client.d]\n\
                token_url = \"https://id.example/\"\n\
                client_id = \"x\"\n\
                client_secret_file = \"jeton.toml\"\n\
                ca_file = \"absent.pem\"\n\
                [client.e]\n\
                token_url = \"https://id.example/\"\n\
                client_id = \"x\"\n\
                client_secret = \"env:HOME\"\n";
    let path = settings(&home, text);
    let report = check(&home, 5, &[]);
    let told = |number: usize| -> Vec<(u64, u64, String)> {
        let faults = report["profiles"][number]["faults"].as_array().unwrap().iter();
        faults
            .map(|fault| {
                let number = |name: &str| fault[name].as_u64().unwrap_or(0);
                (number("line"), number("column"), fault["message"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    let expected: [&[(u64, u64, &str)]; 5] = [
        &[
            (3, 13, "expected a string"),
            (6, 1, "unknown field `tokn_url`"),
            (5, 15, "auth_method: "),
            (7, 10, "scopes: "),
        ],
        &[(0, 0, "absent"), (0, 0, "ABSENT"), (9, 13, "token_url: ")],
        &[(14, 17, "file:PATH"), (13, 9, "the token url is not set"), (13, 9, "the client id is not set")],
        &[(19, 11, "absent.pem")],
        &[],
    ];
    for (number, expected) in expected.into_iter().enumerate() {
        let told = told(number);
        assert_eq!(told.len(), expected.len(), "{number}: {told:?}");
        for ((line, column, message), (at_line, at_column, words)) in told.iter().zip(expected) {
            assert_eq!((line, column), (at_line, at_column), "{message}");
            assert!(message.contains(words), "{message}");
            assert!(*line == 0 || message.starts_with(&format!("{path}:{line}:{column}: ")), "{message}");
        }
    }
    assert_eq!(statuses(&report)[4], ("e", "ok"));
    assert!(!report.to_string().contains("canary"), "{report}");
    let text = home.run(&["profile", "check", "a", "e"]);
    assert_eq!((text.code, text.stderr.as_str()), (5, ""), "{text}");
    assert!(text.stdout.contains("a: faulty\n") && text.stdout.contains("e: ok\n"), "{text}");
    assert!(!text.stdout.contains("b: "), "{text}");
    assert_eq!(check(&home, 0, &["e"])["status"], "ok");
    assert!(
        !home.path().join(".cache").exists() && !home.path().join(".local").exists(),
        "checking makes nothing"
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_of() {
    let home = Home::new();
    let path = settings(&home, "[client.a]\nx = \n[client.b\n[server]\n");
    let ended = home.run(&["profile", "check", "a"]);
    assert_eq!(ended.code, 5, "{ended}");
    for words in [&format!("{path}: faulty"), &format!("{path}:2:"), &format!("{path}:3:")] {
        assert!(ended.stdout.contains(words), "{words}: {ended}");
    }
    settings(&home, "scopes = 1\n[server]\nport = 1\n");
    let report = check(&home, 5, &[]);
    let lines: Vec<_> = report["faults"].as_array().unwrap().iter().map(|fault| &fault["line"]).collect();
    assert_eq!((lines, &report["status"]), (vec![&json!(1), &json!(3)], &json!("faulty")));
    home.run(&["profile", "list"]).failed(5, &[":1:10: invalid type"]);
}

#[test]
fn online_each_server_is_asked_and_the_worst_decides() {
    let home = Home::new();
    let server = Server::start(&home, &[], &[]);
    let secret = home.run(&["client", "add", "good-id", "--scope", "a"]).done().to_owned();
    home.write_secret(".config/jeton/good.secret", &secret);
    home.write_secret(".config/jeton/wrong.secret", "canary-wrong-secret");
    let path = home.path().join(".config/jeton/good.secret");
    let file = std::fs::File::options().append(true).open(path).unwrap();
    let age = Duration::from_secs(3 * 86_400);
    file.set_modified(file.metadata().unwrap().modified().unwrap() - age).unwrap();
    let busy = Api::answering(
        "503 Service Unavailable\r\nretry-after: 900",
        "{\"error\":\"temporarily_unavailable\"}",
    );
    let page = Api::answering("200 OK", "<html>canary</html>");
    let (url, gone) = (server.token_url(), closed());
    let wrong = "client_secret = \"file:wrong.secret\"";
    let text = profile("good", &url, "client_secret = \"file:good.secret\"\nscopes = [\"a\"]")
        + &profile("refused", &url, wrong)
        + &profile("scope", &url, "client_secret = \"file:good.secret\"\nscopes = [\"z\"]")
            .replace("scope-id", "good-id")
        + &profile("gone", &gone, wrong)
        + &profile("busy", &busy.url("/"), wrong)
        + &profile("page", &page.url("/"), wrong)
        + &profile("faulty", &url, "");
    settings(&home, &text);
    let all = check(&home, 5, &["--online"]);
    let expected = [
        ("busy", "unreachable"),
        ("faulty", "faulty"),
        ("gone", "unreachable"),
        ("good", "ok"),
        ("page", "failed"),
        ("refused", "refused"),
        ("scope", "refused"),
    ];
    assert_eq!(statuses(&all), expected);
    let of = |name: &str| all["profiles"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    let good = of("good");
    assert_eq!((&good["server"]["granted"], &good["server"]["scope"]), (&json!(true), &json!("a")));
    assert!((3500..=3600).contains(&good["server"]["expires_in"].as_u64().unwrap()), "{good}");
    let age = good["secret_age_seconds"].as_u64().unwrap();
    assert!((259_200..259_900).contains(&age) && good["secret_read"] == true, "{good}");
    assert_eq!(
        (&of("refused")["server"]["error"], &of("scope")["server"]["error"]),
        (&json!("invalid_client"), &json!("invalid_scope"))
    );
    assert_eq!((&of("faulty")["server"], &of("gone")["server"]["error"]), (&Value::Null, &Value::Null));
    assert!(!all.to_string().contains("canary") && !all.to_string().contains(secret.trim_end()), "{all}");
    for (names, code, status) in [
        (&["good"][..], 0, "ok"),
        (&["good", "page"], 1, "failed"),
        (&["page", "gone", "busy"], 4, "unreachable"),
        (&["gone", "refused", "good"], 3, "refused"),
        (&["refused", "faulty"], 5, "faulty"),
    ] {
        assert_eq!(check(&home, code, &[&["--online"], names].concat())["status"], status, "{names:?}");
    }
    let text = home.run(&["profile", "check", "--online", "good", "refused"]);
    assert_eq!(text.code, 3, "{text}");
    for words in [
        "good: ok",
        ", there for 3d",
        "gave a token for a, which expires in 59m",
        "refused: refused",
        "invalid_client",
    ] {
        assert!(text.stdout.contains(words), "{words}: {text}");
    }
    let traced =
        home.run(&["profile", "check", "--online", "--log-level", "trace", "good", "refused", "page"]);
    assert!(traced.stderr.contains("TRACE"), "{traced}");
    assert!(
        !traced.to_string().contains("canary") && !traced.to_string().contains(secret.trim_end()),
        "{traced}"
    );
    assert!(!home.path().join(".cache").exists(), "nothing is kept");
}

#[test]
fn what_takes_long_is_told_on_stderr_and_servers_are_asked_at_the_same_time() {
    let home = Home::new();
    let slow: Vec<Api> = (0..4)
        .map(|_| {
            Api::start(|_, _| {
                std::thread::sleep(Duration::from_millis(1500));
                grant("canary-token", 60)
            })
        })
        .collect();
    let text: String = slow
        .iter()
        .enumerate()
        .map(|(number, api)| profile(&format!("p{number}"), &api.url("/"), "client_secret = \"env:HOME\""))
        .collect();
    settings(&home, &text);
    let begun = std::time::Instant::now();
    let ended: Ended = home.run(&["profile", "check", "--online"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (0, "reading secrets and asking servers for tokens ...\n"),
        "{ended}"
    );
    assert!(!ended.stdout.contains("canary"), "{ended}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    settings(
        &home,
        &profile(
            "silent",
            &format!("http://{}/", silent.local_addr().unwrap()),
            "client_secret = \"env:HOME\"",
        ),
    );
    let report = check(&home, 4, &["--online", "--timeout", "300ms"]);
    assert_eq!(statuses(&report), [("silent", "unreachable")]);
    home.run(&["profile", "check", "--timeout", "0s"]).failed(2, &["--timeout"]);
}

#[test]
fn standard_input_holds_one_secret() {
    let home = Home::new();
    let api = Api::start(|_, _| grant("t", 60));
    let stdin = "client_secret = \"-\"";
    settings(&home, &(profile("a", &api.url("/"), stdin) + &profile("b", &api.url("/"), stdin)));
    let args = ["profile", "check", "--online", "--output", "json"];
    let both = home.run_reading("secret", &[], &args).json();
    assert_eq!(
        (statuses(&both), both["profiles"][0]["secret_read"].clone()),
        (vec![("a", "ok"), ("b", "ok")], json!(false))
    );
    assert_eq!(api.asked().len(), 0);
    let alone = home.run_reading("secret", &[], &[&args[..], &["a"]].concat()).json();
    assert_eq!((&alone["profiles"][0]["secret_read"], api.asked().len()), (&json!(true), 1));
}

#[test]
fn secrets_of_commands_are_read_at_the_same_time_and_told_by_their_place() {
    let home = Home::new();
    let url = closed();
    let text = profile("a", &url, "client_secret = \"cmd:sh -c 'sleep 1.5; echo canary-secret'\"")
        + &profile("b", &url, "client_secret = \"cmd:sh -c 'sleep 1.5; echo canary-secret'\"")
        + &profile("hangs", &url, "client_secret = \"cmd:sleep 600\"")
        + &profile("fails", &url, "client_secret = \"cmd:sh -c 'echo canary >&2; exit 7'\"");
    settings(&home, &text);
    let ended = home.run(&["profile", "check", "--timeout", "2s", "--output", "json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (5, "reading secrets ...\n"), "{ended}");
    let report = ended.json();
    let expected = [("a", "ok"), ("b", "ok"), ("fails", "faulty"), ("hangs", "unreachable")];
    assert_eq!(statuses(&report), expected, "{report}");
    assert!(!ended.to_string().contains("canary"), "{ended}");
    assert_eq!(check(&home, 4, &["--timeout", "1s", "hangs"])["status"], "unreachable");
}

#[test]
fn a_secret_that_is_old_is_told_and_costs_no_exit_code() {
    let home = Home::new();
    let url = closed();
    let secret = home.write_secret(".config/jeton/secret", "canary-secret");
    let file = std::fs::File::options().append(true).open(secret).unwrap();
    let days = |days: u64| Duration::from_secs(days * 86_400);
    file.set_modified(file.metadata().unwrap().modified().unwrap() - days(91)).unwrap();
    let of_file = "client_secret_file = \"secret\"";
    let text = profile("due", &url, of_file)
        + &profile("later", &url, &format!("{of_file}\nrotation_due_after = \"92d\""))
        + &profile("unknown", &url, "client_secret = \"env:HOME\"");
    settings(&home, &text);
    let report = check(&home, 0, &[]);
    let told = |number: usize| {
        let one = &report["profiles"][number];
        (one["rotation_due"].clone(), one["secret_age_seconds"].as_u64().map(|age| age / 86_400))
    };
    assert_eq!(told(0), (json!(true), Some(91)), "{report}");
    assert_eq!(told(1), (json!(false), Some(91)), "{report}");
    assert_eq!(told(2), (Value::Null, None), "{report}");
    let text = home.run(&["profile", "check"]);
    let warnings: Vec<_> = text.done().lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings, ["  warning  it ought to be replaced: that is due after 90d"], "{text}");
    assert!(text.stdout.contains("  method   client_secret_basic"), "{text}");
}
