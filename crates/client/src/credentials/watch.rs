//! The task that reads the source of a credential again from time to time, so that a secret which is replaced is known before
//! a token request needs it, and one that was refused and mended is tried soon.

use super::Reread;
use crate::manager::Engine;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How soon a source is looked at again whose look costs next to nothing, while its secret is refused.
const REFUSED_PERIOD: Duration = Duration::from_secs(5);

/// Whether the task is at work.
pub(crate) struct WatchKeeper {
    at_work: AtomicBool,
    wake: Arc<Notify>,
    /// Dropped with the manager, which ends the task.
    alive: watch::Sender<()>,
}

impl Default for WatchKeeper {
    fn default() -> Self {
        Self { at_work: AtomicBool::new(false), wake: Arc::new(Notify::new()), alive: watch::Sender::new(()) }
    }
}

impl fmt::Debug for WatchKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchKeeper").field("at_work", &self.at_work).finish_non_exhaustive()
    }
}

/// The task's place, which is free again when it ends, even one that a runtime drops before its first step.
struct Shift {
    engine: Weak<Engine>,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.credentials.watch.at_work.store(false, Ordering::Release);
        }
    }
}

impl Engine {
    /// Sees to it that the source is read again when its time comes, where it is one that can change.
    pub(crate) fn watch_credential(self: &Arc<Self>) {
        let keeper = &self.credentials.watch;
        if self.credentials.reread() == Reread::WhenRefused || !self.operations.is_open() {
            return;
        }
        if keeper.at_work.swap(true, Ordering::AcqRel) {
            return;
        }
        let shift = Shift { engine: Arc::downgrade(self) };
        if let Ok(runtime) = self.runtime() {
            runtime.spawn(keep(shift));
        }
    }

    /// The credential was refused, and there is no other to try: its source is looked at again soon.
    pub(crate) fn look_soon(&self) {
        self.credentials.watch.wake.notify_one();
    }

    /// The time until the next look: a tenth less or more than what is set, so that a fleet does not look all at once.
    fn time_until_look(&self) -> Duration {
        let now = self.clock.moment();
        let refused = self.gatekeeper.refused(self.credentials.generation(), now).is_some();
        let period = match self.credentials.reread() {
            Reread::BeforeEachRequest if refused => self.credential_period.min(REFUSED_PERIOD),
            Reread::BeforeEachRequest | Reread::Periodically | Reread::WhenRefused => self.credential_period,
        };
        period.mul_f64(0.2f64.mul_add(self.draw(), 0.9))
    }

    /// Tells how old the credential is, and once for each that its rotation is due.
    pub(crate) fn tell_credential(&self) {
        let status = self.credentials.status(self.rotation_due_after);
        self.telemetry.credential(&status);
        if self.credentials.is_to_be_told_due(&status) {
            let age_days = status.age.unwrap_or_default().as_secs() / 86_400;
            tracing::warn!(
                client_id = %self.server.client_id, server = %self.server.name(), age_days,
                "the rotation of the client's credential is due"
            );
        }
    }
}

async fn keep(shift: Shift) {
    let Some(engine) = shift.engine.upgrade() else { return };
    let keeper = &engine.credentials.watch;
    let (wake, mut alive) = (Arc::clone(&keeper.wake), keeper.alive.subscribe());
    let mut closing = engine.operations.closing();
    drop(engine);
    loop {
        let Some(nap) = shift.engine.upgrade().map(|engine| engine.time_until_look()) else { return };
        tokio::select! {
            biased;
            () = closing.wait() => return,
            // An error alone: nothing is ever sent.
            _gone = alive.changed() => return,
            () = wake.notified() => continue,
            () = tokio::time::sleep(nap) => {}
        }
        let Some(engine) = shift.engine.upgrade() else { return };
        match engine.credentials.look().await {
            Ok(true) => tracing::info!("the source holds another credential, which is in force from now on"),
            Ok(false) => {}
            // Told where it began to fail.
            Err(error) => tracing::debug!(%error, "the source of the credential cannot be read"),
        }
        engine.tell_credential();
    }
}
