//! The books on how a manager ends, and on what ends before it (I12, I15, I17).

use super::{Checker, Invariant};
use crate::event::{LineId, RequestEnd};

/// How long a manager that gave requests up may wait for them to notice.
const LAST_GRACE_MS: u64 = 1_000;

/// A manager that closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    since_ms: u64,
    until_ms: u64,
    abandoned: usize,
}

impl Checker {
    /// Whether the manager is being closed, or gone.
    pub(super) fn is_ending(&self, manager: u32) -> bool {
        self.managers_gone || self.managers.get(&manager).is_some_and(|book| book.closing.is_some())
    }

    pub(super) fn closing(&mut self, manager: u32, within_ms: u64) {
        let since_ms = self.now.timers_ms;
        let closing = Closing { since_ms, until_ms: since_ms.saturating_add(within_ms), abandoned: 0 };
        self.managers.entry(manager).or_default().closing = Some(closing);
    }

    pub(super) fn closed(&mut self, manager: u32, given_up: usize) {
        let Some(closing) = self.managers.get(&manager).and_then(|book| book.closing) else {
            return;
        };
        let late_ms = self.now.timers_ms.saturating_sub(closing.until_ms);
        if late_ms > LAST_GRACE_MS + self.rules.slack_ms {
            self.violated(Invariant::Deadline, format!("m{manager} closed {late_ms} ms late"));
        }
        if given_up < closing.abandoned {
            let abandoned = closing.abandoned;
            let seen = format!("m{manager} says it gave up {given_up} requests, and gave up {abandoned}");
            self.violated(Invariant::Drained, seen);
        }
        let left =
            self.lines.iter().filter(|(line, book)| line.manager == manager && !book.in_air.is_empty());
        let left = left.count();
        if left > 0 {
            self.violated(Invariant::NothingLeft, format!("m{manager} closed over {left} requests"));
        }
    }

    /// While a manager closes, those that were under way may try again, and no other begins.
    pub(super) fn not_after_the_end(&mut self, line: LineId) {
        if self.managers_gone {
            self.violated(Invariant::NothingLeft, format!("{line} sent a request after the end"));
        }
        let Some(closing) = self.managers.get(&line.manager).and_then(|book| book.closing) else {
            return;
        };
        let now_ms = self.now.timers_ms;
        // A flight may have been about to take off, or have waited for its turn in the quota.
        let took_off =
            now_ms <= closing.since_ms + self.rules.slack_ms || self.quota_is_used_up(line.manager);
        if !took_off && !self.has_flight(line) {
            let closes_ms = now_ms - closing.since_ms;
            let seen = format!("{line} began a request {closes_ms} ms after it began to close");
            self.violated(Invariant::NothingLeft, seen);
        }
    }

    /// A request that the client drops has a reason: the client closes, or its last handle is gone.
    pub(super) fn abandoned(&mut self, request: u64, line: LineId, end: RequestEnd) {
        if end != RequestEnd::Abandoned || line.manager != self.newest_manager || self.managers_gone {
            return;
        }
        let now_ms = self.now.timers_ms;
        let book = self.managers.entry(line.manager).or_default();
        let Some(closing) = &mut book.closing else {
            let seen = format!("{line} dropped the request {request} before its time was over");
            return self.violated(Invariant::Detached, seen);
        };
        closing.abandoned += 1;
        let early_ms = closing.until_ms.saturating_sub(now_ms);
        if early_ms > 0 {
            let seen = format!("{line} gave the request {request} up {early_ms} ms before it had to");
            self.violated(Invariant::Drained, seen);
        }
    }
}
