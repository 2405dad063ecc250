//! What goes wrong around the machines, and how often it did.

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or one that breaks.
    Unreachable,
    /// No answer within the time-out.
    TimedOut,
    /// 5xx.
    ServerError,
    /// 5xx with `Retry-After`.
    ServerErrorUntil,
    /// 429 with `Retry-After`.
    TooManyRequestsUntil,
    /// Neither a token nor an error.
    Garbage,
    /// `invalid_client`.
    ClientRefused,
    /// `invalid_scope`.
    ScopeRefused,
    /// The token that the key had already.
    SameToken,
    /// No `expires_in`.
    UnstatedLife,
    /// An `expires_in` that is not the truth.
    FalseLife,
    /// A token that had expired when it arrived.
    ExpiredOnArrival,
    /// The server revoked its tokens.
    Revoked,
    /// An API refused a good token.
    GoodTokenRefused,
    /// An API's refusal came late.
    LateRefusal,
    /// A flight was given up on this side.
    GivenUp,
    /// A forced flight took the place of another.
    Superseded,
    /// There was no turn in the quota.
    QuotaUsedUp,
    /// The credential was replaced.
    CredentialReplaced,
    /// The wall clock stepped forward.
    StepForward,
    /// The wall clock stepped back.
    StepBack,
    /// The machine slept.
    Suspend,
}

impl Trouble {
    /// Every kind with its name in reports.
    pub const ALL: [(Self, &'static str); 22] = [
        (Self::Unreachable, "unreachable"),
        (Self::TimedOut, "time-out"),
        (Self::ServerError, "5xx"),
        (Self::ServerErrorUntil, "5xx with Retry-After"),
        (Self::TooManyRequestsUntil, "429 with Retry-After"),
        (Self::Garbage, "garbage"),
        (Self::ClientRefused, "invalid_client"),
        (Self::ScopeRefused, "invalid_scope"),
        (Self::SameToken, "same token again"),
        (Self::UnstatedLife, "life not stated"),
        (Self::FalseLife, "false life"),
        (Self::ExpiredOnArrival, "expired on arrival"),
        (Self::Revoked, "tokens revoked"),
        (Self::GoodTokenRefused, "good token refused"),
        (Self::LateRefusal, "late refusal"),
        (Self::GivenUp, "flight given up"),
        (Self::Superseded, "flight superseded"),
        (Self::QuotaUsedUp, "quota used up"),
        (Self::CredentialReplaced, "credential replaced"),
        (Self::StepForward, "wall clock step forward"),
        (Self::StepBack, "wall clock step back"),
        (Self::Suspend, "suspend"),
    ];
}

/// How often each kind took effect.
#[derive(Clone, Debug, Default)]
pub struct Troubles([u64; Trouble::ALL.len()]);

impl Troubles {
    /// Counts one.
    pub fn add(&mut self, trouble: Trouble) {
        if let Some(count) = self.0.get_mut(trouble as usize) {
            *count += 1;
        }
    }

    /// Adds those of another world.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// The name and the count of each kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Trouble::ALL.iter().map(|(_, name)| *name).zip(self.0.iter().copied())
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
