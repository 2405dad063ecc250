//! `jeton inspect`, with tokens of the server.

use crate::process::{Home, Registered, Server};
use serde_json::json;

#[test]
fn a_token_is_shown_and_said_not_to_be_verified() {
    let registered = Registered::new();
    let token = registered.run(&["token"]).done().trim_end().to_owned();
    let home = &registered.home;
    let shown = home.run(&["inspect", &token]);
    for words in
        ["not verified", "good until", "(in 59m", "ES256", "at+jwt", "billing", &registered.server.issuer]
    {
        assert!(shown.done().contains(words), "{words}: {shown}");
    }
    let document =
        home.run_reading(&format!("Bearer {token}\n"), &[], &["inspect", "-", "--output", "json"]).json();
    assert_eq!((&document["verified"], &document["expired"]), (&json!(false), &json!(false)));
    assert_eq!(document["claims"]["exp"], document["expires_at"]);
    assert_eq!(document["claims"]["client_id"], "billing");
}

#[test]
fn with_an_issuer_the_token_is_verified() {
    let registered = Registered::new();
    let (home, issuer) = (&registered.home, registered.server.issuer.as_str());
    let token = registered.run(&["token"]).done().trim_end().to_owned();
    let verify =
        |token: &str, more: &[&str]| home.run(&[&["inspect", token, "--issuer", issuer], more].concat());
    assert!(verify(&token, &[]).done().contains("verified with the keys of"));
    assert_eq!(verify(&token, &["--output", "json", "--audience", issuer]).json()["verified"], true);
    verify(&token, &["--audience", "https://other.example"]).failed(1, &["another audience"]);
    let (signed, _) = token.rsplit_once('.').unwrap();
    verify(&format!("{signed}.{}", "A".repeat(86)), &[]).failed(1, &["not valid", "signature"]);
    verify("opaque", &[]).failed(1, &["cannot be verified", "RFC 7662"]);
    let other = Server::start(&Home::new(), &[], &[]);
    home.run(&["inspect", &token, "--issuer", &other.issuer]).failed(1, &["not valid"]);
    home.run(&["inspect", &token, "--issuer", "nonsense"]).failed(2, &["--issuer"]);
    let gone = other.issuer.clone();
    other.end();
    home.run(&["inspect", &token, "--issuer", &gone]).failed(4, &["no keys of the issuer"]);
}

#[test]
fn what_is_no_jwt_is_said_to_be_none() {
    let home = Home::new();
    assert!(
        home.run(&["inspect", "2YotnFZFEjr1zCsicMWpAA"]).done().contains("opaque token of 22 characters")
    );
    assert_eq!(home.run(&["inspect", "abc", "--output", "json"]).json()["format"], "opaque");
    for (token, words) in [
        ("", "it is empty"),
        ("a b", "at byte 1"),
        ("eyJhbGciOiJFUzI1NiJ9.e30", "has 2 parts"),
        ("eyJhbGciOiJFUzI1NiJ9.W10.c2ln", "its payload is not a json object"),
    ] {
        home.run(&["inspect", token]).failed(1, &["the token is malformed", words]);
    }
    home.run_reading(&"a".repeat(1024 * 1024 + 1), &[], &["inspect", "-"]).failed(1, &["longer than"]);
}
