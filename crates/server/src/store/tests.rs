//! What every store keeps to.

use super::postgresql::{self, Postgres};
use super::*;

/// A time that has been: a database forgets nothing that is to end later by its own clock.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

/// An empty store somewhere, until it is dropped.
struct Place {
    location: StoreLocation,
    _kept: Box<dyn std::any::Any>,
}

impl Place {
    fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { location: StoreLocation::DataDir(dir.path().to_owned()), _kept: Box::new(dir) }
    }

    fn database() -> Self {
        let postgres = Postgres::start();
        let settings = PostgresSettings {
            password: Some(Arc::new(postgresql::password())),
            ..PostgresSettings::new(postgres.url())
        };
        let location = StoreLocation::Postgres(Arc::new(Database::new(&settings).unwrap()));
        Self { location, _kept: Box::new(postgres) }
    }

    /// Two connections.
    fn pair(&self) -> Pair {
        Pair { one: self.location.open().unwrap(), two: self.location.open().unwrap() }
    }
}

/// A store that two connections look at.
struct Pair {
    one: Box<dyn Store>,
    two: Box<dyn Store>,
}

/// Every store keeps to the same.
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod in_a_file {
            $(#[test] fn $test() { super::$test(&super::Place::file()); })*
        }
        mod in_a_database {
            $(#[test] fn $test() { super::$test(&super::Place::database()); })*
        }
    };
}

on_both_stores!(
    what_was_committed_is_read_by_others_from_there_on,
    one_conflict_leaves_everything_as_it_was,
    of_many_who_build_on_one_change_one_succeeds,
    what_has_expired_is_purged_and_removals_are_remembered_for_a_while,
    there_are_bounds,
    a_setting_is_what_was_set_first,
    nobody_sees_a_part_of_a_commit,
    a_page_goes_on_where_the_one_before_ended,
);

fn put(kind: Kind, id: &str, body: &str, expect: Expect) -> Write {
    Write { kind, id: id.to_owned(), body: Some(body.to_owned()), expires_at: None, expect }
}

fn remove(kind: Kind, id: &str, expect: Expect) -> Write {
    Write { kind, id: id.to_owned(), body: None, expires_at: None, expect }
}

fn a_page_goes_on_where_the_one_before_ended(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    let ids = ["B", "a", "a b", "a/b", "b", "~"];
    let writes: Vec<_> = ids.iter().rev().map(|id| put(Kind::Client, id, "{}", Expect::Absent)).collect();
    one.commit(&writes, NOW).unwrap();
    one.commit(&[put(Kind::SecretUse, "aa", "{}", Expect::Absent)], NOW).unwrap();
    one.commit(&[remove(Kind::Client, "a/b", Expect::Anything)], NOW).unwrap();
    let mut page = |after, limit| -> Vec<String> {
        let records = two.page(Kind::Client, after, limit).unwrap();
        records.into_iter().map(|record| record.id).collect()
    };
    assert_eq!(page("", 3), ["B", "a", "a b"]);
    assert_eq!(page("a b", 3), ["b", "~"]);
    assert_eq!(page("~", 3), [""; 0]);
}

fn bodies(changes: &Changes) -> Vec<(&str, Option<&str>)> {
    changes.records.iter().map(|record| (record.id.as_str(), record.body.as_deref())).collect()
}

fn what_was_committed_is_read_by_others_from_there_on(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    let start = two.changes(ChangeNumber(0)).unwrap();
    assert_eq!((start.extent, start.records.len()), (Extent::Everything, 0));
    let first = one.commit(&[put(Kind::Client, "a", "1", Expect::Absent)], NOW).unwrap();
    let seen = two.changes(start.through).unwrap();
    assert_eq!((seen.extent, seen.through), (Extent::Since, first));
    assert_eq!(bodies(&seen), [("a", Some("1"))]);
    let nothing = two.changes(seen.through).unwrap();
    assert_eq!((nothing.through, nothing.records.len()), (first, 0));
    let second =
        [put(Kind::Client, "a", "2", Expect::Anything), put(Kind::SigningKey, "k", "3", Expect::Absent)];
    one.commit(&second, NOW).unwrap();
    one.commit(&[remove(Kind::SigningKey, "k", Expect::Anything)], NOW).unwrap();
    assert_eq!(bodies(&two.changes(first).unwrap()), [("a", Some("2")), ("k", None)]);
    assert_eq!(bodies(&two.changes(ChangeNumber(0)).unwrap()), [("a", Some("2"))]);
}

fn one_conflict_leaves_everything_as_it_was(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    let first = one.commit(&[put(Kind::Client, "a", "1", Expect::Absent)], NOW).unwrap();
    let before = two.changes(ChangeNumber(0)).unwrap();
    for expect in [Expect::Absent, Expect::Change(ChangeNumber(first.0 + 1)), Expect::Change(ChangeNumber(0))]
    {
        let writes = [put(Kind::Client, "b", "2", Expect::Absent), put(Kind::Client, "a", "2", expect)];
        let refused = one.commit(&writes, NOW).unwrap_err();
        assert!(matches!(refused, CommitError::Conflict { kind: Kind::Client, id } if id == "a"));
        assert_eq!(two.changes(ChangeNumber(0)).unwrap(), before);
    }
    one.commit(&[put(Kind::Client, "a", "2", Expect::Change(first))], NOW).unwrap();
    let gone = one.commit(&[remove(Kind::Client, "a", Expect::Anything)], NOW).unwrap();
    let stale = put(Kind::Client, "a", "3", Expect::Change(gone));
    assert!(
        matches!(one.commit(&[stale], NOW), Err(CommitError::Conflict { .. })),
        "a removal is nothing to build on"
    );
    one.commit(&[put(Kind::Client, "a", "4", Expect::Absent)], NOW).unwrap();
    assert_eq!(two.record(Kind::Client, "a").unwrap().unwrap().body.as_deref(), Some("4"));
}

fn of_many_who_build_on_one_change_one_succeeds(place: &Place) {
    let location = &place.location;
    let mut store = location.open().unwrap();
    let mut change = store.commit(&[put(Kind::Client, "a", "0", Expect::Absent)], NOW).unwrap();
    for round in 0..10 {
        let winners: Vec<ChangeNumber> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    scope.spawn(move || {
                        let body = format!("{round}-{racer}");
                        let write = put(Kind::Client, "a", &body, Expect::Change(change));
                        location.open().unwrap().commit(&[write], NOW).ok()
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        change = winners[0];
    }
}

fn what_has_expired_is_purged_and_removals_are_remembered_for_a_while(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    let start = two.changes(ChangeNumber(0)).unwrap().through;
    let end = NOW.saturating_add(Duration::from_secs(60));
    let short = Write { expires_at: Some(end), ..put(Kind::Revocation, "short", "1", Expect::Anything) };
    one.commit(&[short, put(Kind::Client, "long", "1", Expect::Absent)], NOW).unwrap();
    one.commit(&[remove(Kind::Client, "long", Expect::Anything)], NOW).unwrap();
    one.purge(NOW).unwrap();
    let told = two.changes(start).unwrap();
    assert_eq!(bodies(&told), [("short", Some("1")), ("long", None)]);
    assert_eq!(told.records[0].expires_at, Some(end));
    one.purge(end).unwrap();
    assert_eq!(bodies(&two.changes(start).unwrap()), [("long", None)]);
    one.purge(NOW.saturating_add(REMOVAL_REMEMBERED)).unwrap();
    let told = two.changes(start).unwrap();
    assert_eq!((told.extent, told.records.len()), (Extent::Everything, 0), "it was away for too long");
    assert_eq!(two.changes(told.through).unwrap().extent, Extent::Since);
}

fn there_are_bounds(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    let keys = |from: u64, through: u64| -> Vec<Write> {
        (from..=through).map(|at| put(Kind::SigningKey, &at.to_string(), "k", Expect::Absent)).collect()
    };
    let most = Kind::SigningKey.most();
    one.commit(&keys(1, most), NOW).unwrap();
    let refused = two.commit(&keys(most + 1, most + 1), NOW).unwrap_err();
    assert!(matches!(refused, CommitError::Full(Kind::SigningKey)));
    two.commit(&[put(Kind::SigningKey, "1", "other", Expect::Anything)], NOW).unwrap();
    two.commit(&[remove(Kind::SigningKey, "1", Expect::Anything)], NOW).unwrap();
    two.commit(&[remove(Kind::SigningKey, "absent", Expect::Anything)], NOW).unwrap();
    one.commit(&keys(most + 1, most + 1), NOW).unwrap();
    assert_eq!(one.changes(ChangeNumber(0)).unwrap().records.len() as u64, most);
}

fn a_setting_is_what_was_set_first(place: &Place) {
    let Pair { mut one, mut two } = place.pair();
    assert_eq!(one.setting("name", b"first").unwrap(), b"first");
    assert_eq!(two.setting("name", b"second").unwrap(), b"first");
}

/// Each commit writes the same number to all records: whoever looks sees one number, and a later look none that is less.
fn nobody_sees_a_part_of_a_commit(place: &Place) {
    const IDS: [&str; 3] = ["a", "b", "c"];
    let writer = |from: u32| {
        let mut store = place.location.open().unwrap();
        move || {
            for round in from..from + 40 {
                let body = round.to_string();
                let writes = IDS.map(|id| put(Kind::Client, id, &body, Expect::Anything));
                store.commit(&writes, NOW).unwrap();
            }
        }
    };
    let mut reader = place.location.open().unwrap();
    std::thread::scope(|scope| {
        let writers = [scope.spawn(writer(0)), scope.spawn(writer(1000))];
        let (mut through, mut seen) = (ChangeNumber(0), std::collections::BTreeMap::new());
        loop {
            let ended = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let changes = reader.changes(through).unwrap();
            assert!(changes.through >= through);
            through = changes.through;
            for record in changes.records {
                assert!(record.change <= through, "what is newer than the look says it is");
                seen.insert(record.id, record.body.unwrap());
            }
            let mut bodies: Vec<&String> = seen.values().collect();
            bodies.dedup();
            assert!(bodies.len() <= 1 && (seen.is_empty() || seen.len() == IDS.len()), "{seen:?}");
            if ended {
                break;
            }
        }
        let last = &reader.changes(ChangeNumber(0)).unwrap().records[0].body;
        assert_eq!(last.as_ref(), seen.get("a"), "nothing was missed");
    });
}

#[test]
fn kinds_have_their_own_names() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
    assert_eq!(Kind::named("unknown"), None);
}
