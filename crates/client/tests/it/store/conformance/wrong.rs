//! Stores that are wrong in one thing each.

use bytes::Bytes;
use jeton::store::conformance::{Rule, Stage};
use jeton::store::{BodyChange, Change, LONGEST_KEPT, MemoryStore, Reading, Record, RecordName, SharedStore};
use jeton::store::{StoreFuture, Subscription, Swap, Version};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Hands out stores that break one rule.
pub(super) struct WrongStage(Arc<Shared>);

struct Shared {
    inner: MemoryStore,
    breaks: Option<Rule>,
    changes: Mutex<HashMap<RecordName, Change>>,
    subscribed: AtomicUsize,
    told: AtomicU64,
}

struct Wrong {
    shared: Arc<Shared>,
    seen: Mutex<HashMap<RecordName, Reading>>,
}

impl WrongStage {
    pub(super) fn new(rule: Rule) -> Self {
        Self::that_breaks(Some(rule))
    }

    pub(super) fn without_fault() -> Self {
        Self::that_breaks(None)
    }

    fn that_breaks(breaks: Option<Rule>) -> Self {
        let (subscribed, told) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared {
            inner: MemoryStore::new(),
            breaks,
            changes: Mutex::default(),
            subscribed,
            told,
        }))
    }
}

impl Stage for WrongStage {
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
        let store = Wrong { shared: Arc::clone(&self.0), seen: Mutex::default() };
        Box::pin(async move { Ok(Arc::new(store) as Arc<dyn SharedStore>) })
    }

    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        let leaked = match self.0.breaks {
            Some(Rule::DroppedLeavesNothing) => self.0.subscribed.load(Ordering::Relaxed),
            _ => 0,
        };
        Box::pin(async move { Ok(Some(self.0.inner.subscriptions() + leaked)) })
    }
}

fn bodies(change: &mut Change, edit: impl FnOnce(&mut Bytes, &mut Duration)) {
    if let BodyChange::Put { body, life } = &mut change.body {
        edit(body, life);
    }
}

impl Wrong {
    fn breaks(&self, rule: Rule) -> bool {
        self.shared.breaks == Some(rule)
    }

    /// What the store makes of the change that it is asked for.
    async fn mistaken(&self, name: &RecordName, asked: Change) -> Change {
        let mut change = asked;
        let there = self.shared.inner.load(name).await.unwrap().record;
        match self.shared.breaks {
            Some(Rule::LeaseIsReplaced) => {
                change.lease = change.lease.or(there.and_then(|there| there.lease_left));
            }
            Some(Rule::ProlongingIsAChange) => {
                if let Some(there) =
                    there.filter(|there| there.lease_left.is_some() && change.lease.is_some())
                {
                    change.version = there.version;
                }
            }
            Some(Rule::BodyEnds) => {
                let longest = change.keep_for.max(change.lease.unwrap_or_default());
                bodies(&mut change, |_, life| *life = longest.max(*life));
            }
            Some(Rule::BodyIsKept) if matches!(change.body, BodyChange::Keep) => {
                change.body = BodyChange::Drop;
            }
            Some(Rule::BodyKeepsItsLife) if matches!(change.body, BodyChange::Keep) => {
                if let Some(body) = there.and_then(|there| there.body) {
                    change.body = BodyChange::Put { body, life: Duration::from_secs(20) };
                }
            }
            Some(Rule::BodyIsDropped) if matches!(change.body, BodyChange::Drop) => {
                change.body = BodyChange::Keep;
            }
            Some(Rule::BodyIsReplaced) if there.is_some_and(|there| there.body.is_some()) => {
                change.body = BodyChange::Keep;
            }
            Some(Rule::RecordEnds) => change.keep_for = change.keep_for.max(Duration::from_secs(20)),
            Some(Rule::RecordLives) => change.keep_for = Duration::ZERO,
            Some(Rule::NothingLeftIsNoRecord) => {
                change.keep_for = change.keep_for.max(Duration::from_secs(1));
            }
            Some(Rule::LongestTimes) => {
                let cut = |span: Duration| {
                    Duration::from_millis(u64::try_from(span.as_millis()).unwrap() & 0xffff_ffff)
                };
                change.lease = change.lease.map(cut);
            }
            Some(Rule::Sizes) => bodies(&mut change, |body, _| body.truncate(128 * 1024 - 1)),
            Some(Rule::EveryByte) => {
                change.note = Bytes::from(String::from_utf8_lossy(&change.note).into_owned());
            }
            _ => {}
        }
        change
    }

    /// What the store makes of what it has read.
    async fn misread(&self, name: &RecordName, reading: Reading) -> Reading {
        let (mut reading, now) = (reading, reading_count(&self.shared.told));
        let asked = self.shared.changes.lock().unwrap().get(name).cloned();
        match self.shared.breaks {
            Some(Rule::AbsentIsNone) if reading.record.is_none() => {
                let version = Version::from_random([0; 16]);
                let record = Record { version, lease_left: None, note: Bytes::new(), body: None };
                reading.record = Some(record);
            }
            Some(Rule::LeaseEnds) => {
                if let (Some(record), Some(asked)) = (&mut reading.record, asked) {
                    let minimum = asked.lease.map(|_| Duration::from_millis(1));
                    record.lease_left = record.lease_left.or(minimum);
                }
            }
            Some(Rule::LeaseShrinks) => {
                if let (Some(record), Some(asked)) = (&mut reading.record, asked) {
                    record.lease_left = record.lease_left.and(asked.lease);
                }
            }
            Some(Rule::OthersSeeIt) => {
                let mut seen = self.seen.lock().unwrap();
                if reading.record.is_some() {
                    reading = seen.entry(*name).or_insert(reading).clone();
                }
            }
            Some(Rule::ClockIsTold) => reading.now -= 5 * (now % 3),
            Some(Rule::ChangesAreWhole) => {
                tokio::task::yield_now().await;
                let later = self.shared.inner.load(name).await.unwrap().record;
                if let (Some(record), Some(later)) = (&mut reading.record, later) {
                    record.body = later.body;
                }
            }
            _ => {}
        }
        reading
    }

    fn name(&self, name: &RecordName) -> RecordName {
        let mut bytes = *name.bytes();
        if self.breaks(Rule::NamesAreApart) {
            bytes[31] = 0;
        }
        RecordName::from_bytes(bytes)
    }

    /// Which version the store takes for the expected one.
    async fn mistaken_for(&self, name: &RecordName, expected: Option<Version>) -> Option<Version> {
        let there = self.shared.inner.load(name).await.unwrap().record.map(|record| record.version);
        match (self.shared.breaks, expected, there) {
            (Some(Rule::AbsentHasNoVersion), Some(_), None)
            | (Some(Rule::PresentWantsItsVersion), None, _) => there,
            (Some(Rule::VersionsAreComparedWhole), Some(one), Some(other))
                if one.bytes()[..8] == other.bytes()[..8] =>
            {
                there
            }
            (Some(Rule::OneOfManySucceeds), ..) if there == expected => {
                tokio::task::yield_now().await;
                self.shared.inner.load(name).await.unwrap().record.map(|record| record.version)
            }
            _ => expected,
        }
    }

    async fn miscarried(&self, name: &RecordName, change: Change, mut told: Reading) -> Reading {
        if self.breaks(Rule::ConflictTellsWhatIsThere)
            && let Some(record) = &mut told.record
        {
            record.body = None;
        }
        if self.breaks(Rule::ConflictChangesNothing)
            && let Some(there) = &told.record
        {
            let (expected, change) = (there.version, Change { version: there.version, ..change });
            self.shared.inner.compare_and_swap(name, Some(expected), change).await.unwrap();
        }
        told
    }
}

fn reading_count(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed)
}

impl SharedStore for Wrong {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move {
            let name = self.name(name);
            let reading = self.shared.inner.load(&name).await?;
            Ok(self.misread(&name, reading).await)
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move {
            let name = self.name(name);
            let expected = self.mistaken_for(&name, expected).await;
            let mistaken = self.mistaken(&name, change.clone()).await;
            match self.shared.inner.compare_and_swap(&name, expected, mistaken).await? {
                Swap::Written { now } => {
                    self.shared.changes.lock().unwrap().insert(name, change);
                    Ok(Swap::Written { now })
                }
                Swap::Conflict(told) => Ok(Swap::Conflict(self.miscarried(&name, change, told).await)),
            }
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move {
            self.shared.subscribed.fetch_add(1, Ordering::Relaxed);
            let mut inner = self.shared.inner.subscribe(name).await?;
            let (sender, changes) = watch::channel(());
            let (shared, name) = (Arc::clone(&self.shared), *name);
            let count = shared.subscribed.load(Ordering::Relaxed);
            let task = tokio::spawn(async move {
                if shared.breaks == Some(Rule::NothingIsLost) {
                    sleep(Duration::from_millis(30)).await;
                    inner = shared.inner.subscribe(&name).await.unwrap();
                }
                for told in 0.. {
                    inner.changed().await;
                    let body = shared.inner.load(&name).await.unwrap().record.and_then(|record| record.body);
                    let is_told = match shared.breaks {
                        Some(Rule::SubscriberIsTold) => false,
                        Some(Rule::ToldEveryTime) => told == 0,
                        Some(Rule::ReleaseIsTold) => body.is_some(),
                        Some(Rule::SubscribersAreApart) => shared.subscribed.load(Ordering::Relaxed) == count,
                        _ => true,
                    };
                    if is_told {
                        sender.send_replace(());
                    }
                }
            });
            Ok(Subscription::new(changes, EndsWith(task)))
        })
    }

    fn kind(&self) -> &'static str {
        if self.breaks(Rule::KindIsOneWord) { "Two Words" } else { "wrong" }
    }
}

struct EndsWith(tokio::task::JoinHandle<()>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const _: () = assert!(LONGEST_KEPT.as_millis() > u32::MAX as u128, "or the cut of the times would be none");
