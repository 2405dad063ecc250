//! Whose change is made, and whose is not.

use super::Checked;
use super::play::{BRIEF, Play, Span, WHILE_CHECKING, change, fresh_name, holds, put, version};
use crate::store::{BodyChange, Change, Reading, Record, Swap, Version};
use bytes::Bytes;
use std::time::Duration;
use tokio::task::JoinSet;

pub(super) async fn absent_is_none(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    for handle in 0..3 {
        let reading = play.load(handle, &name).await?;
        holds(reading.record.is_none(), || format!("never written, and there is {reading:?}"))?;
    }
    Ok(())
}

pub(super) async fn absent_has_no_version(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    for expected in [version()?, Version::from_random([0; 16])] {
        let reading = play.refused(0, &name, Some(expected), change()?).await?;
        holds(reading.record.is_none(), || format!("nothing is there, and it tells {reading:?}"))?;
    }
    let reading = play.load(1, &name).await?;
    holds(reading.record.is_none(), || format!("refused, and written: {reading:?}"))?;
    play.write(1, &name, None, change()?).await.map(drop)
}

pub(super) async fn present_wants_its_version(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let (first, second) = (change()?, change()?);
    let versions = (first.version, second.version);
    play.write(0, &name, None, first).await?;
    play.refused(1, &name, None, change()?).await?;
    play.refused(0, &name, Some(versions.1), change()?).await?;
    play.write(1, &name, Some(versions.0), second).await?;
    play.refused(0, &name, Some(versions.0), change()?).await?;
    play.write(0, &name, Some(versions.1), change()?).await.map(drop)
}

pub(super) async fn versions_are_compared_whole(play: &Play<'_>) -> Checked {
    for written in [version()?, Version::from_random([0; 16]), Version::from_random([0xff; 16])] {
        let name = fresh_name()?;
        play.write(0, &name, None, Change { version: written, ..change()? }).await?;
        for position in 0..16 {
            let mut bytes = *written.bytes();
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1 << (position % 8);
            }
            let other = Version::from_random(bytes);
            play.refused(position, &name, Some(other), change()?).await?;
        }
        play.write(1, &name, Some(written), change()?).await?;
    }
    Ok(())
}

pub(super) async fn conflict_tells_what_is_there(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let written = Change { lease: Some(WHILE_CHECKING), body: put(b"body", WHILE_CHECKING), ..change()? };
    let (version, lasts) = (written.version, WHILE_CHECKING);
    let from = play.write(0, &name, None, written).await?;
    for expected in [None, Some(self::version()?)] {
        let told = play.refused(1, &name, expected, change()?).await?;
        let record = told.record.as_ref().ok_or("a conflict, and nothing is told to be there")?;
        is_as_written(record, version, Some(b"body"))?;
        Span { from, lasts }.holds_left(told.now, record.lease_left)?;
    }
    let free = Change { lease: None, body: BodyChange::Drop, ..change()? };
    let freed = free.version;
    play.write(1, &name, Some(version), free).await?;
    let told = play.refused(0, &name, Some(version), change()?).await?;
    let record = told.record.as_ref().ok_or("a conflict, and nothing is told to be there")?;
    is_as_written(record, freed, None)?;
    holds(record.lease_left.is_none(), || format!("a lease is told that is not there: {record:?}"))
}

fn is_as_written(record: &Record, version: Version, body: Option<&[u8]>) -> Checked {
    let is_so = record.version == version && &*record.note == b"note" && record.body.as_deref() == body;
    holds(is_so, || format!("{version:?} was written with {body:?}, and it tells {record:?}"))
}

pub(super) async fn conflict_changes_nothing(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let written = Change { lease: Some(BRIEF), body: put(b"body", BRIEF), ..change()? };
    let version = written.version;
    let from = play.write(0, &name, None, written).await?;
    let other = || {
        let note = Bytes::from_static(b"other");
        let body = put(b"other", WHILE_CHECKING);
        Ok::<_, String>(Change { lease: Some(WHILE_CHECKING), note, body, ..change()? })
    };
    play.refused(1, &name, None, other()?).await?;
    play.refused(1, &name, Some(self::version()?), other()?).await?;
    let span = Span { from, lasts: BRIEF };
    play.watch(&name, span, |reading| {
        let record = reading.record.as_ref().ok_or("the record is gone")?;
        let is_so = record.version == version && &*record.note == b"note";
        holds(is_so, || format!("a refused change was made: {record:?}"))?;
        span.holds(reading.now, record.lease_left.is_some(), "the lease")?;
        let expected: Option<&[u8]> = record.body.as_ref().map(|_| &b"body"[..]);
        holds(record.body.as_deref() == expected, || format!("a refused body was put: {record:?}"))?;
        span.holds(reading.now, record.body.is_some(), "the body")
    })
    .await
}

/// How many try the same change at once, and how often.
const RACERS: usize = 9;
const RACES: usize = 8;

pub(super) async fn one_of_many_succeeds(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let mut expected = None;
    for race in 0..RACES {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (handle, change) = (play.handle(racer)?, Change { lease: Some(BRIEF), ..change()? });
            racers.spawn(async move {
                let version = change.version;
                (version, handle.compare_and_swap(&name, expected, change).await)
            });
        }
        let (mut winners, mut told) = (Vec::new(), Vec::new());
        while let Some(joined) = racers.join_next().await {
            match joined.map_err(|error| format!("a racer ended: {error}"))? {
                (version, Ok(Swap::Written { .. })) => winners.push(version),
                (_, Ok(Swap::Conflict(reading))) => told.push(reading.record.map(|record| record.version)),
                (_, Err(fault)) => return Err(format!("a fault: {fault}")),
            }
        }
        let &[winner] = winners.as_slice() else {
            return Err(format!("of {RACERS} that expected {expected:?} {} wrote", winners.len()));
        };
        let are_told = told.iter().all(|told| *told == Some(winner));
        holds(are_told, || format!("{winner:?} wrote in race {race}, and the others are told {told:?}"))?;
        let there = play.there(race, &name).await?.version;
        holds(there == winner, || format!("{winner:?} wrote, and {there:?} is there"))?;
        expected = Some(winner);
    }
    Ok(())
}

pub(super) async fn others_see_it(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let mut expected = None;
    for round in 0..12 {
        let written = Change { body: put(b"body", WHILE_CHECKING), ..change()? };
        let version = written.version;
        play.write(round, &name, expected, written).await?;
        for handle in 0..3 {
            is_as_written(&play.there(handle, &name).await?, version, Some(b"body"))?;
        }
        expected = Some(version);
    }
    Ok(())
}

pub(super) async fn prolonging_is_a_change(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let lease = || Ok::<_, String>(Change { lease: Some(WHILE_CHECKING), ..change()? });
    let (taken, prolonged) = (lease()?, lease()?);
    let versions = (taken.version, prolonged.version);
    play.write(0, &name, None, taken).await?;
    play.write(0, &name, Some(versions.0), prolonged).await?;
    let Reading { record, .. } = play.refused(1, &name, Some(versions.0), lease()?).await?;
    let told = record.map(|record| record.version);
    holds(told == Some(versions.1), || format!("prolonged to {:?}, and {told:?} is told", versions.1))?;
    let published = Change { body: put(b"body", Duration::from_secs(5)), ..change()? };
    play.write(0, &name, Some(versions.1), published).await.map(drop)
}
