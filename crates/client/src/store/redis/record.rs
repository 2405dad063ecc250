//! How a record lies in a key, and what is asked and answered of it.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `J1`, the layout |
//! | 16 | the version |
//! | 3 × 15 | the ends of lease, note and body in milliseconds since the Unix epoch, by the server's clock; decimal |
//! | 3 | how long the note is, decimal |
//! | | the note |
//! | the rest | the body |
//!
//! Digits rather than binary numbers, since the scripts of the oldest servers that are supported can read nothing else.
//! `swap.lua` is the other half of this file.

use crate::store::{BodyChange, Change, LONGEST_KEPT, MAX_BODY_BYTES, MAX_NOTE_BYTES, Reading, Record};
use crate::store::{StoreFault, StoreFaultKind, Swap, Version};
use ::redis::{Cmd, Value};
use bytes::Bytes;
use std::time::Duration;

const LAYOUT: &[u8; 2] = b"J1";
const NUMBER_DIGITS: usize = 15;
const NOTE_DIGITS: usize = 3;
const HEADER_BYTES: usize = 2 + 16 + 3 * NUMBER_DIGITS + NOTE_DIGITS;
/// The longest record. What is longer is none of ours, and never read whole.
pub(super) const MAX_RECORD_BYTES: usize = HEADER_BYTES + MAX_NOTE_BYTES + MAX_BODY_BYTES;

/// The script of a change.
pub(super) const SWAP_SCRIPT: &str = include_str!("swap.lua");

/// Asks for a record: no longer than it may be, and with the server's clock behind it, which can only make it look
/// older than it is. `GETRANGE` and `TIME` in one write cost less than a script does.
pub(super) fn load(key: &[u8]) -> Vec<Cmd> {
    let mut range = ::redis::cmd("GETRANGE");
    range.arg(key).arg(0).arg(MAX_RECORD_BYTES);
    vec![range, ::redis::cmd("TIME")]
}

/// How the server gets to know the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming<'a> {
    /// By its SHA-1 digest, in hexadecimal.
    Digest(&'a str),
    /// By its text, which the server keeps from then on.
    Text,
}

/// Asks for `change`.
pub(super) fn swap(naming: Naming<'_>, key: &[u8], expected: Option<Version>, change: &Change) -> Vec<Cmd> {
    let mut eval = match naming {
        Naming::Digest(digest) => {
            let mut eval = ::redis::cmd("EVALSHA");
            eval.arg(digest);
            eval
        }
        Naming::Text => {
            let mut eval = ::redis::cmd("EVAL");
            eval.arg(SWAP_SCRIPT);
            eval
        }
    };
    eval.arg(1).arg(key);
    eval.arg(expected.as_ref().map_or(&[][..], |version| version.bytes())).arg(&change.version.bytes()[..]);
    match change.lease {
        Some(lease) => eval.arg(millis(lease)),
        None => eval.arg(""),
    };
    eval.arg(&change.note[..]).arg(millis(change.keep_for));
    match &change.body {
        BodyChange::Keep => eval.arg("keep").arg("").arg(""),
        BodyChange::Drop => eval.arg("drop").arg("").arg(""),
        BodyChange::Put { body, life } => eval.arg("put").arg(&body[..]).arg(millis(*life)),
    };
    eval.arg(MAX_RECORD_BYTES).arg(millis(LONGEST_KEPT));
    vec![eval]
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.min(LONGEST_KEPT).as_millis()).unwrap_or(u64::MAX)
}

/// Whether `change` fits into a record, so that it is not refused with a worse message later.
pub(super) fn fits(change: &Change) -> Result<(), StoreFault> {
    let body_bytes = match &change.body {
        BodyChange::Keep | BodyChange::Drop => 0,
        BodyChange::Put { body, .. } => body.len(),
    };
    if change.note.len() > MAX_NOTE_BYTES || body_bytes > MAX_BODY_BYTES {
        let note_bytes = change.note.len();
        let detail =
            format!("a note of {note_bytes} bytes with a body of {body_bytes} is too large for a record");
        return Err(StoreFault::new(StoreFaultKind::Unwritable, detail));
    }
    Ok(())
}

/// What was answered to [`load`]; `None` when it cannot be understood.
pub(super) fn loaded(answers: Vec<Value>) -> Option<Reading> {
    let [raw, time] = <[Value; 2]>::try_from(answers).ok()?;
    let now = server_millis(&time)?;
    match raw {
        Value::BulkString(raw) => Some(Reading { now, record: read(raw, now) }),
        // Not a string, so not ours.
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Some(Reading { now, record: None }),
        _ => None,
    }
}

/// What was answered to [`swap`]; `None` when it cannot be understood.
pub(super) fn swapped(answers: Vec<Value>, version: Version) -> Option<Swap> {
    let [Value::Array(answer)] = <[Value; 1]>::try_from(answers).ok()? else {
        return None;
    };
    let mut answer = answer.into_iter();
    let (Value::Int(written), Value::Int(now)) = (answer.next()?, answer.next()?) else {
        return None;
    };
    let now = u64::try_from(now).ok()?;
    if written == 1 {
        return Some(Swap::Written { now });
    }
    let record = match answer.next()? {
        Value::BulkString(raw) => read(raw, now),
        Value::Nil => None,
        _ => return None,
    };
    // Nobody else has this version: the change was made by an earlier try whose answer got lost.
    if record.as_ref().is_some_and(|record| record.version == version) {
        return Some(Swap::Written { now });
    }
    Some(Swap::Conflict(Reading { now, record }))
}

fn server_millis(time: &Value) -> Option<u64> {
    let Value::Array(parts) = time else {
        return None;
    };
    let number = |part: &Value| match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let [seconds, micros] = &parts[..] else {
        return None;
    };
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}

/// The record in these bytes, if it is one of ours, and not over at `now`.
fn read(raw: Vec<u8>, now: u64) -> Option<Record> {
    if raw.len() > MAX_RECORD_BYTES {
        return None;
    }
    let raw = Bytes::from(raw);
    let (layout, rest) = raw.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<16>()?;
    let (lease_end, rest) = digits::<NUMBER_DIGITS>(rest)?;
    let (note_end, rest) = digits::<NUMBER_DIGITS>(rest)?;
    let (body_end, rest) = digits::<NUMBER_DIGITS>(rest)?;
    let (note_bytes, rest) = digits::<NOTE_DIGITS>(rest)?;
    let (note, body) = rest.split_at_checked(usize::try_from(note_bytes).ok()?)?;
    let last = lease_end.max(note_end).max(body_end);
    // Nothing of ours lasts longer; the script judges alike.
    if layout != LAYOUT || last <= now || last > now.saturating_add(millis(LONGEST_KEPT)) {
        return None;
    }
    let lease_left = lease_end.saturating_sub(now);
    Some(Record {
        version: Version::from_random(*version),
        lease_left: (lease_left > 0).then(|| Duration::from_millis(lease_left)),
        note: raw.slice_ref(note),
        body: (body_end > now).then(|| raw.slice_ref(body)),
    })
}

fn digits<const N: usize>(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<N>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn raw(lease_end: u64, note_end: u64, body_end: u64, note: &str, body: &str) -> Vec<u8> {
        let head = format!("{lease_end:015}{note_end:015}{body_end:015}{:03}{note}{body}", note.len());
        [&b"J1"[..], &[7; 16], head.as_bytes()].concat()
    }

    #[test]
    fn what_the_script_writes_is_read() {
        let record = read(raw(NOW + 5, NOW + 9, NOW + 7, "note", "body"), NOW).unwrap();
        assert_eq!(record.version, Version::from_random([7; 16]));
        assert_eq!(record.lease_left, Some(Duration::from_millis(5)));
        assert_eq!((&record.note[..], record.body.as_deref()), (&b"note"[..], Some(&b"body"[..])));
        let record = read(raw(0, NOW + 9, NOW, "", "body"), NOW).unwrap();
        assert_eq!((record.lease_left, record.body), (None, None), "the body's life is over");
    }

    #[test]
    fn t29_what_is_not_ours_is_no_record_whatever_it_is() {
        let good = raw(NOW + 5, NOW + 9, NOW + 7, "note", "body");
        for length in 0..HEADER_BYTES + 4 {
            assert!(read(good[..length].to_vec(), NOW).is_none(), "{length}");
        }
        for position in 0..HEADER_BYTES {
            let mut changed = good.clone();
            changed[position] = b'-';
            let is_version = (2..18).contains(&position);
            assert_eq!(read(changed, NOW).is_some(), is_version, "{position}");
        }
        assert!(read(raw(0, NOW, 0, "", ""), NOW).is_none(), "it is over");
        assert!(read(raw(NOW * 2, 0, 0, "", ""), NOW).is_none(), "no lease is that long");
        assert!(read(raw(NOW + 5, 0, 0, "", &"x".repeat(MAX_RECORD_BYTES)), NOW).is_none());
    }

    #[test]
    fn a_conflict_with_ones_own_version_is_a_change_that_was_made() {
        let raw = raw(NOW + 5, 0, 0, "", "");
        let answer = |raw: Value| {
            vec![Value::Array(vec![Value::Int(0), Value::Int(i64::try_from(NOW).unwrap()), raw])]
        };
        let swapped = |raw: Value, version: u8| swapped(answer(raw), Version::from_random([version; 16]));
        assert!(matches!(swapped(Value::BulkString(raw.clone()), 7), Some(Swap::Written { now: NOW })));
        let Some(Swap::Conflict(reading)) = swapped(Value::BulkString(raw), 8) else { panic!("no conflict") };
        assert_eq!(reading.record.unwrap().version, Version::from_random([7; 16]));
        let Some(Swap::Conflict(reading)) = swapped(Value::Nil, 8) else { panic!("no conflict") };
        assert!(reading.record.is_none());
    }

    #[test]
    fn an_answer_of_another_shape_is_not_understood() {
        let version = Version::from_random([7; 16]);
        for answers in [
            vec![],
            vec![Value::Okay],
            vec![Value::Array(vec![])],
            vec![Value::Array(vec![Value::Int(0), Value::Int(-1), Value::Nil])],
            vec![Value::Array(vec![Value::Int(0), Value::Int(1), Value::Okay])],
            vec![Value::Nil, Value::Nil],
            vec![Value::Nil, Value::Array(vec![Value::Int(1), Value::Int(1)])],
        ] {
            assert!(swapped(answers.clone(), version).is_none(), "{answers:?}");
            assert!(loaded(answers.clone()).is_none(), "{answers:?}");
        }
    }
}
