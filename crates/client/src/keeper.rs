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

/// Frees the keeper's place when its runtime shuts down around it.
struct Shift {
    slot: Weak<SharedSlot>,
    is_over: bool,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if let (false, Some(slot)) = (self.is_over, self.slot.upgrade()) {
            *lock(&slot.is_kept_awake) = false;
        }
    }
}

async fn keep(slot: Weak<SharedSlot>) {
    let (wake, mut closing) = match slot.upgrade() {
        Some(slot) => (Arc::clone(&slot.wake), slot.engine.operations.closing()),
        None => return,
    };
    let mut shift = Shift { slot, is_over: false };
    loop {
        let Some(nap) = shift.slot.upgrade().and_then(|slot| slot.nap_or_end()) else {
            shift.is_over = true;
            return;
        };
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
        let mut awake = lock(&self.is_kept_awake);
        if *awake {
            self.wake.notify_one();
            return;
        }
        if !self.is_kept_ahead() || !self.engine.operations.is_open() {
            return;
        }
        if let Ok(runtime) = self.engine.runtime() {
            *awake = true;
            drop(awake);
            runtime.spawn(keep(Arc::downgrade(self)));
        }
    }

    fn is_kept_ahead(&self) -> bool {
        self.is_always_fresh() || self.engine.refresh_ahead == RefreshAhead::WhileUsed
    }

    fn nap_or_end(self: &Arc<Self>) -> Option<Duration> {
        let mut awake = lock(&self.is_kept_awake);
        let nap = self.nap();
        if nap.is_none() {
            *awake = false;
        }
        nap
    }

    /// How long to sleep before looking again; begins a flight where one is due. `None` when nothing is left to do until
    /// somebody asks.
    fn nap(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.now();
        self.engine.watch_clock(now);
        let state = self.cell.load();
        let slot = &state.slot;
        self.telemetry.publish(slot.left(now));
        if state.last_error.is_some() {
            self.telemetry.backing_off(slot.backing_off(now));
            self.telemetry.backup_left(slot.left(now));
        }
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
