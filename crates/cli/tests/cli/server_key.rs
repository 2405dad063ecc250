//! The server key is replaced: real processes, tokens all the while.

use crate::postgresql::{self, Postgres};
use crate::process::{Ended, Home, Server};
use std::fmt::Write as _;

const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const NEWER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// A client whose secret is hashed, and one whose secret is sealed.
struct Clients {
    hashed: String,
    sealed: String,
}

impl Clients {
    fn add(home: &Home, keys: &[&str]) -> Self {
        let add =
            |words: &[&str]| home.run(&[&["client"], keys, words].concat()).done().trim_end().to_owned();
        Self { hashed: add(&["add", "hashed"]), sealed: add(&["add", "sealed", "--client-secret-jwt"]) }
    }

    /// Both have a token of the server.
    fn have_tokens_of(&self, home: &Home, server: &Server) {
        for (client_id, secret, method) in
            [("hashed", &self.hashed, "client_secret_basic"), ("sealed", &self.sealed, "client_secret_jwt")]
        {
            let token = ["token", "--no-cache", "--issuer", &server.issuer, "--client-id", client_id];
            let token = [&token[..], &["--auth-method", method]].concat();
            home.run_with(&[("JETON_CLIENT_SECRET", secret)], &token).done();
        }
    }
}

fn end(server: Server) {
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("cannot be"), "{said}");
}

fn reseal(home: &Home, keys: &[&str]) -> (usize, u64) {
    let told = home.run(&[&["keys"], keys, &["--output", "json", "reseal"]].concat()).json();
    assert_eq!(told["unopened"], serde_json::json!([]));
    (told["signing_keys"].as_array().unwrap().len(), told["clients"].as_u64().unwrap())
}

fn refused(ended: &Ended) {
    ended.failed(5, &["under another server key than the one given"]);
}

#[test]
fn the_key_that_a_server_made_gives_way_to_one_that_is_kept_elsewhere() {
    let home = Home::new();
    let server = Server::start(&home, &[], &[]);
    let clients = Clients::add(&home, &[]);
    clients.have_tokens_of(&home, &server);
    end(server);
    let place = format!("file:{}", home.write_secret("new", NEW));
    let new = ["--server-key", &place];

    let server = Server::start(&home, &[], &new);
    clients.have_tokens_of(&home, &server);
    home.run(&["keys", "rotate"]).done();
    assert_eq!(reseal(&home, &new), (2, 1));
    clients.have_tokens_of(&home, &server);
    refused(&home.run(&["keys", "list"]));
    let made = home.data_dir().join("client-secrets.key");
    let hexadecimal = std::fs::read(&made).unwrap().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    std::fs::remove_file(made).unwrap();
    // What is made from now on, by the server that still runs, is made with the new key.
    let listed = |words: &[&str]| home.run(&[&["keys"], &new[..], words].concat()).json();
    let active = listed(&["--output", "json", "list"])["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|key| (key["state"] == "active").then(|| key["kid"].as_str().unwrap().to_owned()));
    home.run(&[&["keys"], &new[..], &["drop", &active.unwrap(), "--emergency"]].concat()).done();
    clients.have_tokens_of(&home, &server);
    end(server);

    let server = Server::start(&home, &[], &new);
    clients.have_tokens_of(&home, &server);
    assert_eq!(reseal(&home, &new), (0, 0), "there is nothing left to do");
    end(server);
    let old = format!("file:{}", home.write_secret("old", &hexadecimal));
    refused(&home.run(&["keys", "--server-key", &old, "list"]));
    home.run(&["keys", "--previous-server-key", &old, "list"])
        .failed(2, &["--previous-server-key", "none is set"]);
    let log = std::fs::read_to_string(home.data_dir().join("audit.jsonl")).unwrap();
    assert_eq!(log.matches("\"server_key_replaced\"").count(), 1);
}

#[test]
fn instances_with_one_database_change_over_without_a_refused_token() {
    let postgres = Postgres::start();
    let home = Home::new();
    home.write_secret("password", postgresql::PASSWORD);
    let place = |name: &str, key: &str| format!("file:{}", home.write_secret(name, key));
    let (old, new, newer) = (place("old", OLD), place("new", NEW), place("newer", NEWER));
    let file =
        format!("[server]\ndatabase = \"{}\"\ndatabase_password = \"file:../../password\"\n", postgres.url());
    home.write(".config/jeton/jeton.toml", &file);
    let other_home = || {
        let other = Home::new();
        other.write_secret("password", postgresql::PASSWORD);
        other.write(".config/jeton/jeton.toml", &file);
        other
    };
    let homes = [other_home(), other_home()];
    let alone = |key| ["--server-key", key];
    let both = ["--server-key", &new, "--previous-server-key", &old];
    let one = Server::start(&homes[0], &[], &alone(&old));
    let clients = Clients::add(&home, &alone(&old));

    // While some have both keys, all is kept so that those with the old one alone can open it.
    let two = Server::start(&homes[1], &[], &both);
    home.run(&[&["keys"], &both[..], &["rotate"]].concat()).done();
    home.run(&[&["client"], &both[..], &["add", "later", "--client-secret-jwt"]].concat()).done();
    let can_take = |server: &Server| clients.have_tokens_of(&home, server);
    can_take(&one);
    can_take(&two);
    end(one);
    refused(&home.run(&[&["keys"], &alone(&new)[..], &["list"]].concat()));

    let one = Server::start(&homes[0], &[], &both);
    assert_eq!(reseal(&home, &both), (2, 2));
    can_take(&one);
    can_take(&two);
    end(one);
    let one = Server::start(&homes[0], &[], &alone(&new));
    can_take(&one);
    refused(&home.run(&[&["keys"], &alone(&old)[..], &["list"]].concat()));

    // And once more: the key of the digests goes along.
    end(two);
    end(one);
    let both = ["--server-key", &newer, "--previous-server-key", &new];
    let one = Server::start(&homes[0], &[], &both);
    assert_eq!(reseal(&home, &both), (2, 2));
    can_take(&one);
    end(one);
    let two = Server::start(&homes[1], &[], &alone(&newer));
    can_take(&two);
    end(two);
}
