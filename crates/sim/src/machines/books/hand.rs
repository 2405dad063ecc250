//! The token in hand of one key: for how long it is good, and when the next may be asked for.

use super::is_forced;
use crate::machines::client::Answer;
use crate::machines::clocks::{Clocks, Reading};
use crate::machines::findings::Findings;
use crate::machines::law::Law;
use crate::machines::setting::Numbers;
use jeton_proto::lifecycle::{MAX_LIFETIME, MintReason, TokenId};
use std::time::Duration;

/// Between two mints of a key lies this, or the life where that is less.
const LEAST_GAP_MS: u64 = 1000;
const LONGEST_PROBATION_MS: u64 = 60_000;
/// At this part of its life, in hundredths, the next token is asked for at the latest.
const LATEST_ADVISORY_PERCENT: u64 = 80;

/// A token that went into the slot.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// Whose.
    pub id: TokenId,
    /// Why it was asked for.
    pub reason: MintReason,
    /// When it was asked for, by the client's clocks.
    pub asked: Reading,
    /// And in truth.
    pub asked_true_ms: u64,
    /// The life that the server stated.
    pub told_ms: Option<u64>,
    /// When it dies in truth, unless what was stated is false.
    pub dies_at_ms: Option<u64>,
    /// The life that the client believes.
    pub believed: Duration,
}

/// How far a rejection is believed.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Ordinary,
    OnProbation { since: Reading, span_ms: u64 },
    Reissued,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToldBy {
    Server,
    Nobody,
}

/// Whether the server has shown that it has nothing better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    Possible,
    NotBeforeTheEnd,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    id: TokenId,
    since: Reading,
    life_ms: u64,
    told_by: ToldBy,
    successor: Successor,
    standing: Standing,
    is_rejected: bool,
    asked_true_ms: u64,
    dies_at_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Hand(Option<Token>);

impl Token {
    /// Good as far as the client's clocks can tell: a clock that cannot be right proves nothing.
    fn is_good(&self, now: Reading) -> bool {
        now.passed_since(self.since).is_none_or(|age| age < self.life_ms)
    }

    fn left_ms(&self, now: Reading) -> u64 {
        self.life_ms.saturating_sub(now.passed_since(self.since).unwrap_or_default())
    }

    /// A clock that was stepped says something else than one that was not: a request settles that.
    fn is_in_doubt(&self, now: Reading) -> bool {
        now.passed_since(self.since).is_none()
            || now.wall_since(self.since).is_some_and(|age| age >= self.life_ms)
    }

    /// The age at which the next may be asked for.
    fn earliest_renewal_ms(&self) -> u64 {
        match self.successor {
            Successor::Possible => (self.life_ms.div_ceil(2)).max(LEAST_GAP_MS).min(self.life_ms),
            Successor::NotBeforeTheEnd => self.life_ms,
        }
    }
}

impl Hand {
    pub(super) fn asked(&self, answer: Answer, clocks: &Clocks, findings: &mut Findings) {
        let now = clocks.reading();
        let Some(token) = self.0 else {
            let holds = answer.token.is_none();
            findings.unless(holds, Law::KeepsGoodToken, || format!("{:?} came out of nothing", answer.token));
            let forced = is_forced(answer.wants);
            findings.unless(!forced, Law::OneForcedMint, || "forced, and nothing was rejected".to_owned());
            return;
        };
        match answer.token {
            Some(id) if id == token.id => token.given(clocks, findings),
            Some(_) | None => {
                let holds = token.is_rejected || !token.is_good(now);
                findings.unless(holds && answer.token.is_none(), Law::KeepsGoodToken, || {
                    format!("{:?} in place of {} with {} ms left", answer.token, token.id, token.left_ms(now))
                });
            }
        }
        let Some(reason) = answer.wants else { return };
        let unasked = is_forced(Some(reason)) && !token.is_rejected;
        findings.unless(!unasked, Law::OneForcedMint, || {
            format!("a forced mint for {}, whose rejection counts no more or never did", token.id)
        });
        let age = now.passed_since(token.since).unwrap_or(token.life_ms);
        let early = !token.is_rejected && !token.is_in_doubt(now) && age < token.earliest_renewal_ms();
        findings.unless(!early, Law::HalfLife, || {
            format!("{reason:?} at the age of {age} ms of {} ms, {:?}", token.life_ms, token.successor)
        });
    }

    /// Whether the next token should be on its way, were nothing against it.
    pub(super) fn is_overdue(&self, now: Reading) -> bool {
        self.0.is_some_and(|token| {
            let latest_ms = token.life_ms / 100 * LATEST_ADVISORY_PERCENT + 100;
            let may_renew = token.successor == Successor::Possible && !token.is_rejected;
            let age = now.passed_since(token.since);
            may_renew && token.is_good(now) && age.is_none_or(|age| age >= latest_ms.max(LEAST_GAP_MS))
        })
    }

    /// How long the client may believe in the token.
    fn life_of(&self, landing: &Landing, numbers: &Numbers) -> Option<(u64, ToldBy)> {
        let longest = u64::try_from(MAX_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let again = self.0.filter(|token| token.id == landing.id);
        match (landing.told_ms, again) {
            (Some(told_ms), _) => Some((told_ms.min(longest), ToldBy::Server)),
            (None, None) => Some((numbers.assumed_ms, ToldBy::Nobody)),
            (None, Some(token)) => match (token.left_ms(landing.asked), token.told_by) {
                (0, ToldBy::Server) => None,
                (0, ToldBy::Nobody) => Some((numbers.assumed_ms, ToldBy::Nobody)),
                (left_ms, told_by) => Some((left_ms, told_by)),
            },
        }
    }

    pub(super) fn landed(
        &mut self,
        landing: &Landing,
        numbers: &Numbers,
        now: Reading,
        findings: &mut Findings,
    ) {
        let life = self.life_of(landing, numbers);
        let believed_ms = u64::try_from(landing.believed.as_millis()).unwrap_or(u64::MAX);
        let holds = life.is_some_and(|(life_ms, _)| life_ms == believed_ms);
        findings.unless(holds, Law::Expiry, || format!("{believed_ms} ms are believed, and {life:?} right"));
        let Some((life_ms, told_by)) = life else { return };
        let was_rejected = self.0.is_some_and(|token| token.is_rejected && token.id == landing.id);
        let standing = match (landing.reason, was_rejected) {
            (MintReason::Early | MintReason::Needed, true) => return,
            (MintReason::Early | MintReason::Needed, false) => Standing::Ordinary,
            (MintReason::Forced, true) => Standing::Reissued,
            (MintReason::Forced, false) => {
                let span_ms = (life_ms / 4).clamp(LEAST_GAP_MS, LONGEST_PROBATION_MS);
                Standing::OnProbation { since: now, span_ms }
            }
        };
        let new = Token {
            id: landing.id,
            since: landing.asked,
            life_ms,
            told_by,
            successor: Successor::Possible,
            standing,
            is_rejected: false,
            asked_true_ms: landing.asked_true_ms,
            dies_at_ms: landing.dies_at_ms,
        };
        let in_hand = self.0.filter(|token| !token.is_rejected && token.is_good(now));
        self.0 = Some(in_hand.and_then(|token| token.kept_over(&new, now)).unwrap_or(new));
    }

    pub(super) fn rejected(&mut self, id: TokenId, now: Reading) {
        let Some(token) = self.0.as_mut().filter(|token| token.id == id) else { return };
        token.is_rejected |= match token.standing {
            Standing::Ordinary => true,
            Standing::OnProbation { since, span_ms } => now.left_of(span_ms, since) == 0,
            Standing::Reissued => false,
        };
    }

    pub(super) fn accepted(&mut self, id: TokenId) {
        let Some(token) = self.0.as_mut().filter(|token| token.id == id) else { return };
        token.standing = match token.standing {
            Standing::Ordinary | Standing::OnProbation { .. } => Standing::Ordinary,
            Standing::Reissued => Standing::Reissued,
        };
    }
}

impl Token {
    fn given(&self, clocks: &Clocks, findings: &mut Findings) {
        let now = clocks.reading();
        findings.unless(!self.is_rejected, Law::RejectedStaysAway, || format!("{} was rejected", self.id));
        findings.unless(self.is_good(now), Law::Expiry, || {
            format!("{} of {} ms at the age of {:?}", self.id, self.life_ms, now.passed_since(self.since))
        });
        let is_known = self.asked_true_ms >= clocks.sound_since_ms();
        let is_dead = is_known && self.dies_at_ms.is_some_and(|dies_at_ms| dies_at_ms <= clocks.true_ms());
        findings
            .unless(!is_dead, Law::Expiry, || format!("{} is dead since {:?} ms", self.id, self.dies_at_ms));
    }

    /// This one, if it is no worse than the new one. Then the server has nothing better before its end.
    fn kept_over(mut self, new: &Self, now: Reading) -> Option<Self> {
        let age = now.passed_since(self.since)?;
        let (is_same, new_left_ms) = (self.id == new.id, new.left_ms(now));
        if !is_same && new_left_ms > self.left_ms(now) {
            return None;
        }
        if is_same && new_left_ms < self.left_ms(now) {
            (self.since, self.life_ms, self.told_by) = (new.since, new.life_ms, new.told_by);
        } else {
            self.since.wall_ms = now.wall_ms.saturating_sub(age);
        }
        self.successor = Successor::NotBeforeTheEnd;
        Some(self)
    }
}
