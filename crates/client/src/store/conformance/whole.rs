//! What is written comes back, all of it and nothing else.

use super::Checked;
use super::play::{Play, WHILE_CHECKING, change, fresh_name, holds};
use crate::store::{BodyChange, Change, MAX_BODY_BYTES, MAX_NOTE_BYTES, Record, RecordName, SharedStore};
use crate::store::{Swap, Version};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(super) fn kind_is_one_word(play: &Play<'_>) -> Checked {
    let kind = play.handle(0)?.kind();
    let is_word = (1..=32).contains(&kind.len())
        && kind.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    holds(is_word, || format!("it is called {kind:?}"))
}

async fn comes_back(play: &Play<'_>, note: Bytes, body: Bytes) -> Checked {
    let name = fresh_name()?;
    let put = BodyChange::Put { body: body.clone(), life: WHILE_CHECKING };
    let written = Change { note: note.clone(), body: put, ..change()? };
    play.write(0, &name, None, written).await?;
    let record = play.there(1, &name).await?;
    is_same("note", &note, &record.note)?;
    let read = record.body.ok_or_else(|| format!("a body of {} bytes is not there", body.len()))?;
    is_same("body", &body, &read)
}

fn is_same(what: &str, written: &[u8], read: &[u8]) -> Checked {
    let differing = written.iter().zip(read).position(|(written, read)| written != read);
    holds(written.len() == read.len() && differing.is_none(), || {
        let at = differing.unwrap_or_else(|| written.len().min(read.len()));
        format!("the {what} of {} bytes came back with {}, and differs at {at}", written.len(), read.len())
    })
}

fn pattern(length_bytes: usize) -> Bytes {
    (0..=250u8).cycle().take(length_bytes).collect()
}

pub(super) async fn sizes(play: &Play<'_>) -> Checked {
    let sizes =
        [(0, 0), (1, 1), (MAX_NOTE_BYTES, 4096), (0, MAX_BODY_BYTES - 1), (MAX_NOTE_BYTES, MAX_BODY_BYTES)];
    for (note, body) in sizes {
        comes_back(play, pattern(note), pattern(body)).await?;
    }
    Ok(())
}

pub(super) async fn every_byte(play: &Play<'_>) -> Checked {
    let all: Bytes = (0..=255).collect();
    let reversed: Bytes = (0..=255).rev().collect();
    comes_back(play, all, reversed).await?;
    let separators = Bytes::from_static(b"\r\n\0\x1a\xff\xfe:;,\"'\\ \t");
    comes_back(play, separators.clone(), separators).await
}

pub(super) async fn names_are_apart(play: &Play<'_>) -> Checked {
    let first = fresh_name()?;
    let mut names = vec![first];
    for (position, bit) in [(0, 0x80), (0, 1), (15, 1), (16, 0x10), (31, 0x80), (31, 1)] {
        let mut bytes = *first.bytes();
        if let Some(byte) = bytes.get_mut(position) {
            *byte ^= bit;
        }
        names.push(RecordName::from_bytes(bytes));
    }
    let mut versions = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let change =
            Change { note: Bytes::from(vec![u8::try_from(number).unwrap_or_default()]), ..change()? };
        versions.push(change.version);
        play.write(number, name, None, change).await?;
    }
    let gone = Change { keep_for: Duration::ZERO, ..change()? };
    play.write(0, &first, versions.first().copied(), gone).await?;
    for ((number, name), version) in names.iter().enumerate().zip(versions).skip(1) {
        let record = play.there(number, name).await?;
        let is_own = record.version == version && record.note.iter().all(|byte| usize::from(*byte) == number);
        holds(is_own, || format!("{version:?} with the note {number} became {record:?}"))?;
    }
    Ok(())
}

pub(super) async fn clock_is_told(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let first = play.load(0, &name).await?.now;
    // A clock that counts from the boot, or in seconds, is none that ends can be told by.
    holds(first > 1_000_000_000_000, || format!("{first} are no milliseconds since 1970"))?;
    let mut last = first;
    let mut goes_on = |what: &str, now: u64| {
        let before = std::mem::replace(&mut last, now);
        holds(now >= before, || format!("{what} tells {now} after {before}"))
    };
    let written = change()?;
    let version = written.version;
    goes_on("a change", play.write(1, &name, None, written).await?)?;
    goes_on("a conflict", play.refused(2, &name, None, change()?).await?.now)?;
    for handle in 0..12 {
        goes_on("a read", play.load(handle, &name).await?.now)?;
    }
    goes_on("a change", play.write(0, &name, Some(version), change()?).await?)?;
    sleep(Duration::from_millis(60)).await;
    let passed = play.load(0, &name).await?.now.saturating_sub(first);
    holds((40..10_000).contains(&passed), || format!("the clock shows {passed} ms more after 60 ms"))
}

/// How many changes the readers watch, and how large they are.
const CHANGES: u8 = 16;
const WATCHED_BYTES: usize = 48 * 1024;

pub(super) async fn changes_are_whole(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let is_done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for reader in 1..3 {
        let (store, is_done) = (play.handle(reader)?, Arc::clone(&is_done));
        tasks.spawn(async move { read_until(&*store, name, &is_done).await });
    }
    let store = play.handle(0)?;
    tasks.spawn(async move {
        let written = write_often(&*store, name).await;
        is_done.store(true, Ordering::Release);
        written
    });
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(|error| format!("a reader or writer ended: {error}"))??;
    }
    Ok(())
}

/// Version, note and body begin with the same byte, and note and body have no other.
async fn write_often(store: &dyn SharedStore, name: RecordName) -> Checked {
    let mut expected = None;
    for mark in 1..=CHANGES {
        let mut bytes = *change()?.version.bytes();
        if let Some(first) = bytes.first_mut() {
            *first = mark;
        }
        let version = Version::from_random(bytes);
        let body = Bytes::from(vec![mark; WATCHED_BYTES + usize::from(mark)]);
        let put = BodyChange::Put { body, life: WHILE_CHECKING };
        let change = Change { version, note: Bytes::from(vec![mark; 100]), body: put, ..change()? };
        match store.compare_and_swap(&name, expected, change).await {
            Ok(Swap::Written { .. }) => expected = Some(version),
            Ok(Swap::Conflict(reading)) => return Err(format!("the only writer was refused: {reading:?}")),
            Err(fault) => return Err(format!("a fault: {fault}")),
        }
        // The readers are to come in between, also where there is one thread.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn read_until(store: &dyn SharedStore, name: RecordName, is_done: &AtomicBool) -> Checked {
    while !is_done.load(Ordering::Acquire) {
        let reading = store.load(&name).await.map_err(|fault| format!("a fault: {fault}"))?;
        if let Some(record) = reading.record {
            is_of_one_write(&record)?;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn is_of_one_write(record: &Record) -> Checked {
    let mark = record.version.bytes().first().copied().unwrap_or_default();
    let body = record.body.as_deref().unwrap_or_default();
    let is_whole = body.len() == WATCHED_BYTES + usize::from(mark)
        && record.note.len() == 100
        && record.note.iter().chain(body).all(|byte| *byte == mark);
    holds(is_whole, || format!("{:?} was read with a part of another write", record.version))
}
