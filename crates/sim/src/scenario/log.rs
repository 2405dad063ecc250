//! What happened while a scenario was played, as it happened.

use jeton::TokenError;
use jeton::TokenErrorKind as Kind;
use std::sync::Arc;

/// What happened. Times are milliseconds from the beginning, without suspends.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(super) calls: Vec<Call>,
    pub(super) requests: Vec<Request>,
    pub(super) closings: Vec<Closing>,
    pub(super) notes: Vec<(u64, String)>,
    /// What must never happen, whatever the scenario says.
    pub(super) broken: Vec<(u64, String)>,
}

/// A call that was answered, or is not to be.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: Arc<str>,
    pub(super) asked_ms: u64,
    pub(super) answered_ms: u64,
    pub(super) outcome: Outcome,
}

/// What a caller got.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Token {
        number: u64,
        life_ms: u64,
    },
    Error(TokenError),
    /// There was no token to take at once.
    Waiting,
    Cancelled,
}

/// A request that reached the token endpoint.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) manager: u32,
    pub(super) scope: Arc<str>,
    pub(super) sent_ms: u64,
    pub(super) ended_ms: u64,
    pub(super) end: RequestEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestEnd {
    UnderWay,
    Token {
        number: u64,
    },
    Answered {
        status: u16,
    },
    Failed {
        how: &'static str,
    },
    /// The client gave it up.
    Abandoned,
}

/// How a manager was closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) begun_ms: u64,
    pub(super) ended_ms: u64,
    /// How many requests were given up.
    pub(super) given_up: usize,
}

impl Outcome {
    /// The word that a file has for it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Error(error) => kind_of(error),
            Self::Waiting => "waiting",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Token { number, .. } => format!("token {number}"),
            Self::Error(error) => format!("{}: {error}", kind_of(error)),
            Self::Waiting => "no token at hand".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }
}

/// Every word that a call's `get` may be, beside `error`.
pub(super) const OUTCOMES: &[&str] = &[
    "token",
    "waiting",
    "cancelled",
    "Refused",
    "Malformed",
    "ExpiredToken",
    "Redirected",
    "Unreachable",
    "NarrowedScope",
    "LeftAlone",
    "DeadlinePassed",
    "FlightLost",
    "Closed",
    "QuotaExhausted",
    "SecretUnavailable",
    "NoRuntime",
    "TooManyKeys",
    "Request",
];

/// The name of the error's variant.
fn kind_of(error: &TokenError) -> &'static str {
    match error.kind() {
        Kind::Refused { .. } => "Refused",
        Kind::Malformed { .. } => "Malformed",
        Kind::ExpiredToken { .. } => "ExpiredToken",
        Kind::Redirected { .. } => "Redirected",
        Kind::Unreachable { .. } => "Unreachable",
        Kind::NarrowedScope { .. } => "NarrowedScope",
        Kind::LeftAlone { .. } => "LeftAlone",
        Kind::DeadlinePassed { .. } => "DeadlinePassed",
        Kind::FlightLost => "FlightLost",
        Kind::Closed => "Closed",
        Kind::QuotaExhausted { .. } => "QuotaExhausted",
        Kind::SecretUnavailable { .. } => "SecretUnavailable",
        Kind::NoRuntime => "NoRuntime",
        Kind::TooManyKeys { .. } => "TooManyKeys",
        Kind::Request(_) => "Request",
    }
}
