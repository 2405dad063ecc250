//! What concerns all keys of the client: pauses that the server asked for, a refused credential, breaker and quota.

use super::line::{Line, Sent};
use super::{Heard, retry_after_ms, terminal_span};
use crate::machines::clocks::{Left, Reading};
use crate::machines::findings::Findings;
use crate::machines::law::Law;
use crate::machines::setting::Numbers;
use jeton_proto::backoff::FailureClass;
use jeton_proto::breaker::Verdict;
use jeton_proto::gate::CredentialGeneration;
use std::time::Duration;

/// The most that may be added to a `Retry-After`.
const LONGEST_SPREAD_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug)]
struct Span {
    since: Reading,
    span_ms: u64,
}

impl Span {
    fn left(&self, now: Reading) -> u64 {
        now.left_of(self.span_ms, self.since)
    }
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    of: CredentialGeneration,
    count: u32,
    span: Span,
    /// The request that finds out whether it still holds, once it was forgotten.
    trial: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Turns {
    as_of: Reading,
    /// What has passed for all that the client can tell, without the steps back.
    elapsed_ms: u64,
    /// When the quota is whole again, on that scale.
    whole_at_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Endpoint {
    /// The pause that ends last, without what is added to it.
    asked: Option<Span>,
    /// All pauses, with the most that may be added.
    causes: Vec<Span>,
    refusal: Option<Refusal>,
    line: Line,
    turns: Option<Turns>,
}

impl Endpoint {
    /// Somebody asked for a turn.
    pub(super) fn turn_asked(&mut self, now: Reading) {
        self.looked_at(now);
        let before = self.turns.unwrap_or(Turns { as_of: now, elapsed_ms: 0, whole_at_ms: 0 });
        let passed_ms = now.passed_since(before.as_of).unwrap_or_default();
        let elapsed_ms = before.elapsed_ms.saturating_add(passed_ms);
        self.turns = Some(Turns { as_of: now, elapsed_ms, ..before });
    }

    /// And got it, after `wait`.
    pub(super) fn turn(&mut self, numbers: &Numbers, wait: Duration, findings: &mut Findings) {
        let Some(turns) = self.turns.as_mut() else { return };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let turn_ms = turns.elapsed_ms.saturating_add(wait_ms);
        let whole_at_ms = turns.whole_at_ms.max(turn_ms).saturating_add(numbers.interval_ms);
        let allowed_ms = numbers.interval_ms.saturating_mul(u64::from(numbers.burst));
        let used_ms = whole_at_ms - turn_ms;
        findings.unless(used_ms <= allowed_ms, Law::Quota, || {
            format!("{} requests where {} may go", used_ms.div_ceil(numbers.interval_ms), numbers.burst)
        });
        turns.whole_at_ms = whole_at_ms;
    }

    /// And got none that came within `patience`.
    pub(super) fn no_turn(&mut self, numbers: &Numbers, patience: Duration, findings: &mut Findings) {
        let Some(turns) = self.turns else { return };
        let used_ms = turns.whole_at_ms.saturating_sub(turns.elapsed_ms).saturating_add(numbers.interval_ms);
        let allowed_ms = numbers.interval_ms.saturating_mul(u64::from(numbers.burst));
        let wait_ms = u128::from(used_ms.saturating_sub(allowed_ms));
        findings.unless(wait_ms > patience.as_millis(), Law::CauseForRefusal, || {
            format!("no turn in the quota, which has one in {wait_ms} ms")
        });
    }

    pub(super) fn sent(
        &mut self,
        numbers: &Numbers,
        with: CredentialGeneration,
        now: Reading,
        findings: &mut Findings,
    ) -> Sent {
        self.looked_at(now);
        let left_ms = self.asked.map_or(0, |asked| asked.left(now));
        findings.unless(left_ms == 0, Law::RetryAfter, || {
            format!("a request was sent {left_ms} ms before the server wanted one")
        });
        let refusal = self.refusal.filter(|refusal| refusal.of == with);
        let left_ms = refusal.map_or(0, |refusal| refusal.span.left(now));
        findings.unless(left_ms == 0, Law::TerminalRemembered, || {
            format!("a refused credential was sent {left_ms} ms too early")
        });
        let trial = refusal.and_then(|refusal| refusal.trial);
        findings.unless(trial.is_none_or(|trial| trial.left(now) == 0), Law::OneTrial, || {
            "a second request tried a credential that was refused".to_owned()
        });
        self.tried(with, Some(Span { since: now, span_ms: numbers.probe_ms }));
        self.line.sent(numbers, now, findings)
    }

    pub(super) fn granted(
        &mut self,
        numbers: &Numbers,
        sent: Sent,
        with: CredentialGeneration,
        now: Reading,
    ) {
        self.refusal = self.refusal.filter(|refusal| refusal.of > with);
        self.settled(numbers, sent, Verdict::Answered, now);
    }

    /// A pause that a step back ended does not come to life again, once somebody has looked.
    fn looked_at(&mut self, now: Reading) {
        self.asked = self.asked.filter(|asked| now.passed_since(asked.since).is_some());
    }

    pub(super) fn failed(&mut self, numbers: &Numbers, heard: &Heard, now: Reading) {
        self.looked_at(now);
        if let Some(asked_ms) = retry_after_ms(heard.failure) {
            self.pause(numbers, asked_ms, now);
        }
        match heard.failure.class {
            FailureClass::Credential => self.refused(numbers, heard.with, now),
            FailureClass::Transient | FailureClass::Terminal | FailureClass::Local => {
                self.tried(heard.with, None);
            }
        }
        self.settled(numbers, heard.sent, heard.verdict, now);
    }

    fn pause(&mut self, numbers: &Numbers, asked_ms: u64, now: Reading) {
        // One that is over gives way to any other, be it of no length: a step back may not bring it back.
        if self.asked.is_none_or(|asked| asked.left(now) < asked_ms.max(1)) {
            self.asked = Some(Span { since: now, span_ms: asked_ms });
        }
        let room_ms = (asked_ms / 2 + 1).clamp(numbers.base_ms, LONGEST_SPREAD_MS.max(numbers.base_ms));
        self.causes.push(Span { since: now, span_ms: asked_ms.saturating_add(room_ms) });
        self.causes.retain(|cause| now.over_within(cause.span_ms, cause.since) > 0);
    }

    fn refused(&mut self, numbers: &Numbers, with: CredentialGeneration, now: Reading) {
        if self.refusal.is_some_and(|refusal| refusal.of > with) {
            return;
        }
        let before = self.refusal.filter(|refusal| refusal.of == with);
        if before.is_some_and(|refusal| refusal.trial.is_none() && refusal.span.left(now) > 0) {
            // It was on its way together with the one that is remembered.
            return;
        }
        let count = before.map_or(0, |refusal| refusal.count).saturating_add(1);
        let span = Span { since: now, span_ms: terminal_span(numbers, count) };
        self.refusal = Some(Refusal { of: with, count, span, trial: None });
    }

    fn tried(&mut self, with: CredentialGeneration, trial: Option<Span>) {
        if let Some(refusal) = self.refusal.as_mut().filter(|refusal| refusal.of == with) {
            refusal.trial = trial;
        }
    }

    /// A request with the credential `with` was given up on this side.
    pub(super) fn given_up(
        &mut self,
        numbers: &Numbers,
        sent: Sent,
        with: CredentialGeneration,
        now: Reading,
    ) {
        self.tried(with, None);
        self.settled(numbers, sent, Verdict::Abandoned, now);
    }

    fn settled(&mut self, numbers: &Numbers, sent: Sent, verdict: Verdict, now: Reading) {
        self.line.settled(numbers, sent, verdict, now);
    }

    /// For how long something may still forbid a request with the credential `with`.
    pub(super) fn left_of_cause(
        &self,
        left: Left,
        numbers: &Numbers,
        with: CredentialGeneration,
        now: Reading,
    ) -> u64 {
        let refusal = self.refusal.filter(|refusal| refusal.of == with);
        let refused = refusal.map(|refusal| refusal.span);
        let tried = refusal.and_then(|refusal| refusal.trial);
        let spans = self.causes.iter().copied().chain(refused).chain(tried);
        let longest = spans.map(|span| left(now, span.span_ms, span.since)).max().unwrap_or_default();
        longest.max(self.line.left_of_cause(left, numbers, now))
    }
}
