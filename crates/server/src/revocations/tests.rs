use super::writer::Unavailable;
use super::*;
use crate::store::{SqliteStore, Store};
use crate::workers::Workers;
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::revocation::{REMEMBERED_AFTER_EXPIRY, RevokedTokens, remembered_until};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://as.example";

/// A clock that is set.
struct SetClock(AtomicU64);

impl SetClock {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// One instance over a store that others may have too.
struct Instance {
    store: SqliteStore,
    revocations: Arc<Revocations>,
    clock: Arc<SetClock>,
    seen: ChangeNumber,
}

impl Instance {
    fn over(dir: &TempDir) -> Self {
        let clock = Arc::new(SetClock(AtomicU64::new(NOW)));
        let revocations = Arc::new(Revocations::new(Arc::<SetClock>::clone(&clock)));
        let store = SqliteStore::open(dir.path()).unwrap();
        let mut instance = Self { store, revocations, clock, seen: ChangeNumber(0) };
        instance.look();
        instance
    }

    fn look(&mut self) {
        let changes = self.store.changes(self.seen).unwrap();
        self.seen = changes.through;
        self.revocations.follow(&changes);
    }

    fn writer(&self, dir: &TempDir) -> RevocationWriter {
        let store = SqliteStore::open(dir.path()).unwrap();
        let clock = Arc::<SetClock>::clone(&self.clock);
        RevocationWriter::start(Box::new(store), Arc::clone(&self.revocations), clock, &Workers::default())
            .unwrap()
    }

    fn is_revoked(&self, jwt_id: &str) -> bool {
        self.revocations.standing(jwt_id) == Standing::Revoked
    }

    /// What a guard knows that starts now.
    fn feed(&self) -> RevokedTokens {
        let mut known = RevokedTokens::default();
        self.follow(&mut known);
        known
    }

    /// Reads the feed to its end, and tells in how many pages.
    fn follow(&self, known: &mut RevokedTokens) -> usize {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = JwkSet::from_keys([key.public_jwk()]).unwrap();
        let feed = Feed::default();
        for pages in 1.. {
            let now = self.clock.now();
            let signed = feed.page(&self.revocations, known.through(), &key, ISSUER, now).unwrap();
            let compact = std::str::from_utf8(&signed.jwt).unwrap();
            let page = RevocationPage::verify(compact, &keys, ISSUER, now).unwrap();
            match known.take_in(&page, None).unwrap() {
                jeton_proto::revocation::Progress::UpToDate => return pages,
                jeton_proto::revocation::Progress::MoreFollows => {}
            }
        }
        unreachable!("the numbers have no end");
    }
}

fn expires(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW + seconds)
}

#[tokio::test]
async fn a_revocation_is_seen_at_once_here_and_after_a_look_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (mut here, mut elsewhere) = (Instance::over(&dir), Instance::over(&dir));
    let writer = here.writer(&dir);
    writer.revoke("one", expires(60), "worker").await.unwrap();
    assert!(here.is_revoked("one") && !elsewhere.is_revoked("one") && !here.is_revoked("two"));
    // It is told in the order of the store, which this instance has not read yet.
    assert!(here.feed().is_empty());
    here.look();
    elsewhere.look();
    assert!(elsewhere.is_revoked("one"));
    assert!(here.feed().contains("one") && elsewhere.feed().contains("one"));
    // A look that began before a commit takes nothing back.
    writer.revoke("two", expires(60), "worker").await.unwrap();
    let old = Changes { through: here.seen, extent: Extent::Everything, records: Vec::new() };
    here.revocations.follow(&old);
    assert!(here.is_revoked("two"));
}

#[tokio::test]
async fn t40_a_thousand_at_once_are_all_stored_when_they_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let here = Instance::over(&dir);
    let writer = Arc::new(here.writer(&dir));
    let revoking: Vec<_> = (0..1000)
        .map(|at| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.revoke(&format!("token-{at}"), expires(60), "worker").await })
        })
        .collect();
    for revoked in revoking {
        revoked.await.unwrap().unwrap();
    }
    // Another instance finds every one of them in the file, though the writer lives on.
    let elsewhere = Instance::over(&dir);
    let feed = elsewhere.feed();
    assert!((0..1000).all(|at| elsewhere.is_revoked(&format!("token-{at}"))));
    assert!((0..1000).all(|at| feed.contains(&format!("token-{at}"))));
    assert!(elsewhere.seen.0 < 1000, "they go into few commits: {:?}", elsewhere.seen);
}

#[tokio::test]
async fn t40_a_full_disk_is_told_and_what_was_revoked_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let here = Instance::over(&dir);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    store.limit_pages(1);
    let revocations = Arc::clone(&here.revocations);
    let writer = RevocationWriter::start(
        Box::new(store),
        revocations,
        Arc::<SetClock>::clone(&here.clock),
        &Workers::default(),
    )
    .unwrap();
    let mut acknowledged = Vec::new();
    let refused = loop {
        let jwt_id = format!("{}-{}", "x".repeat(1000), acknowledged.len());
        match writer.revoke(&jwt_id, expires(60), "worker").await {
            Ok(()) => acknowledged.push(jwt_id),
            Err(error) => break (jwt_id, error),
        }
    };
    assert_eq!(refused.1, Unavailable::Store);
    assert!(!here.is_revoked(&refused.0));
    let elsewhere = Instance::over(&dir);
    assert!(acknowledged.iter().all(|jwt_id| here.is_revoked(jwt_id) && elsewhere.is_revoked(jwt_id)));
    assert!(!elsewhere.is_revoked(&refused.0), "what was refused for want of room is not there");
}

#[tokio::test]
async fn what_is_over_is_forgotten_in_memory_and_in_the_feed() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    let writer = here.writer(&dir);
    writer.revoke("short", expires(60), "worker").await.unwrap();
    writer.revoke("long", expires(6000), "worker").await.unwrap();
    here.look();
    let mut known = here.feed();
    assert_eq!(known.len(), 2);
    let over = 60 + REMEMBERED_AFTER_EXPIRY.as_secs();
    here.clock.set(NOW + over - 1);
    assert_eq!(here.feed().len(), 2, "a guard may still take the token");
    // By one look at the clock nothing is over.
    for (minutes, remembered) in [(0, 2), (11, 2), (22, 1)] {
        here.clock.set(NOW + over + 60 * minutes);
        let feed = here.feed();
        assert!(feed.contains("long") && feed.len() == remembered, "after {minutes} min");
    }
    assert!(!here.is_revoked("short") && here.is_revoked("long"));
    // Who was up to date before the sweep is so after it.
    here.follow(&mut known);
    assert!(known.contains("long"));
}

#[tokio::test]
async fn t40_a_clock_that_jumps_ahead_and_back_brings_no_token_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    here.writer(&dir).revoke("token", expires(600), "worker").await.unwrap();
    here.look();
    for seconds in [1, 90 * 86_400, 2, 90 * 86_400 + 300, 3] {
        here.clock.set(NOW + seconds);
        // A guard that asks while the clock is ahead is told, too: it will not ask for this change again.
        assert!(here.feed().contains("token"), "after {seconds} s");
    }
    assert!(here.is_revoked("token"));
}

#[tokio::test]
async fn the_feed_goes_on_where_it_was_and_comes_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    let revoke = |store: &mut SqliteStore, range: std::ops::Range<usize>| {
        let writes: Vec<_> = range
            .map(|at| crate::store::Write {
                kind: Kind::Revocation,
                id: format!("token-{at}"),
                body: Some("{\"from a newer instance\":true}".to_owned()),
                expires_at: Some(remembered_until(expires(60))),
                expect: crate::store::Expect::Anything,
            })
            .collect();
        store.commit(&writes, here_now()).unwrap();
    };
    for change in 0..5 {
        revoke(&mut here.store, change * 700..(change + 1) * 700);
    }
    here.look();
    let mut known = RevokedTokens::default();
    assert_eq!(here.follow(&mut known), 3, "two changes fit into a page");
    assert_eq!(known.len(), 3500);
    revoke(&mut here.store, 3500..3501);
    here.look();
    assert_eq!(here.follow(&mut known), 1);
    assert_eq!(known.len(), 3501);
    // The same token again moves to the end and is told once.
    revoke(&mut here.store, 0..1);
    here.look();
    assert_eq!((here.follow(&mut known), known.len(), here.feed().len()), (1, 3501, 3501));
}

fn here_now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

#[tokio::test]
async fn a_page_is_signed_once_for_all_until_it_changes_or_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    let writer = here.writer(&dir);
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let feed = Feed::default();
    let tag = |here: &Instance, since| {
        feed.page(&here.revocations, since, &key, ISSUER, here.clock.now()).map(|page| page.tag)
    };
    let empty = tag(&here, 0).unwrap();
    here.clock.set(NOW + 29);
    assert_eq!(tag(&here, 0).unwrap(), empty);
    here.clock.set(NOW + 30);
    let anew = tag(&here, 0).unwrap();
    assert_ne!(anew, empty, "a signature says that this is the newest");
    here.clock.set(NOW);
    assert_ne!(tag(&here, 0).unwrap(), anew, "a clock that stepped back keeps nothing for long");
    writer.revoke("one", expires(60), "worker").await.unwrap();
    here.look();
    let one = tag(&here, 0).unwrap();
    let last = here.seen.0;
    assert!(one.starts_with(&format!("0-{last}-")), "{one}");
    assert!(matches!(tag(&here, last + 1), Err(NoPage::Ahead)));
    assert!(tag(&here, last).unwrap().starts_with(&format!("{last}-{last}-")));
}
