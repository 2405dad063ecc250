//! What a commit comes to, given what is there. Pure: a function of values.

use crate::store::{ChangeNumber, CommitError, Expect, Kind, Write};
use std::collections::{BTreeMap, HashMap};

/// What is there of the records that are to be written, and how many there are of each kind.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) records: HashMap<(Kind, String), ChangeNumber>,
    pub(super) tally: BTreeMap<Kind, u64>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Of each record the last write.
    pub(super) rows: Vec<&'a Write>,
    /// How many records there are then, of the kinds that are written.
    pub(super) tally: BTreeMap<Kind, u64>,
}

/// Goes through `writes` one after the other, as if each were made before the next one is looked at.
pub(super) fn plan(
    writes: &[Write],
    change: ChangeNumber,
    mut present: Present,
) -> Result<Plan<'_>, CommitError> {
    let mut rows: BTreeMap<(Kind, &str), &Write> = BTreeMap::new();
    let mut tally = BTreeMap::new();
    for write in writes {
        let key = (write.kind, write.id.clone());
        let there = present.records.get(&key).copied();
        let as_expected = match write.expect {
            Expect::Anything => true,
            Expect::Absent => there.is_none(),
            Expect::Change(expected) => there == Some(expected),
        };
        if !as_expected {
            return Err(CommitError::Conflict { kind: write.kind, id: write.id.clone() });
        }
        let records = present.tally.entry(write.kind).or_default();
        match (&write.body, there) {
            (Some(_), None) if *records >= write.kind.most() => return Err(CommitError::Full(write.kind)),
            (Some(_), None) => *records = records.saturating_add(1),
            (None, Some(_)) => *records = records.saturating_sub(1),
            (Some(_), Some(_)) | (None, None) => {}
        }
        tally.insert(write.kind, *records);
        match write.body {
            Some(_) => present.records.insert(key, change),
            None => present.records.remove(&key),
        };
        rows.insert((write.kind, &write.id), write);
    }
    Ok(Plan { rows: rows.into_values().collect(), tally })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: ChangeNumber = ChangeNumber(7);

    fn write(id: &str, body: Option<&str>, expect: Expect) -> Write {
        let body = body.map(str::to_owned);
        Write { kind: Kind::SigningKey, id: id.to_owned(), body, expires_at: None, expect }
    }

    fn present(id: &str, change: u64, records: u64) -> Present {
        Present {
            records: HashMap::from([((Kind::SigningKey, id.to_owned()), ChangeNumber(change))]),
            tally: BTreeMap::from([(Kind::SigningKey, records)]),
        }
    }

    #[test]
    fn a_write_sees_those_before_it() {
        let writes = [
            write("a", None, Expect::Change(ChangeNumber(3))),
            write("a", Some("1"), Expect::Absent),
            write("a", Some("2"), Expect::Change(CHANGE)),
            write("b", Some("3"), Expect::Absent),
        ];
        let plan = plan(&writes, CHANGE, present("a", 3, 1)).unwrap();
        let rows: Vec<_> = plan.rows.iter().map(|row| (row.id.as_str(), row.body.as_deref())).collect();
        assert_eq!(rows, [("a", Some("2")), ("b", Some("3"))]);
        assert_eq!(plan.tally[&Kind::SigningKey], 2);
    }

    #[test]
    fn a_kind_that_is_full_takes_what_replaces() {
        let most = Kind::SigningKey.most();
        let full = || present("a", 3, most);
        assert!(plan(&[write("a", Some("1"), Expect::Anything)], CHANGE, full()).is_ok());
        let one_more = [write("b", Some("1"), Expect::Anything)];
        assert!(matches!(plan(&one_more, CHANGE, full()), Err(CommitError::Full(Kind::SigningKey))));
        let moved = [write("a", None, Expect::Anything), write("b", Some("1"), Expect::Absent)];
        assert_eq!(plan(&moved, CHANGE, full()).unwrap().tally[&Kind::SigningKey], most);
        let stale = [write("a", None, Expect::Change(CHANGE))];
        assert!(matches!(plan(&stale, CHANGE, full()), Err(CommitError::Conflict { .. })));
    }
}
