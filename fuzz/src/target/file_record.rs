//! Records of the store in a directory. Input: a byte of which the lowest bit asks for the right sum behind the rest,
//! a byte that says what is damaged, and the record without its sum.

use crate::input::first_byte;
use crate::verdict::{Verdict, holds, same};
use aws_lc_rs::digest::{SHA256, digest};
use jeton::store::{FileStore, LONGEST_KEPT, MAX_BODY_BYTES, MAX_NOTE_BYTES, Reading, RecordName};

const NAME: RecordName = RecordName::from_bytes([0x5a; 32]);
const OTHER_NAME: RecordName = RecordName::from_bytes([0x5b; 32]);
const NOW: u64 = 1_800_000_000_000;
const HEAD_BYTES: usize = 54;

type Decode = fn(&RecordName, &[u8], u64) -> Reading;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(FileStore::decode, input)
}

fn check_with(decode: Decode, input: &[u8]) -> Verdict {
    let (flags, rest) = first_byte(input);
    let (damage, record) = first_byte(rest);
    let file = if flags & 1 == 1 { with_sum(record) } else { record.to_vec() };
    let reading = decode(&NAME, &file, NOW);
    same("the time", &reading.now, &NOW)?;
    let told = reading.record.map(|record| {
        let left_ms = record.lease_left.map(|left| left.as_millis());
        (*record.version.bytes(), left_ms, record.note.to_vec(), record.body.map(|body| body.to_vec()))
    });
    same("the record", &told, &expected(&file))?;
    if told.is_none() {
        return Ok(());
    }
    let is_none = |name: &RecordName, bytes: &[u8], what: &str| {
        holds(decode(name, bytes, NOW).record.is_none(), || format!("{what} is a record all the same"))
    };
    is_none(&OTHER_NAME, &file, "that of another name")?;
    let at = usize::from(damage) * file.len() / 256;
    let mut changed = file.clone();
    if let Some(byte) = changed.get_mut(at) {
        *byte ^= 1 | (damage & 0x80);
    }
    is_none(&NAME, &changed, "a changed one")?;
    is_none(&NAME, file.get(..at).unwrap_or_default(), "a part of one")?;
    is_none(&NAME, &[file.as_slice(), &[damage]].concat(), "a longer one")
}

fn with_sum(record: &[u8]) -> Vec<u8> {
    let sum = digest(&SHA256, &[NAME.bytes(), record].concat());
    let half = sum.as_ref().get(..16).unwrap_or_default();
    [record, half].concat()
}

type Told = ([u8; 16], Option<u128>, Vec<u8>, Option<Vec<u8>>);

/// What is to be read, by the table in the documentation of the format.
fn expected(file: &[u8]) -> Option<Told> {
    let record = file.get(..file.len().checked_sub(16)?)?;
    if with_sum(record) != file || record.get(..8)? != b"jetonr\x00\x01" {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        record.get(from..to).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let version = record.get(8..24)?.try_into().ok()?;
    let (lease_end, note_end, body_end) = (number(24, 32)?, number(32, 40)?, number(40, 48)?);
    let note_bytes = usize::try_from(number(48, 50)?).ok()?;
    let body_bytes = usize::try_from(number(50, HEAD_BYTES)?).ok()?;
    if note_bytes > MAX_NOTE_BYTES || body_bytes > MAX_BODY_BYTES {
        return None;
    }
    let note = record.get(HEAD_BYTES..HEAD_BYTES + note_bytes)?;
    let body = record.get(HEAD_BYTES + note_bytes..)?;
    if body.len() != body_bytes || lease_end.max(note_end).max(body_end) <= NOW {
        return None;
    }
    let left_ms = u128::from(lease_end.saturating_sub(NOW)).min(LONGEST_KEPT.as_millis());
    let lease_left = (left_ms > 0).then_some(left_ms);
    Some((version, lease_left, note.to_vec(), (body_end > NOW).then(|| body.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(lease_end: u64, body: &[u8]) -> Vec<u8> {
        let mut input = b"\x01\x80jetonr\x00\x01".to_vec();
        input.extend_from_slice(&[7; 16]);
        for end in [lease_end, NOW + 1000, NOW + 2000] {
            input.extend_from_slice(&end.to_be_bytes());
        }
        input.extend_from_slice(&[0, 4]);
        input.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        input.extend_from_slice(b"note");
        input.extend_from_slice(body);
        input
    }

    #[test]
    fn good_records_are_taken_and_a_reader_that_takes_more_is_caught() {
        let good = [seed(NOW + 500, b"body"), seed(0, b""), seed(u64::MAX, b"body")];
        for input in &good {
            assert_eq!(check(input), Ok(()));
            let (_, record) = input.split_at(2);
            assert!(expected(&with_sum(record)).is_some());
        }
        // They do not look at the name, at the sum, or at the time.
        let nameless: Decode = |_, bytes, now| FileStore::decode(&NAME, bytes, now);
        let trusting: Decode = |name, bytes, now| {
            let record = bytes.get(..bytes.len().saturating_sub(16)).unwrap_or_default();
            let name = if *name == NAME { &NAME } else { name };
            FileStore::decode(name, &with_sum(record), now)
        };
        let timeless: Decode =
            |name, bytes, now| Reading { now, ..FileStore::decode(name, bytes, now - 10_000) };
        for wrong in [nameless, trusting] {
            assert!(check_with(wrong, &good[0]).is_err());
        }
        assert!(check_with(timeless, &seed(NOW - 500, b"body")).is_err());
    }
}
