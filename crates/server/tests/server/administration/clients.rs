//! Clients and their secrets, as they are administered.

use super::{Administered, assert_problem};
use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_server::Registry;
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_lives_from_its_post_to_its_delete() {
    let api = Administered::start().await;
    let added =
        api.ask("POST", "/admin/clients", "", Some(json!({ "client_id": "a/b c", "scope": "x y" }))).await;
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(added.header("location"), Some("/admin/clients/a%2fb%20c"), "in lower case by the helper");
    let secret = jeton_proto::secret::Secret::new(added.json()["client_secret"].as_str().unwrap().to_owned());
    let path = "/admin/clients/a%2Fb%20c";
    let shown = api.get(path).await;
    assert_eq!(shown.header("etag"), added.header("etag"));
    let shown = shown.json();
    assert_eq!(
        (&shown["client_id"], &shown["scope"], &shown["status"]),
        (&json!("a/b c"), &json!("x y"), &json!("enabled"))
    );
    assert_eq!(shown.get("client_secret"), None);
    assert_eq!(api.token_status("a%2Fb%20c", &secret).await, 200);

    let disabled = api.ask("PATCH", path, "", Some(json!({ "status": "disabled" }))).await;
    assert_eq!((disabled.status, &disabled.json()["status"]), (200, &json!("disabled")));
    assert_eq!(api.token_status("a%2Fb%20c", &secret).await, 401);
    let enabled = api.ask("PATCH", path, "", Some(json!({ "status": "enabled", "scope": null }))).await;
    assert_eq!((enabled.status, &enabled.json()["scope"]), (200, &json!("")));
    assert_eq!(api.token_status("a%2Fb%20c", &secret).await, 200);
    assert_eq!(api.ask("DELETE", path, "", None).await.status, 204);
    assert_eq!(api.token_status("a%2Fb%20c", &secret).await, 401);
    assert_problem(&api.get(path).await, 404, "no_such_client");
    assert_problem(&api.ask("DELETE", path, "", None).await, 404, "no_such_client");
    api.server.stop().await;
}

#[tokio::test]
async fn a_secret_takes_the_place_of_another() {
    let api = Administered::start().await;
    let first = api.add(json!({ "client_id": "a" })).await;
    let path = "/admin/clients/a/secrets";
    let rotated = api.ask("POST", path, "", Some(json!({ "overlap_seconds": 3600 }))).await;
    assert_eq!((rotated.status, &rotated.json()["name"]), (201, &json!("2")));
    let second =
        jeton_proto::secret::Secret::new(rotated.json()["client_secret"].as_str().unwrap().to_owned());
    assert_eq!((api.token_status("a", &first).await, api.token_status("a", &second).await), (200, 200));
    assert_problem(&api.ask("POST", path, "", Some(json!({}))).await, 409, "secrets_in_force");
    let shown = api.get("/admin/clients/a").await.body;
    assert!(!shown.contains("digest\":") && !shown.contains("sealed\":"), "{shown}");
    assert_eq!(api.ask("DELETE", "/admin/clients/a/secrets/1", "", None).await.status, 204);
    assert_eq!((api.token_status("a", &first).await, api.token_status("a", &second).await), (401, 200));
    assert_problem(&api.ask("DELETE", "/admin/clients/a/secrets/1", "", None).await, 404, "no_such_secret");
    api.server.stop().await;
}

#[tokio::test]
async fn of_those_who_edit_the_same_state_one_is_heard() {
    let api = Administered::start().await;
    api.add(json!({ "client_id": "a" })).await;
    let tag = api.get("/admin/clients/a").await.header("etag").unwrap().to_owned();
    let condition = format!("If-Match: {tag}\r\n");
    let edit = |at: usize| {
        let patch = json!({ "labels": { "editor": at.to_string() } });
        api.ask("PATCH", "/admin/clients/a", &condition, Some(patch))
    };
    let (one, two, three, four) = tokio::join!(edit(1), edit(2), edit(3), edit(4));
    let mut statuses = [one.status, two.status, three.status, four.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412]);
    assert_problem(
        &api.ask("DELETE", "/admin/clients/a", &condition, None).await,
        412,
        "precondition_failed",
    );
    let now = api.get("/admin/clients/a").await.header("etag").unwrap().to_owned();
    assert_eq!(
        api.ask("DELETE", "/admin/clients/a", &format!("If-Match: {now}\r\n"), None).await.status,
        204
    );
    api.server.stop().await;
}

#[tokio::test]
async fn a_patch_leaves_what_it_does_not_name() {
    let api = Administered::start().await;
    let client = json!({
        "client_id": "a", "scope": "x y", "default_scope": "x", "audience": ["https://api.example"], "token_lifetime_seconds": 60,
        "labels": { "team": "a", "tier": "1" }, "tls_client_auth_san_dns": "a.example",
        "certificates": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
        "workloads": [{ "issuer": "https://ci.example", "audience": "https://as.example",
            "claims": [{ "name": "ref", "value": "main" }] }],
    });
    api.add(client.clone()).await;
    let patch = json!({ "labels": { "tier": null, "cost": "7" }, "default_scope": null });
    let patched = api.ask("PATCH", "/admin/clients/a", "", Some(patch)).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let mut expected = client;
    expected["labels"] = json!({ "team": "a", "cost": "7" });
    expected["status"] = json!("enabled");
    expected.as_object_mut().unwrap().remove("default_scope");
    let mut shown: Value = patched.json();
    for own in ["secrets", "client_id_issued_at"] {
        shown.as_object_mut().unwrap().remove(own).unwrap();
    }
    assert_eq!(shown, expected);
    api.server.stop().await;
}

#[tokio::test]
async fn what_files_manage_is_changed_there() {
    let api = Administered::start().await;
    api.add(json!({ "client_id": "a" })).await;
    let registry = Registry::open(api.dir.path()).unwrap();
    registry
        .update("a", |record| {
            record.managed_by = Some("files".to_owned());
            Ok(())
        })
        .unwrap();
    let refused = api.ask("PATCH", "/admin/clients/a", "", Some(json!({ "scope": "x" }))).await;
    assert_problem(&refused, 409, "managed_client");
    assert!(refused.body.contains("jeton apply"), "{refused:?}");
    assert_problem(&api.ask("DELETE", "/admin/clients/a", "", None).await, 409, "managed_client");
    let disabled = api.ask("PATCH", "/admin/clients/a", "", Some(json!({ "status": "disabled" }))).await;
    assert_eq!(disabled.status, 200, "in an emergency");
    api.server.stop().await;
}

#[tokio::test]
async fn what_is_no_client_is_refused_with_its_member() {
    let api = Administered::start().await;
    for (client, named) in [
        (json!({}), "client_id"),
        (json!({ "client_id": 7 }), "client_id"),
        (json!({ "client_id": "" }), "client id"),
        (json!({ "client_id": "a", "scope": "\"" }), "scope"),
        (json!({ "client_id": "a", "scope": null }), "scope"),
        (json!({ "client_id": "a", "token_lifetime_seconds": "60" }), "token_lifetime_seconds"),
        (json!({ "client_id": "a", "digest": "00" }), "digest"),
        (json!({ "client_id": "a", "secrets": [] }), "secrets"),
        (json!({ "client_id": "a", "managed_by": "x" }), "managed_by"),
        (json!({ "client_id": "a", "x5t#S256": [] }), "x5t#S256"),
        (json!({ "client_id": "a", "jwks": { "keys": [] }, "jwks_uri": "https://a.example" }), "jwks"),
        (json!({ "client_id": "a", "secret": "mine" }), "secret"),
        (json!({ "client_id": "a", "secret": { "name": "a b" } }), "secret"),
        (
            json!({ "client_id": "a", "workloads": [{ "issuer": "https://a.example", "audience": "b", "claims": [["a", "b"]] }] }),
            "workloads",
        ),
    ] {
        let refused = api.ask("POST", "/admin/clients", "", Some(client.clone())).await;
        assert_problem(&refused, 400, "invalid_client_metadata");
        assert!(refused.json()["detail"].as_str().unwrap().contains(named), "{client}: {refused:?}");
    }
    api.add(json!({ "client_id": "a" })).await;
    assert_problem(
        &api.ask("POST", "/admin/clients", "", Some(json!({ "client_id": "a" }))).await,
        409,
        "client_exists",
    );
    for patch in [json!({ "status": null }), json!({ "client_id": "b" }), json!({ "status": "off" })] {
        let refused = api.ask("PATCH", "/admin/clients/a", "", Some(patch)).await;
        assert_problem(&refused, 400, "invalid_client_metadata");
    }
    api.server.stop().await;
}

#[tokio::test]
async fn a_private_key_is_refused_and_not_repeated() {
    let api = Administered::start().await;
    let public =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let mut private = public.clone();
    private["d"] = "canary".into();
    let set = json!({ "keys": [public, private] });
    api.add(json!({ "client_id": "a" })).await;
    let of_workload = json!([{ "issuer": "https://ci.example", "audience": "b", "subject": "c", "claims": [], "jwks": set }]);
    for refused in [
        api.ask("POST", "/admin/clients", "", Some(json!({ "client_id": "b", "jwks": set }))).await,
        api.ask("PATCH", "/admin/clients/a", "", Some(json!({ "jwks": set }))).await,
        api.ask("PATCH", "/admin/clients/a", "", Some(json!({ "workloads": of_workload }))).await,
    ] {
        assert_problem(&refused, 400, "invalid_client_metadata");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("key 2 of the jwks has the private member \"d\""), "{detail}");
        assert!(!refused.body.contains("canary"), "{refused:?}");
    }
    assert!(!api.get("/admin/clients").await.body.contains("canary"));
    api.server.stop().await;
}

#[tokio::test]
async fn pages_have_every_client_once() {
    let api = Administered::start().await;
    let registry = Registry::open(api.dir.path()).unwrap();
    for at in 0..25 {
        registry.add_with(ClientSettings::new(format!("c-{at}")), ClientCredentials::default()).unwrap();
    }
    let (mut seen, mut path, mut pages) = (Vec::new(), "/admin/clients?limit=10".to_owned(), 0);
    loop {
        let page = api.get(&path).await.json();
        let ids = page["clients"].as_array().unwrap().iter();
        seen.extend(ids.map(|client| client["client_id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/admin/clients?limit=10&after={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), pages), (26, 3));
    assert_eq!(seen, sorted);
    api.server.stop().await;
}

#[tokio::test]
async fn secrets_that_ask_for_attention_are_told() {
    let api = Administered::start().await;
    api.add(json!({ "client_id": "a" })).await;
    let due = api.get("/admin/secrets/due").await.json();
    assert_eq!(due["due"], json!([]), "what was made a moment ago need not be in use");
    let due = api.get("/admin/secrets/due?after_days=0&unused_after_days=0&limit=1").await.json();
    assert_eq!(due["next"], "a");
    let reasons: Vec<_> =
        due["due"].as_array().unwrap().iter().map(|due| due["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["old", "never_used"]);
    let rest = api.get("/admin/secrets/due?after_days=0&limit=1&after=a").await.json();
    assert_eq!((rest["due"][0]["client_id"].as_str(), rest.get("next")), (Some("root"), None));
    api.server.stop().await;
}
