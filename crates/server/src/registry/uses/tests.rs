use super::flusher::Writer;
use super::*;
use crate::registry::{NewSecret, Registry, SecretKeeping};
use crate::store::{Store, StoreLocation};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::time::Clock;
use std::path::Path;
use std::time::Duration;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(2_000_000_000)
    }
}

/// After the secrets of the tests were made.
fn later(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(3_000_000_000 + seconds)
}

struct World {
    dir: tempfile::TempDir,
    registry: Registry,
    writer: Writer,
    seen: ChangeNumber,
}

impl World {
    fn new(clients: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        for client_id in clients {
            registry.add(ClientSettings::new(*client_id)).unwrap();
        }
        let writer =
            Writer { store: open(dir.path()), uses: Arc::default(), clock: Arc::new(Still), failing: false };
        let mut world = Self { dir, registry, writer, seen: ChangeNumber(0) };
        world.look();
        world
    }

    fn look(&mut self) {
        let changes = open(self.dir.path()).changes(self.seen).unwrap();
        self.seen = changes.through;
        self.writer.uses.follow(&changes);
    }

    fn last_use(&self, client_id: &str, secret: usize) -> Option<Timestamp> {
        let uses = self.registry.last_uses(client_id).unwrap();
        uses.of(&self.registry.client(client_id).unwrap().credentials.secrets[secret])
    }

    fn through(&self) -> ChangeNumber {
        open(self.dir.path()).changes(ChangeNumber(0)).unwrap().through
    }
}

fn open(dir: &Path) -> Box<dyn Store> {
    StoreLocation::DataDir(dir.to_owned()).open().unwrap()
}

#[test]
fn a_use_is_stored_for_its_secret_alone() {
    let mut world = World::new(&["a", "b"]);
    world.registry.rotate("a", None, Duration::from_hours(1)).unwrap();
    world.look();
    world.writer.uses.record("a", "2", later(0));
    world.writer.uses.record("absent", "1", later(0));
    world.writer.uses.record("b", "absent", later(0));
    world.writer.flush();
    assert_eq!((world.last_use("a", 0), world.last_use("a", 1)), (None, Some(later(0))));
    assert_eq!(world.last_use("b", 0), None);
    let listing = world.registry.list().unwrap();
    assert_eq!(listing.last_uses.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn uses_within_a_minute_are_not_written_again() {
    let mut world = World::new(&["a"]);
    world.writer.uses.record("a", "1", later(0));
    world.writer.flush();
    let through = world.through();
    world.writer.uses.record("a", "1", later(59));
    world.writer.flush();
    assert_eq!(world.through(), through);
    world.writer.uses.record("a", "1", later(60));
    world.writer.flush();
    assert_eq!(world.last_use("a", 0), Some(later(60)));
}

#[test]
fn what_another_server_has_stored_is_kept() {
    let mut world = World::new(&["a"]);
    world.registry.rotate("a", None, Duration::from_hours(1)).unwrap();
    let mut other = World { dir: tempfile::tempdir().unwrap(), ..World::new(&[]) };
    other.writer.store = open(world.dir.path());
    other.writer.uses = Arc::default();
    other.writer.uses.follow(&open(world.dir.path()).changes(ChangeNumber(0)).unwrap());
    other.writer.uses.record("a", "1", later(0));
    other.writer.flush();
    world.look();
    world.writer.uses.record("a", "2", later(70));
    world.writer.flush();
    assert_eq!((world.last_use("a", 0), world.last_use("a", 1)), (Some(later(0)), Some(later(70))));
}

#[test]
fn nothing_stays_of_a_client_that_was_removed() {
    let mut world = World::new(&["a"]);
    world.writer.uses.record("a", "1", later(0));
    world.registry.remove("a").unwrap();
    // The flush comes before this server has seen the removal.
    world.writer.flush();
    world.look();
    world.writer.flush();
    assert!(world.registry.list().unwrap().last_uses.is_empty());
}

#[test]
fn a_secret_of_the_same_name_has_not_been_used() {
    let mut world = World::new(&["a"]);
    let used_at = world.registry.client("a").unwrap().credentials.secrets[0].created_at;
    world.writer.uses.record("a", "1", used_at);
    world.writer.flush();
    assert_eq!(world.last_use("a", 0), Some(used_at));
    std::thread::sleep(Duration::from_millis(2));
    world.registry.revoke_secret("a", "1").unwrap();
    let new = NewSecret { name: Some("1".to_owned()), keeping: Some(SecretKeeping::Digest) };
    world.registry.rotate_to("a", &new, Duration::ZERO).unwrap();
    assert_eq!(world.last_use("a", 0), None);
}

#[test]
fn a_store_that_cannot_be_written_is_harmless_and_the_use_is_written_later() {
    let mut world = World::new(&["a"]);
    world.writer.uses.record("a", "1", later(0));
    let mut holder = rusqlite::Connection::open(crate::store::sqlite_path(world.dir.path())).unwrap();
    let held = holder.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    world.writer.flush();
    assert!(world.writer.failing);
    drop(held);
    world.writer.flush();
    assert!(!world.writer.failing);
    assert_eq!(world.last_use("a", 0), Some(later(0)));
}

#[test]
fn more_clients_than_one_batch_are_all_written() {
    let names: Vec<String> = (0..BATCH + 10).map(|at| format!("client-{at}")).collect();
    let mut world = World::new(&[]);
    let records = names.iter().map(|name| {
        let body = r#"{"status":"enabled","scope":"","token_lifetime_seconds":60,"created_at_ms":1,
            "secrets":[{"name":"1","digest":"DIGEST","created_at_ms":1}]}"#
            .replace("DIGEST", &"0".repeat(64));
        Write {
            kind: Kind::Client,
            id: name.clone(),
            body: Some(body),
            expires_at: None,
            expect: Expect::Absent,
        }
    });
    let records: Vec<_> = records.collect();
    open(world.dir.path()).commit(&records, later(0)).unwrap();
    world.look();
    for name in &names {
        world.writer.uses.record(name, "1", later(0));
    }
    world.writer.flush();
    assert_eq!(world.registry.list().unwrap().last_uses.len(), names.len());
}
