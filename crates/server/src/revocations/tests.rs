use super::writer::Unavailable;
use super::*;
use crate::store::{SqliteStore, Store};
use crate::workers::Workers;
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::revocation::{
    MAX_REVOKED_TOKENS, Progress, REMEMBERED_AFTER_EXPIRY, RevocationPage, RevokedTokens, remembered_until,
};
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
        follow(&Asked::new(), self, known)
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
    for (second, ahead) in [(1, 0), (2, 90 * 86_400), (3, 90 * 86_400 + 300), (4, 0)] {
        let mut known = RevokedTokens::default();
        here.clock.set(NOW + second + ahead);
        here.follow(&mut known);
        // A guard that asked while the clock was ahead is told when it is right, or was told before.
        here.clock.set(NOW + second);
        here.follow(&mut known);
        assert!(known.contains("token") && here.feed().contains("token"), "{ahead} s ahead");
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

/// What is asked of a feed that signs for an instance.
struct Asked {
    feed: Feed,
    key: SigningKey,
}

impl Asked {
    fn new() -> Self {
        Self { feed: Feed::default(), key: SigningKey::generate(Algorithm::Es256).unwrap() }
    }

    fn at(&self, here: &Instance, position: FeedPosition) -> Result<SignedPage, NoPage> {
        self.feed.page(&here.revocations, position, &self.key, ISSUER, here.clock.now())
    }

    fn tag(&self, here: &Instance, through: u64) -> String {
        self.at(here, FeedPosition { through, mark: None }).unwrap().tag
    }
}

#[tokio::test]
async fn a_page_is_signed_once_for_all_until_it_changes_or_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    let writer = here.writer(&dir);
    let asked = Asked::new();
    let empty = asked.tag(&here, 0);
    here.clock.set(NOW + 29);
    assert_eq!(asked.tag(&here, 0), empty);
    here.clock.set(NOW + 30);
    let anew = asked.tag(&here, 0);
    assert_ne!(anew, empty, "a signature says that this is the newest");
    here.clock.set(NOW);
    assert_ne!(asked.tag(&here, 0), anew, "a clock that stepped back keeps nothing for long");
    writer.revoke("one", expires(60), "worker").await.unwrap();
    here.look();
    assert!(asked.tag(&here, 0).starts_with("0-0-"), "one that is half a second old will do");
    here.clock.set(NOW + 1);
    let one = asked.tag(&here, 0);
    let last = here.seen.0;
    assert!(one.starts_with(&format!("0-{last}-")), "{one}");
    let beyond = FeedPosition { through: last + 1, mark: None };
    assert!(matches!(asked.at(&here, beyond), Err(NoPage::Ahead)));
    assert!(asked.tag(&here, last).starts_with(&format!("{last}-{last}-")));
    assert_eq!(asked.feed.signatures(), 5);
}

#[tokio::test]
async fn t41_whoever_asks_from_everywhere_makes_few_signatures_and_locks_nobody_out() {
    const CHANGES: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    for change in 0..CHANGES {
        commit(&mut here.store, change);
    }
    here.look();
    let asked = Asked::new();
    let last = here.seen.0;
    let mut honest = RevokedTokens::default();
    for second in 0..10 {
        here.clock.set(NOW + second);
        // Somebody asks from every number, by its mark too and by others, as often as there is time for it.
        for through in 0..=here.seen.0 {
            let marks = [None, Some(mark(through)), Some(mark(u64::MAX - through))];
            for mark in marks {
                asked.at(&here, FeedPosition { through, mark }).unwrap();
            }
        }
        // A guard that follows misses nothing meanwhile.
        let pages = follow(&asked, &here, &mut honest);
        assert!(pages <= 7, "{pages}");
        assert!(honest.contains(&format!("token-{}-19", CHANGES - 1 + second)));
        commit(&mut here.store, CHANGES + second);
        here.look();
    }
    // 8,000 entries are six pages, signed once in half a minute, but for the last one. There are 32 more a second at most.
    assert_eq!(here.seen.0, last + 10);
    let signatures = asked.feed.signatures();
    assert!((20..=10 * (32 + 1) + 6).contains(&signatures), "{signatures}");
}

#[tokio::test]
async fn t41_a_second_with_many_changes_makes_few_signatures_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = Instance::over(&dir);
    let asked = Asked::new();
    let mut honest = RevokedTokens::default();
    for change in 0..100 {
        commit(&mut here.store, change);
        here.look();
        // Each number is asked for while it is the newest, and the one before it.
        for through in [here.seen.0, here.seen.0 - 1] {
            asked.at(&here, FeedPosition { through, mark: None }).unwrap();
        }
        follow(&asked, &here, &mut honest);
    }
    let signatures = asked.feed.signatures();
    assert!((32..=34).contains(&signatures), "{signatures}");
    here.clock.set(NOW + 1);
    follow(&asked, &here, &mut honest);
    assert_eq!(honest.len(), 2000, "nothing was missed");
}

/// A change of twenty revocations, made by another instance.
fn commit(store: &mut SqliteStore, change: u64) {
    let body = format!("{{\"mark\":\"{}\"}}", mark(change));
    let writes: Vec<_> = (0..20)
        .map(|at| crate::store::Write {
            kind: Kind::Revocation,
            id: format!("token-{change}-{at}"),
            body: Some(body.clone()),
            expires_at: Some(remembered_until(expires(600))),
            expect: crate::store::Expect::Anything,
        })
        .collect();
    store.commit(&writes, here_now()).unwrap();
}

fn mark(number: u64) -> ChangeMark {
    let mut bytes = [0; ChangeMark::BYTES];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    ChangeMark::from_bytes(bytes)
}

/// Follows the feed to its end, and tells in how many pages.
fn follow(asked: &Asked, here: &Instance, known: &mut RevokedTokens) -> usize {
    let keys = JwkSet::from_keys([asked.key.public_jwk()]).unwrap();
    for pages in 1..100 {
        let signed = asked.at(here, known.position()).unwrap();
        let compact = std::str::from_utf8(&signed.jwt).unwrap();
        let page = RevocationPage::verify(compact, &keys, ISSUER, here.clock.now()).unwrap();
        if known.take_in(&page, None).unwrap() == Progress::UpToDate {
            return pages;
        }
    }
    panic!("the list has no end");
}

#[tokio::test]
async fn the_store_says_whose_share_a_revocation_is() {
    let dir = tempfile::tempdir().unwrap();
    let (here, mut elsewhere) = (Instance::over(&dir), Instance::over(&dir));
    elsewhere.revocations.fill("greedy", MAX_REVOKED_TOKENS / 2 - 1);
    assert_eq!(elsewhere.revocations.has_room_for("greedy"), Ok(()));
    here.writer(&dir).revoke("token", expires(60), "greedy").await.unwrap();
    elsewhere.look();
    let used = elsewhere.revocations.has_room_for("greedy").unwrap_err();
    assert_eq!(used.own, MAX_REVOKED_TOKENS / 2);
    assert_eq!(elsewhere.revocations.has_room_for("honest"), Ok(()));
}
