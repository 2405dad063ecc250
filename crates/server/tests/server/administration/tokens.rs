//! Who may administer, and what becomes of those who may not.

use super::{Administered, add_client, assert_problem, config, token_of};
use jeton_server::{Config, Listen, Server};
use serde_json::json;

#[tokio::test]
async fn a_token_for_reading_reads_and_no_more() {
    let api = Administered::start().await;
    let secret = add_client(api.dir.path(), "reader", "jeton:admin:read");
    let reader = token_of(&api.server, "reader", &secret, "").await;
    for path in ["/admin/clients", "/admin/clients/root", "/admin/secrets/due", "/admin/keys"] {
        assert_eq!(api.ask_as(Some(&reader), "GET", path, "", None).await.status, 200, "{path}");
    }
    for (method, path, body) in [
        ("POST", "/admin/clients", Some(json!({ "client_id": "a" }))),
        ("PATCH", "/admin/clients/root", Some(json!({ "status": "disabled" }))),
        ("DELETE", "/admin/clients/root", None),
        ("POST", "/admin/clients/root/secrets", Some(json!({}))),
        ("DELETE", "/admin/clients/root/secrets/1", None),
    ] {
        let refused = api.ask_as(Some(&reader), method, path, "", body).await;
        assert_problem(&refused, 403, "insufficient_scope");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(
            challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"jeton:admin\"")
        );
    }
    api.server.stop().await;
}

#[tokio::test]
async fn t43_no_other_token_is_good_for_anything() {
    let api = Administered::start().await;
    let plain = token_of(&api.server, "plain", &add_client(api.dir.path(), "plain", "x"), "").await;
    assert_problem(
        &api.ask_as(Some(&plain), "GET", "/admin/clients", "", None).await,
        403,
        "insufficient_scope",
    );
    let other = Administered::start().await;
    let [header, claims, signature] = api.token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let foreign_signature = other.token.rsplit('.').next().unwrap();
    for token in [
        other.token.clone(),
        format!("{header}.{claims}.{foreign_signature}"),
        format!("{header}.{claims}."),
        format!("eyJhbGciOiJub25lIn0.{claims}."),
        format!("{header}.{claims}.{signature}.x"),
        "x".repeat(20_000),
        "x".to_owned(),
    ] {
        let refused = api.ask_as(Some(&token), "GET", "/admin/clients", "", None).await;
        assert_problem(&refused, 401, "invalid_token");
        assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
        assert!(!refused.body.contains(claims), "nothing of a token is told");
    }
    for headers in ["", "Authorization: Basic eDp4\r\n", "Authorization: Bearer\r\n", "Authorization: \r\n"] {
        let refused = api.ask_as(None, "GET", "/admin/clients", headers, None).await;
        assert_problem(&refused, 401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), Some("bearer realm=\"jeton-admin\""));
    }
    let twice = format!("Authorization: Bearer {}\r\n", api.token);
    assert_problem(&api.ask("GET", "/admin/clients", &twice, None).await, 400, "invalid_request");
    api.server.stop().await;
    other.server.stop().await;
}

#[tokio::test]
async fn a_token_for_another_audience_or_past_its_end_is_refused() {
    let api = Administered::start().await;
    let client =
        json!({ "client_id": "elsewhere", "scope": "jeton:admin", "audience": ["https://api.example"] });
    let elsewhere = token_of(&api.server, "elsewhere", &api.add(client).await, "").await;
    let refused = api.ask_as(Some(&elsewhere), "GET", "/admin/clients", "", None).await;
    assert_problem(&refused, 401, "invalid_token");
    assert!(refused.body.contains("another audience"), "{refused:?}");
    let client = json!({ "client_id": "brief", "scope": "jeton:admin", "token_lifetime_seconds": 1 });
    let brief = token_of(&api.server, "brief", &api.add(client).await, "").await;
    assert_eq!(api.ask_as(Some(&brief), "GET", "/admin/keys", "", None).await.status, 200);
    loop {
        let refused = api.ask_as(Some(&brief), "GET", "/admin/keys", "", None).await;
        if refused.status == 401 {
            assert!(refused.body.contains("expired"), "{refused:?}");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    api.server.stop().await;
}

#[tokio::test]
async fn an_administrator_who_was_disabled_cannot_undo_it() {
    let api = Administered::start().await;
    let secret = api.add(json!({ "client_id": "second", "scope": "jeton:admin" })).await;
    let second = token_of(&api.server, "second", &secret, "").await;
    assert_eq!(
        api.ask("PATCH", "/admin/clients/second", "", Some(json!({ "status": "disabled" }))).await.status,
        200
    );
    let undo = Some(json!({ "status": "enabled" }));
    let refused = api.ask_as(Some(&second), "PATCH", "/admin/clients/second", "", undo).await;
    assert_problem(&refused, 401, "invalid_token");
    let patch = Some(json!({ "status": "enabled", "scope": "jeton:admin:read" }));
    assert_eq!(api.ask("PATCH", "/admin/clients/second", "", patch).await.status, 200);
    let refused = api.ask_as(Some(&second), "DELETE", "/admin/clients/second", "", None).await;
    assert_problem(&refused, 403, "insufficient_scope");
    api.server.stop().await;
}

#[tokio::test]
async fn the_network_has_no_way_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = Config {
        admin_listen: Some(Listen::Addresses(vec!["0.0.0.0:0".parse().unwrap()])),
        ..config(dir.path())
    };
    let message = Server::bind(open).unwrap_err().to_string();
    assert!(message.contains("loopback addresses alone"), "{message}");
    let api = Administered::start().await;
    assert_eq!(api.server.get("/admin/clients").await.status, 404, "not at the token endpoint's listener");
    assert_eq!(api.server.get("/admin/openapi.json").await.status, 404);
    api.server.stop().await;
}
