//! What must hold of the machines, whatever happens around them.

use std::fmt;

/// One invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Law {
    /// No token is given out at or past its expiry.
    Expiry,
    /// A token that is good is given out until it expires, is rejected or is replaced; a failure changes nothing of that.
    KeepsGoodToken,
    /// A rejected token is not given out again until a mint that was forced for it brings it back.
    RejectedStaysAway,
    /// A forced mint has a rejection that no mint has answered yet.
    OneForcedMint,
    /// No token is asked for before half of the life of the one in hand is over, and none before its end when the server has
    /// shown that it has no better one.
    HalfLife,
    /// Past the last time that its advisory window may begin at, the next token is asked for, unless something forbids it.
    RenewsAhead,
    /// The same question at the same instant has the same answer.
    OneAnswer,
    /// Nothing is sent before a `Retry-After` is over, whatever it was answered to.
    RetryAfter,
    /// What was refused for good is left alone for as long as that is remembered.
    TerminalRemembered,
    /// Once a refusal of the credential was forgotten, one request finds out whether it still holds.
    OneTrial,
    /// After a failure that may pass, a key is left alone for a moment.
    Backoff,
    /// An open breaker lets nothing through before its window is over.
    BreakerWindow,
    /// A half-open breaker lets one request through.
    OneProbe,
    /// The quota is not exceeded over any span.
    Quota,
    /// Who has no token is refused without a request, and a request its turn, only when something that happened forbids it.
    CauseForRefusal,
    /// Once nothing fails any more, there is a token within a bound.
    Recovery,
    /// A refused call is sent again with another token or not at all.
    ReplayWithAnother,
    /// No decision panics.
    NoPanic,
}

impl Law {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Expiry,
        Self::KeepsGoodToken,
        Self::RejectedStaysAway,
        Self::OneForcedMint,
        Self::HalfLife,
        Self::RenewsAhead,
        Self::OneAnswer,
        Self::RetryAfter,
        Self::TerminalRemembered,
        Self::OneTrial,
        Self::Backoff,
        Self::BreakerWindow,
        Self::OneProbe,
        Self::Quota,
        Self::CauseForRefusal,
        Self::Recovery,
        Self::ReplayWithAnother,
        Self::NoPanic,
    ];
}

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<L = Law> {
    /// Which.
    pub law: L,
    /// After which step of its world, from one.
    pub step: u64,
    /// Milliseconds of true time since that world began.
    pub at_ms: u64,
    /// What was seen.
    pub what: String,
}

impl<L: fmt::Debug> fmt::Display for Violation<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at step {}, {} ms: {}", self.law, self.step, self.at_ms, self.what)
    }
}
