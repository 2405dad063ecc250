//! Why a command failed: what is told to the person, and with which code the process ends.

use crate::exit_code::ExitCode;
use jeton::credentials::{SourceFault, SourceFaultKind};
use jeton::{BuildError, ErrorCode, Fault, TokenError, TokenErrorKind};
use std::error::Error;
use std::io::{self, Write as _};

/// A failure. Nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: ExitCode,
    message: Option<String>,
    hint: Option<String>,
    place: Option<Place>,
}

/// Where in the settings file something is wrong, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Failure {
    /// A failure with a message in lower case and without full stop.
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), hint: None, place: None }
    }

    /// An end of which there is nothing to say: what was to be said has been, or nobody listens.
    pub(crate) const fn quiet(code: ExitCode) -> Self {
        Self { code, message: None, hint: None, place: None }
    }

    /// Tells the failure at once, and leaves its exit code.
    pub(crate) fn told(self) -> Self {
        let _unheard = io::stderr().lock().write_all(self.lines().as_bytes());
        Self::quiet(self.code)
    }

    /// A failure with the message of `error` and of what caused it.
    pub(crate) fn of(code: ExitCode, error: &dyn Error) -> Self {
        Self::new(code, described(error))
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in the settings file.
    pub(crate) const fn at(mut self, line: usize, column: usize) -> Self {
        self.place = Some(Place { line, column });
        self
    }

    /// The message, if there is something to say.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// What to do, where that is known.
    pub(crate) fn what_to_do(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Where in the settings file.
    pub(crate) const fn place(&self) -> Option<Place> {
        self.place
    }

    /// The exit code.
    pub(crate) const fn code(&self) -> ExitCode {
        self.code
    }

    /// The lines for stderr.
    pub(crate) fn lines(&self) -> String {
        let line = |label: &str, text: &Option<String>| {
            let told = text.as_ref().map(|text| format!("{label}: {text}\n"));
            told.unwrap_or_default()
        };
        line("error", &self.message) + &line("hint", &self.hint)
    }
}

/// The message of an error and of its causes, without those that the message tells already.
pub(crate) fn described(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

impl From<&TokenError> for Failure {
    fn from(error: &TokenError) -> Self {
        let failure = Self::new(token_error_code(error), error.to_string());
        match token_error_hint(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn token_error_code(error: &TokenError) -> ExitCode {
    match error.kind() {
        TokenErrorKind::Refused { .. } => match error.fault() {
            Fault::Credential => ExitCode::CredentialRefused,
            Fault::Server | Fault::Deadline => ExitCode::ServerUnreachable,
            Fault::Caller => ExitCode::Other,
        },
        TokenErrorKind::NarrowedScope { .. } | TokenErrorKind::Malformed { status: 401, .. } => {
            ExitCode::CredentialRefused
        }
        TokenErrorKind::Malformed { status: 429 | 500.., .. }
        | TokenErrorKind::Unreachable { .. }
        | TokenErrorKind::LeftAlone { .. }
        | TokenErrorKind::DeadlinePassed { .. } => ExitCode::ServerUnreachable,
        TokenErrorKind::Redirected { .. }
        | TokenErrorKind::Request(_)
        | TokenErrorKind::SecretUnavailable { .. } => ExitCode::Configuration,
        TokenErrorKind::QuotaExhausted { .. }
        | TokenErrorKind::Closed
        | TokenErrorKind::Malformed { .. }
        | TokenErrorKind::ExpiredToken { .. }
        | TokenErrorKind::FlightLost
        | TokenErrorKind::NoRuntime
        | TokenErrorKind::TooManyKeys { .. } => ExitCode::Other,
    }
}

fn token_error_hint(error: &TokenError) -> Option<String> {
    match error.kind() {
        TokenErrorKind::Malformed { status: 429 | 500.., .. } => {
            let wait = error.retry_after().unwrap_or_default().as_secs().max(1);
            Some(format!("the server, or a proxy before it, cannot answer now: ask again in {wait} s"))
        }
        TokenErrorKind::Unreachable { .. } => {
            Some("check the token url and that the server runs; its certificate authority can be given by --ca-file".to_owned())
        }
        TokenErrorKind::DeadlinePassed { .. } => Some("give it more time by --timeout".to_owned()),
        TokenErrorKind::Malformed { .. } => {
            Some("check that the token url is the token endpoint and not a page of the server".to_owned())
        }
        TokenErrorKind::Refused { error: ErrorCode::InvalidClient, .. } => Some(
            "a client of `jeton serve` is added by: jeton client add NAME; a lost secret cannot be read again".to_owned(),
        ),
        // The message says what to do.
        TokenErrorKind::Refused { .. }
        | TokenErrorKind::Redirected { .. }
        | TokenErrorKind::Request(_)
        | TokenErrorKind::NarrowedScope { .. }
        | TokenErrorKind::QuotaExhausted { .. }
        | TokenErrorKind::LeftAlone { .. }
        | TokenErrorKind::SecretUnavailable { .. }
        | TokenErrorKind::Closed
        | TokenErrorKind::ExpiredToken { .. }
        | TokenErrorKind::FlightLost
        | TokenErrorKind::NoRuntime
        | TokenErrorKind::TooManyKeys { .. } => {
            error.retry_after().filter(|_| error.is_retryable()).map(|wait| format!("ask again in {} s", wait.as_secs().max(1)))
        }
    }
}

impl From<SourceFault> for Failure {
    fn from(fault: SourceFault) -> Self {
        let code = match fault.kind() {
            SourceFaultKind::Unreachable => ExitCode::ServerUnreachable,
            SourceFaultKind::Absent
            | SourceFaultKind::Denied
            | SourceFaultKind::Malformed
            | SourceFaultKind::Unusable => ExitCode::Configuration,
        };
        Self::new(code, fault.to_string())
    }
}

impl From<&BuildError> for Failure {
    fn from(error: &BuildError) -> Self {
        Self::of(ExitCode::Configuration, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the inner cause")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: Inner,
    }

    #[test]
    fn causes_are_told_once() {
        let told = |text| described(&Outer { text, source: Inner });
        assert_eq!(told("it failed"), "it failed: the inner cause");
        assert_eq!(told("it failed by the inner cause"), "it failed by the inner cause");
    }

    #[test]
    fn a_failure_is_an_error_line_and_a_hint_line() {
        let failure = Failure::new(ExitCode::Other, "it failed").hint("try again");
        assert_eq!(failure.lines(), "error: it failed\nhint: try again\n");
        assert_eq!(Failure::quiet(ExitCode::Done).lines(), "");
    }
}
