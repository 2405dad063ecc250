//! `jeton login`, `logout` and `cache`.

use crate::process::Ended;
use crate::stub::Stub;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;

fn list(stub: &Stub) -> Vec<Value> {
    stub.run(&["cache", "list", "--output", "json"]).json()["records"].as_array().unwrap().clone()
}

fn beginning(name: &str, digits: usize) -> &str {
    name.get(..digits).unwrap()
}

/// What is said of a record afterwards, and what is done to its file.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn r7_1_login_says_what_it_did() {
    let stub = Stub::quick();
    let first = stub.run(&["login", "--scope", "b a"]);
    assert_eq!(
        first.stderr,
        format!("Authenticating... as canary-client-id at {}\n", stub.api.url("/token"))
    );
    for words in
        ["canary-client-id", "a b", "(in 59m", "the server, just now", stub.cache_dir().to_str().unwrap()]
    {
        assert!(first.done().contains(words), "{words}: {first}");
    }
    let second = stub.run(&["login", "--scope", "a b"]);
    assert!(second.done().contains("no server was asked") && second.stderr.is_empty(), "{second}");
    let document =
        |args: &[&str]| stub.run(&[&["login", "--scope", "a b", "--output", "json"], args].concat()).json();
    let (kept, renewed) = (document(&[]), document(&["--renew"]));
    assert_eq!((&kept["source"], &renewed["source"]), (&json!("cache"), &json!("server")));
    assert_eq!((&kept["scope"], &kept["token_endpoint"]), (&json!("a b"), &json!(stub.api.url("/token"))));
    assert_eq!(kept["kept_in"], json!(stub.cache_dir()));
    assert_ne!(kept["fingerprint"], renewed["fingerprint"]);
    assert_eq!(stub.requests(), 2);
    assert_eq!(stub.run(&["token", "--scope", "a b"]).done(), "canary-token-1\n", "others have the new one");
    let wrong = stub.run_with(&[("JETON_TOKEN_URL", "http://127.0.0.1:1/")], &["login"]);
    wrong.failed(4, &["Authenticating... as", "cannot connect"]);
}

#[test]
fn logout_forgets_one_client_at_one_server() {
    let stub = Stub::quick();
    let other_url = stub.api.url("/other");
    for scope in ["a", "b"] {
        stub.run(&["token", "--scope", scope]).done();
    }
    stub.run_with(&[("JETON_CLIENT_SECRET", "newer")], &["token"]).done();
    stub.run_with(&[("JETON_CLIENT_ID", "other")], &["token"]).done();
    stub.run(&["token", "--token-url", &other_url]).done();
    let logout = stub.run_with(&[("JETON_CLIENT_SECRET", "")], &["logout"]);
    assert!(logout.done().starts_with("removed 3 tokens of canary-client-id at "), "{logout}");
    assert!(logout.stderr.contains("can use it until it expires, the last one at"), "{logout}");
    let left: HashSet<_> = list(&stub)
        .iter()
        .map(|record| format!("{} {}", record["client_id"], record["token_endpoint"]))
        .collect();
    let expected = [
        format!("\"other\" \"{}\"", stub.api.url("/token")),
        format!("\"canary-client-id\" \"{other_url}\""),
    ];
    assert_eq!(left, HashSet::from(expected));
    let again = stub.run(&["logout", "--output", "json"]);
    assert_eq!((&again.json()["removed"], again.stderr.as_str()), (&json!(0), ""));
    let requests = stub.requests();
    stub.run(&["token", "--scope", "a"]).done();
    assert_eq!(stub.requests(), requests + 1);
    stub.run(&["logout", "--token-url", "nonsense"]).failed(2, &["--token-url"]);
    stub.home.run(&["logout"]).failed(5, &["the token url is not set"]);
}

#[test]
fn an_empty_cache_is_no_error_and_looking_makes_none() {
    let stub = Stub::quick();
    let home = &stub.home;
    let empty = |ended: &Ended| {
        assert!(ended.done().is_empty() && ended.stderr.starts_with("0 records in "), "{ended}");
    };
    empty(&home.run(&["cache", "list"]));
    assert_eq!(home.run(&["cache", "list", "--output", "json"]).json()["records"], json!([]));
    assert!(home.run(&["cache", "clear", "--all"]).done().starts_with("removed 0 records from "));
    home.run(&["cache", "show", "a"]).failed(1, &["no record", "jeton cache list"]);
    home.run(&["cache", "clear"]).failed(2, &["--all"]);
    assert!(stub.run(&["logout"]).done().starts_with("removed 0 tokens"));
    assert!(!home.path().join(".cache").exists() && !home.path().join(".local").exists());
    stub.run(&["token"]).done();
    stub.run(&["cache", "clear", "--all"]).done();
    empty(&home.run(&["cache", "list"]));
}

#[test]
fn a_record_is_shown_with_the_names_of_the_rfcs_and_without_its_token() {
    let stub = Stub::quick();
    let asked = [
        "--scope",
        "a",
        "--audience",
        "au",
        "--resource",
        "https://r",
        "--endpoint-param",
        "tenant=canary-parameter",
    ];
    let token = stub.run(&[&["token"], &asked[..]].concat()).done().trim_end().to_owned();
    stub.run(&["token"]).done();
    let records = list(&stub);
    let record = records.iter().find(|record| record["scope"] == "a").unwrap();
    for (name, expected) in [
        ("status", json!("token")),
        ("client_id", json!("canary-client-id")),
        ("token_endpoint", json!(stub.api.url("/token"))),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("audience", json!("au")),
        ("resource", json!(["https://r"])),
        ("parameter_names", json!(["tenant"])),
    ] {
        assert_eq!(record[name], expected, "{name}: {record}");
    }
    assert!((3500..=3600).contains(&record["expires_in"].as_u64().unwrap()));
    let inspected = stub.run(&["inspect", &token, "--output", "json"]).json();
    assert_eq!(record["fingerprint"], inspected["fingerprint"]);
    let name = record["name"].as_str().unwrap();
    let shown = stub.run(&["cache", "show", beginning(name, 12)]);
    for words in [name, "client_secret_basic", "https://r", "tenant", "(in 59m"] {
        assert!(shown.done().contains(words), "{words}: {shown}");
    }
    assert_eq!(&stub.run(&["cache", "show", name, "--output", "json"]).json()["name"], &record["name"]);
    let table = stub.run(&["cache", "list"]);
    assert!(table.done().lines().count() == 3 && table.stdout.contains(beginning(name, 12)), "{table}");
    for ended in [shown, table] {
        assert!(
            !ended.stdout.contains("canary-token") && !ended.stdout.contains("canary-parameter"),
            "{ended}"
        );
    }
    stub.run(&["cache", "show", ""]).failed(1, &["no record"]);
    stub.run(&["cache", "show", "xyz\u{1b}[2J"]).failed(1, &["begins with xyz\\u{1b}[2J"]);
}

#[test]
fn clear_removes_what_is_chosen_and_says_how_much() {
    let stub = Stub::quick();
    let fill = || {
        for scope in ["a", "b", "a b"] {
            stub.run(&["token", "--scope", scope]).done();
        }
        stub.run_with(&[("JETON_CLIENT_ID", "other")], &["token"]).done();
    };
    let clear = |args: &[&str]| {
        let removed = stub.run(&[&["cache", "clear", "--output", "json"], args].concat()).json();
        removed["removed"].as_u64().unwrap()
    };
    fill();
    assert_eq!(clear(&["--scope", "b a"]), 1);
    assert_eq!(clear(&["--client-id", "canary-client-id", "--scope", "c"]), 0);
    assert_eq!(clear(&["--client-id", "other", "--token-url", &stub.api.url("/token")]), 1);
    assert_eq!(clear(&["--token-url", &stub.api.url("/other")]), 0);
    assert_eq!(clear(&["--unreadable"]), 0);
    let names: Vec<String> =
        list(&stub).iter().map(|record| record["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(clear(&[beginning(&names[0], 20), "--scope", "c"]), 0, "all that is given has to fit");
    assert_eq!((clear(&[beginning(&names[0], 20)]), clear(&["--all"])), (1, 1));
    fill();
    assert_eq!(clear(&["--all"]), 4);
    stub.run(&["cache", "clear", "--all", "--client-id", "a"]).failed(2, &["cannot be used with"]);
    stub.run(&["cache", "clear", "abc"]).failed(1, &["no record"]);
    stub.run(&["cache", "clear", "--scope", "a\"b"]).failed(2, &["--scope"]);
}

#[test]
fn records_that_cannot_be_read_are_listed_with_the_reason_and_replaced() {
    let stub = Stub::quick();
    let damage: [Damage<'_>; 5] = [
        ("it is damaged", &|path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("it is damaged", &|path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("it is damaged", &|path| std::fs::write(path, "").unwrap()),
        ("it is damaged", &|path| std::fs::write(path, vec![b'x'; 2_000_000]).unwrap()),
        ("it is no file", &|path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        }),
    ];
    for (number, (reason, damage)) in damage.into_iter().enumerate() {
        let first = stub.run(&["token"]);
        assert_eq!(first.done(), format!("canary-token-{}\n", 2 * number));
        let [path] = &stub.records()[..] else { panic!("{:?}", stub.records()) };
        damage(path);
        let records = list(&stub);
        assert_eq!((&records[0]["status"], &records[0]["reason"]), (&json!("unreadable"), &json!(reason)));
        let logout = stub.run(&["logout"]);
        assert!(logout.done().starts_with("removed 0") && logout.stderr.contains("--unreadable"), "{logout}");
        let next = stub.run(&["token"]);
        assert_eq!((next.done(), next.stderr.as_str()), (&*format!("canary-token-{}\n", 2 * number + 1), ""));
        damage(path);
        assert_eq!(stub.run(&["cache", "clear", "--unreadable", "--output", "json"]).json()["removed"], 1);
        assert!(list(&stub).is_empty());
    }
    assert!(std::fs::read_to_string("/etc/passwd").unwrap().contains("root"));
    stub.run(&["token"]).done();
    std::fs::remove_file(stub.key_file()).unwrap();
    assert!(list(&stub)[0]["reason"].as_str().unwrap().contains("there is no key file"));
    assert!(!stub.key_file().exists(), "looking makes no keys");
    stub.run(&["token"]).done();
    let reasons: Vec<_> = list(&stub).iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, [json!(null), json!("the record was sealed with a key that is not here")]);
}

#[test]
fn the_commands_work_while_others_use_the_cache() {
    let stub = Stub::quick();
    std::thread::scope(|scope| {
        for scopes in ["a", "b"] {
            let stub = &stub;
            scope.spawn(move || {
                for _ in 0..6 {
                    stub.run(&["token", "--scope", scopes]).done();
                }
            });
        }
        for _ in 0..6 {
            stub.run(&["cache", "list"]).done();
            stub.run(&["cache", "clear", "--all"]).done();
        }
    });
    let token = stub.run(&["token", "--scope", "a"]).done().to_owned();
    assert_eq!(stub.run(&["token", "--scope", "a"]).done(), token);
}
