//! The kinds of faults, and how often each took effect.

use std::fmt;

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $kind:ident => $name:literal,)*) => {
        /// What can go wrong. A fault is counted when it takes effect, not when it is planned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind { $($(#[$doc])* $kind,)* }

        impl FaultKind {
            /// Every kind, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

fault_kinds! {
    /// The request never arrives, and nobody says so.
    LostRequest => "lost request",
    /// The server answers, and the answer never arrives.
    LostResponse => "lost response",
    /// The request arrives late.
    DelayedRequest => "delayed request",
    /// The answer arrives late.
    DelayedResponse => "delayed response",
    /// The answer would arrive after the client's time-out.
    ResponsePastTimeout => "response past the time-out",
    /// 429 without a word about when.
    TooManyRequests => "429",
    /// 429 with `Retry-After`.
    TooManyRequestsUntil => "429 with Retry-After",
    /// 5xx without a body.
    ServerError => "5xx without body",
    /// 5xx with a body of its own kind.
    ServerErrorWithBody => "5xx with body",
    /// 5xx with `Retry-After`.
    ServerErrorUntil => "5xx with Retry-After",
    /// 200 with something that is no token response.
    Garbage => "garbage 200",
    /// The connection breaks.
    ConnectionReset => "connection reset",
    /// There is no connection.
    ConnectionRefused => "refused connection",
    /// The answer drips until the time is over.
    SlowDrip => "slow drip",
    /// A request meets a server that is down for a long time.
    Outage => "request in a long outage",
    /// The exchange itself panics.
    ExchangePanic => "panic in the exchange",
    /// The client's wall clock steps forward.
    StepForward => "wall clock step forward",
    /// The client's wall clock steps back.
    StepBack => "wall clock step back",
    /// The client's machine is suspended.
    Suspend => "suspend",
    /// A caller goes away while it waits.
    CancelledCaller => "cancelled caller",
    /// The server refuses a secret that was rotated, which the client is yet to learn.
    SecretLearntLate => "secret learnt late",
    /// The server refuses a secret that the client has before it.
    SecretLearntEarly => "secret learnt early",
    /// The source of the client's secret cannot be read.
    SecretUnreadable => "secret source unreadable",
    /// The API refuses one good token once.
    TokenRefusedOnce => "good token refused once",
    /// The API refuses every token for a while.
    UnauthorizedStorm => "401 storm",
    /// The API refuses a token that was revoked.
    TokenRevoked => "revoked token",
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each kind took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts(Vec<u64>);

impl Default for FaultCounts {
    fn default() -> Self {
        Self(vec![0; FaultKind::ALL.len()])
    }
}

impl FaultCounts {
    /// Counts one fault.
    pub fn add(&mut self, kind: FaultKind) {
        for (count, listed) in self.0.iter_mut().zip(FaultKind::ALL) {
            *count += u64::from(*listed == kind);
        }
    }

    /// Adds the counts of another world.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// The count of each kind.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.iter().copied().zip(self.0.iter().copied())
    }

    /// All faults together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
