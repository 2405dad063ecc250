use super::*;
use jeton_proto::issuance::{AuthenticationFailure, authenticate};
use std::time::Duration;

fn settings() -> ClientSettings {
    ClientSettings {
        allowed_scope: "a b c".parse().unwrap(),
        default_scope: Some("b".parse().unwrap()),
        audiences: vec!["https://z.example".to_owned(), "https://a.example".to_owned()],
        token_lifetime: Duration::from_mins(5),
        ..ClientSettings::new("orders-worker")
    }
}

#[test]
fn what_was_added_is_listed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    Registry::open(dir.path()).unwrap().add(settings()).unwrap();
    let listed = Registry::open(dir.path()).unwrap().list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].settings, settings(), "with the audiences in their order");
    assert_eq!(listed[0].secrets_created_at.len(), 1);
    assert!(listed[0].created_at.as_unix_seconds() > 1_700_000_000);
}

#[test]
fn the_secret_opens_and_is_not_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let secret = registry.add(settings()).unwrap();
    let (hasher, reader) = registry.into_reader().unwrap();
    let snapshot = reader.snapshot();
    let client = snapshot.client("orders-worker");
    assert_eq!(authenticate(client, &hasher.digest(&secret)), Ok(()));
    let wrong = hasher.digest(&Secret::from("jeton_secret_wrong"));
    assert_eq!(authenticate(client, &wrong), Err(AuthenticationFailure::WrongSecret));
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        let needle = secret.expose().trim_start_matches(secrets::SECRET_PREFIX).as_bytes();
        assert!(!content.windows(needle.len()).any(|window| window == needle));
    }
}

#[test]
fn a_client_is_disabled_enabled_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.add(settings()).unwrap();
    let status = || registry.list().unwrap()[0].settings.status;
    registry.disable("orders-worker").unwrap();
    assert_eq!(status(), ClientStatus::Disabled);
    registry.enable("orders-worker").unwrap();
    assert_eq!(status(), ClientStatus::Enabled);
    registry.remove("orders-worker").unwrap();
    assert_eq!(registry.list().unwrap(), []);
    let left: u32 = registry
        .connection()
        .query_row(
            "SELECT (SELECT count(*) FROM client_secret) + (SELECT count(*) FROM client_audience)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0, "nothing of a removed client stays");
}

#[test]
fn what_cannot_be_done_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let secret = registry.add(settings()).unwrap();
    assert!(matches!(registry.add(settings()), Err(RegistryError::ClientExists { .. })));
    let (hasher, reader) = Registry::open(dir.path()).unwrap().into_reader().unwrap();
    let snapshot = reader.snapshot();
    let unchanged = authenticate(snapshot.client("orders-worker"), &hasher.digest(&secret));
    assert_eq!(unchanged, Ok(()), "a second client of the same name changes nothing");
    for outcome in [registry.disable("absent\n"), registry.enable("absent\n"), registry.remove("absent\n")] {
        assert_eq!(outcome.unwrap_err().to_string(), "there is no client absent?");
    }
    assert!(matches!(registry.add(ClientSettings::new("")), Err(RegistryError::Settings(_))));
}

#[test]
fn a_damaged_client_does_not_keep_the_others_from_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.add(settings()).unwrap();
    registry.add(ClientSettings::new("other")).unwrap();
    registry
        .connection()
        .execute("UPDATE client SET token_lifetime_seconds = 0 WHERE client_id = 'orders-worker'", [])
        .unwrap();
    let snapshot = Snapshot::read(&mut registry.connection()).unwrap();
    assert!(snapshot.client("orders-worker").is_none());
    assert!(snapshot.client("other").is_some());
}
