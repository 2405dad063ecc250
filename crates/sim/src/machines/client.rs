//! The least that drives the machines: what the client crate does around them, without tasks, sockets and time.

use super::engine::{Engine, Policies};
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::{Breaker, Outlook, Passage, Verdict};
use jeton_proto::gate::{CredentialGeneration, Gate};
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, Slot, TokenId, Way};
use jeton_proto::quota::QuotaExhausted;
use jeton_proto::replay::Replay;
use jeton_proto::secret::Secret;
use jeton_proto::time::Moment;
use jeton_proto::wire::token_response::ExpiresIn;
use std::sync::Arc;
use std::time::Duration;

/// For how many of the breaker's longest windows a fault is recent; as in the client crate.
const RECENT_WINDOWS: u32 = 2;

/// What a caller of one key hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The token that it may have, at once or as a backup.
    pub token: Option<TokenId>,
    /// Why a request is wanted, if one is.
    pub wants: Option<MintReason>,
}

/// A request that is under way, or waits for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Which of the client.
    pub serial: u64,
    /// Why.
    pub reason: MintReason,
}

impl Flight {
    /// A forced one never joins an unforced one, which may bring a token from before the rejection (trap T9).
    fn serves(self, reason: MintReason) -> bool {
        match reason {
            MintReason::Early | MintReason::Needed => true,
            MintReason::Forced => self.reason == MintReason::Forced,
        }
    }
}

/// Leave to send a request.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// With which credential.
    pub with: CredentialGeneration,
    /// By leave of the breaker.
    pub passage: Passage,
}

/// What is granted, before it is judged.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token.
    pub text: String,
    /// Its life, if that was told.
    pub expires_in: ExpiresIn,
    /// When it was asked for.
    pub sent: Moment,
}

/// A grant, as it was taken.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// Into the slot, with this life.
    In {
        /// How long it lives from when it was asked for.
        life: Duration,
    },
    /// It had expired: a failure.
    Expired {
        /// Whether the slot was told, or another flight had taken the place.
        slot_saw: bool,
    },
    /// Another flight has taken the place of the one that brought it: the slot does not see it.
    Superseded,
}

#[derive(Debug)]
struct Key {
    slot: Slot,
    flight: Option<Flight>,
    failed_with: CredentialGeneration,
}

/// One client with several keys.
#[derive(Debug)]
pub struct Client<E> {
    engine: E,
    policies: Policies,
    keys: Vec<Key>,
    gate: Gate,
    breaker: Breaker,
    generation: CredentialGeneration,
    serials: u64,
    jitter: fastrand::Rng,
}

impl<E: Engine> Client<E> {
    /// A client that knows nothing yet.
    pub fn new(engine: E, policies: Policies, keys: usize, jitter_seed: u64) -> Self {
        let key =
            || Key { slot: Slot::default(), flight: None, failed_with: CredentialGeneration::default() };
        Self {
            engine,
            policies,
            keys: std::iter::repeat_with(key).take(keys).collect(),
            gate: Gate::default(),
            breaker: Breaker::default(),
            generation: CredentialGeneration::default(),
            serials: 0,
            jitter: fastrand::Rng::with_seed(jitter_seed),
        }
    }

    /// The credential in force.
    pub fn generation(&self) -> CredentialGeneration {
        self.generation
    }

    /// Puts the next credential in force.
    pub fn replace_credential(&mut self) {
        self.generation = self.generation.next();
    }

    /// What a caller hears now. Nothing is begun.
    pub fn ask(&mut self, key: usize, now: Moment) -> Answer {
        let way = self.way(now);
        let nothing = Answer { token: None, wants: None };
        let Some(key) = self.keys.get_mut(key) else { return nothing };
        if key.slot.has_failed() && key.failed_with < self.generation {
            key.slot = self.engine.credential_replaced(&key.slot);
        }
        match self.engine.decide(&key.slot, way, now) {
            Decision::Serve(token) => Answer { token: Some(token.id()), wants: None },
            Decision::ServeAndRefresh(token) => {
                Answer { token: Some(token.id()), wants: Some(MintReason::Early) }
            }
            Decision::Await { reason, backup } => {
                Answer { token: backup.map(|token| token.id()), wants: Some(reason) }
            }
            Decision::Refuse { .. } => nothing,
            Decision::RefuseAndRefresh { reason, .. } => Answer { token: None, wants: Some(reason) },
        }
    }

    fn way(&mut self, now: Moment) -> Way {
        let closed_for = self.engine.closed_for(&self.gate, self.generation, now);
        let recent = self.policies.breaker.longest_window().saturating_mul(RECENT_WINDOWS);
        match (self.engine.outlook(&self.breaker, &self.policies.breaker, now), closed_for) {
            (Outlook::Closed { retry_after }, closed_for) => {
                Way::Closed { retry_after: retry_after.max(closed_for.unwrap_or_default()) }
            }
            (Outlook::Clear | Outlook::Probe { .. }, Some(retry_after)) => Way::Closed { retry_after },
            (Outlook::Probe { last_fault }, None) if last_fault < recent => Way::Doubtful,
            (Outlook::Clear | Outlook::Probe { .. }, None) => Way::Clear,
        }
    }

    /// The flight that is under way.
    pub fn under_way(&self, key: usize) -> Option<Flight> {
        self.keys.get(key).and_then(|key| key.flight)
    }

    /// Begins a flight unless one is under way that serves `reason`; gives it and the time until its turn.
    ///
    /// # Errors
    /// [`QuotaExhausted`], when there is no turn in time.
    pub fn begin(
        &mut self,
        key: usize,
        reason: MintReason,
        patience: Duration,
        now: Moment,
    ) -> Result<Option<(Flight, Duration)>, QuotaExhausted> {
        let Some(key) = self.keys.get_mut(key) else { return Ok(None) };
        if key.flight.is_some_and(|flight| flight.serves(reason)) {
            return Ok(None);
        }
        let (gate, turn) = self.engine.reserve(&self.gate, &self.policies.quota, patience, now);
        self.gate = gate;
        let turn = turn?;
        self.serials += 1;
        let flight = Flight { serial: self.serials, reason };
        key.flight = Some(flight);
        Ok(Some((flight, turn)))
    }

    fn is_current(&self, key: usize, serial: u64) -> bool {
        self.under_way(key).is_some_and(|flight| flight.serial == serial)
    }

    /// Its turn has come: leave to send the request, or nothing, and the flight is over.
    pub fn depart(&mut self, key: usize, serial: u64, now: Moment) -> Option<Departure> {
        if !self.is_current(key, serial) {
            return None;
        }
        let with = self.generation;
        let admitted = match self.engine.closed_for(&self.gate, with, now) {
            Some(_) => None,
            None => self.engine.admit(&self.breaker, &self.policies.breaker, now),
        };
        let Some((breaker, passage)) = admitted else {
            self.clear(key, serial);
            return None;
        };
        self.breaker = breaker;
        self.gate = self.engine.gate_sent(&self.gate, with, self.policies.breaker.probe_time(), now);
        Some(Departure { with, passage })
    }

    fn clear(&mut self, key: usize, serial: u64) {
        if let Some(key) = self.keys.get_mut(key)
            && key.flight.is_some_and(|flight| flight.serial == serial)
        {
            key.flight = None;
        }
    }

    /// A token arrived for the flight.
    pub fn granted(
        &mut self,
        key: usize,
        flight: Flight,
        departure: Departure,
        grant: Grant,
        now: Moment,
    ) -> Taken {
        let token = self.judged(key, grant, now);
        let Some(token) = token else {
            let failure = Failure { class: FailureClass::Transient, retry_after: None };
            let slot_saw = self.failed(key, flight.serial, departure, failure, Verdict::Answered, now);
            return Taken::Expired { slot_saw };
        };
        let jitter = self.jitter.f64();
        self.gate = self.engine.gate_granted(&self.gate, departure.with);
        self.settle(departure.passage, Verdict::Answered, now);
        if !self.is_current(key, flight.serial) {
            return Taken::Superseded;
        }
        self.clear(key, flight.serial);
        let life = token.lifetime();
        let Some(key) = self.keys.get_mut(key) else { return Taken::Superseded };
        key.slot =
            self.engine.granted(&key.slot, token, flight.reason, (&self.policies.refresh, jitter), now);
        Taken::In { life }
    }

    fn judged(&self, key: usize, grant: Grant, now: Moment) -> Option<Arc<CachedToken>> {
        let slot = &self.keys.get(key)?.slot;
        let id = TokenId::of(&grant.text);
        let life = slot.lifetime_of(id, grant.expires_in, &self.policies.refresh, grant.sent)?;
        let token = CachedToken::new(Secret::new(grant.text), None, grant.sent, life).ok()?;
        (!token.left(now).is_zero()).then(|| Arc::new(token))
    }

    /// The flight's request failed. Whether the slot saw it.
    pub fn failed(
        &mut self,
        key: usize,
        serial: u64,
        departure: Departure,
        failure: Failure,
        verdict: Verdict,
        now: Moment,
    ) -> bool {
        let jitter = self.jitter.f64();
        self.gate = self.engine.gate_failed(
            &self.gate,
            failure,
            departure.with,
            (&self.policies.backoff, jitter),
            now,
        );
        self.settle(departure.passage, verdict, now);
        if !self.is_current(key, serial) {
            return false;
        }
        self.clear(key, serial);
        let Some(key) = self.keys.get_mut(key) else { return false };
        let jitter = self.jitter.f64();
        key.slot = self.engine.failed(&key.slot, failure, &self.policies.backoff, jitter, now);
        key.failed_with = departure.with;
        true
    }

    /// The flight was given up on this side: nothing is known of the server.
    pub fn abandoned(&mut self, key: usize, serial: u64, departure: Departure, now: Moment) {
        self.gate = self.engine.gate_given_up(&self.gate, departure.with);
        self.settle(departure.passage, Verdict::Abandoned, now);
        self.clear(key, serial);
    }

    fn settle(&mut self, passage: Passage, verdict: Verdict, now: Moment) {
        let jitter = self.jitter.f64();
        self.breaker =
            self.engine.settled(&self.breaker, (passage, verdict), &self.policies.breaker, jitter, now);
    }

    /// An API refused the token.
    pub fn rejected(&mut self, key: usize, id: TokenId, now: Moment) {
        if let Some(key) = self.keys.get_mut(key) {
            key.slot = self.engine.rejected(&key.slot, id, now);
        }
    }

    /// An API took the token.
    pub fn accepted(&mut self, key: usize, id: TokenId) {
        if let Some(key) = self.keys.get_mut(key) {
            key.slot = self.engine.accepted(&key.slot, id);
        }
    }

    /// Whether a call that was refused with `refused` is sent again with `now_held`.
    pub fn replay(&mut self, refused: TokenId, now_held: Option<TokenId>) -> Replay {
        self.engine.replay(refused, now_held)
    }
}
