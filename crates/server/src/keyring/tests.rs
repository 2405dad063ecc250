use super::document::StoredKey;
use super::takeover::key_path;
use super::*;
use crate::http::PublishedKeys;
use crate::server_key::{Sealer, ServerKey};
use crate::store::{ChangeNumber, Expect, Kind, StoreLocation, StoreWatch, Write, sqlite_path};
use crate::workers::Workers;
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{Effect, KeyState, KeyTimes, Retirement, RotationPolicy, Urgency};
use jeton_proto::time::{Clock, Timestamp};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const START: u64 = 1_800_000_000_000;

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// What an instance has of the keys.
struct Instance {
    keyring: Arc<Keyring>,
    watch: StoreWatch,
    _schedule: KeySchedule,
    _ended: Awaited,
}

/// The last to be dropped of an instance: the files are nobody's afterwards.
struct Awaited(Workers);

impl Drop for Awaited {
    fn drop(&mut self) {
        assert_eq!(self.0.await_end(|_| true, Duration::from_secs(20)), []);
    }
}

impl Instance {
    fn start(dir: &Path, clock: &Arc<HandClock>, in_use: &[Algorithm]) -> Result<Self, KeyringError> {
        let location = StoreLocation::DataDir(dir.to_owned());
        let key = ServerKey::open(dir).unwrap();
        let published = Arc::new(PublishedKeys::new(Vec::new(), policy().jwks_max_age()));
        let (keyring, nudged) = Keyring::new(Arc::new(Sealer::of(&key)), published);
        let workers = Workers::default();
        let watch = StoreWatch::start(
            location.open().unwrap(),
            vec![Arc::<Keyring>::clone(&keyring)],
            Arc::<HandClock>::clone(clock),
            &workers,
        )
        .unwrap();
        let scheduler = Scheduler {
            location,
            keyring: Arc::clone(&keyring),
            in_use: in_use.to_vec(),
            policy: policy(),
            clock: Arc::<HandClock>::clone(clock),
            workers: workers.clone(),
        };
        let schedule = scheduler.start(dir, &watch, nudged)?;
        Ok(Self { keyring, watch, _schedule: schedule, _ended: Awaited(workers) })
    }

    fn signs_with(&self, algorithm: Algorithm, clock: &HandClock) -> Option<String> {
        let keys = self.keyring.keys();
        keys.signer(algorithm, clock.now()).map(|signer| signer.key().key_id().to_owned())
    }

    fn key_ids(&self) -> BTreeSet<String> {
        self.keyring.keys().book.keys().map(|stored| stored.key.key_id.clone()).collect()
    }

    #[track_caller]
    fn comes_to(&self, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "it did not come about: {:?}",
                self.keyring.keys()
            );
            self.watch.look_soon();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn policy() -> RotationPolicy {
    RotationPolicy::new(Duration::from_hours(24), Duration::from_mins(5), Duration::from_hours(1)).unwrap()
}

fn administration(dir: &Path, clock: &Arc<HandClock>) -> SigningKeys {
    SigningKeys::open(dir).unwrap().with_clock(Arc::<HandClock>::clone(clock))
}

const ES256: [Algorithm; 1] = [Algorithm::Es256];

#[test]
fn servers_that_start_at_once_have_one_key_for_each_algorithm() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    ServerKey::open(dir.path()).unwrap();
    let instances: Vec<_> = std::thread::scope(|scope| {
        let start = || scope.spawn(|| Instance::start(dir.path(), &clock, &Algorithm::ALL).unwrap());
        let starts: Vec<_> = (0..4).map(|_| start()).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let first = &instances[0];
    assert_eq!(first.key_ids().len(), 3);
    for instance in &instances {
        instance.comes_to(|instance| instance.key_ids() == first.key_ids());
        for algorithm in Algorithm::ALL {
            assert_eq!(instance.signs_with(algorithm, &clock), first.signs_with(algorithm, &clock));
        }
    }
}

#[test]
fn t39_a_key_takes_its_turn_while_the_store_is_away() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let instance = Instance::start(dir.path(), &clock, &ES256).unwrap();
    let first = instance.signs_with(Algorithm::Es256, &clock).unwrap();
    let next = administration(dir.path(), &clock).rotate(None).unwrap().remove(0);
    let settled = |instance: &Instance| {
        let keys = instance.keyring.keys();
        keys.book.key(&next).is_some_and(|stored| stored.key.times.active_from.is_some())
    };
    instance.comes_to(settled);
    for name in ["registry.sqlite3", "registry.sqlite3-wal", "registry.sqlite3-shm"] {
        std::fs::write(dir.path().join(name), "damaged").unwrap();
    }
    instance.comes_to(|instance| !instance.watch.is_readable());
    clock.advance(policy().lead().saturating_sub(Duration::from_millis(1)));
    assert_eq!(instance.signs_with(Algorithm::Es256, &clock), Some(first.clone()));
    clock.advance(Duration::from_millis(1));
    assert_eq!(instance.signs_with(Algorithm::Es256, &clock), Some(next.clone()));
    assert_eq!(instance.key_ids(), BTreeSet::from([first, next]), "the retired one stays published");
}

#[test]
fn a_key_goes_the_whole_way_by_the_clock() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let instance = Instance::start(dir.path(), &clock, &ES256).unwrap();
    let first = instance.signs_with(Algorithm::Es256, &clock).unwrap();
    clock.advance(policy().period().saturating_sub(policy().lead()));
    instance.comes_to(|instance| instance.key_ids().len() == 2);
    let mut keys = administration(dir.path(), &clock);
    instance.comes_to(|_| {
        let state = administration(dir.path(), &clock).list().unwrap().keys[0].state;
        matches!(state, KeyState::Announced { active_from: Some(_) })
    });
    assert_eq!(instance.signs_with(Algorithm::Es256, &clock), Some(first.clone()));
    clock.advance(policy().lead());
    instance.comes_to(|instance| instance.signs_with(Algorithm::Es256, &clock).as_ref() != Some(&first));
    instance.comes_to(|_| {
        let of_first = administration(dir.path(), &clock).list().unwrap().keys[1].state;
        matches!(of_first, KeyState::Retired { published_until: Some(_) })
    });
    clock.advance(Duration::from_hours(1));
    std::thread::sleep(Duration::from_millis(1200));
    assert!(instance.key_ids().contains(&first), "its last token may live at a slow verifier");
    clock.advance(Duration::from_mins(5));
    instance.comes_to(|instance| !instance.key_ids().contains(&first));
    assert_eq!(keys.list().unwrap().keys.len(), 1);
}

#[test]
fn keys_are_rotated_after_the_registry_went_back_to_a_backup() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let first = Instance::start(dir.path(), &clock, &ES256).unwrap().key_ids();
    let (registry, backup) = (sqlite_path(dir.path()), dir.path().join("backup"));
    std::fs::copy(&registry, &backup).unwrap();
    let instance = Instance::start(dir.path(), &clock, &ES256).unwrap();
    clock.advance(policy().period());
    instance.comes_to(|instance| instance.key_ids().len() == 2);
    let lost = instance.key_ids().difference(&first).next().unwrap().clone();
    instance.comes_to(|instance| {
        let keys = instance.keyring.keys();
        keys.book.key(&lost).is_some_and(|stored| stored.key.times.active_from.is_some())
    });
    for name in ["registry.sqlite3-wal", "registry.sqlite3-shm"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    std::fs::rename(&backup, &registry).unwrap();
    instance.comes_to(|instance| !instance.key_ids().contains(&lost));
    instance.comes_to(|instance| instance.key_ids().len() == 2);
}

#[test]
fn a_key_in_wrong_hands_is_gone_at_once_and_another_one_signs() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let instance = Instance::start(dir.path(), &clock, &ES256).unwrap();
    let bad = instance.signs_with(Algorithm::Es256, &clock).unwrap();
    let mut keys = administration(dir.path(), &clock);
    let refused = keys.drop_key(&bad, Urgency::Planned).unwrap_err().to_string();
    assert!(refused.contains("announce a successor"), "{refused}");
    let made = keys.drop_key(&bad, Urgency::Emergency).unwrap();
    instance.comes_to(|instance| !instance.key_ids().contains(&bad));
    assert_eq!(instance.signs_with(Algorithm::Es256, &clock), made.first().cloned());
    let retired = made[0].clone();
    let made = keys.retire(&retired, Urgency::Emergency).unwrap();
    instance.comes_to(|instance| instance.signs_with(Algorithm::Es256, &clock) == made.first().cloned());
    assert!(instance.key_ids().contains(&retired), "its tokens live");
}

#[test]
fn key_files_are_taken_over_once_and_removed() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let write = |algorithm| {
        let key = SigningKey::generate(algorithm).unwrap();
        let path = key_path(dir.path(), algorithm);
        crate::data_dir::read_or_create_private(&path, || Ok::<_, KeyringError>(key.to_pkcs8().unwrap()))
            .unwrap();
        key
    };
    let (es256, rs256) = (write(Algorithm::Es256), write(Algorithm::Rs256));
    let first = Instance::start(dir.path(), &clock, &ES256).unwrap();
    for key in [&es256, &rs256] {
        assert_eq!(first.signs_with(key.algorithm(), &clock).as_deref(), Some(key.key_id()));
        assert!(!key_path(dir.path(), key.algorithm()).exists());
    }
    drop(first);
    // A file that comes back, from a backup or an older program, does not take over from a key that verifiers have.
    let other = write(Algorithm::Es256);
    let again = Instance::start(dir.path(), &clock, &ES256).unwrap();
    assert_eq!(again.signs_with(Algorithm::Es256, &clock).as_deref(), Some(es256.key_id()));
    assert!(again.key_ids().contains(other.key_id()), "its tokens are good all the same");
    assert!(!key_path(dir.path(), Algorithm::Es256).exists());
}

#[test]
fn a_damaged_key_file_is_never_replaced_and_the_error_says_what_to_do() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let path = key_path(dir.path(), Algorithm::Es256);
    crate::data_dir::read_or_create_private(&path, || {
        Ok::<_, KeyringError>(jeton_proto::secret::Secret::new(b"canary".to_vec()))
    })
    .unwrap();
    let message = Instance::start(dir.path(), &clock, &ES256).err().unwrap().to_string();
    assert!(message.contains("signing-key-es256.p8") && message.contains("backup"), "{message}");
    assert!(!message.contains("canary"));
    assert_eq!(std::fs::read(&path).unwrap(), b"canary");
}

#[test]
fn a_record_that_cannot_be_opened_stops_a_start_and_not_a_server_that_runs() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let instance = Instance::start(dir.path(), &clock, &ES256).unwrap();
    let first = instance.signs_with(Algorithm::Es256, &clock).unwrap();
    let foreign = Sealer::of(&ServerKey::from_bytes(&[9; 32]).unwrap());
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let times = KeyTimes { number: 2, ..KeyTimes::announced(clock.now()) };
    let sealed = StoredKey::seal(&key, times, &foreign, None).unwrap().render().unwrap();
    for (key_id, body) in [(key.key_id(), sealed), ("newer", "{\"from\":\"the future\"}".to_owned())] {
        let write = Write {
            kind: Kind::SigningKey,
            id: key_id.to_owned(),
            body: Some(body),
            expires_at: None,
            expect: Expect::Absent,
        };
        let mut store = StoreLocation::DataDir(dir.path().to_owned()).open().unwrap();
        store.commit(&[write], clock.now()).unwrap();
        instance.comes_to(|instance| instance.keyring.check().is_err());
        let message = Instance::start(dir.path(), &clock, &ES256).err().unwrap().to_string();
        assert!(message.contains(key_id) && message.contains("jeton keys drop"), "{message}");
        assert_eq!(instance.signs_with(Algorithm::Es256, &clock), Some(first.clone()));
        administration(dir.path(), &clock).drop_key(key_id, Urgency::Emergency).unwrap();
        instance.comes_to(|instance| instance.keyring.check().is_ok());
    }
}

#[test]
fn no_private_key_is_on_disk_as_it_is() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let instance = Instance::start(dir.path(), &clock, &Algorithm::ALL).unwrap();
    let secrets: Vec<_> = instance
        .keyring
        .keys()
        .book
        .keys()
        .map(|stored| stored.open(instance.keyring.sealer()).unwrap().to_pkcs8().unwrap())
        .collect();
    assert_eq!(secrets.len(), 3);
    drop(instance);
    let mut looked_at = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        looked_at += content.len();
        for secret in &secrets {
            // The numbers that are secret are at the end of what PKCS#8 has before the public ones.
            for piece in secret.expose().chunks_exact(16).skip(2) {
                assert!(!content.windows(16).any(|window| window == piece));
            }
        }
    }
    assert!(looked_at > 10_000 && sqlite_path(dir.path()).exists());
}

#[test]
fn a_document_is_read_as_it_was_written_and_only_under_its_own_name() {
    let sealer = Sealer::of(&ServerKey::from_bytes(&[1; 32]).unwrap());
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let at = Timestamp::from_unix_millis;
    for retired in [None, Some(Retirement::Ordered), Some(Retirement::Since(at(4)))] {
        let times = KeyTimes {
            number: 7,
            announced_at: at(1),
            active_from: Some(at(2)),
            retired,
            token_lifetime: Some(Duration::from_secs(3)),
        };
        let written = StoredKey::seal(&key, times, &sealer, None).unwrap();
        let read = StoredKey::parse(key.key_id(), &written.render().unwrap()).unwrap();
        assert_eq!((&read.key, &read.jwk), (&written.key, &written.jwk));
        assert_eq!(read.open(&sealer).unwrap().key_id(), key.key_id());
        assert!(StoredKey::parse("another", &written.render().unwrap()).is_err());
    }
}

#[test]
fn of_two_decisions_about_the_same_keys_one_is_made() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let sealer = Sealer::of(&ServerKey::open(dir.path()).unwrap());
    let mut store = StoreLocation::DataDir(dir.path().to_owned()).open().unwrap();
    let book = book::Book::default();
    let effect = || [Effect::Announce { algorithm: Algorithm::Es256, times: KeyTimes::at_once(clock.now()) }];
    store.commit(&book.writes(&effect(), &sealer).unwrap(), clock.now()).unwrap();
    let again = store.commit(&book.writes(&effect(), &sealer).unwrap(), clock.now());
    assert!(matches!(again, Err(crate::store::CommitError::Conflict { .. })));
    let mut book = book;
    book.follow(&store.changes(ChangeNumber(0)).unwrap());
    assert_eq!(book.keys().count(), 1);
}
