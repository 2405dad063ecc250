//! Where everything that happens in a world is told: to the checker, to the hash, and to the trace.

use crate::checker::{Checker, Rules, Violation};
use crate::clock::WorldClock;
use crate::event::Event;
use crate::fault::{FaultCounts, FaultKind};
use jeton::TokenId;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether what happens is kept as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// It is hashed alone.
    #[default]
    Hashed,
    /// Every event is a line.
    Kept,
}

/// The journal of one world.
#[derive(Debug)]
pub struct Journal {
    clock: Arc<WorldClock>,
    state: Mutex<State>,
    calls: AtomicU64,
    requests: AtomicU64,
}

#[derive(Debug)]
struct State {
    checker: Checker,
    trace_hash: u64,
    lines: Option<Vec<String>>,
    faults: FaultCounts,
    token_requests: u64,
    tokens: HashMap<TokenId, u32>,
}

/// What a journal says at the end.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The same for the same events.
    pub trace_hash: u64,
    /// The events as text, where they were kept.
    pub lines: Vec<String>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// The faults.
    pub faults: FaultCounts,
    /// How many calls there were.
    pub calls: u64,
    /// How many token requests there were.
    pub token_requests: u64,
}

impl Journal {
    /// An empty journal.
    pub fn new(clock: Arc<WorldClock>, rules: Rules, trace: Trace) -> Arc<Self> {
        let state = State {
            checker: Checker::new(rules),
            trace_hash: 0,
            lines: match trace {
                Trace::Hashed => None,
                Trace::Kept => Some(Vec::new()),
            },
            faults: FaultCounts::default(),
            token_requests: 0,
            tokens: HashMap::new(),
        };
        Arc::new(Self {
            clock,
            state: Mutex::new(state),
            calls: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    /// The clock of the world.
    pub fn clock(&self) -> &Arc<WorldClock> {
        &self.clock
    }

    /// Notes what happens now.
    pub fn record(&self, event: &Event) {
        let now = self.clock.moment();
        let mut state = self.state();
        // A sum, because the order within one millisecond is not all the seed's: see `usher`.
        let mut hasher = DefaultHasher::new();
        (now, event).hash(&mut hasher);
        state.trace_hash = state.trace_hash.wrapping_add(hasher.finish());
        match event {
            Event::Fault(kind) => state.faults.add(*kind),
            Event::RequestSent { .. } => state.token_requests += 1,
            _ => {}
        }
        let before = state.checker.violations().len();
        state.checker.observe(now, event);
        let State { checker, lines, .. } = &mut *state;
        if let Some(lines) = lines {
            lines.push(format!("{:>10} {event}", now.timers_ms));
            let broken = checker.violations().iter().skip(before);
            lines.extend(broken.map(|violation| format!("{:>10} !! {violation}", now.timers_ms)));
        }
    }

    /// Adds a line to the trace that is no event: what helps to read it.
    pub fn remark(&self, remark: &dyn std::fmt::Display) {
        let now = self.clock.moment();
        if let Some(lines) = &mut self.state().lines {
            lines.push(format!("{:>10}   ({remark})", now.timers_ms));
        }
    }

    /// Notes that a fault took effect.
    pub fn fault(&self, kind: FaultKind) {
        self.record(&Event::Fault(kind));
    }

    /// The number of a new call.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a new token request.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a token: tokens are random, their numbers are not.
    pub fn number_of(&self, token: TokenId) -> u32 {
        let tokens = &mut self.state().tokens;
        let next = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        *tokens.entry(token).or_insert(next)
    }

    /// The numbers of the last `count` tokens that were seen.
    pub fn newest_tokens(&self, count: u32) -> std::ops::Range<u32> {
        let seen = u32::try_from(self.state().tokens.len()).unwrap_or(u32::MAX);
        seen.saturating_sub(count)..seen
    }

    /// What there is to say.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        Summary {
            trace_hash: state.trace_hash,
            lines: state.lines.clone().unwrap_or_default(),
            violations: state.checker.violations().to_vec(),
            faults: state.faults.clone(),
            calls: self.calls.load(Ordering::Relaxed),
            token_requests: state.token_requests,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
