//! `jeton call` against an API.

use crate::api::Api;
use crate::process::Registered;
use serde_json::json;

#[test]
fn the_request_carries_token_header_and_data() {
    let registered = Registered::new();
    let api = Api::answering("201 Created\r\ncontent-type: application/json", "{\"id\":7}");
    let call = |args: &[&str]| {
        let url = api.url("/orders?x=1");
        let called = registered.run(&[&["call", "post", &url, "--scope", "a"], args].concat());
        assert_eq!(called.done(), "{\"id\":7}");
        assert!(called.stderr.starts_with("HTTP 201 Created\n"), "{called}");
        api.asked().last().unwrap().clone()
    };
    let asked = call(&["-d", "{\"item\":\"é\"}", "-H", "X-Trace: a:b"]);
    assert_eq!(asked.line, "POST /orders?x=1");
    assert!(asked.field("authorization").unwrap().starts_with("Bearer ey"));
    assert_eq!(
        (asked.field("x-trace"), asked.field("content-type")),
        (Some("a:b"), Some("application/json"))
    );
    assert_eq!(asked.body, "{\"item\":\"é\"}");
    let form = call(&["-d", "a=1"]);
    assert_eq!(
        (form.field("content-type"), form.body.as_str()),
        (Some("application/x-www-form-urlencoded"), "a=1")
    );
    let path = registered.home.write("body", "from a file");
    let file = call(&["-d", &format!("@{path}"), "-H", "content-type: text/plain"]);
    assert_eq!((file.field("content-type"), file.body.as_str()), (Some("text/plain"), "from a file"));
    let variables = registered.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = api.url("/");
    registered.home.run_reading("from stdin", &variables, &["call", "PUT", &url, "-d", "-"]).done();
    assert_eq!(api.asked().last().unwrap().body, "from stdin");
    let both = ["call", "PUT", &url, "-d", "-", "--client-secret", "-"];
    registered.home.run_reading("x", &variables, &both).failed(2, &["standard input"]);
}

#[test]
fn r3_1_a_token_that_the_api_refuses_is_replaced_once() {
    let registered = Registered::new();
    let refusal = "401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"";
    let api = Api::start(move |number, _| match number {
        0 => (refusal.to_owned(), "refused".to_owned()),
        _ => ("200 OK".to_owned(), "served".to_owned()),
    });
    assert_eq!(registered.run(&["call", "POST", &api.url("/"), "-d", "a=1"]).done(), "served");
    let asked = api.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].field("authorization"), asked[1].field("authorization"));
    assert_eq!((&*asked[0].body, &*asked[1].body), ("a=1", "a=1"), "t22: the body is sent again whole");

    let always = Api::answering(refusal, "refused");
    let called = registered.run(&["call", "GET", &always.url("/")]);
    assert_eq!((called.done(), always.asked().len()), ("refused", 2));
    assert!(
        called.stderr.contains("HTTP 401") && called.stderr.contains("the api says invalid_token"),
        "{called}"
    );
}

#[test]
fn t17_a_redirect_is_shown_and_not_followed() {
    let registered = Registered::new();
    let elsewhere = Api::answering("200 OK", "");
    for status in ["301", "302", "303", "307", "308"] {
        let api = Api::answering(&format!("{status} Moved\r\nlocation: {}", elsewhere.url("/")), "");
        let called = registered.run(&["call", "GET", &api.url("/")]);
        called.done();
        assert!(
            called.stderr.contains(&elsewhere.url("/")) && called.stderr.contains("not followed"),
            "{called}"
        );
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn fail_makes_an_error_status_an_error() {
    let registered = Registered::new();
    let challenge =
        "403 Forbidden\r\nwww-authenticate: Bearer error=\"insufficient_scope\", scope=\"orders:write\"";
    let api = Api::answering(challenge, "no");
    let url = api.url("/");
    assert_eq!(registered.run(&["call", "GET", &url]).done(), "no");
    registered
        .run(&["call", "GET", &url, "--fail"])
        .failed(1, &["403 Forbidden", "ask for --scope \"orders:write\""]);
    let good = Api::answering("204 No Content", "");
    registered.run(&["call", "GET", &good.url("/"), "--fail"]).done();
}

#[test]
fn the_answer_is_shown_whole_or_as_json() {
    let registered = Registered::new();
    let api = Api::answering("200 OK\r\nX-A: 1\r\nx-a: 2\r\ncontent-type: application/json", "{\"n\":1}");
    let url = api.url("/");
    let included = registered.run(&["call", "GET", &url, "--include"]);
    assert!(
        included.done().starts_with("HTTP 200 OK\n") && included.stdout.ends_with("\n\n{\"n\":1}"),
        "{included}"
    );
    let document = registered.run(&["call", "GET", &url, "--output", "json"]).json();
    assert_eq!((&document["status"], &document["body"]["n"]), (&json!(200), &json!(1)));
    assert_eq!(document["headers"]["x-a"], json!(["1", "2"]));
}

#[test]
fn what_may_not_be_sent_is_not_sent() {
    let registered = Registered::new();
    let api = Api::answering("200 OK", &"x".repeat(2 * 1024 * 1024));
    let url = api.url("/");
    let call = |args: &[&str]| registered.run(&[&["call"], args].concat());
    call(&["GET", &url, "-H", "Authorization: Bearer canary"]).failed(2, &["Authorization"]);
    call(&["G T", &url]).failed(2, &["method"]);
    call(&["GET", "nonsense"]).failed(2, &["not a URL"]);
    call(&["GET", "http://api.example.com/"])
        .failed(5, &["plain http to api.example.com", "--plain-http-host"]);
    call(&["GET", &url, "-d", "@absent"]).failed(1, &["absent"]);
    call(&["GET", &url, "--max-time", "0s"]).failed(2, &["--max-time"]);
    assert!(api.asked().is_empty());
    call(&["GET", &url, "--max-answer-mib", "1"])
        .failed(1, &["longer than 1048576 bytes", "--max-answer-mib"]);
    assert_eq!(call(&["GET", &url]).done().len(), 2 * 1024 * 1024);
}
