//! What is read: the newest version, the one before it, and the rotation that a manager goes through with them.

use super::{OpenBao, as_root, current, opened, read, secret};
use crate::support::socket::{Server, text};
use crate::support::{key, secs};
use jeton::credentials::{Reread, SecretReading};
use jeton::{Clock, SystemClock, TokenManager};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_is_read_with_the_one_before_it() {
    let server = OpenBao::start();
    let source = opened("vault:secret/billing/oauth#client_secret", &as_root(&server));
    assert_eq!(source.reread(), Reread::Periodically);
    let before = SystemClock.now().saturating_sub(secs(5));

    server.put("billing/oauth", &json!({ "client_secret": "one", "client_id": "billing" }));
    let reading = read(&source).await;
    assert_eq!((&reading.current, &reading.previous), (&secret("one"), &None));
    let since = reading.since.unwrap();
    assert!(before <= since && since <= SystemClock.now().saturating_add(secs(5)), "{since}");

    server.put("billing/oauth", &json!({ "client_secret": "two" }));
    let reading = read(&source).await;
    assert_eq!((&reading.current, &reading.previous), (&secret("two"), &Some(secret("one"))));
    assert!(reading.since.unwrap() >= since);

    // Written again without a change, as when another field is edited.
    server.put("billing/oauth", &json!({ "client_secret": "two", "owner": "a" }));
    let reading = read(&source).await;
    assert_eq!((&reading.current, &reading.previous), (&secret("two"), &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_taken_back_is_no_previous_one() {
    let server = OpenBao::start();
    let source = opened("vault:secret/a", &as_root(&server));
    server.put("a", &json!({ "client_secret": "one" }));
    server.put("a", &json!({ "client_secret": "two" }));
    assert_eq!(read(&source).await.previous, Some(secret("one")));
    server.post("secret/delete/a", &json!({ "versions": [1] }));
    assert_eq!(read(&source).await.previous, None);
    server.post("secret/undelete/a", &json!({ "versions": [1] }));
    assert_eq!(read(&source).await.previous, Some(secret("one")));
    server.post("secret/destroy/a", &json!({ "versions": [1] }));
    assert_eq!(read(&source).await.previous, None);
    // It had no such field.
    server.put("a", &json!({ "client_id": "a", "other": "b" }));
    server.put("a", &json!({ "client_secret": "four" }));
    let reading = read(&source).await;
    assert_eq!((reading.current, reading.previous), (secret("four"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_slashes_spaces_and_other_letters_are_found() {
    let server = OpenBao::start();
    server.post("sys/mounts/teams/a/kv", &json!({ "type": "kv", "options": { "version": "2" } }));
    server.post("teams/a/kv/data/x%20y/%C3%A9", &json!({ "data": { "a b&#": "found" } }));
    let source = opened("vault:teams/a/kv/x%20y/é#a b%26%23?mount=teams/a/kv", &as_root(&server));
    assert_eq!(current(&source).await, "found");
    // The only field there is, whatever its name.
    let source = opened("bao:teams/a/kv/x y/%C3%A9?mount=teams/a/kv", &as_root(&server));
    assert_eq!(current(&source).await, "found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_version_1_has_one_version() {
    let server = OpenBao::start();
    server.post("sys/mounts/kv1", &json!({ "type": "kv", "options": { "version": "1" } }));
    let source = opened("vault:kv1/a/b?kv=1", &as_root(&server));
    for value in ["one", "two"] {
        server.post("kv1/a/b", &json!({ "client_secret": value }));
        assert_eq!(read(&source).await, SecretReading::new(secret(value)));
    }
}

/// A token endpoint that takes one secret.
async fn endpoint(accepted: Arc<Mutex<String>>) -> Server {
    Server::start(move |count, _, body| {
        let body = String::from_utf8_lossy(body).into_owned();
        if body.contains(&format!("client_secret={}", accepted.lock().unwrap())) {
            return text(
                200,
                format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":3600}}"#),
            );
        }
        text(401, r#"{"error":"invalid_client"}"#)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_3_a_manager_takes_up_what_was_rotated_in_the_vault() {
    let server = OpenBao::start();
    server.put("billing", &json!({ "client_secret": "first" }));
    let accepted = Arc::new(Mutex::new("first".to_owned()));
    let endpoint = endpoint(Arc::clone(&accepted)).await;
    let manager = TokenManager::builder(endpoint.url("/token"), "billing")
        .auth_method(jeton::ClientAuthMethod::ClientSecretPost)
        .client_secret_source(opened("vault:secret/billing", &as_root(&server)))
        .build()
        .unwrap();
    let first = manager.token(&key()).await.unwrap();
    assert_eq!((first.access_token(), endpoint.requests()), ("token-1", 1));

    // Created, rolled out, and the old one revoked, while the manager still has the old one.
    server.put("billing", &json!({ "client_secret": "second" }));
    *accepted.lock().unwrap() = "second".to_owned();
    let token = manager.token(&jeton::TokenKey::scope("other").unwrap()).await.unwrap();
    assert_eq!((token.access_token(), endpoint.requests()), ("token-3", 3), "refused once, then read again");

    // The vault is ahead of the server: what is refused is not what the manager goes on with for ever.
    server.put("billing", &json!({ "client_secret": "third" }));
    let key = jeton::TokenKey::scope("third").unwrap();
    assert_eq!(manager.token(&key).await.unwrap().access_token(), "token-4");
    *accepted.lock().unwrap() = "third".to_owned();
    let key = jeton::TokenKey::scope("fourth").unwrap();
    assert_eq!(manager.token(&key).await.unwrap().access_token(), "token-6");
}
