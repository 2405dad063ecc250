//! What happens in a world, as far as the checker looks at it. Tokens, requests and calls are numbers: nothing random is
//! in an event, so one seed gives one sequence.

use crate::fault::FaultKind;
use std::fmt;

/// One manager's share of one key: what the client calls a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId {
    /// The manager, counted from 0; a new one is built for a new secret.
    pub manager: u32,
    /// The key, counted from 0.
    pub key: u8,
}

/// By which door a caller comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// `token_within`: all waiters of a line share a flight.
    Within,
    /// The bearer layer before the guarded API.
    Bearer,
}

/// Why a caller got no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Its own deadline passed.
    Deadline,
    /// The server refused the credential, now or as remembered.
    InvalidClient,
    /// Something else.
    Other,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With the token that [`Event::Given`] told.
    Token,
    /// Without one.
    Failed(Failure),
    /// The API answered with this status.
    Answered(u16),
    /// The caller went away.
    Cancelled,
}

/// How a token request ended, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestEnd {
    /// With a token that lives for so long from when the request was sent.
    Granted {
        /// The token.
        token: u32,
        /// Its life.
        life_ms: u64,
    },
    /// The server refused the credential.
    InvalidClient,
    /// Any other answer, with the pause that it asks for.
    Answered {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`.
        retry_after_ms: Option<u64>,
    },
    /// No connection, or one that broke.
    Broken,
    /// The exchange gave up when its time was over, or the client did.
    TimedOut,
    /// The client dropped the request before its time was over.
    Abandoned,
    /// The exchange panicked.
    Panicked,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A manager was built. The last handle of the one before goes when its last caller does.
    ManagerBuilt {
        /// The manager.
        manager: u32,
        /// So many of its keys, from the first, are prefetched.
        prefetched: u8,
    },
    /// A manager was told a secret.
    SecretReplaced {
        /// The manager.
        manager: u32,
        /// Which generation of it.
        secret: u32,
    },
    /// The source that managers read their secret from has another one.
    SecretInSource {
        /// Which generation of it.
        secret: u32,
    },
    /// A manager begins to close.
    Closing {
        /// The manager.
        manager: u32,
        /// How long it may wait for what is under way.
        within_ms: u64,
    },
    /// It has closed.
    Closed {
        /// The manager.
        manager: u32,
        /// How many requests it says it gave up.
        given_up: usize,
    },
    /// The last handle of every manager is gone, or they were closed.
    ManagersGone,
    /// The runtime was looked at some time after that.
    TasksLeft {
        /// How many tasks it still had.
        tasks: usize,
    },
    /// A call that may wait began.
    CallBegan {
        /// The call.
        call: u64,
        /// What it asks.
        line: LineId,
        /// By which door.
        entry: Entry,
        /// When it has to be answered, from now.
        wait_ms: u64,
    },
    /// A token was handed to that call.
    Given {
        /// The call.
        call: u64,
        /// The token.
        token: u32,
    },
    /// The call ended.
    CallEnded {
        /// The call.
        call: u64,
        /// How.
        ending: Ending,
    },
    /// The hit path was asked, and answered at once.
    AtOnce {
        /// What was asked.
        line: LineId,
        /// The token that was given out, if any.
        token: Option<u32>,
    },
    /// A token request was handed to the exchange.
    RequestSent {
        /// The request.
        request: u64,
        /// For which line.
        line: LineId,
        /// With which generation of the secret.
        secret: u32,
    },
    /// It ended.
    RequestEnded {
        /// The request.
        request: u64,
        /// How.
        end: RequestEnd,
    },
    /// The client is told that an API refused this token.
    Rejected {
        /// Where it was given out.
        line: LineId,
        /// The token.
        token: u32,
    },
    /// The client is told that an API took this token.
    Accepted {
        /// Where it was given out.
        line: LineId,
        /// The token.
        token: u32,
    },
    /// A fault took effect.
    Fault(FaultKind),
    /// From now on there are no faults.
    CalmBegan,
    /// From now on there may be.
    CalmEnded,
    /// Something secret was printed.
    Leaked {
        /// Where.
        place: String,
    },
    /// A thread or task panicked.
    Panicked {
        /// Its message.
        message: String,
    },
    /// The world ended.
    Ended,
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}/k{}", self.manager, self.key)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManagerBuilt { manager, prefetched } => {
                write!(f, "manager m{manager} built, {prefetched} keys prefetched")
            }
            Self::SecretReplaced { manager, secret } => {
                write!(f, "manager m{manager} has the secret {secret}")
            }
            Self::SecretInSource { secret } => write!(f, "the source has the secret {secret}"),
            Self::Closing { manager, within_ms } => {
                write!(f, "manager m{manager} closes within {within_ms} ms")
            }
            Self::Closed { manager, given_up } => write!(f, "manager m{manager} closed, {given_up} given up"),
            Self::ManagersGone => f.write_str("managers gone"),
            Self::TasksLeft { tasks } => write!(f, "{tasks} tasks left"),
            Self::CallBegan { call, line, entry, wait_ms } => {
                write!(f, "call {call} {line} {entry:?} for {wait_ms} ms")
            }
            Self::Given { call, token } => write!(f, "call {call} has token {token}"),
            Self::CallEnded { call, ending } => write!(f, "call {call} ended: {ending:?}"),
            Self::AtOnce { line, token: Some(token) } => write!(f, "at once {line}: token {token}"),
            Self::AtOnce { line, token: None } => write!(f, "at once {line}: nothing"),
            Self::RequestSent { request, line, secret } => {
                write!(f, "request {request} {line} sent with the secret {secret}")
            }
            Self::RequestEnded { request, end } => write!(f, "request {request} ended: {end:?}"),
            Self::Rejected { line, token } => write!(f, "{line} token {token} rejected"),
            Self::Accepted { line, token } => write!(f, "{line} token {token} accepted"),
            Self::Fault(kind) => write!(f, "fault: {kind}"),
            Self::CalmBegan => f.write_str("calm"),
            Self::CalmEnded => f.write_str("faults from here on"),
            Self::Leaked { place } => write!(f, "leaked in {place}"),
            Self::Panicked { message } => write!(f, "panic: {message}"),
            Self::Ended => f.write_str("end"),
        }
    }
}
