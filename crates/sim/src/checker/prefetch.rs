//! The books on keys that are prefetched: asked for before anybody does, and there whenever somebody does (I16).

use super::{Checker, Invariant};
use crate::event::LineId;
use std::collections::BTreeSet;

/// What the newest manager has to ask for by itself.
#[derive(Clone, Debug)]
pub(super) struct PrefetchDue {
    lines: BTreeSet<LineId>,
    due_ms: u64,
}

impl Checker {
    pub(super) fn prefetch_expected(&mut self, manager: u32, prefetched: u8) {
        self.newest_manager = manager;
        let book = self.managers.entry(manager).or_default();
        book.prefetched = prefetched;
        let queued = self.rules.quota.map_or(0, |rule| {
            u64::from(u32::from(prefetched).saturating_sub(rule.burst)).saturating_mul(rule.interval_ms)
        });
        let due_ms = self.now.timers_ms.saturating_add(self.rules.slack_ms).saturating_add(queued);
        let lines = (0..prefetched).map(|key| LineId { manager, key }).collect();
        self.prefetch_due = Some(PrefetchDue { lines, due_ms });
    }

    pub(super) fn prefetched(&mut self, line: LineId) {
        if let Some(due) = &mut self.prefetch_due {
            due.lines.remove(&line);
        }
    }

    pub(super) fn overdue_prefetches(&mut self) {
        if self.prefetch_due.as_ref().is_none_or(|due| self.now.timers_ms <= due.due_ms) {
            return;
        }
        let due = self.prefetch_due.take().filter(|due| !due.lines.is_empty());
        // What holds the first request back holds the others.
        if let Some(due) = due.filter(|_| !self.is_held_back(self.newest_manager)) {
            let seen = format!("{:?} were not asked for when the manager was built", due.lines);
            self.violated(Invariant::Prefetched, seen);
        }
    }

    /// In a calm that has lasted, a prefetched key has a token whenever somebody asks.
    pub(super) fn always_there(&mut self, line: LineId) {
        let prefetched = self.managers.get(&line.manager).map_or(0, |book| book.prefetched);
        let rejected = self.lines.get(&line).is_some_and(|book| book.wants_another.is_some());
        // A wall clock that stepped makes a token look dead before its time, which is seen within half a minute.
        let sure = !rejected && self.is_in_step(line);
        if self.rules.keeps_ahead && line.key < prefetched && sure && self.has_recovered(line.manager) {
            self.violated(Invariant::Prefetched, format!("{line} is prefetched, and had nothing at once"));
        }
    }
}
