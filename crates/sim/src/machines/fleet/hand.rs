//! One process, its share of each key, and its flights.

use crate::machines::clocks::{Clocks, Reading};
use jeton_proto::flight::{Action, Event, Flight, Sequence, Version, Wish};
use jeton_proto::lifecycle::{Decision, MintReason, Slot, TokenId};
use jeton_proto::time::Moment;

/// A process' share of one key.
#[derive(Debug, Default)]
pub struct Hand {
    /// The token in hand.
    pub slot: Slot,
    /// Its place among the tokens of its key, where it was shared.
    pub sequence: Option<Sequence>,
    /// The place of the newest token that was seen in the store.
    pub newest: Sequence,
    /// The version that the store is believed to hold.
    pub seen: Option<Version>,
    /// The flight that is under way, and why it began.
    pub flight: Option<(u64, MintReason)>,
}

/// What a caller hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The token that it may have.
    pub token: Option<TokenId>,
    /// Why a flight is wanted, if one is.
    pub wants: Option<MintReason>,
}

impl Hand {
    /// What a caller hears now.
    pub fn ask(&self, now: Moment) -> Answer {
        match self.slot.decide(now) {
            Decision::Serve(token) => Answer { token: Some(token.id()), wants: None },
            Decision::ServeAndRefresh(token) => {
                Answer { token: Some(token.id()), wants: Some(MintReason::Early) }
            }
            Decision::Await { reason, backup } => {
                Answer { token: backup.map(|token| token.id()), wants: Some(reason) }
            }
            Decision::Refuse { .. } => Answer { token: None, wants: None },
            Decision::RefuseAndRefresh { reason, .. } => Answer { token: None, wants: Some(reason) },
        }
    }

    /// Whether the flight under way, if there is one, serves `reason` too (trap T9).
    pub fn is_served(&self, reason: MintReason) -> bool {
        self.flight.is_some_and(|(_, begun_for)| match reason {
            MintReason::Early | MintReason::Needed => true,
            MintReason::Forced => begun_for == MintReason::Forced,
        })
    }

    /// What a flight is to know.
    pub fn wish(&self, reason: MintReason) -> Wish {
        Wish {
            held: self.slot.token().cloned(),
            held_sequence: self.sequence,
            seen: self.seen,
            newest: self.newest,
            ..Wish::new(reason)
        }
    }
}

/// One process.
#[derive(Debug)]
pub struct Process {
    /// Counts its lives: what was sent in an earlier one concerns it no more.
    pub incarnation: u32,
    /// Its clocks.
    pub clocks: Clocks,
    /// By how much its wall clock is off the true time.
    pub off_ms: i64,
    /// Until when it is held still.
    pub frozen_until_ms: u64,
    /// Until when it does not reach the store.
    pub cut_off_until_ms: u64,
    /// Its share of each key.
    pub hands: Vec<Hand>,
}

impl Process {
    /// One that has just begun.
    pub fn new(clocks: Clocks, keys: usize) -> Self {
        let hands = std::iter::repeat_with(Hand::default).take(keys).collect();
        Self { incarnation: 0, clocks, off_ms: 0, frozen_until_ms: 0, cut_off_until_ms: 0, hands }
    }

    /// What its clocks show at `true_ms`.
    pub fn reading(&mut self, true_ms: u64) -> Reading {
        self.clocks.go_on_to(true_ms.max(self.clocks.true_ms()));
        self.clocks.reading()
    }

    /// It begins anew, and knows nothing.
    pub fn restart(&mut self) {
        self.incarnation += 1;
        self.frozen_until_ms = 0;
        let keys = self.hands.len();
        self.hands = std::iter::repeat_with(Hand::default).take(keys).collect();
    }
}

/// Whether a flight has met anything that excuses one more token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// Nothing went wrong.
    Undisturbed,
    /// Something did.
    Disturbed,
}

/// A flight under way.
#[derive(Debug)]
pub struct Flying {
    /// Whose.
    pub process: usize,
    /// In which of its lives.
    pub incarnation: u32,
    /// For which key.
    pub key: usize,
    /// Why.
    pub reason: MintReason,
    /// The token that its caller rejected.
    pub rejects: Option<TokenId>,
    /// The machine.
    pub flight: Flight,
    /// The place of the newest token that its process had seen.
    pub newest: Sequence,
    /// When it began, in true time.
    pub begun_ms: u64,
    /// For how long its process was held still meanwhile.
    pub frozen_ms: u64,
    /// What went wrong.
    pub luck: Luck,
    /// Counts its waits, so that a wake-up for an earlier one is told from one for this.
    pub waits: u32,
    /// The wait that it is in.
    pub follows: Option<u32>,
    /// What the clocks showed when the token was asked for, with the true time.
    pub asked: Option<(Reading, u64)>,
    /// The store's clock when the lease was taken.
    pub leased_by_store_ms: Option<u64>,
    /// The place of the token that it shares, whether or not that is known to have gone well.
    pub place: Option<Sequence>,
    /// The version that it last wrote with a lease.
    pub lease: Option<Version>,
    /// Whether the lease is being prolonged: until that is done the fence is not known.
    pub prolonging: bool,
    /// What the server said meanwhile.
    pub held_back: Option<Event>,
    /// How long the lease lasts that it was last told of, and when.
    pub told_left_ms: Option<u64>,
}

/// What a flight asks the store for.
#[derive(Clone, Debug)]
pub enum Question {
    /// What the machine said.
    Said(Action),
    /// Its driver prolongs the lease.
    Prolong(Version),
}
