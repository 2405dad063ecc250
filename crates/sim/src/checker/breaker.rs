//! The books on the breaker: when it has opened, and whether a probe is out (I9).

use super::{BreakerRule, Checker, Invariant};
use crate::event::{LineId, RequestEnd};

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum BreakerBook {
    #[default]
    Closed,
    Open {
        since_elapsed_ms: u64,
        order: u64,
        openings: u32,
    },
    Probing {
        request: u64,
        since_elapsed_ms: u64,
        order: u64,
        openings: u32,
    },
}

impl Checker {
    pub(super) fn through_the_breaker(&mut self, request: u64, line: LineId) {
        let Some(rule) = self.rules.breaker else {
            return;
        };
        let (elapsed_ms, stepped_back, now) = (self.elapsed_ms, self.stepped_back, self.order);
        let book = self.managers.entry(line.manager).or_default();
        let probing =
            |openings| BreakerBook::Probing { request, since_elapsed_ms: elapsed_ms, order: now, openings };
        let seen = match book.breaker {
            BreakerBook::Closed => None,
            BreakerBook::Open { since_elapsed_ms, order, openings } => {
                book.breaker = probing(openings);
                let open_ms = elapsed_ms - since_elapsed_ms;
                let early = open_ms < rule.least_window_ms(openings) && stepped_back <= order;
                early.then(|| format!("{line} sent a request {open_ms} ms after the breaker opened"))
            }
            // By a wall clock that stepped back before it began, a probe is lost too.
            BreakerBook::Probing { since_elapsed_ms, order, openings, .. }
                if elapsed_ms - since_elapsed_ms >= rule.longest_window_ms || order < stepped_back =>
            {
                book.breaker = probing(openings);
                None
            }
            BreakerBook::Probing { request, .. } => {
                Some(format!("{line} sent a request beside the probe {request}"))
            }
        };
        if matches!(book.breaker, BreakerBook::Probing { request: probe, .. } if probe == request) {
            book.probes.insert(request);
        }
        if let Some(seen) = seen {
            self.violated(Invariant::Breaker, seen);
        }
    }

    /// Whether a pause or the breaker may keep this manager from sending anything.
    pub(super) fn is_held_back(&self, manager: u32) -> bool {
        self.managers.get(&manager).is_some_and(|book| {
            let is_closed = matches!(book.breaker, BreakerBook::Closed);
            !is_closed || self.now.timers_ms < book.paused_until_ms
        })
    }

    pub(super) fn count_for_the_breaker(&mut self, request: u64, line: LineId, end: RequestEnd) {
        let Some(rule) = self.rules.breaker else {
            return;
        };
        let failed = match end {
            RequestEnd::Broken | RequestEnd::TimedOut => Some(true),
            RequestEnd::Answered { status, .. } => Some(status >= 500),
            RequestEnd::Granted { .. } | RequestEnd::InvalidClient => Some(false),
            // The client's own doing says nothing about the server.
            RequestEnd::Abandoned | RequestEnd::Panicked => None,
        };
        let (elapsed_ms, order) = (self.elapsed_ms, self.order);
        let book = self.managers.entry(line.manager).or_default();
        let is_out = matches!(book.breaker, BreakerBook::Probing { request: probe, .. } if probe == request);
        if book.probes.remove(&request) && !is_out && failed != Some(false) {
            // It was taken for lost: what it tells is of a time that is over.
            return;
        }
        let open = |openings| BreakerBook::Open { since_elapsed_ms: elapsed_ms, order, openings };
        book.failures_in_row = match failed {
            Some(true) => book.failures_in_row + 1,
            Some(false) => 0,
            None => book.failures_in_row,
        };
        book.breaker = match (book.breaker, failed) {
            (BreakerBook::Closed, Some(true)) if book.failures_in_row >= rule.opens_after => open(0),
            (BreakerBook::Probing { request: probe, openings, .. }, Some(true)) if probe == request => {
                open(openings + 1)
            }
            // Nothing was learned: the next one goes at once.
            (BreakerBook::Probing { request: probe, openings, .. }, None) if probe == request => {
                BreakerBook::Open { since_elapsed_ms: 0, order, openings }
            }
            (state, Some(true) | None) => state,
            (_, Some(false)) => BreakerBook::Closed,
        };
    }
}

impl BreakerRule {
    fn least_window_ms(&self, openings: u32) -> u64 {
        self.first_window_ms.saturating_mul(1 << openings.min(16)).min(self.longest_window_ms) / 2
    }
}
