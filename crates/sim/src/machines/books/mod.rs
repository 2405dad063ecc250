//! What is known of one world from the outside, and whether it is lawful.

mod endpoint;
mod failing;
mod hand;
mod line;

pub use hand::Landing;
pub use line::Sent;

use super::client::Answer;
use super::clocks::{Clocks, Reading};
use super::findings::Findings;
use super::law::{Law, Violation};
use super::setting::Numbers;
use endpoint::Endpoint;
use failing::Failing;
use hand::Hand;
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::Verdict;
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{MintReason, TokenId};
use jeton_proto::quota::QuotaExhausted;
use jeton_proto::replay::Replay;
use std::time::Duration;

#[derive(Debug, Default)]
struct Page {
    hand: Hand,
    failing: Failing,
}

/// The books of one world.
#[derive(Debug)]
pub struct Books {
    numbers: Numbers,
    pages: Vec<Page>,
    endpoint: Endpoint,
    findings: Findings,
}

/// A request that failed, as the client heard it.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// How it was sent.
    pub sent: Sent,
    /// With which credential.
    pub with: CredentialGeneration,
    /// What the machines were told.
    pub failure: Failure,
    /// And what the breaker was told.
    pub verdict: Verdict,
}

impl Books {
    /// Books of a client with `keys` keys.
    pub fn new(numbers: Numbers, keys: usize) -> Self {
        let pages = std::iter::repeat_with(Page::default).take(keys).collect();
        Self { numbers, pages, endpoint: Endpoint::default(), findings: Findings::default() }
    }

    /// A step has begun.
    pub fn step(&mut self, at_ms: u64) {
        self.findings.step(at_ms);
    }

    /// The steps so far.
    pub fn steps(&self) -> u64 {
        self.findings.steps()
    }

    /// What did not hold.
    pub fn into_violations(self) -> Vec<Violation> {
        self.findings.into_violations()
    }

    /// A caller asked and heard `answer`.
    pub fn asked(&mut self, key: usize, with: CredentialGeneration, answer: Answer, clocks: &Clocks) {
        let now = clocks.reading();
        let Some(page) = self.pages.get_mut(key) else { return };
        page.failing.credential_in_force(with);
        page.hand.asked(answer, clocks, &mut self.findings);
        page.failing.asked(answer, now, &mut self.findings);
        let has_cause = || {
            let of_endpoint = self.endpoint.left_of_cause(Reading::left_of, &self.numbers, with, now);
            of_endpoint > 0 || page.failing.left_of_cause(Reading::left_of, now) > 0
        };
        let findings = &mut self.findings;
        match (answer.token, answer.wants) {
            (None, None) => findings.unless(has_cause(), Law::CauseForRefusal, || {
                format!("key {key} was refused a token, and nothing forbids a request")
            }),
            (Some(_), None) if page.hand.is_overdue(now) => {
                findings.unless(has_cause(), Law::RenewsAhead, || format!("key {key} renews nothing"));
            }
            (Some(_) | None, Some(_)) | (Some(_), None) => {}
        }
    }

    /// The same was asked again at the same instant.
    pub fn asked_again(&mut self, first: Answer, second: Answer) {
        let what = || format!("{first:?} and at once {second:?}");
        self.findings.unless(first == second, Law::OneAnswer, what);
    }

    /// Somebody who can wait for `patience` asked for a turn in the quota, and got one, or none.
    pub fn turn(&mut self, turn: Result<Duration, QuotaExhausted>, patience: Duration, now: Reading) {
        self.endpoint.turn_asked(now);
        match turn {
            Ok(wait) => self.endpoint.turn(&self.numbers, wait, &mut self.findings),
            Err(_exhausted) => self.endpoint.no_turn(&self.numbers, patience, &mut self.findings),
        }
    }

    /// A request was sent.
    pub fn sent(&mut self, with: CredentialGeneration, now: Reading) -> Sent {
        self.endpoint.sent(&self.numbers, with, now, &mut self.findings)
    }

    /// A token arrived.
    pub fn granted(&mut self, sent: Sent, with: CredentialGeneration, now: Reading) {
        self.endpoint.granted(&self.numbers, sent, with, now);
    }

    /// The token was for the flight under way, and went into the slot.
    pub fn landed(&mut self, key: usize, landing: &Landing, now: Reading) {
        let Some(page) = self.pages.get_mut(key) else { return };
        page.failing.over();
        page.hand.landed(landing, &self.numbers, now, &mut self.findings);
    }

    /// A request failed.
    pub fn failed(&mut self, heard: &Heard, now: Reading) {
        self.endpoint.failed(&self.numbers, heard, now);
    }

    /// The request was the one of the flight under way, and the slot was told.
    pub fn slot_failed(&mut self, key: usize, heard: &Heard, now: Reading) {
        if let Some(page) = self.pages.get_mut(key) {
            page.failing.failed(&self.numbers, heard, now);
        }
    }

    /// A request was given up on this side.
    pub fn given_up(&mut self, sent: Sent, with: CredentialGeneration, now: Reading) {
        self.endpoint.given_up(&self.numbers, sent, with, now);
    }

    /// An API refused a token.
    pub fn rejected(&mut self, key: usize, id: TokenId, now: Reading) {
        if let Some(page) = self.pages.get_mut(key) {
            page.hand.rejected(id, now);
        }
    }

    /// An API took a token.
    pub fn accepted(&mut self, key: usize, id: TokenId) {
        if let Some(page) = self.pages.get_mut(key) {
            page.hand.accepted(id);
        }
    }

    /// A refused call was sent again, or not.
    pub fn replayed(&mut self, refused: TokenId, now_held: Option<TokenId>, replay: Replay) {
        let expected = match now_held {
            Some(held) if held != refused => Replay::Once,
            Some(_) | None => Replay::HandBack,
        };
        let what = || format!("{refused} was refused, {now_held:?} is held: {replay:?}");
        self.findings.unless(replay == expected, Law::ReplayWithAnother, what);
    }

    /// For how long something may still forbid a request.
    pub fn longest_cause_ms(&self, with: CredentialGeneration, now: Reading) -> u64 {
        let left = Reading::over_within;
        let pages = self.pages.iter().map(|page| page.failing.left_of_cause(left, now));
        let of_endpoint = self.endpoint.left_of_cause(left, &self.numbers, with, now);
        pages.max().unwrap_or_default().max(of_endpoint)
    }

    /// Everything is well, and has been for long enough: had key `key` a token?
    pub fn recovered(&mut self, key: usize, had_a_token: Recovered) {
        let holds = had_a_token == Recovered::WithToken;
        self.findings.unless(holds, Law::Recovery, || format!("key {key} has no token, though all is well"));
    }
}

/// How a key stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// With a token.
    WithToken,
    /// Without one.
    WithoutToken,
}

/// Whether a reason is a rejection.
fn is_forced(reason: Option<MintReason>) -> bool {
    match reason {
        Some(MintReason::Forced) => true,
        Some(MintReason::Early | MintReason::Needed) | None => false,
    }
}

/// A bound that doubles with each failure in a row.
fn doubled(span_ms: u64, times: u32) -> u64 {
    span_ms.saturating_mul(1_u64 << times.saturating_sub(1).min(30))
}

/// How long a failure that stays is remembered, the `count`th time in a row.
fn terminal_span(numbers: &Numbers, count: u32) -> u64 {
    doubled(numbers.terminal_ms, count).min(numbers.terminal_ms.saturating_mul(10))
}

/// Whether it stays until somebody changes something.
fn stays(class: FailureClass) -> bool {
    match class {
        FailureClass::Terminal | FailureClass::Credential => true,
        FailureClass::Transient | FailureClass::Local => false,
    }
}

fn retry_after_ms(failure: Failure) -> Option<u64> {
    failure.retry_after.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX))
}
