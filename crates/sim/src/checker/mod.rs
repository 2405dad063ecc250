//! Whether the invariants hold: a state machine over what happens in a world, and over nothing else.
//!
//! It knows no client. It sees requests, answers, calls and clocks, keeps its own books of which token is good until
//! when, and compares. Where what it sees leaves open what a client knows (a rejection that may be on probation, a
//! clock that stepped), it demands nothing.

mod breaker;
mod calls;
mod credential;
mod ending;
mod prefetch;
mod requests;
mod rules;
mod tokens;

pub use rules::{BreakerRule, Invariant, QuotaRule, Rules, Violation};

use crate::clock::Moment;
use crate::event::{Event, LineId};
use crate::fault::FaultKind;
use calls::Calls;
use credential::RetryDue;
use prefetch::PrefetchDue;
use requests::{ManagerBook, Requests};
use std::collections::BTreeMap;
use tokens::{LineBook, TokenBook};

/// The most violations that are kept of one world: the first is what matters.
const MOST_VIOLATIONS: usize = 20;

/// Holds events against the rules.
#[derive(Debug)]
pub struct Checker {
    rules: Rules,
    now: Moment,
    /// How much time went by on whichever clock went fastest: what any pause may be measured with.
    elapsed_ms: u64,
    /// Events seen, to tell before from after within a millisecond.
    order: u64,
    /// When the wall clock last stepped back, in events.
    stepped_back: u64,
    /// When a clock last did anything but go on, in events.
    stepped: u64,
    /// The same by the timers.
    stepped_ms: Option<u64>,
    calm_since_ms: Option<u64>,
    lines: BTreeMap<LineId, LineBook>,
    managers: BTreeMap<u32, ManagerBook>,
    /// By line too: what one client knows of a token another one does not.
    tokens: BTreeMap<(LineId, u32), TokenBook>,
    requests: Requests,
    calls: Calls,
    managers_gone: bool,
    newest_manager: u32,
    /// The newest secret that the source has, where there is one.
    secret_in_source: Option<u32>,
    retries_due: Vec<RetryDue>,
    prefetch_due: Option<PrefetchDue>,
    violations: Vec<Violation>,
}

impl Checker {
    /// A checker that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: Moment::default(),
            elapsed_ms: 0,
            order: 0,
            stepped_back: 0,
            stepped: 0,
            stepped_ms: None,
            calm_since_ms: None,
            lines: BTreeMap::new(),
            managers: BTreeMap::new(),
            tokens: BTreeMap::new(),
            requests: Requests::default(),
            calls: Calls::default(),
            managers_gone: false,
            newest_manager: 0,
            secret_in_source: None,
            retries_due: Vec::new(),
            prefetch_due: None,
            violations: Vec::new(),
        }
    }

    /// What was broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Takes in what happened at `at`.
    pub fn observe(&mut self, at: Moment, event: &Event) {
        self.advance(at);
        self.overdue_calls();
        self.overdue_retries();
        self.overdue_prefetches();
        match event {
            Event::ManagerBuilt { manager, prefetched } => {
                self.managers.insert(*manager, ManagerBook::default());
                self.prefetch_expected(*manager, *prefetched);
            }
            Event::SecretReplaced { manager, secret } => self.secret_told(*manager, *secret),
            Event::SecretInSource { secret } => self.secret_in_source = Some(*secret),
            Event::Closing { manager, within_ms } => self.closing(*manager, *within_ms),
            Event::Closed { manager, given_up } => self.closed(*manager, *given_up),
            Event::Fault(FaultKind::SecretUnreadable) => self.source_unreadable(),
            Event::ManagersGone => self.managers_gone = true,
            Event::TasksLeft { tasks: 0 } | Event::Fault(_) => {}
            Event::TasksLeft { tasks } => {
                self.violated(Invariant::NothingLeft, format!("{tasks} tasks are left"));
            }
            Event::CallBegan { call, line, entry, wait_ms } => {
                self.call_began(*call, *line, *entry, *wait_ms);
            }
            Event::Given { call, token } => self.given_to(*call, *token),
            Event::CallEnded { call, ending } => self.call_ended(*call, *ending),
            Event::AtOnce { line, token: Some(token) } => self.given_out(*line, *token, self.order),
            Event::AtOnce { line, token: None } => self.nothing_at_once(*line),
            Event::RequestSent { request, line, secret } => self.request_sent(*request, *line, *secret),
            Event::RequestEnded { request, end } => self.request_ended(*request, *end),
            Event::Rejected { line, token } => self.rejected(*line, *token),
            Event::Accepted { line, token } => self.accepted(*line, *token),
            Event::CalmBegan => self.calm_since_ms = Some(self.now.timers_ms),
            Event::CalmEnded => self.calm_since_ms = None,
            Event::Leaked { place } => self.violated(Invariant::NoSecretShown, place.clone()),
            Event::Panicked { message } => self.violated(Invariant::NoPanic, message.clone()),
            Event::Ended => self.calls_left(),
        }
    }

    /// Lets the clocks go on to `at`. A step is seen by comparing them.
    fn advance(&mut self, at: Moment) {
        self.order += 1;
        let timers_ms = at.timers_ms.saturating_sub(self.now.timers_ms);
        let boot_ms = at.boot_ms.saturating_sub(self.now.boot_ms);
        let wall_ms = at.wall_ms.saturating_sub(self.now.wall_ms);
        if self.order > 1 {
            self.elapsed_ms += timers_ms.max(boot_ms).max(wall_ms);
            if at.wall_ms < self.now.wall_ms.saturating_add(boot_ms) {
                self.stepped_back = self.order;
            }
            if boot_ms != timers_ms || at.wall_ms != self.now.wall_ms.saturating_add(boot_ms) {
                self.stepped = self.order;
                self.stepped_ms = Some(at.timers_ms);
            }
        }
        self.now = at;
    }

    fn violated(&mut self, invariant: Invariant, seen: String) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(Violation { invariant, at: self.now, seen });
        }
    }

    fn line(&mut self, line: LineId) -> &mut LineBook {
        self.lines.entry(line).or_default()
    }
}
