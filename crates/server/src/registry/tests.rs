use super::snapshot::Snapshot;
use super::*;
use crate::store::{ChangeNumber, Follower as _, sqlite_path};
use jeton_proto::issuance::{AuthenticationFailure, SecretTerm, authenticate};
use rusqlite::{Connection, TransactionBehavior};
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

fn snapshot(registry: &Registry) -> Arc<Snapshot> {
    let clients = Clients::default();
    clients.follow(&registry.store().changes(ChangeNumber(0)).unwrap());
    Arc::clone(&clients.snapshot())
}

fn authenticated(registry: &Registry, secret: &Secret<String>) -> Result<String, AuthenticationFailure> {
    let snapshot = snapshot(registry);
    let client = snapshot.client("orders-worker").map(AsRef::as_ref);
    authenticate(client.map(|client| &**client), &registry.hasher.digest(secret), registry.clock.now())
        .map(|secret| secret.name.clone())
}

/// A second connection of the tests' own.
fn connection(dir: &Path) -> Connection {
    Connection::open(sqlite_path(dir)).unwrap()
}

#[derive(Debug)]
struct SetClock(Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

fn registry_with_clock(dir: &Path) -> (Registry, Arc<SetClock>) {
    let clock = Arc::new(SetClock(Mutex::new(NOW)));
    let key = ServerKey::open(dir).unwrap();
    let location = StoreLocation::DataDir(dir.to_owned());
    let registry = Registry::over(&location, &key, Arc::<SetClock>::clone(&clock)).unwrap();
    (registry, clock)
}

#[test]
fn what_was_added_is_listed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    Registry::open(dir.path()).unwrap().add(settings()).unwrap();
    let listed = Registry::open(dir.path()).unwrap().list().unwrap().clients;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].settings, settings(), "with the audiences in their order");
    assert_eq!(listed[0].credentials.secrets.len(), 1);
    assert!(listed[0].created_at.as_unix_seconds() > 1_700_000_000);
}

#[test]
fn the_secret_opens_and_is_not_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let secret = registry.add(settings()).unwrap();
    assert_eq!(authenticated(&registry, &secret).as_deref(), Ok("1"));
    let wrong = Secret::from("jeton_secret_wrong");
    assert_eq!(authenticated(&registry, &wrong), Err(AuthenticationFailure::WrongSecret));
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
    let status = || registry.client("orders-worker").unwrap().settings.status;
    registry.disable("orders-worker").unwrap();
    assert_eq!(status(), ClientStatus::Disabled);
    registry.enable("orders-worker").unwrap();
    assert_eq!(status(), ClientStatus::Enabled);
    registry.remove("orders-worker").unwrap();
    assert_eq!(registry.list().unwrap(), ClientListing::default());
    let left: u32 = connection(dir.path())
        .query_row("SELECT count(*) FROM record WHERE body IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "nothing of a removed client stays");
}

#[test]
fn what_cannot_be_done_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let secret = registry.add(settings()).unwrap();
    assert!(matches!(registry.add(settings()), Err(RegistryError::ClientExists { .. })));
    assert!(authenticated(&registry, &secret).is_ok(), "a second client of the same name changes nothing");
    for outcome in [registry.disable("absent\n"), registry.enable("absent\n"), registry.remove("absent\n")] {
        assert_eq!(outcome.unwrap_err().to_string(), "there is no client absent?");
    }
    assert!(matches!(registry.add(ClientSettings::new("")), Err(RegistryError::Settings(_))));
    let message = registry.revoke_secret("orders-worker", "9").unwrap_err().to_string();
    assert_eq!(message, "the client orders-worker has no secret 9; it has 1");
}

#[test]
fn a_rotation_overlaps_and_then_the_old_secret_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, clock) = registry_with_clock(dir.path());
    let old = registry.add(settings()).unwrap();
    let new = registry.rotate("orders-worker", None, Duration::from_hours(24)).unwrap();
    assert_eq!(authenticated(&registry, &old).as_deref(), Ok("1"));
    assert_eq!(authenticated(&registry, &new).as_deref(), Ok("2"));
    *clock.0.lock().unwrap() = NOW.saturating_add(Duration::from_hours(24));
    assert_eq!(authenticated(&registry, &old), Err(AuthenticationFailure::SecretExpired));
    let (secret, term) = registry.verify("orders-worker", &old).unwrap().unwrap();
    assert_eq!((secret.name.as_str(), term), ("1", SecretTerm::Expired));
    assert_eq!(authenticated(&registry, &new).as_deref(), Ok("2"));
    // The one that is over makes room.
    let newest = registry.rotate("orders-worker", Some("2027"), Duration::ZERO).unwrap();
    assert_eq!(authenticated(&registry, &new), Err(AuthenticationFailure::SecretExpired));
    assert_eq!(authenticated(&registry, &newest).as_deref(), Ok("2027"));
}

#[test]
fn a_third_secret_pushes_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let first = registry.add(settings()).unwrap();
    let second = registry.rotate("orders-worker", Some("second"), Duration::from_hours(1)).unwrap();
    let message = registry.rotate("orders-worker", None, Duration::ZERO).unwrap_err().to_string();
    assert_eq!(
        message,
        "the client orders-worker has two secrets in force, 1 and second; revoke one of them first"
    );
    assert!(authenticated(&registry, &first).is_ok() && authenticated(&registry, &second).is_ok());
    registry.revoke_secret("orders-worker", "1").unwrap();
    assert_eq!(authenticated(&registry, &first), Err(AuthenticationFailure::WrongSecret));
    assert_eq!(registry.verify("orders-worker", &first).unwrap(), None);
    assert!(authenticated(&registry, &second).is_ok());
}

#[test]
fn those_who_change_one_client_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    Registry::open(dir.path()).unwrap().add(settings()).unwrap();
    std::thread::scope(|scope| {
        for at in 0..6 {
            let dir = dir.path();
            scope.spawn(move || {
                let labels = |record: &mut ClientRecord| {
                    record.settings.labels.insert(format!("label-{at}"), String::new());
                    Ok(())
                };
                Registry::open(dir).unwrap().update("orders-worker", labels).unwrap();
            });
        }
    });
    let record = Registry::open(dir.path()).unwrap().client("orders-worker").unwrap();
    assert_eq!(record.settings.labels.len(), 6);
}

#[test]
fn a_damaged_client_does_not_keep_the_others_from_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.add(settings()).unwrap();
    registry.add(ClientSettings::new("other")).unwrap();
    for (member, value) in [("token_lifetime_seconds", "0"), ("scope", "7"), ("only_on_mondays", "true")] {
        let body = connection(dir.path())
            .query_row("SELECT body FROM record WHERE id = 'orders-worker'", [], |row| {
                row.get::<_, String>(0)
            })
            .unwrap();
        let update = format!(
            "UPDATE record SET body = json_set(body, '$.{member}', json('{value}')) WHERE id = 'orders-worker'"
        );
        connection(dir.path()).execute(&update, []).unwrap();
        let snapshot = snapshot(&registry);
        assert!(snapshot.client("orders-worker").is_none(), "{member}");
        assert!(snapshot.client("other").is_some(), "{member}");
        let listing = registry.list().unwrap();
        assert_eq!(listing.clients.len() + listing.damaged.len(), 2, "{member}");
        connection(dir.path())
            .execute("UPDATE record SET body = ?1 WHERE id = 'orders-worker'", [body])
            .unwrap();
    }
    registry.remove("orders-worker").unwrap();
}

#[test]
fn a_full_disk_leaves_no_half_of_a_client() {
    let dir = tempfile::tempdir().unwrap();
    drop(ServerKey::open(dir.path()).unwrap());
    let registry = Registry::open(dir.path()).unwrap();
    registry.add(settings()).unwrap();
    let audiences = (0..32).map(|at| format!("https://{at}.example/{}", "a".repeat(1000))).collect();
    let large = ClientSettings { audiences, ..ClientSettings::new("large") };
    registry.store().limit_pages(1);
    let message = registry.add(large.clone()).unwrap_err().to_string();
    assert!(message.contains("the disk is full; make room"), "{message}");
    assert_eq!(registry.list().unwrap().clients.len(), 1);
    registry.store().limit_pages(1_000_000);
    registry.add(large).unwrap();
    assert_eq!(registry.client("large").unwrap().settings.audiences.len(), 32);
}

#[test]
fn a_registry_that_another_program_holds_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let mut holder = connection(dir.path());
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
    let listed = Registry::open(dir.path()).unwrap().list().unwrap().clients;
    assert_eq!((added, listed.len()), (45, 45), "each id once");
    assert!(listed.iter().all(|client| client.credentials.secrets.len() == 1));
}

#[test]
fn a_start_that_was_cut_off_is_made_good_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("registry.0123456789abcdef.tmp"), "half of a database").unwrap();
    std::fs::write(dir.path().join("registry.0123456789abcdef.tmp-journal"), "half of a journal").unwrap();
    drop(ServerKey::open(dir.path()).unwrap());
    Registry::open(dir.path()).unwrap().add(settings()).unwrap();
    assert_eq!(Registry::open(dir.path()).unwrap().list().unwrap().clients.len(), 1);
}

#[test]
fn a_registry_with_another_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    drop(Registry::open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("client-secrets.key")).unwrap();
    let error = Registry::open(dir.path()).unwrap_err();
    assert!(matches!(error, RegistryError::ForeignKey), "{error}");
}
