//! The shared store as one manager uses it: sealed, with a time-out, and left alone while it is down.

mod sealing;

use sealing::FREED_FOR;
pub(crate) use sealing::LONGEST_PAUSE;

use super::entry::{Identity, Unreached};
use super::seal::new_version;
use super::{BodyChange, Change, KeyRing, RecordName, SharedStore, StoreFault, StoreFaultKind, StoreFuture};
use super::{Subscription, Swap, Version};
use crate::sync::{Mutex, lock};
use crate::telemetry::{StoreOperation, Telemetry};
use bytes::Bytes;
use jeton_proto::flight::{Found, Shared};
use jeton_proto::lifecycle::TokenId;
use jeton_proto::time::Moment;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A time-out is counted in so many turns, each of which this process has to get: one that is held still, or gets no
/// processor, does not take its own slowness for the store's.
const TIMEOUT_TURNS: u32 = 10;
/// How soon a store that was down is looked at again, and how rarely after a while.
const FIRST_PROBE: Duration = Duration::from_millis(250);
const LONGEST_PROBE: Duration = Duration::from_secs(2);
/// How much later than it meant to a probe may look before another takes its place.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// How long a flight waits for leave to be told of changes.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// What the names of probed records are made of, which is the identity of no token.
const PROBED: &[u8] = b"probe";

/// Where the token of one key is in the store.
pub(crate) struct Place {
    pub(crate) name: RecordName,
    identity: Identity,
}

/// The store of a manager.
pub(crate) struct StoreLink {
    store: Arc<dyn SharedStore>,
    ring: KeyRing,
    pub(crate) lease: Duration,
    pub(crate) timeout: Duration,
    /// Tells this process from others, and no more.
    pub(crate) mark: u32,
    health: Mutex<Health>,
    /// The probe that is to find out when the store is back.
    probing: Mutex<Probing>,
    /// The probe that is to find out when it can be written again. It is asked all the while.
    write_probing: Mutex<Probing>,
    telemetry: Telemetry,
    myself: Weak<Self>,
}

/// What is the matter with the store, as far as is known.
#[derive(Default)]
struct Health {
    trouble: Option<StoreFaultKind>,
    /// Why it does not tell of changes.
    untold: Option<StoreFaultKind>,
}

/// What is in the store, and when it was seen.
pub(crate) struct Seen {
    /// The store's clock.
    pub(crate) now: u64,
    pub(crate) found: Option<Found>,
    /// Who could not reach the server.
    pub(crate) unreached: Unreached,
}

/// What came of a change.
pub(crate) enum Swapped {
    Written { now: u64 },
    Conflict(Seen),
}

/// What becomes of a record.
pub(crate) enum Writing {
    /// The lease is taken; the token goes where it is rejected.
    Lease { rejecting: Option<TokenId>, pause: Option<Pause>, unreached: Unreached },
    /// The token is put in, the lease out.
    Token { shared: Shared, obtained_by_store: Option<u64>, life: Duration },
    /// The lease is put out.
    Nothing { pause: Option<Pause>, unreached: Unreached },
}

/// How long every process is to leave the server alone.
#[derive(Clone, Copy)]
pub(crate) struct Pause {
    /// Until when, by the store's clock.
    pub(crate) until: u64,
    /// How long that is from now.
    pub(crate) left: Duration,
}

/// A change with its version, which may be tried several times.
pub(crate) struct Draft {
    pub(crate) version: Version,
    writing: Writing,
}

impl Draft {
    /// With a version that was never used; `None` when the system has no random numbers.
    pub(crate) fn new(writing: Writing) -> Option<Self> {
        Some(Self { version: new_version()?, writing })
    }
}

/// How a store is used.
pub(crate) struct LinkSettings {
    pub(crate) store: Arc<dyn SharedStore>,
    pub(crate) ring: KeyRing,
    pub(crate) lease: Duration,
    pub(crate) timeout: Duration,
}

impl StoreLink {
    pub(crate) fn new(settings: LinkSettings, telemetry: Telemetry) -> Arc<Self> {
        let LinkSettings { store, ring, lease, timeout } = settings;
        telemetry.store_up(true);
        Arc::new_cyclic(|myself| Self {
            store,
            ring,
            lease,
            timeout,
            mark: fastrand::u32(1..),
            health: Mutex::default(),
            probing: Mutex::default(),
            write_probing: Mutex::default(),
            telemetry,
            myself: Weak::clone(myself),
        })
    }

    pub(crate) fn place(&self, identity: Identity) -> Place {
        Place { name: self.ring.name(&identity.to_bytes()), identity }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// Whether it is worth asking.
    pub(crate) fn answers(&self) -> bool {
        !lock(&self.probing).is_under_way(Instant::now())
    }

    /// Reads the record at `place`; what is in it is counted from what `moment` shows when it is asked.
    pub(crate) async fn load(&self, place: &Place, moment: impl Fn() -> Moment) -> Result<Seen, StoreFault> {
        // As it was before: what passed on the way belongs to the token's age.
        let asked = moment();
        let reading = self.ask(StoreOperation::Load, || self.store.load(&place.name)).await?;
        Ok(self.open(place, reading, asked))
    }

    /// Makes a change, if the version there is `expected`.
    pub(crate) async fn swap(
        &self,
        place: &Place,
        expected: Option<Version>,
        draft: &Draft,
        moment: impl Fn() -> Moment,
    ) -> Result<Swapped, StoreFault> {
        let change = self.sealed(place, draft).ok_or_else(|| {
            StoreFault::new(StoreFaultKind::Unwritable, "the record is too long, or could not be sealed")
        })?;
        let asked = moment();
        let swapping = || self.store.compare_and_swap(&place.name, expected, change);
        match self.ask(StoreOperation::Swap, swapping).await? {
            Swap::Written { now } => {
                self.is_well(StoreOperation::Swap, true);
                Ok(Swapped::Written { now })
            }
            Swap::Conflict(reading) => Ok(Swapped::Conflict(self.open(place, reading, asked))),
        }
    }

    pub(crate) async fn subscribe(&self, place: &Place) -> Result<Subscription, StoreFault> {
        if !self.answers() {
            return Err(StoreFault::new(StoreFaultKind::LeftAlone, "it did not answer a moment ago"));
        }
        let begun = Instant::now();
        let subscribing = unless_it_panics(|| self.store.subscribe(&place.name));
        // Looking does for the rest of a flight as well, so nobody waits for long for this.
        let answer = tokio::time::timeout(TOLD_WITHIN.min(self.timeout), subscribing).await;
        let answer =
            answer.unwrap_or_else(|_| Err(StoreFault::new(StoreFaultKind::TimedOut, "no leave to be told")));
        self.telemetry.store_asked(StoreOperation::Subscribe, begun.elapsed());
        self.tells(answer.as_ref().err());
        answer
    }

    /// Notes whether the store tells of changes. That it does not is a smaller trouble than that it does not work.
    fn tells(&self, fault: Option<&StoreFault>) {
        let kind = fault.map(StoreFault::kind);
        let before = std::mem::replace(&mut lock(&self.health).untold, kind);
        let Some(fault) = fault else { return };
        self.telemetry.store_fault(fault.kind());
        if before.is_none() {
            tracing::warn!(store = self.store.kind(), %fault,
                "the shared store does not tell of changes; this process looks for them");
        }
    }

    /// Asks the store, unless it is left alone; and notes whether it answered.
    async fn ask<'a, T>(
        &self,
        operation: StoreOperation,
        asking: impl FnOnce() -> StoreFuture<'a, T>,
    ) -> Result<T, StoreFault> {
        if !self.answers() {
            return Err(StoreFault::new(StoreFaultKind::LeftAlone, "it did not answer a moment ago"));
        }
        let begun = Instant::now();
        let answer = self.in_time(unless_it_panics(asking)).await;
        self.telemetry.store_asked(operation, begun.elapsed());
        match &answer {
            Ok(_) => self.is_well(operation, false),
            Err(fault) => self.is_ill(fault),
        }
        answer
    }

    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
        let mut asking = pin!(asking);
        for _ in 0..TIMEOUT_TURNS {
            if let Ok(answer) = tokio::time::timeout(self.timeout / TIMEOUT_TURNS, &mut asking).await {
                return answer;
            }
        }
        Err(StoreFault::new(StoreFaultKind::TimedOut, format!("no answer within {:?}", self.timeout)))
    }

    /// A store that answered is there again; one that could not be written has to be written before it is well.
    fn is_well(&self, operation: StoreOperation, wrote: bool) {
        let mut health = lock(&self.health);
        let Some(trouble) = health.trouble else { return };
        let healed = match trouble {
            StoreFaultKind::Unwritable | StoreFaultKind::Denied => wrote,
            StoreFaultKind::Unreachable
            | StoreFaultKind::TimedOut
            | StoreFaultKind::Malformed
            | StoreFaultKind::LeftAlone => true,
        };
        if !healed {
            return;
        }
        health.trouble = None;
        drop(health);
        self.telemetry.store_up(true);
        tracing::info!(
            store = self.store.kind(),
            operation = operation.label(),
            "the shared store works again"
        );
    }

    fn is_ill(&self, fault: &StoreFault) {
        let kind = fault.kind();
        self.telemetry.store_fault(kind);
        let first = lock(&self.health).trouble.replace(kind).is_none();
        if first {
            self.telemetry.store_up(false);
            tracing::warn!(store = self.store.kind(), %fault,
                "the shared store does not work; this process goes on by itself, and uses it again when it does");
        }
        match kind {
            // From now on nobody waits for it, until a probe finds it back.
            StoreFaultKind::Unreachable | StoreFaultKind::TimedOut => self.probe(Aim::Reading),
            // These come at once, and what can be read still can be. But whoever only adopts what others publish would
            // never find out that it can be written again.
            StoreFaultKind::Denied | StoreFaultKind::Unwritable => self.probe(Aim::Writing),
            StoreFaultKind::Malformed | StoreFaultKind::LeftAlone => {}
        }
    }

    /// Has a probe in the background look for the store, if none does.
    fn probe(&self, aim: Aim) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut probing = lock(self.probing(aim));
        if probing.is_under_way(Instant::now()) {
            return;
        }
        let serial = probing.begin(self.probe_again_by(FIRST_PROBE));
        // Freed first: a runtime that has shut down drops the task, and the probe in it, at once.
        drop(probing);
        runtime.spawn(Probe { link: Weak::clone(&self.myself), aim, serial }.run());
    }

    fn probing(&self, aim: Aim) -> &Mutex<Probing> {
        match aim {
            Aim::Reading => &self.probing,
            Aim::Writing => &self.write_probing,
        }
    }

    /// Does once what a probe aims at; tells whether there is nothing more for it to find out.
    async fn is_back(&self, aim: Aim) -> bool {
        let answer = match aim {
            Aim::Reading => {
                let name = self.ring.name(PROBED);
                self.in_time(unless_it_panics(|| self.store.load(&name))).await.map(drop)
            }
            Aim::Writing => {
                let trouble = lock(&self.health).trouble;
                if !matches!(trouble, Some(StoreFaultKind::Denied | StoreFaultKind::Unwritable)) {
                    return true;
                }
                self.write_for_a_moment().await
            }
        };
        match &answer {
            Ok(()) => self.is_well(StoreOperation::Load, aim == Aim::Writing),
            Err(fault) => self.telemetry.store_fault(fault.kind()),
        }
        answer.is_ok()
    }

    /// Writes a record of this process's own: others may be probing too.
    async fn write_for_a_moment(&self) -> Result<(), StoreFault> {
        let no_version = || StoreFault::new(StoreFaultKind::Unwritable, "the system has no random numbers");
        let version = new_version().ok_or_else(no_version)?;
        let name = self.ring.name(&[PROBED, version.bytes()].concat());
        let (note, body) = (Bytes::new(), BodyChange::Drop);
        let change = Change { version, lease: None, note, keep_for: FREED_FOR, body };
        let writing = || self.store.compare_and_swap(&name, None, change);
        self.in_time(unless_it_panics(writing)).await.map(drop)
    }

    /// When a probe that is driven will have looked, and looked once more after `pause`.
    fn probe_again_by(&self, pause: Duration) -> Instant {
        Instant::now() + pause + self.timeout * 2 + PROBE_GRACE
    }
}

/// A store that panics is one that does not work: a token is not lost for it, nor fetched again and again.
async fn unless_it_panics<'a, T>(asking: impl FnOnce() -> StoreFuture<'a, T>) -> Result<T, StoreFault> {
    let panicked = || StoreFault::new(StoreFaultKind::Malformed, "the store panicked");
    let mut asking = catch_unwind(AssertUnwindSafe(asking)).map_err(|_| panicked())?;
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| asking.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    })
    .await
}

/// Which probe is under way.
#[derive(Default)]
struct Probing {
    /// Until when it will have looked again: one on a runtime that nobody drives keeps nobody from asking.
    until: Option<Instant>,
    /// Counts the probes, so that one whose place was taken ends.
    serial: u64,
}

impl Probing {
    fn is_under_way(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn begin(&mut self, until: Instant) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.until = Some(until);
        self.serial
    }
}

/// What a probe is to find out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Reading,
    Writing,
}

/// Looks whether a store that did not work is back, as long as anybody has it.
struct Probe {
    link: Weak<StoreLink>,
    aim: Aim,
    serial: u64,
}

impl Probe {
    async fn run(self) {
        let mut pause = FIRST_PROBE;
        loop {
            tokio::time::sleep(pause).await;
            let Some(link) = self.link.upgrade() else { return };
            pause = (pause * 2).min(LONGEST_PROBE);
            {
                let mut probing = lock(link.probing(self.aim));
                if probing.serial != self.serial {
                    return;
                }
                probing.until = Some(link.probe_again_by(pause));
            }
            if link.is_back(self.aim).await {
                return;
            }
        }
    }
}

/// However a probe ends, even with the runtime that it runs on, the store is asked again afterwards.
impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade() {
            let mut probing = lock(link.probing(self.aim));
            if probing.serial == self.serial {
                probing.until = None;
            }
        }
    }
}
