//! What is told when there is no secret, by the server that really says so.

use super::{OpenBao, ROOT_TOKEN, around, as_root, assert_fault, current, opened};
use jeton::credentials::{SecretPlace, SourceFaultKind as Kind, Surroundings};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_apart() {
    let server = OpenBao::start();
    server.post("sys/mounts/kv1", &json!({ "type": "kv", "options": { "version": "1" } }));
    server.post("kv1/a", &json!({ "client_secret": "found" }));
    for path in ["deleted", "destroyed"] {
        server.put(path, &json!({ "client_secret": "gone" }));
    }
    server.delete("secret/data/deleted");
    server.post("secret/destroy/destroyed", &json!({ "versions": [1] }));
    server.put(
        "fields",
        &json!({ "alpha": "canary-a", "beta": "canary-b", "n": 5, "empty": "", "long": "x".repeat(65_537) }),
    );
    let around = as_root(&server);
    let at = format!("the Vault secret secret/nothing at {}", server.url().replace("http://", ""));
    for (place, kind, words) in [
        ("vault:secret/data/nothing", Kind::Absent, vec!["no secret by this path", "leave out data/"]),
        ("vault:secret/nothing", Kind::Absent, vec![&*at, "no secret by this path", "kv=1"]),
        ("vault:secret/deleted", Kind::Absent, vec!["its newest version, 1, was deleted: undelete it"]),
        ("vault:secret/destroyed", Kind::Absent, vec!["its newest version, 1, was destroyed"]),
        ("vault:other/a", Kind::Absent, vec!["no engine is mounted at other", "the option mount"]),
        ("vault:kv1/a", Kind::Absent, vec!["the engine is of version 1 and wants the option kv=1"]),
        ("vault:kv1/b?kv=1", Kind::Absent, vec!["no secret by this path in the engine at kv1"]),
        (
            "vault:secret/fields?kv=1",
            Kind::Unusable,
            vec!["the engine at secret is of version 2: leave out the option kv"],
        ),
        (
            "vault:secret/fields",
            Kind::Malformed,
            vec!["no field client_secret", "#FIELD: there are alpha, beta, empty, long, n"],
        ),
        (
            "vault:secret/fields#gamma",
            Kind::Malformed,
            vec!["the field gamma of the Vault secret", "no field gamma"],
        ),
        ("vault:secret/fields#n", Kind::Malformed, vec!["the field is not text"]),
        ("vault:secret/fields#empty", Kind::Malformed, vec!["the field is empty"]),
        ("vault:secret/fields#long", Kind::Malformed, vec!["longer than 65536 bytes"]),
        ("vault:secret/a?namespace=team", Kind::Absent, vec!["no such namespace"]),
    ] {
        assert_fault(&opened(place, &around), kind, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_sent_and_has_its_own_secrets() {
    let server = OpenBao::start();
    server.put("a", &json!({ "client_secret": "outside" }));
    server.post("sys/namespaces/team", &json!({}));
    server.post("team/sys/mounts/secret", &json!({ "type": "kv", "options": { "version": "2" } }));
    server.post("team/secret/data/a", &json!({ "data": { "client_secret": "inside" } }));
    let token = ("VAULT_TOKEN", ROOT_TOKEN);
    let url = server.url();
    for (place, variables, expected) in [
        ("vault:secret/a", vec![token], "outside"),
        ("vault:secret/a?namespace=team", vec![token], "inside"),
        ("vault:secret/a", vec![token, ("VAULT_NAMESPACE", "team")], "inside"),
        ("vault:secret/a", vec![token, ("VAULT_NAMESPACE", "none"), ("BAO_NAMESPACE", "team")], "inside"),
        ("vault:secret/a?namespace=team", vec![token, ("VAULT_NAMESPACE", "none")], "inside"),
    ] {
        assert_eq!(
            current(&opened(place, &around(&url, &variables))).await,
            expected,
            "{place} {variables:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_right_to_read_is_told_from_one_that_is_worth_nothing() {
    let server = OpenBao::start();
    server.put("a", &json!({ "client_secret": "found" }));
    let powerless = server.token(&json!({ "policies": ["default"], "ttl": "1h" }));
    let source = opened("vault:secret/a", &around(&server.url(), &[("VAULT_TOKEN", &powerless)]));
    for _ in 0..2 {
        assert_fault(&source, Kind::Denied, &["the token is good", "it needs read on secret/data/a"]).await;
    }
    server.policy_to_read("default");
    assert_eq!(current(&source).await, "found");
    let source = opened("vault:secret/a", &around(&server.url(), &[("VAULT_TOKEN", "s.0123")]));
    assert_fault(&source, Kind::Denied, &["the token is not accepted: it was revoked or has expired"]).await;
    let source = opened("vault:secret/a", &around(&server.url(), &[("VAULT_TOKEN", "a\nb")]));
    assert_fault(&source, Kind::Malformed, &["characters that no header can carry"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_ready_is_told_with_what_its_operator_has_to_do() {
    let server = OpenBao::start_bare();
    let source = opened("vault:secret/a?token=env:T", &around(&server.url(), &[("T", "s.0123")]));
    assert_fault(&source, Kind::Unreachable, &["it is not initialized"]).await;
    let (_, keys) = server
        .try_ask("POST", "sys/init", None, &json!({ "secret_shares": 1, "secret_threshold": 1 }))
        .unwrap();
    assert_fault(&source, Kind::Unreachable, &["it is sealed: its operator has to unseal it"]).await;
    let (status, _) = server.try_ask("POST", "sys/unseal", None, &json!({ "key": keys["keys"][0] })).unwrap();
    assert_eq!(status, 200);

    let root = keys["root_token"].as_str().unwrap();
    let as_root = |path: &str, body: &Value| {
        let (status, answer) = server.try_ask("POST", path, Some(root), body).unwrap();
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
    };
    as_root("sys/mounts/secret", &json!({ "type": "kv", "options": { "version": "2" } }));
    as_root("secret/data/a", &json!({ "data": { "client_secret": "found" } }));
    let source = opened("vault:secret/a?token=env:T", &around(&server.url(), &[("T", root)]));
    assert_eq!(current(&source).await, "found");
    as_root("sys/seal", &Value::Null);
    assert_fault(&source, Kind::Unreachable, &["it is sealed"]).await;
    server.try_ask("POST", "sys/unseal", None, &json!({ "key": keys["keys"][0] })).unwrap();
    assert_eq!(current(&source).await, "found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_told_and_used_again_when_it_is_back() {
    let mut server = OpenBao::start();
    server.put("a", &json!({ "client_secret": "one" }));
    let source = opened("vault:secret/a", &as_root(&server));
    assert_eq!(current(&source).await, "one");
    server.kill();
    // The connection that was left over may break first.
    assert_fault(&source, Kind::Unreachable, &["the Vault secret secret/a at 127.0.0.1", "connect"]).await;
    server.restart();
    server.put("a", &json!({ "client_secret": "two" }));
    assert_eq!(current(&source).await, "two");
}

#[test]
fn t17_where_a_token_must_not_be_sent_nothing_is_opened() {
    let refused = |place: &str, around: &Surroundings| {
        let place: SecretPlace = place.parse().unwrap();
        let fault = place.open(around).err().unwrap();
        assert_eq!(fault.kind(), Kind::Unusable, "{fault}");
        fault.to_string()
    };
    let token = [("VAULT_TOKEN", "canary")];
    let nowhere = Surroundings { environment: token.into_iter().collect(), ..Surroundings::default() };
    let told = refused("vault:secret/a", &nowhere);
    assert!(told.contains("set the option address, BAO_ADDR or VAULT_ADDR"), "{told}");
    for (address, what) in [
        ("http://vault.example:8200", "plain http to vault.example would show secrets"),
        ("https://user:canary@vault.example", "user information"),
        ("https://vault.example/?canary", "it has a query"),
        ("unix:///run/vault.sock", "must begin with https"),
        ("vault.example:8200", "must begin with https"),
    ] {
        let told = refused("vault:secret/a", &around(address, &token));
        assert!(told.contains(what) && !told.contains("canary"), "{told}");
    }
    let mut allowed = around("http://vault.example:8200", &token);
    allowed.plain_http = jeton::http::PlainHttp::to_loopback().and_to("vault.example");
    assert!("vault:secret/a".parse::<SecretPlace>().unwrap().open(&allowed).is_ok());
    let told = refused("vault:secret/a?ca_file=nothing.pem", &around("https://vault.example", &token));
    assert!(told.contains("the certificate file nothing.pem cannot be read"), "{told}");
    let told = refused("vault:secret/a?namespace=%C3%A9", &around("https://vault.example", &token));
    assert!(told.contains("its namespace has characters that no header can carry"), "{told}");
}
