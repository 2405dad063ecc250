//! Machines that break one rule each.

use jeton_proto::backoff::{BackoffPolicy, Failure, FailureClass};
use jeton_proto::breaker::{Breaker, BreakerPolicy, Outlook, Passage, Phase};
use jeton_proto::gate::{CredentialGeneration, Gate};
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, RefreshPolicy, Slot, TokenId, Way};
use jeton_proto::quota::{QuotaExhausted, QuotaPolicy};
use jeton_proto::replay::Replay;
use jeton_proto::time::Moment;
use sim::machines::engine::Engine;
use sim::machines::law::Law;
use sim::machines::runs::run_one;
use sim::machines::world::Outcome;
use std::sync::Arc;
use std::time::Duration;

/// A broken machine, and the law that it breaks.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) law: Law,
    pub(crate) run: fn(u64) -> Outcome,
}

const fn broken(name: &'static str, law: Law, run: fn(u64) -> Outcome) -> Broken {
    Broken { name, law, run }
}

pub(crate) const BROKEN: &[Broken] = &[
    broken("a token is given out for a second too long", Law::Expiry, |seed| run_one(seed, ASecondMore)),
    broken("a failure drops the token", Law::KeepsGoodToken, |seed| run_one(seed, FailureDrops)),
    broken("a late rejection drops a newer token", Law::KeepsGoodToken, |seed| run_one(seed, LateRejection)),
    broken("a shorter life takes the place of a longer", Law::KeepsGoodToken, |seed| run_one(seed, AnyNewer)),
    broken("a rejection is not heard", Law::RejectedStaysAway, |seed| run_one(seed, DeafToRejections)),
    broken("every rejection is believed", Law::OneForcedMint, |seed| run_one(seed, NoProbation)),
    broken("a margin of five minutes for every life", Law::HalfLife, |seed| run_one(seed, FixedMargin)),
    broken("the same token is asked for again", Law::HalfLife, |seed| run_one(seed, AnyNewer)),
    broken("nothing is renewed ahead", Law::RenewsAhead, |seed| run_one(seed, NothingAhead)),
    broken("the advisory time is drawn at every look", Law::OneAnswer, |seed| {
        run_one(seed, Rerolled(fastrand::Rng::with_seed(seed)))
    }),
    broken("a pause of the server is of one key", Law::RetryAfter, |seed| run_one(seed, PauseOfOneKey)),
    broken("a refused client is not remembered", Law::TerminalRemembered, |seed| run_one(seed, Forgetful)),
    broken("a refused scope is not remembered", Law::TerminalRemembered, |seed| run_one(seed, AllTransient)),
    broken("all try a credential that was refused", Law::OneTrial, |seed| run_one(seed, AllTry)),
    broken("no pause after a failure", Law::Backoff, |seed| run_one(seed, NoPause)),
    broken("a window of the breaker is cut short", Law::BreakerWindow, |seed| run_one(seed, ShortWindow)),
    broken("a half-open breaker lets two through", Law::OneProbe, |seed| run_one(seed, TwoProbes)),
    broken("the quota is not debited", Law::Quota, |seed| run_one(seed, FreeQuota)),
    broken("a refusal is never forgotten", Law::CauseForRefusal, |seed| {
        run_one(seed, Unforgiving::default())
    }),
    broken("a refused turn does not note the time", Law::CauseForRefusal, |seed| {
        run_one(seed, TimelessQuota)
    }),
    broken("a used-up quota stays so", Law::Recovery, |seed| run_one(seed, LeakyQuota::default())),
    broken("a refused call is sent again with its token", Law::ReplayWithAnother, |seed| {
        run_one(seed, SameAgain)
    }),
    broken("a clock that steps back panics", Law::NoPanic, |seed| run_one(seed, Panics)),
];

struct ASecondMore;

impl Engine for ASecondMore {
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        let lives = |token: &&Arc<CachedToken>| {
            let age = now.since(token.obtained()).unwrap_or_default();
            age >= token.lifetime() && age < token.lifetime() + Duration::from_secs(1)
        };
        slot.token().filter(lives).map_or_else(|| slot.decide_on(way, now), Decision::Serve)
    }
}

struct FailureDrops;

impl Engine for FailureDrops {
    fn failed(
        &mut self,
        _: &Slot,
        failure: Failure,
        policy: &BackoffPolicy,
        jitter: f64,
        now: Moment,
    ) -> Slot {
        Slot::default().failed(failure, policy, jitter, now)
    }
}

struct LateRejection;

impl Engine for LateRejection {
    fn rejected(&mut self, slot: &Slot, id: TokenId, now: Moment) -> Slot {
        slot.rejected(slot.token().map_or(id, |token| token.id()), now)
    }
}

struct AnyNewer;

impl Engine for AnyNewer {
    fn granted(
        &mut self,
        _: &Slot,
        token: Arc<CachedToken>,
        reason: MintReason,
        (policy, jitter): (&RefreshPolicy, f64),
        now: Moment,
    ) -> Slot {
        Slot::default().granted(token, reason, policy, jitter, now)
    }
}

struct DeafToRejections;

impl Engine for DeafToRejections {
    fn rejected(&mut self, slot: &Slot, _: TokenId, _: Moment) -> Slot {
        slot.clone()
    }
}

struct NoProbation;

impl Engine for NoProbation {
    fn rejected(&mut self, slot: &Slot, id: TokenId, now: Moment) -> Slot {
        slot.accepted(id).rejected(id, now)
    }
}

struct FixedMargin;

impl Engine for FixedMargin {
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        match slot.decide_on(way, now) {
            Decision::Serve(token) if token.left(now) < Duration::from_secs(300) => {
                Decision::Await { reason: MintReason::Needed, backup: Some(token) }
            }
            decision => decision,
        }
    }
}

struct NothingAhead;

impl Engine for NothingAhead {
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        match slot.decide_on(way, now) {
            Decision::ServeAndRefresh(token) | Decision::Await { backup: Some(token), .. } => {
                Decision::Serve(token)
            }
            decision => decision,
        }
    }
}

struct Rerolled(fastrand::Rng);

impl Engine for Rerolled {
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        match slot.decide_on(way, now) {
            Decision::ServeAndRefresh(token) if self.0.bool() => Decision::Serve(token),
            decision => decision,
        }
    }
}

struct PauseOfOneKey;

impl Engine for PauseOfOneKey {
    fn gate_failed(
        &mut self,
        gate: &Gate,
        failure: Failure,
        with: CredentialGeneration,
        (policy, jitter): (&BackoffPolicy, f64),
        now: Moment,
    ) -> Gate {
        gate.failed(Failure { retry_after: None, ..failure }, with, policy, jitter, now)
    }
}

struct Forgetful;

impl Engine for Forgetful {
    fn gate_failed(
        &mut self,
        gate: &Gate,
        failure: Failure,
        with: CredentialGeneration,
        (policy, jitter): (&BackoffPolicy, f64),
        now: Moment,
    ) -> Gate {
        gate.failed(failure, with, policy, jitter, now).granted(with)
    }
}

struct AllTransient;

impl Engine for AllTransient {
    fn failed(
        &mut self,
        slot: &Slot,
        failure: Failure,
        policy: &BackoffPolicy,
        jitter: f64,
        now: Moment,
    ) -> Slot {
        let class = match failure.class {
            FailureClass::Terminal => FailureClass::Transient,
            class => class,
        };
        slot.failed(Failure { class, ..failure }, policy, jitter, now)
    }
}

struct NoPause;

impl Engine for NoPause {
    fn failed(&mut self, slot: &Slot, _: Failure, _: &BackoffPolicy, _: f64, _: Moment) -> Slot {
        slot.clone()
    }
}

struct ShortWindow;

impl ShortWindow {
    /// Before it is so.
    fn later(breaker: &Breaker, policy: &BreakerPolicy, now: Moment) -> Moment {
        match breaker.phase() {
            Phase::Open => now.saturating_add(policy.longest_window()),
            Phase::Closed | Phase::HalfOpen => now,
        }
    }
}

impl Engine for ShortWindow {
    fn outlook(&mut self, breaker: &Breaker, policy: &BreakerPolicy, now: Moment) -> Outlook {
        breaker.outlook(policy, Self::later(breaker, policy, now))
    }

    fn admit(
        &mut self,
        breaker: &Breaker,
        policy: &BreakerPolicy,
        now: Moment,
    ) -> Option<(Breaker, Passage)> {
        breaker.admit(policy, Self::later(breaker, policy, now))
    }
}

struct TwoProbes;

impl Engine for TwoProbes {
    fn outlook(&mut self, breaker: &Breaker, policy: &BreakerPolicy, now: Moment) -> Outlook {
        match breaker.phase() {
            Phase::HalfOpen => Outlook::Clear,
            Phase::Closed | Phase::Open => breaker.outlook(policy, now),
        }
    }

    fn admit(
        &mut self,
        breaker: &Breaker,
        policy: &BreakerPolicy,
        now: Moment,
    ) -> Option<(Breaker, Passage)> {
        match breaker.phase() {
            Phase::HalfOpen => Some((*breaker, Passage::Ordinary)),
            Phase::Closed | Phase::Open => breaker.admit(policy, now),
        }
    }
}

struct FreeQuota;

impl Engine for FreeQuota {
    fn reserve(
        &mut self,
        gate: &Gate,
        _: &QuotaPolicy,
        _: Duration,
        _: Moment,
    ) -> (Gate, Result<Duration, QuotaExhausted>) {
        (*gate, Ok(Duration::ZERO))
    }
}

/// As the quota was once: after a step back, who asks in vain does so until the clock is where it was.
struct TimelessQuota;

impl Engine for TimelessQuota {
    fn reserve(
        &mut self,
        gate: &Gate,
        policy: &QuotaPolicy,
        patience: Duration,
        now: Moment,
    ) -> (Gate, Result<Duration, QuotaExhausted>) {
        match gate.reserve(policy, patience, now) {
            (_, Err(exhausted)) => (*gate, Err(exhausted)),
            granted => granted,
        }
    }
}

struct AllTry;

impl Engine for AllTry {
    fn gate_sent(&mut self, gate: &Gate, _: CredentialGeneration, _: Duration, _: Moment) -> Gate {
        *gate
    }
}

#[derive(Default)]
struct LeakyQuota(Option<QuotaExhausted>);

impl Engine for LeakyQuota {
    fn reserve(
        &mut self,
        gate: &Gate,
        policy: &QuotaPolicy,
        patience: Duration,
        now: Moment,
    ) -> (Gate, Result<Duration, QuotaExhausted>) {
        let (gate, turn) = gate.reserve(policy, patience, now);
        self.0 = self.0.or(turn.err());
        (gate, self.0.map_or(turn, Err))
    }
}

#[derive(Default)]
struct Unforgiving(Option<CredentialGeneration>);

impl Engine for Unforgiving {
    fn closed_for(&mut self, gate: &Gate, with: CredentialGeneration, now: Moment) -> Option<Duration> {
        if gate.refused_for(with, now).is_some() {
            self.0 = Some(with);
        }
        gate.closed_for(with, now).or((self.0 == Some(with)).then_some(Duration::from_secs(30)))
    }
}

struct SameAgain;

impl Engine for SameAgain {
    fn replay(&mut self, _: TokenId, _: Option<TokenId>) -> Replay {
        Replay::Once
    }
}

struct Panics;

impl Engine for Panics {
    fn decide<'a>(&mut self, slot: &'a Slot, way: Way, now: Moment) -> Decision<'a> {
        let wall = |moment: Moment| Duration::from_millis(moment.wall().as_unix_millis());
        if let Some(token) = slot.token() {
            assert!(wall(now).checked_sub(wall(token.obtained())).is_some(), "overflow");
        }
        slot.decide_on(way, now)
    }
}
