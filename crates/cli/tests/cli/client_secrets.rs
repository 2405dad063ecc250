//! The secrets of a client: rotated, verified, revoked, and told when they are due.

use crate::process::{Home, Registered, Server};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn token(registered: &Registered, secret: &str) -> i32 {
    registered.run_with(&[("JETON_CLIENT_SECRET", secret)], &["token", "--no-cache"]).code
}

#[test]
fn both_secrets_are_good_until_the_old_one_is_revoked() {
    let registered = Registered::new();
    let home = &registered.home;
    let rotated = home.run(&["client", "rotate", "billing", "--overlap", "24h"]);
    let new = rotated.done().trim_end().to_owned();
    assert!(rotated.stderr.contains("new secret 2") && !rotated.stderr.contains(&new), "{rotated}");
    assert_eq!((token(&registered, &registered.secret), token(&registered, &new)), (0, 0));
    home.run(&["client", "rotate", "billing"]).failed(1, &["two secrets in force, 1 and 2", "hint: "]);
    home.run(&["client", "revoke", "billing", "7"]).failed(1, &["has no secret 7; it has 1 and 2"]);
    home.run(&["client", "revoke", "billing", "1"]).done();
    assert_eq!((token(&registered, &registered.secret), token(&registered, &new)), (3, 0));
    let newest = home.run(&["client", "rotate", "billing", "--overlap", "0s", "--name", "2027"]);
    assert_eq!((token(&registered, &new), token(&registered, newest.done().trim_end())), (3, 0));
}

#[test]
fn a_secret_is_verified_at_its_place() {
    let registered = Registered::new();
    let home = &registered.home;
    let verify = |secret: &str, place: &str| {
        home.run_reading(
            secret,
            &[("THE_SECRET", secret)],
            &["client", "verify", "billing", "--secret", place],
        )
    };
    for place in ["env:THE_SECRET", "-"] {
        assert_eq!(verify(&registered.secret, place).done(), "secret 1 is in force\n");
        let wrong = verify("canary-wrong", place);
        wrong.failed(3, &["this is no secret of the client billing", "jeton client show billing"]);
        assert!(!wrong.stderr.contains("canary"), "{wrong}");
    }
    home.run(&["client", "rotate", "billing", "--overlap", "0s"]).done();
    verify(&registered.secret, "-").failed(3, &["the secret 1 of the client billing, which has expired"]);
    let literal = home.run(&["client", "verify", "billing", "--secret", "canary"]);
    literal.failed(2, &["--secret"]);
    assert!(!literal.stderr.contains("canary"), "{literal}");
    let absent = ["client", "verify", "absent", "--secret", "env:THE_SECRET"];
    home.run_with(&[("THE_SECRET", "secret")], &absent).failed(1, &["there is no client absent"]);
}

#[test]
fn a_secret_that_cannot_be_handed_over_changes_nothing() {
    let home = Home::new();
    home.run(&["client", "add", "billing"]).done();
    let show = || home.run(&["client", "show", "billing", "--output", "json"]).json();
    let before = show();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut rotate = home.jeton(&["client", "rotate", "billing"]);
    let ended = rotate.stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("so the secrets are as they were"), "{said}");
    let taken = home.write("taken", "");
    let rotate = home.run(&["client", "rotate", "billing", "--secret-file", &taken]);
    rotate.failed(1, &["cannot be made", "the secrets are as they were"]);
    assert_eq!(show(), before);
    let path = home.path().join("new").display().to_string();
    let rotate = home.run(&["client", "rotate", "billing", "--secret-file", &path, "--output", "json"]);
    assert_eq!(rotate.json()["client_secret_file"], path);
    assert!(!rotate.stdout.contains(std::fs::read_to_string(&path).unwrap().trim_end()));
}

#[test]
fn the_last_use_of_a_secret_is_told() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "off")], &[]);
    let secret = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
    let due = || home.run(&["client", "due", "--output", "json"]).json()["due"].clone();
    let reasons = || {
        let due = due();
        let due = due.as_array().unwrap().iter();
        due.map(|found| format!("{} {}", found["secret_name"], found["reason"])).collect::<Vec<_>>()
    };
    assert!(reasons().is_empty(), "what was made a moment ago need not be in use");
    home.run(&["client", "rotate", "billing"]).done();
    let url = server.token_url();
    home.run_with(
        &[("JETON_CLIENT_SECRET", &secret)],
        &["token", "--no-cache", "--token-url", &url, "--client-id", "billing"],
    )
    .done();
    // What was used is written when the server ends, at the latest.
    assert_eq!(server.end().0, 0);
    let shown = home.run(&["client", "show", "billing", "--output", "json"]).json();
    assert!(shown["secrets"][0]["last_used_at"].is_u64(), "{shown}");
    assert!(shown["secrets"][1]["last_used_at"].is_null(), "{shown}");
    assert!(home.run(&["client", "show", "billing"]).done().contains("last used"));
    assert_eq!(reasons(), ["\"1\" \"ending\"", "\"1\" \"still_used\""]);
    let told = home.run(&["client", "due", "--after", "0s", "--within", "0s", "--unused-after", "0s"]);
    for words in
        ["secret 1  has a successor", "secret 2  was made", "and never used", "has no end: rotate it"]
    {
        assert!(told.done().contains(words), "{told}");
    }
    home.run(&["client", "due", "--after", "90"]).failed(2, &["--after"]);
}

#[test]
fn a_client_has_what_the_flags_say() {
    let home = Home::new();
    let jwks = home.write(
        "jwks.json",
        r#"{"keys":[{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let pem = home.write("certificate.pem", &certificate.self_signed(&key).unwrap().pem());
    let add = [
        "client",
        "add",
        "billing",
        "--no-secret",
        "--jwks",
        &jwks,
        "--certificate",
        &pem,
        "--output",
        "json",
    ];
    let more = [
        "--tls-san-uri",
        "spiffe://acme/billing",
        "--label",
        "team=billing",
        "--signing-algorithm",
        "EdDSA",
        "--workload",
        "issuer=https://ci.example,audience=https://id.example,subject=repo:acme/*,claim.ref=main",
    ];
    let added = home.run(&[&add[..], &more[..]].concat()).json();
    assert!(added.get("client_secret").is_none(), "{added}");
    let shown = home.run(&["client", "show", "billing", "--output", "json"]).json();
    assert_eq!((&shown["labels"]["team"], &shown["signing_algorithm"]), (&json!("billing"), &json!("EdDSA")));
    assert_eq!(shown["secrets"], json!([]));
    assert_eq!(shown["jwks"]["keys"][0]["kty"], "OKP");
    assert_eq!(shown["x5t#S256"][0].as_str().unwrap().len(), 43);
    assert_eq!(shown["tls_client_auth_san_uri"], "spiffe://acme/billing");
    assert_eq!(shown["workloads"][0]["claims"]["ref"], "main");
    let update = [
        "client", "update", "billing", "--clear", "jwks", "--clear", "labels", "--scope", "a b", "--output",
        "json",
    ];
    let updated = home.run(&update).json();
    assert_eq!(
        (&updated["scope"], &updated["labels"], updated.get("jwks")),
        (&json!("a b"), &json!({}), None)
    );
    assert_eq!(updated["workloads"], shown["workloads"], "what no flag names stays");
    for (flags, words) in [
        (&["--certificate", "absent"][..], "--certificate: absent"),
        (&["--certificate", &jwks], "as PEM"),
        (&["--workload", "issuer=https://a,audience=b"], "a workload identity wants"),
        (&["--jwks-uri", "http://a.example"], "jwks_uri"),
        (&["--label", "x"], "NAME=VALUE"),
        (&["--default-scope", "c"], "default scope"),
    ] {
        home.run(&[&["client", "update", "billing"], flags].concat()).failed(2, &[words]);
    }
    assert_eq!(home.run(&["client", "show", "billing", "--output", "json"]).json(), updated);
}

#[test]
fn a_private_key_is_no_client_s_public_one() {
    let home = Home::new();
    let public = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let private = public.replace('}', r#","d":"canary"}"#);
    let jwks = home.write("jwks.json", &format!(r#"{{"keys":[{public},{private}]}}"#));
    home.run(&["client", "add", "a"]).done();
    let words = ["key 2 of the jwks has the private member \"d\"", "register public keys alone"];
    let refused = [
        home.run(&["client", "add", "b", "--no-secret", "--jwks", &jwks]),
        home.run(&["client", "update", "a", "--jwks", &jwks]),
    ];
    for refused in refused {
        refused.failed(2, &words);
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
    let table = "jwks = { keys = [{ kty = 'OKP' }, { kty = 'OKP', d = 'canary' }] }";
    let workload = "workloads = [{ issuer = 'https://a.example', audience = 'b', subject = 'c', jwks = { keys = [{}, { d = 'canary' }] } }]";
    for (at, member) in [table, "jwks_file = '../jwks.json'", workload].into_iter().enumerate() {
        home.write("clients/b.toml", &format!("client_id = 'b'\n{member}\n"));
        let refused = home.run(&["apply", "clients"]);
        refused.failed(5, &["b.toml:2: ", words[0], words[1]]);
        assert!(!refused.to_string().contains("canary"), "{at}: {refused}");
    }
    let server = Server::start(&home, &[], &["--clients", home.path().join("clients").to_str().unwrap()]);
    let told = server.announcement.clone();
    assert!(told.contains(words[1]) && told.contains("the private member"), "{told}");
    let said = told + &server.end().1;
    assert!(!said.contains("canary"), "{said}");
    assert!(!home.run(&["client", "list", "--output", "json"]).done().contains("\"b\""));
}

/// One token request over its own connection; its status.
fn status(address: &str, secret: &str) -> u16 {
    let body = format!("grant_type=client_credentials&client_id=billing&client_secret={secret}");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_call_fails_while_secrets_are_rotated() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "off")], &["--client-requests-per-second", "off"]);
    let address = server.issuer.strip_prefix("http://").unwrap();
    let first = home.run(&["client", "add", "billing"]).done().trim_end().to_owned();
    let held = [std::sync::Mutex::new(first.clone()), std::sync::Mutex::new(first)];
    let (ended, calls, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in &held {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    // Held during the call: a caller that changes its secret has ended its last call with the old one.
                    let secret = caller.lock().unwrap();
                    if status(address, &secret) != 200 {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                    drop(secret);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let a_while = || {
            let (begun, before) = (Instant::now(), calls.load(Ordering::SeqCst));
            while calls.load(Ordering::SeqCst) < before + 20 {
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody calls");
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        for round in 1..=8 {
            let new = home.run(&["client", "rotate", "billing"]).done().trim_end().to_owned();
            for caller in &held {
                a_while();
                caller.lock().unwrap().clone_from(&new);
            }
            a_while();
            home.run(&["client", "revoke", "billing", &round.to_string()]).done();
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert!(calls.load(Ordering::SeqCst) > 400);
    assert_eq!(failed.load(Ordering::SeqCst), 0, "of {}", calls.load(Ordering::SeqCst));
}
