//! The machines of `jeton-proto` behind one trait, so that tests can break one rule at a time.

use jeton_proto::backoff::{BackoffPolicy, Failure};
use jeton_proto::breaker::{Breaker, BreakerPolicy, Outlook, Passage, Verdict};
use jeton_proto::gate::{CredentialGeneration, Gate};
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, RefreshPolicy, Slot, TokenId, Way};
use jeton_proto::quota::{QuotaExhausted, QuotaPolicy};
use jeton_proto::replay::{self, Replay, Replayability};
use jeton_proto::time::Moment;
use std::sync::Arc;
use std::time::Duration;

/// What the machines are set to.
#[derive(Clone, Debug)]
pub struct Policies {
    /// When tokens are renewed.
    pub refresh: RefreshPolicy,
    /// How long to pause after a failure.
    pub backoff: BackoffPolicy,
    /// When the endpoint counts as down.
    pub breaker: BreakerPolicy,
    /// How many requests may go.
    pub quota: QuotaPolicy,
}

/// The decisions that a client asks for. Each default is the real machine; an engine that overrides none is the real one.
pub trait Engine {
    /// What to do with a slot now.
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        slot.decide_on(way, now)
    }

    /// A token arrived.
    fn granted(
        &mut self,
        slot: &Slot,
        token: Arc<CachedToken>,
        reason: MintReason,
        (policy, jitter): (&RefreshPolicy, f64),
        now: Moment,
    ) -> Slot {
        slot.granted(token, reason, policy, jitter, now)
    }

    /// A token request failed, as far as its slot is concerned.
    fn failed(
        &mut self,
        slot: &Slot,
        failure: Failure,
        policy: &BackoffPolicy,
        jitter: f64,
        now: Moment,
    ) -> Slot {
        slot.failed(failure, policy, jitter, now)
    }

    /// An API refused a token.
    fn rejected(&mut self, slot: &Slot, id: TokenId, now: Moment) -> Slot {
        slot.rejected(id, now)
    }

    /// An API took a token.
    fn accepted(&mut self, slot: &Slot, id: TokenId) -> Slot {
        slot.accepted(id)
    }

    /// The credential was replaced, as far as a slot is concerned.
    fn credential_replaced(&mut self, slot: &Slot) -> Slot {
        slot.credential_replaced()
    }

    /// How long the gate is closed.
    fn closed_for(&mut self, gate: &Gate, with: CredentialGeneration, now: Moment) -> Option<Duration> {
        gate.closed_for(with, now)
    }

    /// A turn in the quota.
    fn reserve(
        &mut self,
        gate: &Gate,
        policy: &QuotaPolicy,
        patience: Duration,
        now: Moment,
    ) -> (Gate, Result<Duration, QuotaExhausted>) {
        gate.reserve(policy, patience, now)
    }

    /// A token request failed, as far as its client is concerned.
    fn gate_failed(
        &mut self,
        gate: &Gate,
        failure: Failure,
        with: CredentialGeneration,
        (policy, jitter): (&BackoffPolicy, f64),
        now: Moment,
    ) -> Gate {
        gate.failed(failure, with, policy, jitter, now)
    }

    /// A request is sent, as far as its client is concerned.
    fn gate_sent(&mut self, gate: &Gate, with: CredentialGeneration, at_most: Duration, now: Moment) -> Gate {
        gate.sent(with, at_most, now)
    }

    /// It was given up, as far as its client is concerned.
    fn gate_given_up(&mut self, gate: &Gate, with: CredentialGeneration) -> Gate {
        gate.given_up(with)
    }

    /// A token was granted, as far as its client is concerned.
    fn gate_granted(&mut self, gate: &Gate, with: CredentialGeneration) -> Gate {
        gate.granted(with)
    }

    /// What the breaker says.
    fn outlook(&mut self, breaker: &Breaker, policy: &BreakerPolicy, now: Moment) -> Outlook {
        breaker.outlook(policy, now)
    }

    /// Leave to send one request.
    fn admit(
        &mut self,
        breaker: &Breaker,
        policy: &BreakerPolicy,
        now: Moment,
    ) -> Option<(Breaker, Passage)> {
        breaker.admit(policy, now)
    }

    /// What came of it.
    fn settled(
        &mut self,
        breaker: &Breaker,
        (passage, verdict): (Passage, Verdict),
        policy: &BreakerPolicy,
        jitter: f64,
        now: Moment,
    ) -> Breaker {
        breaker.settled(passage, verdict, policy, jitter, now)
    }

    /// Whether a refused call is sent again.
    fn replay(&mut self, refused: TokenId, now_held: Option<TokenId>) -> Replay {
        replay::decide(&refused, now_held.as_ref(), Replayability::Replayable)
    }
}

/// The machines as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sound;

impl Engine for Sound {}
