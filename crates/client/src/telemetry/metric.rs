//! The names of the metrics, and the closed sets that their labels take values from. `docs/operations.md` has the same
//! table for operators; a test holds one against the other.

use crate::error::{Fault, TokenError, TokenErrorKind};
use crate::http::ExchangeError;
use crate::store::seal::Unopened;
use jeton_proto::breaker::Phase;
use jeton_proto::lifecycle::MintReason;
use metrics::Unit;

/// One metric: what it is called, what it counts in, and what it is told apart by beside server and client.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    /// The labels beside [`SERVER`] and [`CLIENT_ID`], which every metric has, in the order of their values.
    pub(super) labels: &'static [&'static str],
    pub(super) meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(super) const SERVER: &str = "server";
pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const SOURCE: &str = "source";
pub(super) const REASON: &str = "reason";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const CAUSE: &str = "cause";
pub(super) const END: &str = "end";
pub(super) const FAULT: &str = "fault";
pub(super) const OPERATION: &str = "operation";

pub(super) const TOKENS_SERVED: Metric = Metric {
    name: "jeton_client_tokens_served_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[SOURCE],
    meaning: "tokens given to callers",
};
pub(super) const TOKEN_LIFE_LEFT: Metric = Metric {
    name: "jeton_client_token_life_left_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    labels: &[SOURCE],
    meaning: "life left of a token that was given out",
};
pub(super) const MINTS: Metric = Metric {
    name: "jeton_client_mints_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[REASON, OUTCOME],
    meaning: "token requests that ended",
};
pub(super) const MINT_TIME: Metric = Metric {
    name: "jeton_client_mint_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    labels: &[OUTCOME],
    meaning: "time from the beginning of a token request to its end",
};
pub(super) const MINTS_UNDER_WAY: Metric = Metric {
    name: "jeton_client_mints_under_way",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[REASON],
    meaning: "token requests that have begun and not ended",
};
pub(super) const WAITERS: Metric = Metric {
    name: "jeton_client_waiters",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "callers that wait for a token request",
};
pub(super) const KEYS_BACKING_OFF: Metric = Metric {
    name: "jeton_client_keys_backing_off",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "keys for which the server is left alone after a failure",
};
pub(super) const BACKOFF: Metric = Metric {
    name: "jeton_client_backoff_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    meaning: "the longest pause among the keys that back off, 0 without one",
};
pub(super) const KEYS_ON_BACKUP: Metric = Metric {
    name: "jeton_client_keys_on_backup",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "keys that live on what is left of a token whose renewal fails",
};
pub(super) const BACKUP_LEFT: Metric = Metric {
    name: "jeton_client_backup_left_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    meaning: "the least life left among the keys on a backup, 0 without one",
};
pub(super) const BREAKER_STATE: Metric = Metric {
    name: "jeton_client_breaker_state",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "circuit breaker of the token endpoint: 0 closed, 1 half open, 2 open",
};
pub(super) const REJECTED_TOKENS: Metric = Metric {
    name: "jeton_client_rejected_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    meaning: "rejections of a token by an API",
};
pub(super) const QUOTA_REFUSALS: Metric = Metric {
    name: "jeton_client_quota_refusals_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    meaning: "token requests that were not sent because the request quota was used up",
};
pub(super) const CLOCK_STEPS: Metric = Metric {
    name: "jeton_client_clock_steps_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    meaning: "steps of the wall clock against the boot clock that were noticed",
};
pub(super) const CLOCK_SKEW: Metric = Metric {
    name: "jeton_client_clock_skew_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    meaning: "the server's clock minus ours, as its last answer told",
};
pub(super) const CREDENTIAL_AGE: Metric = Metric {
    name: "jeton_client_credential_age_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    meaning: "age of the current credential, as its source tells, else since it was first seen",
};
pub(super) const CREDENTIAL_GENERATION: Metric = Metric {
    name: "jeton_client_credential_generation",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "credentials that were in force before the one that is",
};
pub(super) const CREDENTIAL_IS_PREVIOUS: Metric = Metric {
    name: "jeton_client_credential_is_previous",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "whether the previous credential is used because the current one was refused: 1 or 0",
};
pub(super) const ROTATION_DUE: Metric = Metric {
    name: "jeton_client_credential_rotation_due",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "whether the credential ought to be replaced: 1 or 0",
};

pub(super) const ADOPTED: Metric = Metric {
    name: "jeton_client_adopted_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[REASON],
    meaning: "tokens that another process had fetched, taken from the shared store",
};
pub(super) const LEASES: Metric = Metric {
    name: "jeton_client_store_leases_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[END],
    meaning: "leases to fetch a token for all processes, by how they ended",
};
pub(super) const STORE_UP: Metric = Metric {
    name: "jeton_client_store_up",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    meaning: "whether the shared store works: 1, or 0 while this process goes on without it",
};
pub(super) const STORE_FAULTS: Metric = Metric {
    name: "jeton_client_store_faults_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[FAULT],
    meaning: "questions that the shared store did not answer",
};
pub(super) const STORE_UNUSABLE: Metric = Metric {
    name: "jeton_client_store_unusable_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[CAUSE],
    meaning: "records of the shared store that could not be used, and counted as not there",
};
pub(super) const STORE_TIME: Metric = Metric {
    name: "jeton_client_store_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    labels: &[OPERATION],
    meaning: "time that the shared store took to answer, or not to",
};

/// Every metric there is.
pub(super) const METRICS: [&Metric; 25] = [
    &TOKENS_SERVED,
    &TOKEN_LIFE_LEFT,
    &MINTS,
    &MINT_TIME,
    &MINTS_UNDER_WAY,
    &WAITERS,
    &KEYS_BACKING_OFF,
    &BACKOFF,
    &KEYS_ON_BACKUP,
    &BACKUP_LEFT,
    &BREAKER_STATE,
    &REJECTED_TOKENS,
    &QUOTA_REFUSALS,
    &CLOCK_STEPS,
    &CLOCK_SKEW,
    &CREDENTIAL_AGE,
    &CREDENTIAL_GENERATION,
    &CREDENTIAL_IS_PREVIOUS,
    &ROTATION_DUE,
    &ADOPTED,
    &LEASES,
    &STORE_UP,
    &STORE_FAULTS,
    &STORE_UNUSABLE,
    &STORE_TIME,
];

/// Where a token that was given out came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServedFrom {
    /// It was in hand: a hit.
    Hand,
    /// A flight that the caller waited for brought it.
    Flight,
    /// It was in hand and due for renewal, which failed or was late.
    Backup,
}

impl ServedFrom {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Hand, Self::Flight, Self::Backup];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Flight => "flight",
            Self::Backup => "backup",
        }
    }
}

pub(super) const REASONS: [MintReason; 3] = [MintReason::Early, MintReason::Needed, MintReason::Forced];

pub(super) fn reason_label(reason: MintReason) -> &'static str {
    match reason {
        MintReason::Early => "early",
        MintReason::Needed => "needed",
        MintReason::Forced => "forced",
    }
}

/// How a token request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MintOutcome {
    /// With a token.
    Granted,
    /// The server refused the credential or its registration, by name or by a 401.
    CredentialRefused,
    /// The server called the request itself wrong.
    RequestRefused,
    /// The server asked for fewer requests: 429.
    Throttled,
    /// The server told of a fault of its own.
    ServerError,
    /// The answer was neither a token nor an error of RFC 6749.
    Malformed,
    /// The server sent the request elsewhere.
    Redirected,
    /// The server gave out a token that had expired.
    ExpiredToken,
    /// The granted scope was narrower than is acceptable.
    NarrowedScope,
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Nothing was sent: the request could not be written, or there was nothing to send it on.
    NotSent,
    /// The task was dropped or panicked.
    Lost,
}

impl MintOutcome {
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
        Self::Granted,
        Self::CredentialRefused,
        Self::RequestRefused,
        Self::Throttled,
        Self::ServerError,
        Self::Malformed,
        Self::Redirected,
        Self::ExpiredToken,
        Self::NarrowedScope,
        Self::Unreachable,
        Self::TimedOut,
        Self::NotSent,
        Self::Lost,
    ];

    /// The outcome that `error` is. Host, code and description stay in the error: none of them is bounded.
    pub(crate) fn of(error: &TokenError) -> Self {
        use TokenErrorKind as Kind;
        match error.kind() {
            Kind::Refused { status: 429, .. } | Kind::Malformed { status: 429, .. } => Self::Throttled,
            Kind::Malformed { status: 401, .. } => Self::CredentialRefused,
            Kind::Malformed { .. } => Self::Malformed,
            Kind::Refused { .. } => match error.fault() {
                Fault::Credential => Self::CredentialRefused,
                Fault::Caller => Self::RequestRefused,
                Fault::Server | Fault::Deadline => Self::ServerError,
            },
            Kind::ExpiredToken { .. } => Self::ExpiredToken,
            Kind::Redirected { .. } => Self::Redirected,
            Kind::NarrowedScope { .. } => Self::NarrowedScope,
            Kind::Unreachable { fault, .. } => match fault {
                ExchangeError::TimedOut => Self::TimedOut,
                ExchangeError::BodyTooLarge { .. } => Self::Malformed,
                ExchangeError::Request(_) => Self::NotSent,
                ExchangeError::Connect(_) | ExchangeError::Interrupted(_) => Self::Unreachable,
            },
            Kind::DeadlinePassed { .. } => Self::TimedOut,
            Kind::FlightLost => Self::Lost,
            Kind::NoRuntime
            | Kind::TooManyKeys { .. }
            | Kind::Request(_)
            | Kind::Closed
            | Kind::QuotaExhausted { .. }
            | Kind::LeftAlone { .. }
            | Kind::SecretUnavailable { .. } => Self::NotSent,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::CredentialRefused => "credential_refused",
            Self::RequestRefused => "request_refused",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::Malformed => "malformed",
            Self::Redirected => "redirected",
            Self::ExpiredToken => "expired_token",
            Self::NarrowedScope => "narrowed_scope",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::NotSent => "not_sent",
            Self::Lost => "lost",
        }
    }
}

/// The circuit breaker as its gauge tells it.
pub(super) fn breaker_value(phase: Phase) -> f64 {
    match phase {
        Phase::Closed => 0.0,
        Phase::HalfOpen => 1.0,
        Phase::Open => 2.0,
    }
}

/// What the shared store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreOperation {
    /// A record.
    Load,
    /// A change.
    Swap,
    /// To tell of changes.
    Subscribe,
}

impl StoreOperation {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Load, Self::Swap, Self::Subscribe];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Swap => "swap",
            Self::Subscribe => "subscribe",
        }
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    /// The token was put in its place.
    Published,
    /// It was given back without a token.
    Released,
    /// Another process had taken it, or the store did not answer.
    Lost,
}

impl LeaseOutcome {
    pub(crate) const ALL: [Self; 3] = [Self::Published, Self::Released, Self::Lost];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Released => "released",
            Self::Lost => "lost",
        }
    }
}

/// Why what was found in the shared store cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A later version of this crate sealed it.
    UnknownFormat,
    /// It was sealed with a key that is not in the ring.
    UnknownKey,
    /// It was changed, or belongs elsewhere.
    Damaged,
    /// It was sealed by us, and cannot be read.
    Malformed,
    /// It says that it is of another key.
    OfAnotherKey,
    /// By this machine's clock or the store's, its life is over.
    Expired,
    /// Its scope is narrower than is acceptable here.
    NarrowedScope,
}

impl Unusable {
    pub(super) const ALL: [Self; 7] = [
        Self::UnknownFormat,
        Self::UnknownKey,
        Self::Damaged,
        Self::Malformed,
        Self::OfAnotherKey,
        Self::Expired,
        Self::NarrowedScope,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::UnknownKey => "unknown_key",
            Self::Damaged => "damaged",
            Self::Malformed => "malformed",
            Self::OfAnotherKey => "of_another_key",
            Self::Expired => "expired",
            Self::NarrowedScope => "narrowed_scope",
        }
    }
}

impl From<Unopened> for Unusable {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::UnknownFormat => Self::UnknownFormat,
            Unopened::UnknownKey => Self::UnknownKey,
            Unopened::Damaged => Self::Damaged,
        }
    }
}
