//! `jeton keys`, beside a server that runs, that does not, and that is killed.

use crate::process::{Home, Registered, Server, eventually};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The key ids that the server publishes.
fn published(server: &Server) -> Vec<String> {
    let mut stream = TcpStream::connect(server.issuer.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let set: Value = serde_json::from_str(body).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn listed(home: &Home) -> Vec<Value> {
    home.run(&["keys", "list", "--output", "json"]).json()["keys"].as_array().unwrap().clone()
}

fn key_id_of_a_token(registered: &Registered) -> String {
    let token = registered.run(&["token", "--no-cache"]).done().trim().to_owned();
    text(&registered.run(&["inspect", &token, "--output", "json"]).json()["header"]["kid"])
}

#[test]
fn a_key_is_listed_announced_and_taken_out_while_the_server_runs() {
    let registered = Registered::new();
    let home = &registered.home;
    let first = key_id_of_a_token(&registered);
    let list = home.run(&["keys", "list"]);
    assert!(list.done().contains(&first) && list.stdout.contains("active"), "{list}");

    let rotated = home.run(&["keys", "rotate", "--output", "json"]).json();
    let next = text(&rotated["keys"][0]["kid"]);
    let lead = rotated["keys"][0]["active_from"].as_u64().unwrap()
        - rotated["keys"][0]["announced_at"].as_u64().unwrap();
    assert!((719..=780).contains(&lead), "2 x 5 minutes and 2 minutes: {rotated}");
    eventually("the announcement", || published(&registered.server).contains(&next));
    assert_eq!(key_id_of_a_token(&registered), first, "it does not sign yet");
    home.run(&["keys", "rotate"]).failed(1, &["is announced already"]);

    home.run(&["keys", "drop", &first]).failed(1, &["signs tokens", "--emergency"]);
    home.run(&["keys", "drop", &next]).failed(1, &["retire it first"]);
    home.run(&["keys", "retire", &next]).done();
    let dropped = home.run(&["keys", "drop", &first, "--emergency", "--output", "json"]).json();
    eventually("the end of the key", || !published(&registered.server).contains(&first));
    assert_eq!(key_id_of_a_token(&registered), text(&dropped["new_keys"][0]));
    home.run(&["keys", "drop", "absent"]).failed(1, &["there is no signing key absent", "jeton keys list"]);
    home.run(&["keys", "rotate", "--algorithm", "none"]).failed(2, &["ES256, EdDSA, RS256"]);
    home.run(&["keys", "rotate", "--algorithm", "RS256"]).failed(1, &["server.signing_algorithms"]);
}

#[test]
fn a_key_that_is_announced_while_no_server_runs_is_settled_when_one_does() {
    let home = Home::new();
    home.run(&["keys", "list"]).failed(1, &["there is no data directory", "--data-dir"]);
    drop(Server::start(&home, &[], &["--signing-algorithm", "ES256", "--signing-algorithm", "EdDSA"]));
    let rotated = home.run(&["keys", "rotate", "--algorithm", "EdDSA"]);
    let next = rotated.done().trim().to_owned();
    assert!(rotated.stderr.contains("as soon as it runs"), "{rotated}");
    let server = Server::start(&home, &[], &["--signing-algorithm", "EdDSA"]);
    eventually("its turn", || {
        let key = listed(&home).into_iter().find(|key| text(&key["kid"]) == next).unwrap();
        key["state"] == "announced" && key["active_from"].is_u64()
    });
    assert_eq!(published(&server).len(), 3, "those of an algorithm that is not named any more stay");
}

#[test]
fn t39_a_server_that_is_killed_in_a_rotation_loses_no_key() {
    let mut registered = Registered::new();
    let first = key_id_of_a_token(&registered);
    for round in 0..8_u64 {
        // The command writes, the server settles, and somewhere in between it is killed.
        let rotate = registered.home.jeton(&["keys", "rotate"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 15));
        registered.server.child.kill().unwrap();
        registered.server.child.wait().unwrap();
        let mut rotate = rotate;
        rotate.wait().unwrap();
        registered.server = Server::start(&registered.home, &[], &[]);
        assert_eq!(key_id_of_a_token(&registered), first);
        let keys = listed(&registered.home);
        assert_eq!(keys.len(), 2, "one is active, one announced: {keys:?}");
        assert!(keys.iter().all(|key| published(&registered.server).contains(&text(&key["kid"]))));
        let next = keys.iter().find(|key| key["state"] == "announced").unwrap();
        assert!(next["active_from"].is_u64(), "a server that runs settles it before it serves: {next}");
        registered.home.run(&["keys", "drop", &text(&next["kid"]), "--emergency"]).done();
        eventually("the end of the key", || published(&registered.server).len() == 1);
    }
}
