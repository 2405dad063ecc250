//! What drives the flights of a model: `SharedSlot::token_by`, `enter`, `refresh_in_background`, `join` and `Seat`, written
//! again without tokio, which loom does not see into.
//!
//! Whoever begins a flight flies it, and in place of a channel there is a lock that the flight holds until it has landed.

use super::super::{LIFE, START, after, timed_out, token};
use crate::clock::Timeline;
use crate::runway::{Held, Runway};
use crate::slot_cell::SlotCell;
use crate::sync::{Mutex, MutexGuard, lock};
use jeton_proto::backoff::{BackoffPolicy, Failure, FailureClass};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, RefreshPolicy};
use jeton_proto::time::Moment;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex as Ledger, PoisonError};
use std::thread::panicking;
use std::time::Duration;

/// How often a caller starts over.
const MAX_ROUNDS: u32 = 8;
/// On the clock of the runway: when a flight begins, and how much later its place is given to another.
pub(super) const TAKE_OFF: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// How the driver is wrong, for the models to find that out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Does not look again, under the lock, at what made it wait.
    DecidesOnce,
    /// Frees the place before the slot has the token.
    ClearsBeforeGranting,
    /// Does not ask whether another has taken its place.
    LandsAnyway,
    /// Joins whatever is under way.
    JoinsAnything,
    /// Does not free its place when it is lost.
    LeavesItsPlaceTaken,
}

/// What a flight comes to.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// A token that nobody saw before.
    Token,
    /// One that the slot had before, unless it was asked for because an API refused that.
    SameToken(Arc<CachedToken>),
    Failure,
    /// Its task ends without landing, as it does when a runtime shuts down.
    Lost,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Granted(Arc<CachedToken>),
    Failed,
    Superseded,
    /// The sender is gone without a word.
    Lost,
}

pub(super) struct Landing {
    reason: MintReason,
    outcome: Mutex<Option<Outcome>>,
}

pub(super) type Ticket = Arc<Landing>;

pub(super) struct Shared {
    pub(super) cell: SlotCell,
    pub(super) runway: Runway<Ticket>,
    fault: Fault,
    /// Written within steps of the model, and no step itself.
    ledger: Ledger<Events>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Events {
    pub(super) begun: u64,
    pub(super) joined: u64,
    pub(super) taken_in: u64,
    /// Those among them whose place had been given to another.
    taken_in_late: u64,
    /// Forced ones that joined an unforced one.
    joined_weaker: u64,
}

pub(super) struct Seat<'a> {
    slot: &'a Shared,
    serial: u64,
    reason: MintReason,
    outcome: MutexGuard<'a, Option<Outcome>>,
}

/// One who asks for tokens, at a time on the clock of the runway.
pub(super) struct Caller {
    pub(super) slot: Arc<Shared>,
    now: Duration,
    end: End,
}

impl Shared {
    pub(super) fn new(fault: Fault) -> Arc<Self> {
        let (cell, runway) = (SlotCell::new(Timeline::Wall), Runway::new());
        Arc::new(Self { cell, runway, fault, ledger: Ledger::default() })
    }

    /// One whose token is in its advisory window by now.
    pub(super) fn with(token: &Arc<CachedToken>, fault: Fault) -> Arc<Self> {
        let slot = Self::new(fault);
        slot.cell.granted(token, MintReason::Needed, &RefreshPolicy::default(), 0.5, START).unwrap();
        slot
    }

    pub(super) fn caller(self: &Arc<Self>, end: End) -> Caller {
        Caller { slot: Arc::clone(self), now: TAKE_OFF, end }
    }

    pub(super) fn late_caller(self: &Arc<Self>) -> Caller {
        Caller { slot: Arc::clone(self), now: TAKE_OFF + PATIENCE, end: End::Token }
    }

    pub(super) fn begin<'a>(
        &'a self,
        held: &mut Held<'_, Ticket>,
        ticket: &'a Ticket,
        now: Duration,
    ) -> Seat<'a> {
        let outcome = lock(&ticket.outcome);
        let serial = held.begin(ticket.reason, Arc::clone(ticket), now + PATIENCE);
        self.record(|events| events.begun += 1);
        Seat { slot: self, serial, reason: ticket.reason, outcome }
    }

    fn record(&self, event: impl FnOnce(&mut Events)) {
        event(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What happened, when all is over. What never may is looked for here, since a panic within a step would hide it.
    pub(super) fn events(&self) -> Events {
        let events = *self.ledger.lock().unwrap();
        assert_eq!(events.taken_in_late, 0, "a superseded flight was taken in");
        assert_eq!(events.joined_weaker, 0, "a forced one joined an unforced one");
        assert!(self.runway.hold().joined(MintReason::Early, TAKE_OFF).is_none(), "a place is left taken");
        events
    }
}

impl Landing {
    pub(super) fn of(reason: MintReason) -> Ticket {
        Arc::new(Self { reason, outcome: Mutex::new(None) })
    }

    /// Waits until the flight has landed, or is lost.
    pub(super) fn wait(&self) -> Outcome {
        lock(&self.outcome).clone().unwrap()
    }
}

impl Caller {
    /// As `SharedSlot::token_by` does, with all the time in the world. That a token was given out is not noted here: the
    /// models of the swap have that.
    fn token(&self) -> Option<Arc<CachedToken>> {
        for _ in 0..MAX_ROUNDS {
            let state = self.slot.cell.load();
            match state.slot.decide(now()) {
                Decision::Serve(token) => return Some(Arc::clone(token)),
                Decision::ServeAndRefresh(token) => {
                    self.refresh();
                    return Some(Arc::clone(token));
                }
                Decision::Refuse { .. } => return None,
                Decision::RefuseAndRefresh { .. } => panic!("the way is clear here"),
                Decision::Await { .. } => {
                    if let ControlFlow::Break(end) = self.wait() {
                        return end;
                    }
                }
            }
        }
        panic!("a caller came to no end")
    }

    /// The same for one who has decided to wait, before the model begins: whatever the others do, they do it in between.
    pub(super) fn token_having_decided(&self) -> Option<Arc<CachedToken>> {
        match self.wait() {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => self.token(),
        }
    }

    fn wait(&self) -> ControlFlow<Option<Arc<CachedToken>>> {
        let Some(ticket) = self.enter(reason_to_wait) else { return ControlFlow::Continue(()) };
        match ticket.wait() {
            Outcome::Granted(token) => ControlFlow::Break(Some(token)),
            Outcome::Failed => ControlFlow::Break(None),
            Outcome::Superseded | Outcome::Lost => ControlFlow::Continue(()),
        }
    }

    /// As `SharedSlot::refresh_in_background` does.
    pub(super) fn refresh(&self) {
        self.enter(reason_to_refresh);
    }

    /// As `SharedSlot::enter` and `join` do; a flight that this begins has landed then.
    fn enter(&self, reason_to_fly: impl Fn(Decision<'_>) -> Option<MintReason>) -> Option<Ticket> {
        let slot = &self.slot;
        let mut held = slot.runway.hold();
        let reason = match slot.fault {
            Fault::DecidesOnce => MintReason::Needed,
            _ => reason_to_fly(slot.cell.load().slot.decide(now()))?,
        };
        let serving = if slot.fault == Fault::JoinsAnything { MintReason::Early } else { reason };
        if let Some(ticket) = held.joined(serving, self.now) {
            let weaker = reason == MintReason::Forced && ticket.reason != MintReason::Forced;
            slot.record(|events| {
                events.joined += 1;
                events.joined_weaker += u64::from(weaker);
            });
            return Some(ticket);
        }
        let ticket = Landing::of(reason);
        let seat = slot.begin(&mut held, &ticket, self.now);
        drop(held);
        seat.fly(self.end.clone());
        Some(ticket)
    }
}

pub(super) fn now() -> Moment {
    after(LIFE * 3 / 4)
}

fn reason_to_wait(decision: Decision<'_>) -> Option<MintReason> {
    match decision {
        Decision::Await { reason, .. } => Some(reason),
        Decision::Serve(_)
        | Decision::ServeAndRefresh(_)
        | Decision::Refuse { .. }
        | Decision::RefuseAndRefresh { .. } => None,
    }
}

fn reason_to_refresh(decision: Decision<'_>) -> Option<MintReason> {
    match decision {
        Decision::ServeAndRefresh(_) => Some(MintReason::Early),
        Decision::Await { reason, .. } => Some(reason),
        Decision::RefuseAndRefresh { .. } => Some(MintReason::Needed),
        Decision::Serve(_) | Decision::Refuse { .. } => None,
    }
}

impl Seat<'_> {
    pub(super) fn fly(self, end: End) {
        let token = match end {
            End::SameToken(token) if self.reason != MintReason::Forced => Some(token),
            End::SameToken(_) | End::Token => Some(token(&format!("flight {}", self.serial), now())),
            End::Failure => None,
            End::Lost => return,
        };
        self.land(token);
    }

    /// As `Seat::land` of a real flight does.
    fn land(mut self, brought: Option<Arc<CachedToken>>) {
        let slot = self.slot;
        let mut held = slot.runway.hold();
        let current = held.is_current(self.serial) || slot.fault == Fault::LandsAnyway;
        if slot.fault == Fault::ClearsBeforeGranting {
            held.clear(self.serial);
            drop(held);
            held = slot.runway.hold();
        }
        let outcome = match brought {
            _ if !current => Outcome::Superseded,
            Some(token) => self.granted(&token).map_or(Outcome::Superseded, Outcome::Granted),
            None => self.failed(),
        };
        held.clear(self.serial);
        drop(held);
        *self.outcome = Some(outcome);
    }

    fn granted(&self, token: &Arc<CachedToken>) -> Option<Arc<CachedToken>> {
        self.slot.record(|events| {
            events.taken_in += 1;
            events.taken_in_late += u64::from(events.begun != self.serial);
        });
        self.slot.cell.granted(token, self.reason, &RefreshPolicy::default(), 0.5, now())
    }

    fn failed(&self) -> Outcome {
        let failure = Failure { class: FailureClass::Transient, retry_after: None };
        let (with, policy) = (CredentialGeneration::default(), BackoffPolicy::default());
        self.slot.cell.failed(&timed_out(), failure, with, &policy, 1.0, now());
        Outcome::Failed
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // A model that has failed ends where it is.
        if panicking() {
            return;
        }
        if self.slot.fault != Fault::LeavesItsPlaceTaken {
            self.slot.runway.hold().clear(self.serial);
        }
        self.outcome.get_or_insert(Outcome::Lost);
    }
}
