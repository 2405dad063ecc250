//! What the client did in a case, and whether that is what the case wants.

use super::case::{Case, ExpectedError, ExpectedToken};
use crate::secrecy::forms;
use crate::support::SECRET;
use std::fmt::Write as _;

/// No case may hold more of the client's memory at a time: the largest answer, its copies while it grows and is
/// parsed, and the buffers of the HTTP stack.
const MAX_PEAK_BYTES: u64 = 2 << 20;
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_DEBUG_BYTES: usize = 2048;
const MAX_LOG_BYTES: usize = 16 * 1024;
/// Of a life that is shorter, nothing may be left when the client is asked again.
const LASTING_SECONDS: u64 = 60;

#[derive(Debug)]
pub(super) struct Observation {
    pub(super) first: Outcome,
    /// What came of asking again at once.
    pub(super) second: Outcome,
    pub(super) requests_after_first: u64,
    pub(super) requests_after_second: u64,
    pub(super) peak_bytes: u64,
    /// The client's log lines at `TRACE`, and the `Debug` of the manager and of what it gave.
    pub(super) said: String,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Token { access_token: String, life_seconds: u64, scope: Option<String> },
    Failed { kind: String, message: String, debug: String, retryable: bool },
}

impl Observation {
    /// All that is wrong, in words.
    pub(super) fn faults(&self, case: &Case) -> Vec<String> {
        let mut faults = Vec::new();
        match (&case.error, &case.token) {
            (Some(expected), _) => self.check_error(expected, &mut faults),
            (None, Some(expected)) => self.check_token(expected, &mut faults),
            (None, None) => faults.push("the case wants nothing".to_owned()),
        }
        if self.peak_bytes > MAX_PEAK_BYTES {
            faults.push(format!("the client held {} bytes, more than {MAX_PEAK_BYTES}", self.peak_bytes));
        }
        if self.said.len() > MAX_LOG_BYTES {
            faults.push(format!("the client said {} bytes, more than {MAX_LOG_BYTES}", self.said.len()));
        }
        let mut said = self.said.clone();
        for outcome in [&self.first, &self.second] {
            if let Outcome::Failed { message, debug, .. } = outcome {
                let _always_written = write!(said, "{message} {debug}");
            }
        }
        for canary in forms(SECRET).into_iter().chain(["canary".to_owned()]) {
            if said.contains(&canary) {
                faults.push(format!(
                    "{canary:?} of a secret or a foreign body is in what the client said: {said}"
                ));
            }
        }
        faults
    }

    fn check_error(&self, expected: &ExpectedError, faults: &mut Vec<String>) {
        let Outcome::Failed { kind, message, debug, retryable } = &self.first else {
            return faults.push(format!("wanted {}, was {:?}", expected.kind, self.first));
        };
        if !expected.kind.split(" or ").any(|wanted| wanted == kind) {
            faults.push(format!("wanted {}, was {kind}: {message}", expected.kind));
        }
        if !message.contains(&expected.says) {
            faults.push(format!("{:?} is not in the message: {message}", expected.says));
        }
        if *retryable != expected.retryable {
            faults.push(format!("retryable is {retryable}: {message}"));
        }
        if message.len() > MAX_MESSAGE_BYTES || debug.len() > MAX_DEBUG_BYTES {
            faults.push(format!("{} and {} bytes of error are too many", message.len(), debug.len()));
        }
        if !message.chars().all(|character| matches!(character, ' '..='~')) {
            faults.push(format!("more than printable ASCII is in the message: {message:?}"));
        }
        let requests = self.requests_after_first;
        if requests == 0 || requests > expected.requests_at_most {
            faults.push(format!("{requests} requests, at most {} were wanted", expected.requests_at_most));
        }
        // A wrong secret that is sent again and again locks the client out.
        if !expected.retryable && self.requests_after_second != 1 {
            faults.push(format!("asking again made {} requests of one", self.requests_after_second));
        }
    }

    fn check_token(&self, expected: &ExpectedToken, faults: &mut Vec<String>) {
        let wanted = String::from_utf8(expected.access_token.bytes()).unwrap();
        match &self.first {
            Outcome::Failed { message, .. } => faults.push(format!("wanted a token, was: {message}")),
            Outcome::Token { access_token, life_seconds, scope } => {
                if *access_token != wanted {
                    faults.push("another token than the one wanted".to_owned());
                }
                if *life_seconds != expected.life_seconds {
                    faults.push(format!("{life_seconds} s of life, wanted {}", expected.life_seconds));
                }
                if *scope != expected.scope {
                    faults.push(format!("the scope {scope:?}, wanted {:?}", expected.scope));
                }
            }
        }
        if self.requests_after_first != 1 {
            faults.push(format!("{} requests for one token", self.requests_after_first));
        }
        let lasting = expected.life_seconds >= LASTING_SECONDS;
        if lasting && self.requests_after_second != 1 {
            faults.push("asking again asked the server again".to_owned());
        }
    }
}
