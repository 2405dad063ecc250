//! The task that keeps one slot fresh: it renews a token that is used before anybody has to wait for it, and while the
//! endpoint is down it looks, once a window, whether it is up again.

use crate::manager::RefreshAhead;
use crate::shared_slot::SharedSlot;
use crate::sync::lock;
use jeton_proto::lifecycle::Way;
use jeton_proto::time::Moment;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The longest sleep, so that a clock step or a suspend is noticed, and what was counted is published.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// The shortest sleep, and how often it looks again once a renewal is due.
const DUE_NAP: Duration = Duration::from_secs(1);
const SHORTEST_NAP: Duration = Duration::from_millis(1);
/// For how long after it was last wanted a token is worth asking for that is not to be had: this, or the life of the last
/// one where that is longer.
const WANTED_FOR: Duration = Duration::from_mins(10);

/// How much later than it meant to a keeper may look again before its place is given to another: its runtime is one that
/// nobody drives.
const GRACE: Duration = Duration::from_secs(5);

/// Who is at work as a slot's keeper.
#[derive(Default)]
pub(crate) struct Watch {
    /// Until when the one at work will have looked again, by the engine's clock of flights; nobody is without it.
    on_duty_until: Option<Duration>,
    /// Counts the keepers, so that one whose place was taken notices.
    serial: u64,
}

/// A keeper's place, which is free again when the task ends, even one that a runtime drops before its first step.
struct Shift {
    slot: Weak<SharedSlot>,
    serial: u64,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.upgrade() {
            lock(&slot.watch).end(self.serial);
        }
    }
}

impl Watch {
    pub(crate) fn is_on_duty(&self, now: Duration) -> bool {
        self.on_duty_until.is_some_and(|until| now < until)
    }

    fn begin(&mut self, now: Duration) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.on_duty_until = Some(now.saturating_add(GRACE));
        self.serial
    }

    fn end(&mut self, serial: u64) {
        if self.serial == serial {
            self.on_duty_until = None;
        }
    }
}

async fn keep(shift: Shift) {
    let (wake, mut closing) = match shift.slot.upgrade() {
        Some(slot) => (Arc::clone(&slot.wake), slot.engine.operations.closing()),
        None => return,
    };
    loop {
        let Some(slot) = shift.slot.upgrade() else { return };
        // Told before anything is locked: whoever listens may ask for a token.
        slot.engine.watch_clock(slot.clock.now());
        slot.publish();
        slot.tell_trouble();
        let Some(nap) = slot.nap_or_end(shift.serial) else { return };
        drop(slot);
        tokio::select! {
            biased;
            () = closing.wait() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

impl SharedSlot {
    /// Sees to it that a keeper is at work where there is something to keep.
    pub(crate) fn wake_keeper(self: &Arc<Self>) {
        let mut watch = lock(&self.watch);
        if watch.is_on_duty(self.engine.uptime()) {
            self.wake.notify_one();
            return;
        }
        if !self.is_kept_ahead() || !self.engine.operations.is_open() {
            return;
        }
        if let Ok(runtime) = self.engine.runtime() {
            let serial = watch.begin(self.engine.uptime());
            // Freed first: a runtime that has shut down drops the task, and the shift in it, at once.
            drop(watch);
            runtime.spawn(keep(Shift { slot: Arc::downgrade(self), serial }));
        }
    }

    fn is_kept_ahead(&self) -> bool {
        self.is_always_fresh() || self.engine.refresh_ahead == RefreshAhead::WhileUsed
    }

    /// Sees to what is to be done and gives the time until the next look; `None` ends the keeper `serial`, under the lock
    /// under which another would be begun.
    fn nap_or_end(self: &Arc<Self>, serial: u64) -> Option<Duration> {
        let mut watch = lock(&self.watch);
        let nap = if watch.serial == serial { self.nap() } else { None };
        match nap {
            Some(nap) => {
                watch.on_duty_until = Some(self.engine.uptime().saturating_add(nap).saturating_add(GRACE));
            }
            None => watch.end(serial),
        }
        nap
    }

    /// How long to sleep before looking again; begins a flight where one is due. `None` when nothing is left to do until
    /// somebody asks.
    fn nap(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.now();
        let state = self.cell.load();
        let slot = &state.slot;
        let wanted = state.used || self.is_always_fresh();
        let until_due = match (slot.until_advisory(now), slot.left(now)) {
            (Some(until_advisory), _) => until_advisory,
            // It is not to be renewed before its end.
            (None, Some(left)) => left,
            (None, None) if self.is_missed(&state, now) => Duration::ZERO,
            (None, None) => return None,
        };
        if !until_due.is_zero() {
            return Some(until_due.clamp(SHORTEST_NAP, LONGEST_NAP));
        }
        if slot.left(now).is_some() && !wanted {
            return None;
        }
        let way = match self.engine.way(now) {
            Way::Closed { retry_after } => Some(retry_after),
            Way::Clear | Way::Doubtful => None,
        };
        if let Some(pause) = slot.backing_off(now).max(way) {
            return Some(pause.clamp(SHORTEST_NAP, LONGEST_NAP));
        }
        drop(state);
        self.refresh_in_background();
        Some(DUE_NAP)
    }

    /// Whether somebody is likely to ask for the token that is not there: it was asked for in vain a short while ago, or was
    /// used until it expired. A rejected one is left to whoever asks next.
    fn is_missed(&self, state: &crate::slot_cell::State, now: Moment) -> bool {
        let token = state.slot.token();
        let horizon = token.map_or(WANTED_FOR, |token| token.lifetime().max(WANTED_FOR));
        let asked = lock(&self.asked_in_vain).and_then(|asked| now.left_of(horizon, asked)).is_some();
        let used_until_it_expired = state.used
            && token.is_some_and(|token| {
                let span = token.lifetime().saturating_add(horizon);
                token.left(now).is_zero() && now.left_of(span, token.obtained()).is_some()
            });
        self.is_always_fresh() || asked || used_until_it_expired
    }
}
