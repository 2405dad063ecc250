use super::*;
use jeton_proto::issuance::{AuthenticationFailure, authenticate};
use jeton_proto::time::Timestamp;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

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
    assert!(authenticate(client, &hasher.digest(&secret), NOW).is_ok());
    let wrong = hasher.digest(&Secret::from("jeton_secret_wrong"));
    assert_eq!(authenticate(client, &wrong, NOW), Err(AuthenticationFailure::WrongSecret));
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        let needle = secret.expose().trim_start_matches(SECRET_PREFIX).as_bytes();
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
    let unchanged = authenticate(snapshot.client("orders-worker"), &hasher.digest(&secret), NOW);
    assert!(unchanged.is_ok(), "a second client of the same name changes nothing");
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
    for lifetime_seconds in ["0", "-1", "9223372036854775807"] {
        let update = format!(
            "UPDATE client SET token_lifetime_seconds = {lifetime_seconds} WHERE client_id = 'orders-worker'"
        );
        registry.connection().execute(&update, []).unwrap();
        let snapshot = Snapshot::read(&mut registry.connection()).unwrap();
        assert!(snapshot.client("orders-worker").is_none(), "{lifetime_seconds}");
        assert!(snapshot.client("other").is_some(), "{lifetime_seconds}");
        assert_eq!(registry.list().unwrap().len(), 2, "{lifetime_seconds}");
    }
}

#[test]
fn a_full_disk_leaves_no_half_of_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.add(settings()).unwrap();
    let limit_pages = |pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        registry.connection().query_row(&pragma, [], |row| row.get::<_, u32>(0)).unwrap();
    };
    limit_pages(1);
    let audiences = (0..32).map(|at| format!("https://{at}.example/{}", "a".repeat(1000))).collect();
    let large = ClientSettings { audiences, ..ClientSettings::new("large") };
    let message = registry.add(large.clone()).unwrap_err().to_string();
    assert!(message.contains("the disk is full; make room"), "{message}");
    assert_eq!(registry.list().unwrap().len(), 1);
    limit_pages(1_000_000);
    registry.add(large).unwrap();
    assert_eq!(registry.list().unwrap()[0].settings.client_id, "large");
    assert_eq!(registry.list().unwrap()[0].settings.audiences.len(), 32);
}

#[test]
fn a_registry_that_another_program_holds_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let other = Registry::open(dir.path()).unwrap();
    registry.connection().busy_timeout(Duration::ZERO).unwrap();
    let mut holder = other.connection();
    let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let message = registry.add(settings()).unwrap_err().to_string();
    assert!(message.contains("is held by another program"), "{message}");
    drop(held);
    registry.add(settings()).unwrap();
}

#[test]
fn those_who_add_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let added: usize = std::thread::scope(|scope| {
        let adders: Vec<_> = (0..8)
            .map(|adder| {
                scope.spawn({
                    let dir = dir.path();
                    move || {
                        let registry = Registry::open(dir).unwrap();
                        let own = (0..5).map(|at| ClientSettings::new(format!("client-{adder}-{at}")));
                        let shared = (0..5).map(|at| ClientSettings::new(format!("shared-{at}")));
                        own.chain(shared).filter(|settings| registry.add(settings.clone()).is_ok()).count()
                    }
                })
            })
            .collect();
        adders.into_iter().map(|adder| adder.join().unwrap()).sum()
    });
    let listed = Registry::open(dir.path()).unwrap().list().unwrap();
    assert_eq!((added, listed.len()), (45, 45), "each id once");
    assert!(listed.iter().all(|client| client.secrets_created_at.len() == 1));
}

#[test]
fn a_start_that_was_cut_off_is_made_good_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("registry.0123456789abcdef.tmp"), "half of a database").unwrap();
    std::fs::write(dir.path().join("registry.0123456789abcdef.tmp-journal"), "half of a journal").unwrap();
    drop(SecretHasher::open(dir.path()).unwrap());
    Registry::open(dir.path()).unwrap().add(settings()).unwrap();
    assert_eq!(Registry::open(dir.path()).unwrap().list().unwrap().len(), 1);
}
