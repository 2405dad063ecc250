//! A store with several handles, and what the checks do with them.

use super::{Checked, Stage};
use crate::store::seal::new_version;
use crate::store::{BodyChange, Change, Reading, Record, RecordName, SharedStore, StoreFault, Subscription};
use crate::store::{Swap, Version};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a store may take for one answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);
/// By how much a store may be early or late with an end; its clock may be no finer.
const GRAIN: Duration = Duration::from_millis(30);
/// For how long what is not to end during a check is kept.
pub(super) const WHILE_CHECKING: Duration = Duration::from_secs(20);
/// How long what is to end during a check lasts.
pub(super) const BRIEF: Duration = Duration::from_millis(120);

/// How many handles there are.
const HANDLES: usize = 3;

pub(super) struct Play<'a> {
    stage: &'a dyn Stage,
    handles: Vec<Arc<dyn SharedStore>>,
}

impl<'a> Play<'a> {
    pub(super) async fn open(stage: &'a dyn Stage) -> Checked<Self> {
        let mut handles = Vec::with_capacity(HANDLES);
        for _ in 0..HANDLES {
            handles.push(answer(stage.open()).await?);
        }
        Ok(Self { stage, handles })
    }

    /// One of the handles; the numbers go round.
    pub(super) fn handle(&self, number: usize) -> Checked<Arc<dyn SharedStore>> {
        let handle = self.handles.get(number % HANDLES);
        handle.map(Arc::clone).ok_or_else(|| "no handle was opened".to_owned())
    }

    pub(super) async fn load(&self, handle: usize, name: &RecordName) -> Checked<Reading> {
        answer(self.handle(handle)?.load(name)).await
    }

    pub(super) async fn there(&self, handle: usize, name: &RecordName) -> Checked<Record> {
        self.load(handle, name).await?.record.ok_or_else(|| "the record is not there".to_owned())
    }

    pub(super) async fn swap(
        &self,
        handle: usize,
        name: &RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> Checked<Swap> {
        answer(self.handle(handle)?.compare_and_swap(name, expected, change)).await
    }

    /// Makes a change that has to be made, and gives the store's clock.
    pub(super) async fn write(
        &self,
        handle: usize,
        name: &RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> Checked<u64> {
        match self.swap(handle, name, expected, change).await? {
            Swap::Written { now } => Ok(now),
            Swap::Conflict(reading) => Err(format!("expected {expected:?}, and was refused: {reading:?}")),
        }
    }

    /// Makes a change that must not be made, and gives what the store says of it.
    pub(super) async fn refused(
        &self,
        handle: usize,
        name: &RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> Checked<Reading> {
        match self.swap(handle, name, expected, change).await? {
            Swap::Written { .. } => Err(format!("expected {expected:?}, which is not there, and wrote")),
            Swap::Conflict(reading) => Ok(reading),
        }
    }

    pub(super) async fn subscribe(&self, handle: usize, name: &RecordName) -> Checked<Subscription> {
        answer(self.handle(handle)?.subscribe(name)).await
    }

    pub(super) async fn subscriptions(&self) -> Checked<Option<usize>> {
        answer(self.stage.subscriptions()).await
    }

    /// Looks at the record until `span` is certainly over by the store's clock.
    pub(super) async fn watch(
        &self,
        name: &RecordName,
        span: Span,
        mut look: impl FnMut(&Reading) -> Checked,
    ) -> Checked {
        let patience = Instant::now() + span.lasts + Duration::from_secs(3);
        for handle in 0.. {
            let reading = self.load(handle, name).await?;
            look(&reading)?;
            if span.state_at(reading.now) == State::Over {
                return Ok(());
            }
            if Instant::now() > patience {
                return Err(format!("after {:?} the store's clock is at {}", span.lasts, reading.now));
            }
            sleep(Duration::from_millis(15)).await;
        }
        Ok(())
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, StoreFault>>) -> Checked<T> {
    match timeout(LONGEST_ANSWER, asked).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault)) => Err(format!("a fault: {fault}")),
        Err(_) => Err(format!("no answer within {LONGEST_ANSWER:?}")),
    }
}

/// A name that nothing was ever written under.
pub(super) fn fresh_name() -> Checked<RecordName> {
    let mut bytes = [0; 32];
    for half in bytes.chunks_exact_mut(16) {
        half.copy_from_slice(version()?.bytes());
    }
    Ok(RecordName::from_bytes(bytes))
}

pub(super) fn version() -> Checked<Version> {
    new_version().ok_or_else(|| "the system has no random numbers".to_owned())
}

/// A change that the checks vary: no lease, and kept for long.
pub(super) fn change() -> Checked<Change> {
    Ok(Change {
        version: version()?,
        lease: None,
        note: Bytes::from_static(b"note"),
        keep_for: WHILE_CHECKING,
        body: BodyChange::Keep,
    })
}

/// What goes into a body that lives for `life`.
pub(super) fn put(body: &'static [u8], life: Duration) -> BodyChange {
    BodyChange::Put { body: Bytes::from_static(body), life }
}

/// Holds that something is so.
pub(super) fn holds(condition: bool, what: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(what()) }
}

/// What lasts from then on, by the store's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) lasts: Duration,
}

/// How a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It lasts for so long.
    Lasts(Duration),
    /// So close to its end that a store may say either.
    Ending,
    Over,
}

impl Span {
    pub(super) fn state_at(self, now: u64) -> State {
        let passed = Duration::from_millis(now.saturating_sub(self.from));
        match self.lasts.checked_sub(passed) {
            Some(left) if left > GRAIN => State::Lasts(left),
            Some(_) => State::Ending,
            None if passed.saturating_sub(self.lasts) <= GRAIN => State::Ending,
            None => State::Over,
        }
    }

    /// Holds that something is there as long as the span lasts, and not longer.
    pub(super) fn holds(self, now: u64, is_there: bool, what: &str) -> Checked {
        match self.state_at(now) {
            State::Lasts(left) => holds(is_there, || format!("{what} is gone {left:?} before its end")),
            State::Ending => Ok(()),
            State::Over => holds(!is_there, || {
                format!("{what} is there {} ms after it began, for {:?}", now - self.from, self.lasts)
            }),
        }
    }

    /// Holds that what is told to be left is about what is left.
    pub(super) fn holds_left(self, now: u64, told: Option<Duration>) -> Checked {
        match self.state_at(now) {
            State::Lasts(left) => {
                let is_near = told.is_some_and(|told| told.abs_diff(left) <= GRAIN);
                holds(is_near, || format!("{told:?} are told to be left of {left:?}"))
            }
            State::Ending | State::Over => Ok(()),
        }
    }
}
