//! The books on calls: who waits for what, until when, and who has to be served (I2, I5, I6).

use super::tokens::Standing;
use super::{Checker, Invariant};
use crate::clock::BootClock;
use crate::event::{Ending, Entry, Failure, LineId};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pending: BTreeMap<u64, Pending>,
    /// No call is overdue before this.
    next_due_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    line: LineId,
    entry: Entry,
    /// In events.
    began: u64,
    began_ms: u64,
    wait_ms: u64,
    due_ms: u64,
    /// Since when it has been calm, if the call has to be served.
    served_since_ms: Option<u64>,
    token: Option<u32>,
}

impl Checker {
    pub(super) fn call_began(&mut self, call: u64, line: LineId, entry: Entry, wait_ms: u64) {
        let now_ms = self.now.timers_ms;
        let due_ms = now_ms.saturating_add(wait_ms).saturating_add(self.rules.slack_ms);
        let served_since_ms = self
            .calm_since_ms
            .filter(|_| wait_ms >= self.rules.least_wait_ms && self.has_recovered(line.manager));
        let pending = Pending {
            line,
            entry,
            began: self.order,
            began_ms: now_ms,
            wait_ms,
            due_ms,
            served_since_ms,
            token: None,
        };
        self.calls.pending.insert(call, pending);
        self.calls.next_due_ms = self.calls.next_due_ms.min(due_ms);
    }

    /// By a wall clock alone, a pause that is over comes to life again when that steps back into it.
    pub(super) fn pauses_may_return(&self) -> bool {
        self.rules.boot == BootClock::Absent && self.stepped_back > 0
    }

    /// Whether faults, and the pauses that the server asked for, have been over for long enough.
    pub(super) fn has_recovered(&self, manager: u32) -> bool {
        let paused_until_ms = self.managers.get(&manager).map_or(0, |book| book.paused_until_ms);
        !self.is_ending(manager)
            && !self.pauses_may_return()
            && self.calm_since_ms.is_some_and(|calm_ms| {
                self.now.timers_ms >= paused_until_ms.max(calm_ms) + self.rules.recovery_ms
            })
    }

    pub(super) fn given_to(&mut self, call: u64, token: u32) {
        let Some(pending) = self.calls.pending.get_mut(&call) else {
            return;
        };
        pending.token = Some(token);
        let (line, began) = (pending.line, pending.began);
        self.given_out(line, token, began);
    }

    pub(super) fn call_ended(&mut self, call: u64, ending: Ending) {
        let Some(pending) = self.calls.pending.remove(&call) else {
            return;
        };
        match ending {
            Ending::Token | Ending::Cancelled => {}
            Ending::Failed(failure) => self.call_failed(call, pending, failure),
            Ending::Answered(status) => {
                let needless = !(200..300).contains(&status)
                    && self.has_to_be_served(&pending)
                    && !self.is_beyond_help(&pending);
                if needless {
                    let seen = format!("call {call} of {} was answered with {status}", pending.line);
                    self.violated(Invariant::Recovery, seen);
                }
            }
        }
    }

    fn has_to_be_served(&self, pending: &Pending) -> bool {
        pending.served_since_ms.is_some() && pending.served_since_ms == self.calm_since_ms
    }

    /// The server gave a rejected token out again: the client is not to ask for another one until that dies.
    fn is_beyond_help(&self, pending: &Pending) -> bool {
        let book = pending.token.and_then(|token| self.tokens.get(&(pending.line, token)));
        book.is_some_and(|book| match book.standing {
            Standing::Reissued | Standing::Unclear => true,
            Standing::Ordinary | Standing::OnProbation => false,
        })
    }

    fn call_failed(&mut self, call: u64, pending: Pending, failure: Failure) {
        let line = pending.line;
        if let Some((token, left_ms)) = self.must_have(line) {
            let seen =
                format!("call {call} of {line} failed ({failure:?}), token {token} had {left_ms} ms left");
            self.violated(Invariant::NoLostToken, seen);
        }
        if self.has_to_be_served(&pending) {
            let seen = format!("call {call} of {line} failed ({failure:?}) after {} ms", pending.wait_ms);
            self.violated(Invariant::Recovery, seen);
        }
        if self.is_ending(line.manager) {
            return;
        }
        match failure {
            Failure::Deadline => {}
            Failure::InvalidClient | Failure::Other => {
                if failure == Failure::InvalidClient {
                    self.refused_from_memory(call, line.manager, pending.began);
                }
                self.flight_failed(&pending);
            }
        }
    }

    /// A caller that gets nothing from the hit path may have to wait, but not while a good token is far from its end.
    pub(super) fn nothing_at_once(&mut self, line: LineId) {
        self.always_there(line);
        let Some((token, left_ms)) = self.must_have(line) else {
            return;
        };
        if left_ms > self.margin_ms(line, token) + self.rules.slack_ms {
            let seen = format!("{line} had nothing at once, token {token} had {left_ms} ms left");
            self.violated(Invariant::NoLostToken, seen);
        }
    }

    /// A token arrived: whoever waits for it is told.
    pub(super) fn flight_landed(&mut self, line: LineId) {
        let Some(book) = self.lines.get(&line) else {
            return;
        };
        let clear = book.undisturbed.is_some_and(|last| {
            let standing = self.tokens.get(&(line, last.token)).map(|token| token.standing);
            standing.is_some_and(|standing| standing != Standing::Unclear)
        });
        if clear && book.in_air.is_empty() {
            self.owe(line, u64::MAX);
        }
    }

    /// A caller was told of a failure: so is everybody who waited with it.
    fn flight_failed(&mut self, told: &Pending) {
        let alone = told.entry != Entry::Within || told.began_ms >= self.now.timers_ms;
        let in_air = self.lines.get(&told.line).is_some_and(|book| !book.in_air.is_empty());
        if !alone && !in_air {
            self.owe(told.line, self.now.timers_ms);
        }
    }

    /// Everybody who began to wait at `line` before `before_ms` has to be answered now.
    fn owe(&mut self, line: LineId, before_ms: u64) {
        let due_ms = self.now.timers_ms.saturating_add(self.rules.slack_ms);
        let waiting = self.calls.pending.values_mut().filter(|pending| {
            pending.line == line && pending.entry == Entry::Within && pending.began_ms < before_ms
        });
        for pending in waiting {
            pending.due_ms = pending.due_ms.min(due_ms);
        }
        self.calls.next_due_ms = self.calls.next_due_ms.min(due_ms);
    }

    /// Looks for calls that should have been answered.
    pub(super) fn overdue_calls(&mut self) {
        let now_ms = self.now.timers_ms;
        if now_ms <= self.calls.next_due_ms {
            return;
        }
        let overdue = |pending: &Pending| pending.due_ms < now_ms;
        let late: Vec<_> = self
            .calls
            .pending
            .iter()
            .filter(|(_, pending)| overdue(pending))
            .map(|(call, _)| *call)
            .collect();
        for call in late {
            if let Some(pending) = self.calls.pending.get_mut(&call) {
                pending.due_ms = u64::MAX;
                let (line, wait_ms) = (pending.line, pending.wait_ms);
                let began_ms = pending.began_ms;
                let seen = format!(
                    "call {call} of {line} for {wait_ms} ms was not answered {} ms after it began",
                    now_ms - began_ms
                );
                self.violated(Invariant::Deadline, seen);
            }
        }
        self.calls.next_due_ms =
            self.calls.pending.values().map(|pending| pending.due_ms).min().unwrap_or(u64::MAX);
    }

    /// At the end of the world nobody waits.
    pub(super) fn calls_left(&mut self) {
        let left: Vec<_> = self.calls.pending.keys().copied().collect();
        if !left.is_empty() {
            self.violated(Invariant::Deadline, format!("the calls {left:?} were never answered"));
        }
    }
}
