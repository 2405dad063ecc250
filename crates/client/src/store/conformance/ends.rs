//! Leases, lives, and when a record is over.

use super::Checked;
use super::play::{BRIEF, Play, Span, State, WHILE_CHECKING, change, fresh_name, holds, put};
use crate::store::{BodyChange, Change, LONGEST_KEPT, Record, RecordName, Version};
use std::time::Duration;

pub(super) async fn lease_ends(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let from = play.write(0, &name, None, Change { lease: Some(BRIEF), ..change()? }).await?;
    let span = Span { from, lasts: BRIEF };
    play.watch(&name, span, |reading| {
        let record = reading.record.as_ref().ok_or("the record went with its lease")?;
        span.holds(reading.now, record.lease_left.is_some(), "the lease")
    })
    .await
}

pub(super) async fn lease_shrinks(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let long = Change { lease: Some(Duration::from_secs(1)), ..change()? };
    let from = play.write(0, &name, None, long).await?;
    let (lease, looked_at) = (Span { from, lasts: Duration::from_secs(1) }, Span { from, lasts: BRIEF });
    play.watch(&name, looked_at, |reading| {
        let record = reading.record.as_ref().ok_or("the record is gone")?;
        lease.holds_left(reading.now, record.lease_left)
    })
    .await
}

pub(super) async fn lease_is_replaced(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let mut expected = None;
    for lease in [Some(10), None, Some(10), Some(5), Some(15), None] {
        let lease = lease.map(Duration::from_secs);
        let change = Change { lease, ..change()? };
        let version = change.version;
        let from = play.write(0, &name, expected, change).await?;
        let reading = play.load(1, &name).await?;
        let told = reading.record.as_ref().and_then(|record| record.lease_left);
        match lease {
            Some(lasts) => Span { from, lasts }.holds_left(reading.now, told)?,
            None => holds(told.is_none(), || format!("the lease was given back, and {told:?} are left"))?,
        }
        expected = Some(version);
    }
    Ok(())
}

pub(super) async fn body_ends(play: &Play<'_>) -> Checked {
    // What the record goes on for: its lease, or what it is kept for.
    for (lease, keep_for) in [(Some(WHILE_CHECKING), Duration::ZERO), (None, WHILE_CHECKING)] {
        let name = fresh_name()?;
        let written = Change { lease, keep_for, body: put(b"body", BRIEF), ..change()? };
        let from = play.write(0, &name, None, written).await?;
        body_lasts(play, &name, Span { from, lasts: BRIEF }, b"body").await?;
    }
    Ok(())
}

async fn body_lasts(play: &Play<'_>, name: &RecordName, span: Span, body: &'static [u8]) -> Checked {
    play.watch(name, span, |reading| {
        let record = reading.record.as_ref().ok_or("the record went with its body")?;
        span.holds(reading.now, record.body.is_some(), "the body")?;
        has_body(record, record.body.as_ref().map(|_| body))
    })
    .await
}

fn has_body(record: &Record, body: Option<&[u8]>) -> Checked {
    holds(record.body.as_deref() == body, || format!("the body is to be {body:?} in {record:?}"))
}

pub(super) async fn body_is_kept(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let first = Change { body: put(b"body", WHILE_CHECKING), ..change()? };
    let mut expected = first.version;
    play.write(0, &name, None, first).await?;
    for lease in [Some(WHILE_CHECKING), Some(BRIEF), None] {
        let keeping = Change { lease, keep_for: Duration::ZERO, ..change()? };
        let version = keeping.version;
        play.write(1, &name, Some(expected), keeping).await?;
        has_body(&play.there(0, &name).await?, Some(b"body"))?;
        expected = version;
    }
    Ok(())
}

pub(super) async fn body_keeps_its_life(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let first = Change { body: put(b"body", BRIEF), ..change()? };
    let version = first.version;
    let from = play.write(0, &name, None, first).await?;
    let keeping = Change { lease: Some(WHILE_CHECKING), ..change()? };
    let kept = keeping.version;
    play.write(1, &name, Some(version), keeping).await?;
    body_lasts(play, &name, Span { from, lasts: BRIEF }, b"body").await?;
    // Keeping what is over does not bring it back.
    play.write(0, &name, Some(kept), change()?).await?;
    has_body(&play.there(1, &name).await?, None)
}

pub(super) async fn body_is_dropped(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let first = Change { body: put(b"body", WHILE_CHECKING), ..change()? };
    let dropping = Change { body: BodyChange::Drop, ..change()? };
    let versions = (first.version, dropping.version);
    play.write(0, &name, None, first).await?;
    play.write(1, &name, Some(versions.0), dropping).await?;
    has_body(&play.there(0, &name).await?, None)?;
    play.write(1, &name, Some(versions.1), change()?).await?;
    has_body(&play.there(0, &name).await?, None)
}

pub(super) async fn body_is_replaced(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let first = Change { body: put(b"the first body", WHILE_CHECKING), ..change()? };
    let second = Change { body: put(b"second", BRIEF), ..change()? };
    let version = first.version;
    play.write(0, &name, None, first).await?;
    let from = play.write(1, &name, Some(version), second).await?;
    body_lasts(play, &name, Span { from, lasts: BRIEF }, b"second").await
}

/// Records of which each is there for another reason, for a short while.
fn brief() -> Checked<[Change; 3]> {
    let nothing = || Ok::<_, String>(Change { keep_for: Duration::ZERO, ..change()? });
    Ok([
        Change { lease: Some(BRIEF), ..nothing()? },
        Change { body: put(b"body", BRIEF), ..nothing()? },
        Change { keep_for: BRIEF, ..nothing()? },
    ])
}

pub(super) async fn record_ends(play: &Play<'_>) -> Checked {
    for change in brief()? {
        let (name, version, why) = (fresh_name()?, change.version, format!("{change:?}"));
        let from = play.write(0, &name, None, change).await?;
        let span = Span { from, lasts: BRIEF };
        play.watch(&name, span, |reading| match span.state_at(reading.now) {
            State::Lasts(_) | State::Ending => Ok(()),
            State::Over => holds(reading.record.is_none(), || format!("it goes on after {why}: {reading:?}")),
        })
        .await?;
        let told = play.refused(1, &name, Some(version), self::change()?).await?;
        holds(told.record.is_none(), || format!("it is over, and {told:?} is told"))?;
        let anew = self::change()?;
        play.write(1, &name, None, anew).await?;
        // Nothing of the old one is kept.
        let record = play.there(0, &name).await?;
        holds(record.body.is_none() && record.lease_left.is_none(), || format!("it came back: {record:?}"))?;
    }
    Ok(())
}

pub(super) async fn record_lives(play: &Play<'_>) -> Checked {
    for change in brief()? {
        let (name, version) = (fresh_name()?, change.version);
        let from = play.write(0, &name, None, change).await?;
        let span = Span { from, lasts: BRIEF };
        play.watch(&name, span, |reading| match span.state_at(reading.now) {
            State::Lasts(left) => is_version(reading.record.as_ref(), version, left),
            State::Ending | State::Over => Ok(()),
        })
        .await?;
    }
    // After its lease, the record is there with its version for as long as it is kept.
    let name = fresh_name()?;
    let leased = Change { lease: Some(BRIEF), ..change()? };
    let version = leased.version;
    let from = play.write(0, &name, None, leased).await?;
    let look = |reading: &crate::store::Reading| is_version(reading.record.as_ref(), version, WHILE_CHECKING);
    play.watch(&name, Span { from, lasts: BRIEF }, look).await?;
    play.refused(1, &name, None, change()?).await?;
    play.write(1, &name, Some(version), change()?).await.map(drop)
}

fn is_version(record: Option<&Record>, version: Version, left: Duration) -> Checked {
    let there = record.map(|record| record.version);
    holds(there == Some(version), || format!("{version:?} is to live {left:?} more, and there is {there:?}"))
}

pub(super) async fn nothing_left_is_no_record(play: &Play<'_>) -> Checked {
    let nothing = [(None, BodyChange::Drop), (Some(Duration::ZERO), put(b"body", Duration::ZERO))];
    for (lease, body) in nothing {
        let name = fresh_name()?;
        let first = Change { lease: Some(WHILE_CHECKING), body: put(b"body", WHILE_CHECKING), ..change()? };
        let version = first.version;
        play.write(0, &name, None, first).await?;
        let last = Change { lease, body, keep_for: Duration::ZERO, ..change()? };
        play.write(1, &name, Some(version), last).await?;
        let reading = play.load(0, &name).await?;
        holds(reading.record.is_none(), || format!("nothing of it lasts, and it is there: {reading:?}"))?;
        play.write(0, &name, None, change()?).await?;
    }
    Ok(())
}

pub(super) async fn longest_times(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let (lease, body) = (Some(LONGEST_KEPT), put(b"body", LONGEST_KEPT));
    let longest = Change { lease, body, keep_for: LONGEST_KEPT, ..change()? };
    let version = longest.version;
    let from = play.write(0, &name, None, longest).await?;
    let reading = play.load(1, &name).await?;
    let record = reading.record.as_ref().ok_or("the record is not there")?;
    has_body(record, Some(b"body"))?;
    Span { from, lasts: LONGEST_KEPT }.holds_left(reading.now, record.lease_left)?;
    // It is not left behind for more than a year.
    let over = Change { keep_for: Duration::ZERO, body: BodyChange::Drop, ..change()? };
    play.write(0, &name, Some(version), over).await.map(drop)
}
