//! The flights of a manager that are in the air, and how it closes.

use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How a manager was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every token request that was under way came to its end.
    All,
    /// Some did not within the time allowed, and were given up; who waited for them was told so.
    GivenUp {
        /// How many.
        requests: usize,
    },
}

impl Drained {
    fn of(given_up: usize) -> Self {
        if given_up == 0 { Self::All } else { Self::GivenUp { requests: given_up } }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No flight begins any more.
    Draining,
    /// Those in the air end too.
    Closed,
}

pub(crate) struct Operations {
    stage: watch::Sender<Stage>,
    in_air: watch::Sender<usize>,
}

/// How long flights that are given up may take to notice it.
const LAST_GRACE: Duration = Duration::from_secs(1);

impl Operations {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self { stage: watch::Sender::new(Stage::Open), in_air: watch::Sender::new(0) })
    }

    /// Leave for one flight; none when the manager is being closed.
    pub(crate) fn depart(self: &Arc<Self>) -> Option<InAir> {
        // Counted first: whoever closes either sees this flight, or is seen by it.
        self.in_air.send_modify(|count| *count = count.saturating_add(1));
        let in_air = InAir { operations: Arc::clone(self) };
        let open = *self.stage.borrow() == Stage::Open;
        open.then_some(in_air)
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.stage.borrow() == Stage::Open
    }

    /// Ends when the manager begins to close.
    pub(crate) fn closing(&self) -> Signal {
        Signal { stage: self.stage.subscribe(), at: Stage::Draining }
    }

    pub(crate) async fn close(&self, within: Duration) -> Drained {
        self.stage.send_if_modified(|stage| {
            let was_open = *stage == Stage::Open;
            if was_open {
                *stage = Stage::Draining;
            }
            was_open
        });
        if Handle::try_current().is_err() {
            self.stage.send_replace(Stage::Closed);
            return Drained::of(*self.in_air.borrow());
        }
        let mut in_air = self.in_air.subscribe();
        let landed = tokio::time::timeout(within, in_air.wait_for(|count| *count == 0)).await.is_ok();
        let requests = *self.in_air.borrow();
        self.stage.send_replace(Stage::Closed);
        if landed {
            return Drained::All;
        }
        // They end at their next step; a runtime that nobody drives any more does not hold this up.
        let _ended = tokio::time::timeout(LAST_GRACE, in_air.wait_for(|count| *count == 0)).await;
        Drained::of(requests)
    }
}

/// One flight that is counted as long as this lives.
pub(crate) struct InAir {
    operations: Arc<Operations>,
}

impl InAir {
    /// Ends when the flight is to be given up.
    pub(crate) fn closed(&self) -> Signal {
        Signal { stage: self.operations.stage.subscribe(), at: Stage::Closed }
    }
}

impl Drop for InAir {
    fn drop(&mut self) {
        self.operations.in_air.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Waits for a stage of closing.
pub(crate) struct Signal {
    stage: watch::Receiver<Stage>,
    at: Stage,
}

impl Signal {
    pub(crate) async fn wait(&mut self) {
        let at = self.at;
        let reached = |stage: &Stage| *stage == at || *stage == Stage::Closed;
        if self.stage.wait_for(reached).await.is_err() {
            // The manager is gone without having been closed; the slots end their flights themselves.
            std::future::pending::<()>().await;
        }
    }
}
