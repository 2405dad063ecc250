//! The store that managers of a scenario share, and what keeps one of them from the world.

use super::server::FIRST_SECRET;
use super::step::{Loss, StoreIs};
use crate::clock::{WorldClock, millis};
use crate::fleet::shelf::{Mischief, Shelf};
use jeton::store::{
    Change, Reading, RecordName, SharedStore, StoreFault, StoreFaultKind, StoreFuture, Subscription, Swap,
    Version,
};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The store.
pub(super) struct SharedModel {
    clock: Arc<WorldClock>,
    state: Mutex<State>,
}

struct State {
    shelf: Shelf,
    is: StoreIs,
    latency: Duration,
}

impl SharedModel {
    pub(super) fn new(clock: Arc<WorldClock>) -> Arc<Self> {
        let shelf = Shelf::watching(&[FIRST_SECRET, "token-", super::server::CLIENT_ID, "orders:read"]);
        let state = State { shelf, is: StoreIs::Well, latency: Duration::from_millis(1) };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, is: StoreIs) {
        self.state().is = is;
    }

    pub(super) fn answer_after(&self, latency: Duration) {
        self.state().latency = latency;
    }

    pub(super) fn lose(&self, loss: Loss) {
        self.state().shelf.suffer(match loss {
            Loss::Everything => Mischief::Flush,
            Loss::LastWrite => Mischief::Failover { writes: 1 },
            Loss::Order => Mischief::Exchange,
            Loss::Present => Mischief::PutBack { writes: 1 },
            Loss::OneBit => Mischief::Flip { bit: 333 },
        });
    }

    /// What a record showed of what it must not show.
    pub(super) fn leaked(&self) -> Option<String> {
        self.state().shelf.leaked().map(str::to_owned)
    }

    /// The way there.
    async fn reach(&self, is_write: bool) -> Result<(), StoreFault> {
        let (is, latency) = {
            let state = self.state();
            (state.is, state.latency)
        };
        let fault = |kind| Err(StoreFault::new(kind, "as the scenario has it"));
        match is {
            StoreIs::Down => return fault(StoreFaultKind::Unreachable),
            StoreIs::Silent => pending().await,
            StoreIs::ReadOnly if is_write => return fault(StoreFaultKind::Unwritable),
            StoreIs::Well | StoreIs::ReadOnly => {}
        }
        sleep(latency).await;
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.clock.moment().boot_ms
    }
}

/// What lies between a manager and everybody else.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Passage>);

#[derive(Clone, Copy, Debug, Default)]
enum Passage {
    #[default]
    Open,
    HeldUntil(Instant),
    /// Its process was killed.
    Gone,
}

impl Gate {
    pub(super) fn hold(&self, span: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Passage::HeldUntil(Instant::now() + span);
    }

    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Passage::Gone;
    }

    /// Passes as soon as it may, which is never for who is gone.
    pub(super) async fn pass(&self) {
        loop {
            let passage = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match passage {
                Passage::HeldUntil(until) if Instant::now() < until => sleep_until(until).await,
                Passage::Open | Passage::HeldUntil(_) => return,
                Passage::Gone => pending().await,
            }
        }
    }
}

/// One manager's way to the store.
pub(super) struct Face {
    pub(super) model: Arc<SharedModel>,
    pub(super) gate: Arc<Gate>,
}

impl SharedStore for Face {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move {
            self.gate.pass().await;
            self.model.reach(false).await?;
            let reading = self.model.state().shelf.read(name, 0, self.model.now_ms());
            self.gate.pass().await;
            Ok(reading)
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move {
            self.gate.pass().await;
            self.model.reach(true).await?;
            let now_ms = self.model.now_ms();
            let swap = self.model.state().shelf.swap(name, expected, change, now_ms, |_| true);
            self.gate.pass().await;
            Ok(swap)
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move {
            self.gate.pass().await;
            self.model.reach(false).await?;
            Ok(self.model.state().shelf.subscribe(name, 0))
        })
    }

    fn kind(&self) -> &'static str {
        "model"
    }
}

impl fmt::Debug for SharedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency_ms = millis(self.state().latency);
        f.debug_struct("SharedModel").field("latency_ms", &latency_ms).finish_non_exhaustive()
    }
}
