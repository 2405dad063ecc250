//! The authorization server as it truly is: which tokens are live, whom it refuses, whether it is up at all.

use super::trouble::{Trouble, Troubles};
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::Verdict;
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::TokenId;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a client waits for an answer.
pub const TIMEOUT_MS: u64 = 10_000;
/// The most that it remembers of tokens that it gave out.
const MOST_REMEMBERED: usize = 64;

/// How it answers token requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// With tokens.
    Up,
    /// Not at all, or with an error of its own.
    Down,
    /// Now with a token and now with an error.
    Flaky,
    /// With a pause to keep.
    Throttling {
        /// In its last answer.
        retry_after_ms: u64,
    },
    /// It refuses every credential before this one.
    RefusingClient {
        /// The first that it takes.
        takes: CredentialGeneration,
    },
    /// It refuses what one key asks for.
    RefusingScope {
        /// Which.
        key: usize,
    },
}

/// Which tokens it gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuing {
    /// A new one each time, with its true life.
    Fresh,
    /// One and the same until it dies.
    SameUntilItDies,
    /// Lives of all kinds: unstated, short, false.
    Odd,
}

/// What it grants.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The token.
    pub text: String,
    /// The life that it states.
    pub told_ms: Option<u64>,
    /// When it truly dies, where the life that it states is not false.
    pub dies_at_ms: Option<u64>,
}

/// What comes back of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A token.
    Granted(Granted),
    /// None.
    Failed(Failure, Verdict),
}

#[derive(Clone, Debug)]
struct Issued {
    text: String,
    id: TokenId,
    key: usize,
    dies_at_ms: u64,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    /// How it answers.
    pub mood: Mood,
    /// What it gives out.
    pub issuing: Issuing,
    life_ms: u64,
    serial: u64,
    issued: VecDeque<Issued>,
}

fn failed(class: FailureClass, retry_after_ms: Option<u64>, verdict: Verdict) -> Reply {
    let retry_after = retry_after_ms.map(Duration::from_millis);
    Reply::Failed(Failure { class, retry_after }, verdict)
}

impl Server {
    /// One that is up.
    pub fn new(life_ms: u64) -> Self {
        Self { mood: Mood::Up, issuing: Issuing::Fresh, life_ms, serial: 0, issued: VecDeque::new() }
    }

    /// It is well from now on.
    pub fn recover(&mut self) {
        self.mood = Mood::Up;
        self.issuing = Issuing::Fresh;
    }

    /// Whether a request that comes now is answered within its time.
    pub fn answers(&self, rng: &mut fastrand::Rng) -> bool {
        match self.mood {
            Mood::Up | Mood::Throttling { .. } | Mood::RefusingClient { .. } | Mood::RefusingScope { .. } => {
                true
            }
            Mood::Down => rng.u32(0..4) > 0,
            Mood::Flaky => rng.u32(0..16) > 0,
        }
    }

    /// Its answer to a request that arrives at `now_ms`.
    pub fn answer(
        &mut self,
        key: usize,
        with: CredentialGeneration,
        now_ms: u64,
        rng: &mut fastrand::Rng,
        troubles: &mut Troubles,
    ) -> Reply {
        use FailureClass::{Credential, Terminal, Transient};
        let (trouble, reply) = match self.mood {
            Mood::RefusingClient { takes } if with < takes => {
                (Trouble::ClientRefused, failed(Credential, None, Verdict::Answered))
            }
            Mood::RefusingScope { key: refused } if refused == key => {
                (Trouble::ScopeRefused, failed(Terminal, None, Verdict::Answered))
            }
            Mood::Throttling { retry_after_ms } if rng.u32(0..4) > 0 => {
                (Trouble::TooManyRequestsUntil, failed(Transient, Some(retry_after_ms), Verdict::Answered))
            }
            Mood::Down => Self::broken(rng),
            Mood::Flaky if rng.bool() => Self::broken(rng),
            Mood::Up
            | Mood::Flaky
            | Mood::Throttling { .. }
            | Mood::RefusingClient { .. }
            | Mood::RefusingScope { .. } => return Reply::Granted(self.issue(key, now_ms, rng, troubles)),
        };
        troubles.add(trouble);
        reply
    }

    fn broken(rng: &mut fastrand::Rng) -> (Trouble, Reply) {
        let failed = |retry_after_ms, verdict| failed(FailureClass::Transient, retry_after_ms, verdict);
        match rng.u32(0..8) {
            0 => (Trouble::Garbage, failed(None, Verdict::Answered)),
            1 => (Trouble::ServerErrorUntil, failed(Some(rng.u64(0..20) * 1000), Verdict::Faulted)),
            2..=4 => (Trouble::ServerError, failed(None, Verdict::Faulted)),
            _ => (Trouble::Unreachable, failed(None, Verdict::Faulted)),
        }
    }

    fn issue(
        &mut self,
        key: usize,
        now_ms: u64,
        rng: &mut fastrand::Rng,
        troubles: &mut Troubles,
    ) -> Granted {
        let (life_ms, told_ms) = match self.issuing {
            Issuing::Fresh => (self.life_ms, Some(self.life_ms)),
            Issuing::SameUntilItDies => match self.issued.iter().rev().find(|token| token.key == key) {
                Some(same) if now_ms < same.dies_at_ms => {
                    troubles.add(Trouble::SameToken);
                    // Whole seconds, and none at all is no life that a token could have.
                    let told_ms = Some((same.dies_at_ms - now_ms) / 1000 * 1000).filter(|told| *told > 0);
                    let dies_at_ms = told_ms.map(|_| same.dies_at_ms);
                    return Granted { text: same.text.clone(), told_ms, dies_at_ms };
                }
                Some(_) | None => (self.life_ms, Some(self.life_ms)),
            },
            Issuing::Odd => self.odd_life(rng, troubles),
        };
        self.serial += 1;
        let text = format!("token-{}", self.serial);
        let dies_at_ms = now_ms.saturating_add(life_ms);
        self.issued.push_back(Issued { id: TokenId::of(&text), text: text.clone(), key, dies_at_ms });
        if self.issued.len() > MOST_REMEMBERED {
            self.issued.pop_front();
        }
        let is_true = told_ms == Some(life_ms);
        Granted { text, told_ms, dies_at_ms: is_true.then_some(dies_at_ms) }
    }

    fn odd_life(&self, rng: &mut fastrand::Rng, troubles: &mut Troubles) -> (u64, Option<u64>) {
        match rng.u32(0..6) {
            0 | 1 => {
                troubles.add(Trouble::UnstatedLife);
                (self.life_ms, None)
            }
            2 => {
                troubles.add(Trouble::FalseLife);
                let told_ms = if rng.bool() { u64::MAX / 1000 * 1000 } else { self.life_ms * 3 };
                (self.life_ms, Some(told_ms))
            }
            3 => (1000, Some(1000)),
            _ => {
                let life_ms = (self.life_ms / rng.u64(1..20) / 1000 * 1000).max(1000);
                (life_ms, Some(life_ms))
            }
        }
    }

    /// No token that it gave out is good any more.
    pub fn revoke_all(&mut self) {
        self.issued.clear();
    }

    /// Whether an API takes this token.
    pub fn takes(&self, id: TokenId, now_ms: u64) -> bool {
        self.issued.iter().any(|token| token.id == id && now_ms < token.dies_at_ms)
    }
}
