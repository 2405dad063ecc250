//! The task that reads the source of a credential again from time to time, so that a secret which is replaced is known before
//! a token request needs it, and one that was refused and mended is tried soon.

use super::Reread;
use super::in_force::READ_TIMEOUT;
use crate::flight::unless_it_panics;
use crate::manager::Engine;
use crate::sync::{Mutex, lock};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How soon a source is looked at again whose look costs next to nothing, while its secret is refused.
const REFUSED_PERIOD: Duration = Duration::from_secs(5);
/// How much later than it meant to the task may look again before its place is given to another: its runtime is one that nobody
/// drives.
const GRACE: Duration = Duration::from_secs(5);

/// Whether the task is at work.
pub(crate) struct WatchKeeper {
    duty: Mutex<Duty>,
    wake: Arc<Notify>,
    /// Dropped with the manager, which ends the task.
    alive: watch::Sender<()>,
}

/// Who is at work.
#[derive(Debug, Default)]
struct Duty {
    /// Until when the one at work will have looked again, by the engine's clock of flights; nobody is without it.
    until: Option<Duration>,
    /// Counts the tasks, so that one whose place was taken notices.
    serial: u64,
}

impl Default for WatchKeeper {
    fn default() -> Self {
        Self { duty: Mutex::default(), wake: Arc::new(Notify::new()), alive: watch::Sender::new(()) }
    }
}

impl WatchKeeper {
    /// Takes the place, unless somebody is at work.
    fn begin(&self, now: Duration) -> Option<u64> {
        let mut duty = lock(&self.duty);
        if duty.until.is_some_and(|until| now < until) {
            return None;
        }
        duty.serial = duty.serial.wrapping_add(1);
        duty.until = Some(now.saturating_add(GRACE));
        Some(duty.serial)
    }

    /// Keeps the place for a sleep and a look, unless another has it.
    fn goes_on(&self, serial: u64, now: Duration, nap: Duration) -> bool {
        let mut duty = lock(&self.duty);
        let goes_on = duty.serial == serial;
        if goes_on {
            duty.until = Some(now.saturating_add(nap).saturating_add(READ_TIMEOUT).saturating_add(GRACE));
        }
        goes_on
    }

    fn end(&self, serial: u64) {
        let mut duty = lock(&self.duty);
        if duty.serial == serial {
            duty.until = None;
        }
    }
}

impl fmt::Debug for WatchKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchKeeper").field("duty", &self.duty).finish_non_exhaustive()
    }
}

/// The task's place, which is free again when it ends, even one that a runtime drops before its first step.
struct Shift {
    engine: Weak<Engine>,
    serial: u64,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.credentials.watch.end(self.serial);
        }
    }
}

impl Engine {
    /// Sees to it that the source is read again when its time comes, where it is one that can change.
    pub(crate) fn watch_credential(self: &Arc<Self>) {
        if self.credentials.reread() == Reread::WhenRefused || !self.operations.is_open() {
            return;
        }
        let Ok(runtime) = self.runtime() else { return };
        if let Some(serial) = self.credentials.watch.begin(self.uptime()) {
            runtime.spawn(keep(Shift { engine: Arc::downgrade(self), serial }));
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

    /// The time until the next look of the task `serial`; nothing where its place was taken.
    fn nap_or_end(&self, serial: u64) -> Option<Duration> {
        let nap = self.time_until_look();
        self.credentials.watch.goes_on(serial, self.uptime(), nap).then_some(nap)
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
        let Some(nap) = shift.engine.upgrade().and_then(|engine| engine.nap_or_end(shift.serial)) else {
            return;
        };
        tokio::select! {
            biased;
            () = closing.wait() => return,
            // An error alone: nothing is ever sent.
            _gone = alive.changed() => return,
            () = wake.notified() => continue,
            () = tokio::time::sleep(nap) => {}
        }
        let Some(engine) = shift.engine.upgrade() else { return };
        let looked = tokio::select! {
            biased;
            () = closing.wait() => return,
            looked = unless_it_panics(engine.credentials.look()) => looked,
        };
        match looked {
            Some(Ok(true)) => {
                tracing::info!("the source holds another credential, which is in force from now on");
            }
            Some(Ok(false)) => {}
            // Told where it began to fail.
            Some(Err(error)) => tracing::debug!(%error, "the source of the credential cannot be read"),
            None => tracing::warn!("the source of the credential panicked when it was read"),
        }
        engine.tell_credential();
    }
}
