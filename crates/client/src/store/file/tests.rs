//! What a file has to be to count as a record, and what becomes of one that does not.

use super::directory::name_of;
use super::*;
use crate::store::{BodyChange, LONGEST_KEPT, MAX_BODY_BYTES, MAX_NOTE_BYTES};
use bytes::Bytes;

const NOW: u64 = 1_800_000_000_000;

fn name(byte: u8) -> RecordName {
    RecordName::from_bytes([byte; 32])
}

fn change() -> Change {
    Change {
        version: Version::from_random([3; 16]),
        lease: Some(Duration::from_secs(30)),
        note: Bytes::from_static(b"note"),
        keep_for: Duration::from_secs(60),
        body: BodyChange::Put { body: Bytes::from_static(b"the body"), life: Duration::from_secs(90) },
    }
}

#[test]
fn a_record_is_read_as_it_was_written_until_its_ends() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    let record = |after_seconds: u64| FileStore::decode(&name(1), &bytes, NOW + after_seconds * 1000).record;
    let first = record(0).unwrap();
    assert_eq!((first.version, &*first.note), (Version::from_random([3; 16]), &b"note"[..]));
    assert_eq!(
        (first.lease_left, first.body.as_deref()),
        (Some(Duration::from_secs(30)), Some(&b"the body"[..]))
    );
    assert_eq!(record(29).unwrap().lease_left, Some(Duration::from_secs(1)));
    assert_eq!(record(30).unwrap().lease_left, None);
    assert!(record(89).unwrap().body.is_some());
    assert!(record(90).is_none());
}

#[test]
fn t31_a_file_that_was_cut_or_changed_anywhere_is_no_record() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    for length in 0..bytes.len() {
        assert!(FileStore::decode(&name(1), &bytes[..length], NOW).record.is_none(), "{length} bytes of it");
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(FileStore::decode(&name(1), &changed, NOW).record.is_none(), "bit {bit}");
    }
    let longer = [bytes.as_slice(), b"\0"].concat();
    assert!(FileStore::decode(&name(1), &longer, NOW).record.is_none());
    assert!(FileStore::decode(&name(2), &bytes, NOW).record.is_none(), "in the place of another record");
}

#[test]
fn a_record_of_the_largest_parts_is_read_and_no_larger_one_is_written() {
    let (note, body) = (Bytes::from(vec![1; MAX_NOTE_BYTES]), Bytes::from(vec![2; MAX_BODY_BYTES]));
    let put = |body| BodyChange::Put { body, life: LONGEST_KEPT };
    let largest = Change { note: note.clone(), body: put(body.clone()), ..change() };
    assert!(record::fits(&largest).is_ok());
    let bytes = FileStore::encode(&name(1), largest, NOW);
    assert_eq!(bytes.len(), record::MAX_RECORD_BYTES);
    assert_eq!(FileStore::decode(&name(1), &bytes, NOW).record.unwrap().body, Some(body));
    for larger in [
        Change { note: Bytes::from(vec![1; MAX_NOTE_BYTES + 1]), ..change() },
        Change { body: put(Bytes::from(vec![2; MAX_BODY_BYTES + 1])), ..change() },
    ] {
        assert_eq!(record::fits(&larger).unwrap_err().kind(), StoreFaultKind::Unwritable);
    }
}

#[test]
fn t28_a_clock_that_was_set_back_makes_no_lease_of_years() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    let left = FileStore::decode(&name(1), &bytes, 0).record.unwrap().lease_left.unwrap();
    assert_eq!(left, LONGEST_KEPT);
}

#[test]
fn file_names_are_those_of_records_or_of_none() {
    for byte in [0, 0x0f, 0xa0, 0xff] {
        assert_eq!(name_of(&name(byte).to_string()), Some(name(byte)));
    }
    let long = "a".repeat(63);
    for other in ["", "lock-0", "next-f", &long, &format!("{long}A"), &format!("{long}aa"), &"é".repeat(32)]
    {
        assert_eq!(name_of(other), None, "{other}");
    }
}
