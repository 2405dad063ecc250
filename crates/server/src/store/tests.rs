//! What every store keeps to.

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// A store that two connections look at.
struct Pair {
    one: Box<dyn Store>,
    two: Box<dyn Store>,
    _dir: tempfile::TempDir,
}

fn pair() -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let location = StoreLocation::DataDir(dir.path().to_owned());
    Pair { one: location.open().unwrap(), two: location.open().unwrap(), _dir: dir }
}

fn put(kind: Kind, id: &str, body: &str, expect: Expect) -> Write {
    Write { kind, id: id.to_owned(), body: Some(body.to_owned()), expires_at: None, expect }
}

fn remove(kind: Kind, id: &str, expect: Expect) -> Write {
    Write { kind, id: id.to_owned(), body: None, expires_at: None, expect }
}

fn bodies(changes: &Changes) -> Vec<(&str, Option<&str>)> {
    changes.records.iter().map(|record| (record.id.as_str(), record.body.as_deref())).collect()
}

#[test]
fn what_was_committed_is_read_by_others_from_there_on() {
    let Pair { mut one, mut two, _dir } = pair();
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

#[test]
fn one_conflict_leaves_everything_as_it_was() {
    let Pair { mut one, mut two, _dir } = pair();
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

#[test]
fn of_many_who_build_on_one_change_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let location = StoreLocation::DataDir(dir.path().to_owned());
    let mut store = location.open().unwrap();
    let mut change = store.commit(&[put(Kind::Client, "a", "0", Expect::Absent)], NOW).unwrap();
    for round in 0..10 {
        let winners: Vec<ChangeNumber> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    let location = location.clone();
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

#[test]
fn what_has_expired_is_purged_and_removals_are_remembered_for_a_while() {
    let Pair { mut one, mut two, _dir } = pair();
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

#[test]
fn there_are_bounds() {
    let Pair { mut one, mut two, _dir } = pair();
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

#[test]
fn a_setting_is_what_was_set_first() {
    let Pair { mut one, mut two, _dir } = pair();
    assert_eq!(one.setting("name", b"first").unwrap(), b"first");
    assert_eq!(two.setting("name", b"second").unwrap(), b"first");
}

#[test]
fn kinds_have_their_own_names() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
    assert_eq!(Kind::named("unknown"), None);
}
