//! A record as it is in its file.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `jetonr` and the format, 1 |
//! | 16 | the version |
//! | 3 × 8 | the ends of lease, note and body, in milliseconds since the Unix epoch |
//! | 2, 4 | the lengths of note and body |
//! | | the note, the body |
//! | 16 | the first half of SHA-256 over the record's name and all of the above |
//!
//! Numbers are big-endian. The sum is no protection from others, which sealing is: it tells what was torn, damaged or
//! moved.

use crate::store::kept::Kept;
use crate::store::{
    BodyChange, Change, MAX_BODY_BYTES, MAX_NOTE_BYTES, RecordName, StoreFault, StoreFaultKind,
};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use jeton_proto::flight::Version;

const MAGIC: [u8; 8] = *b"jetonr\x00\x01";
const SUM_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + 16 + 3 * 8 + 2 + 4;
/// The most bytes that a record has.
pub(super) const MAX_RECORD_BYTES: usize = HEAD_BYTES + MAX_NOTE_BYTES + MAX_BODY_BYTES + SUM_BYTES;

/// Refuses what no record has room for.
pub(super) fn fits(change: &Change) -> Result<(), StoreFault> {
    let body_bytes = match &change.body {
        BodyChange::Keep | BodyChange::Drop => 0,
        BodyChange::Put { body, .. } => body.len(),
    };
    if change.note.len() <= MAX_NOTE_BYTES && body_bytes <= MAX_BODY_BYTES {
        return Ok(());
    }
    let what = format!(
        "a note of {} or a body of {body_bytes} bytes is longer than {MAX_NOTE_BYTES} and {MAX_BODY_BYTES}",
        change.note.len()
    );
    Err(StoreFault::new(StoreFaultKind::Unwritable, what))
}

pub(super) fn to_bytes(name: &RecordName, kept: &Kept) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + kept.note.len() + kept.body.len() + SUM_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(kept.version.bytes());
    for end in [kept.lease_end, kept.note_end, kept.body_end] {
        out.extend_from_slice(&end.to_be_bytes());
    }
    out.extend_from_slice(&u16::try_from(kept.note.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&u32::try_from(kept.body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&kept.note);
    out.extend_from_slice(&kept.body);
    let sum = sum(name, &out);
    out.extend_from_slice(&sum);
    out
}

/// The record, if these bytes are one of this name, whole.
pub(super) fn from_bytes(name: &RecordName, bytes: &[u8]) -> Option<Kept> {
    if bytes.len() > MAX_RECORD_BYTES {
        return None;
    }
    let (record, told) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if sum(name, record) != *told {
        return None;
    }
    let (magic, rest) = record.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (lease_end, rest) = rest.split_first_chunk()?;
    let (note_end, rest) = rest.split_first_chunk()?;
    let (body_end, rest) = rest.split_first_chunk()?;
    let (note_bytes, rest) = rest.split_first_chunk()?;
    let (body_bytes, rest) = rest.split_first_chunk()?;
    let note_bytes = usize::from(u16::from_be_bytes(*note_bytes));
    let body_bytes = usize::try_from(u32::from_be_bytes(*body_bytes)).ok()?;
    let (note, body) = rest.split_at_checked(note_bytes)?;
    if *magic != MAGIC
        || note.len() > MAX_NOTE_BYTES
        || body.len() != body_bytes
        || body_bytes > MAX_BODY_BYTES
    {
        return None;
    }
    Some(Kept {
        version: Version::from_random(*version),
        lease_end: u64::from_be_bytes(*lease_end),
        note: Bytes::copy_from_slice(note),
        note_end: u64::from_be_bytes(*note_end),
        body: Bytes::copy_from_slice(body),
        body_end: u64::from_be_bytes(*body_end),
    })
}

fn sum(name: &RecordName, record: &[u8]) -> [u8; SUM_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(name.bytes());
    context.update(record);
    let digest = context.finish();
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}
