//! Who is told of a change, and when.

use super::Checked;
use super::play::{Play, WHILE_CHECKING, change, fresh_name, holds, put};
use crate::store::{Change, RecordName, Subscription, Version};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How soon a change is to be told. It is told within milliseconds where nothing else is going on.
const SOON: Duration = Duration::from_secs(1);
/// How long a store has time to tell of what was before.
const SETTLED: Duration = Duration::from_millis(40);

async fn told(subscription: &mut Subscription, what: &str) -> Checked {
    let told = timeout(SOON, subscription.changed()).await;
    told.map_err(|_| format!("{what} was not told within {SOON:?}"))
}

/// Takes what is told without need. A store that never stops to tell is none that fails to.
async fn settle(subscription: &mut Subscription) {
    for _ in 0..3 {
        if timeout(SETTLED, subscription.changed()).await.is_err() {
            return;
        }
    }
}

/// Takes the lease through one handle and publishes through another.
async fn publish(play: &Play<'_>, name: &RecordName, expected: Option<Version>) -> Checked<Version> {
    let leased = Change { lease: Some(WHILE_CHECKING), ..change()? };
    let published = Change { body: put(b"body", WHILE_CHECKING), ..change()? };
    let (fence, version) = (leased.version, published.version);
    play.write(0, name, expected, leased).await?;
    play.write(0, name, Some(fence), published).await?;
    Ok(version)
}

pub(super) async fn subscriber_is_told(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let mut subscription = play.subscribe(1, &name).await?;
    settle(&mut subscription).await;
    let waits = tokio::spawn(async move { told(&mut subscription, "what another handle published").await });
    sleep(SETTLED).await;
    let published = publish(play, &name, None).await;
    let told = waits.await.map_err(|error| format!("the subscriber ended: {error}"));
    published?;
    told?
}

pub(super) async fn nothing_is_lost(play: &Play<'_>) -> Checked {
    for round in 0..4 {
        let name = fresh_name()?;
        // Also where the record was there before.
        let before = if round % 2 == 0 { None } else { Some(publish(play, &name, None).await?) };
        let mut subscription = play.subscribe(1, &name).await?;
        publish(play, &name, before).await?;
        sleep(SETTLED).await;
        told(&mut subscription, "a change just after the subscription").await?;
    }
    Ok(())
}

pub(super) async fn told_every_time(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let mut subscription = play.subscribe(1, &name).await?;
    let mut expected = None;
    for _ in 0..3 {
        settle(&mut subscription).await;
        expected = Some(publish(play, &name, expected).await?);
        told(&mut subscription, "a later change").await?;
    }
    Ok(())
}

pub(super) async fn release_is_told(play: &Play<'_>) -> Checked {
    let name = fresh_name()?;
    let leased = Change { lease: Some(WHILE_CHECKING), ..change()? };
    let fence = leased.version;
    play.write(0, &name, None, leased).await?;
    let mut subscription = play.subscribe(1, &name).await?;
    settle(&mut subscription).await;
    play.write(0, &name, Some(fence), change()?).await?;
    told(&mut subscription, "a lease that was given back").await?;
    // Nor is it kept back when nothing remains of the record.
    let leased = Change { lease: Some(WHILE_CHECKING), ..change()? };
    let (name, fence) = (fresh_name()?, leased.version);
    play.write(0, &name, None, leased).await?;
    let mut subscription = play.subscribe(2, &name).await?;
    settle(&mut subscription).await;
    play.write(0, &name, Some(fence), Change { keep_for: Duration::ZERO, ..change()? }).await?;
    told(&mut subscription, "a record that went with its lease").await
}

pub(super) async fn subscribers_are_apart(play: &Play<'_>) -> Checked {
    let (name, other) = (fresh_name()?, fresh_name()?);
    let mut kept = Vec::new();
    for handle in [1, 1, 2, 0] {
        kept.push(play.subscribe(handle, &name).await?);
        // Of the same name and of another one, and gone before the change.
        drop((play.subscribe(handle, &name).await?, play.subscribe(handle, &other).await?));
    }
    drop(kept.pop());
    for subscription in &mut kept {
        settle(subscription).await;
    }
    publish(play, &name, None).await?;
    for subscription in &mut kept {
        told(subscription, "what is told to another subscriber").await?;
    }
    Ok(())
}

/// More than a store may have room for, if each left something behind.
const MANY: usize = 200;

pub(super) async fn dropped_leaves_nothing(play: &Play<'_>) -> Checked {
    let before = play.subscriptions().await?;
    let name = fresh_name()?;
    for round in 0..MANY {
        drop(play.subscribe(1, &name).await?);
        if round % 4 == 0 {
            drop(play.subscribe(1, &fresh_name()?).await?);
        }
    }
    let patience = Instant::now() + SOON;
    loop {
        let after = play.subscriptions().await?;
        if after <= before {
            break;
        }
        holds(Instant::now() < patience, || format!("{before:?} subscriptions were kept, now {after:?}"))?;
        sleep(Duration::from_millis(10)).await;
    }
    let mut subscription = play.subscribe(1, &name).await?;
    publish(play, &name, None).await?;
    told(&mut subscription, "a change after many subscriptions").await
}
