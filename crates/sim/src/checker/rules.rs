//! What the checker holds the client to, and what it says when something is broken.

use crate::clock::{BootClock, Moment};
use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident => ($id:literal, $says:literal),)*) => {
        /// What has to hold in every world.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant { $($(#[$doc])* $name,)* }

        impl Invariant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its short name.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What it says.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)* }
            }
        }
    };
}

invariants! {
    /// No dead token.
    NoDeadToken => ("I1", "no token is given out at or past its true expiry"),
    /// No lost token.
    NoLostToken => ("I2", "a failure never removes a valid token"),
    /// One request at a time.
    OneRequest => ("I3", "one token request of a key in the air, and one mint per half-life when all is well"),
    /// One forced mint.
    OneForcedMint => ("I4", "a rejected token is not given out again, and causes one mint at most"),
    /// Recovery.
    Recovery => ("I5", "once faults stop every caller is served within a bound"),
    /// Deadlines.
    Deadline => ("I6", "every call returns by its deadline, and those behind one flight together"),
    /// No secret.
    NoSecretShown => ("I7", "no secret is in a log, an error or a Debug"),
    /// `Retry-After`.
    RetryAfter => ("I8", "no request before a Retry-After is over"),
    /// The breaker.
    Breaker => ("I9", "an open breaker lets no request through, a half-open one exactly one"),
    /// The quota.
    Quota => ("I10", "the request quota is never exceeded"),
    /// Terminal errors.
    TerminalError => ("I11", "a refused credential is not sent again until it changes or is forgotten, then at once"),
    /// Nothing left.
    NothingLeft => ("I12", "while it closes nothing begins; after the end nothing is sent and no task is left"),
    /// No panic.
    NoPanic => ("I13", "nothing panics"),
    /// No step back.
    NeverOlder => ("I14", "an older token never takes the place of a newer one"),
    /// `close` drains.
    Drained => ("I15", "closing waits for what is under way as long as it may, and says what it gave up"),
    /// Prefetched keys.
    Prefetched => ("I16", "a prefetched key is asked for at once, and always there in a calm"),
    /// Flights are detached.
    Detached => ("I17", "nobody who goes away ends a token request"),
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id(), self.says())
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}, at {} ms: {seen}", at.timers_ms)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When.
    pub at: Moment,
    /// What was seen.
    pub seen: String,
}

/// What a breaker promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// It opens after so many transport faults and 5xx in a row.
    pub opens_after: u32,
    /// It stays open for at least half of this the first time, and for twice as long after each probe that failed.
    pub first_window_ms: u64,
    /// No window is longer than this, and a probe that is out for so long is lost.
    pub longest_window_ms: u64,
}

/// What a request quota promises, as a GCRA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaRule {
    /// One request is earned in this time.
    pub interval_ms: u64,
    /// So many requests may be made at once.
    pub burst: u32,
}

/// The promises of the client that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// By which clock the life of a token is judged.
    pub boot: BootClock,
    /// How much later than its deadline a call may return.
    pub slack_ms: u64,
    /// How long before its expiry callers may be made to wait, whatever the life.
    pub mandatory_margin_ms: u64,
    /// How long a refused credential is remembered at least.
    pub terminal_ms: u64,
    /// How long after the last fault, and the last pause that the server asked for, every caller is served.
    pub recovery_ms: u64,
    /// A call that has less time than this may fail for want of time, whatever the weather.
    pub least_wait_ms: u64,
    /// The most requests of one key in a minute, whatever happens.
    pub most_requests_a_minute: usize,
    /// The breaker, where there is one.
    pub breaker: Option<BreakerRule>,
    /// Whether the server gives a new token before the old one dies, so that there need never be a gap.
    pub keeps_ahead: bool,
    /// The quota, where there is one.
    pub quota: Option<QuotaRule>,
}

impl Rules {
    /// What the client promises with its default settings.
    pub fn of_defaults(boot: BootClock) -> Self {
        Self {
            boot,
            slack_ms: 50,
            mandatory_margin_ms: 30_000,
            terminal_ms: 30_000,
            recovery_ms: 120_000,
            least_wait_ms: 3_000,
            most_requests_a_minute: 60,
            breaker: Some(BreakerRule { opens_after: 5, first_window_ms: 5_000, longest_window_ms: 60_000 }),
            keeps_ahead: true,
            quota: Some(QuotaRule { interval_ms: 100, burst: 100 }),
        }
    }
}
