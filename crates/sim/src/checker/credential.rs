//! The books on the credential: which secret was refused, which one is known, and whether it is tried at once (I11).

use super::{Checker, Invariant};
use crate::event::LineId;

/// A refused secret that is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    secret: u32,
    since_elapsed_ms: u64,
    order: u64,
}

/// A secret that a manager was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    secret: u32,
    order: u64,
}

/// A line has to try another secret, because the source had one when its own was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryDue {
    line: LineId,
    secret: u32,
    due_ms: u64,
}

impl Checker {
    pub(super) fn secret_told(&mut self, manager: u32, secret: u32) {
        let order = self.order;
        self.managers.entry(manager).or_default().told = Some(Told { secret, order });
    }

    pub(super) fn not_refused(&mut self, line: LineId, secret: u32) {
        self.retries_due.retain(|due| due.line != line || due.secret > secret);
        let Some(refused) = self.managers.get(&line.manager).and_then(|book| book.refused) else {
            return;
        };
        let since_ms = self.elapsed_ms - refused.since_elapsed_ms;
        let remembered = since_ms < self.rules.terminal_ms && self.stepped_back <= refused.order;
        if refused.secret == secret && remembered {
            let seen = format!("{line} sent the refused secret {secret} again after {since_ms} ms");
            self.violated(Invariant::TerminalError, seen);
        }
    }

    /// The server refused `secret` to a request that was sent in the order `sent`; `first` says whether that was the first
    /// request of its flight.
    pub(super) fn secret_refused(&mut self, line: LineId, secret: u32, sent: u64, first: bool) {
        // It is remembered for up to ten times as long when it is refused again and again.
        self.may_pause(line.manager, self.rules.terminal_ms.saturating_mul(10));
        let refused = Refused { secret, since_elapsed_ms: self.elapsed_ms, order: self.order };
        let book = self.managers.entry(line.manager).or_default();
        // Refusals that were on their way together are one.
        let is_news =
            |before: Refused| before.secret < secret || (before.secret == secret && before.order < sent);
        if book.refused.is_none_or(is_news) {
            book.refused = Some(refused);
        }
        let newer = self.secret_in_source.filter(|newer| secret < *newer);
        let free = line.manager == self.newest_manager
            && !self.is_ending(line.manager)
            && !self.is_held_back(line.manager)
            && !self.quota_is_used_up(line.manager);
        if let (Some(secret), true, true) = (newer, first, free) {
            let due_ms = self.now.timers_ms.saturating_add(self.rules.slack_ms);
            self.retries_due.push(RetryDue { line, secret, due_ms });
        }
    }

    pub(super) fn secret_granted(&mut self, manager: u32, secret: u32) {
        let book = self.managers.entry(manager).or_default();
        book.refused = book.refused.filter(|refused| refused.secret > secret);
    }

    /// The source could not be read: nobody has to know what is in it, nor can anything be asked for without it.
    pub(super) fn source_unreadable(&mut self) {
        self.retries_due.clear();
        self.prefetch_due = None;
    }

    pub(super) fn overdue_retries(&mut self) {
        let now_ms = self.now.timers_ms;
        if let Some(at) = self.retries_due.iter().position(|due| due.due_ms < now_ms) {
            let RetryDue { line, secret, .. } = self.retries_due.remove(at);
            if line.manager == self.newest_manager && !self.is_ending(line.manager) {
                let seen = format!("{line} was refused and did not try the secret {secret} of its source");
                self.violated(Invariant::TerminalError, seen);
            }
        }
    }

    /// A call that began after the manager was told another secret asks the server.
    pub(super) fn refused_from_memory(&mut self, call: u64, manager: u32, began: u64) {
        let Some(book) = self.managers.get(&manager) else {
            return;
        };
        let Some(told) = book.told.filter(|told| told.order < began) else {
            return;
        };
        let asked = book.refused.is_some_and(|refused| told.secret <= refused.secret);
        if !asked && !self.is_held_back(manager) && !self.pauses_may_return() {
            let seen = format!("call {call} was refused from memory, though the secret is another one now");
            self.violated(Invariant::TerminalError, seen);
        }
    }
}
