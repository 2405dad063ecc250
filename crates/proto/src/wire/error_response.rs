//! Error answers of the token endpoint (RFC 6749 §5.2): the codes, and what a client may show of them.

use std::fmt;

/// The longest error code or description that is kept of a foreign answer, in bytes.
pub const MAX_ERROR_TEXT_BYTES: usize = 256;

/// The `error` parameter of RFC 6749 §5.2 and its registered companions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request lacks a parameter, repeats one, or is malformed (RFC 6749 §5.2).
    InvalidRequest,
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// The grant or assertion is invalid (RFC 6749 §5.2).
    InvalidGrant,
    /// The client may not use this grant (RFC 6749 §5.2).
    UnauthorizedClient,
    /// The server does not know this grant (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// The scope is unknown, malformed or more than the client may have (RFC 6749 §5.2).
    InvalidScope,
    /// The resource or audience is unknown or not allowed (RFC 8707 §2).
    InvalidTarget,
    /// The server failed (RFC 6749 §4.1.2.1, used at token endpoints all the same).
    ServerError,
    /// The server is overloaded or in maintenance (RFC 6749 §4.1.2.1).
    TemporarilyUnavailable,
    /// A code that this list does not have, cut to [`MAX_ERROR_TEXT_BYTES`] and cleaned by [`printable`].
    Other(Box<str>),
}

impl ErrorCode {
    /// Reads a code as it stands on the wire.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "invalid_request" => Self::InvalidRequest,
            "invalid_client" => Self::InvalidClient,
            "invalid_grant" => Self::InvalidGrant,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "invalid_scope" => Self::InvalidScope,
            "invalid_target" => Self::InvalidTarget,
            "server_error" => Self::ServerError,
            "temporarily_unavailable" => Self::TemporarilyUnavailable,
            other => Self::Other(printable(other).into_boxed_str()),
        }
    }

    /// The code as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `text` cut to [`MAX_ERROR_TEXT_BYTES`], with everything but printable ASCII replaced by `?`: fit for a log line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_ERROR_TEXT_BYTES)
        .map(|character| if matches!(character, ' '..='~') { character } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_code_survives_a_round_trip() {
        for code in [
            "invalid_request",
            "invalid_client",
            "invalid_grant",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
            "invalid_target",
            "server_error",
            "temporarily_unavailable",
        ] {
            let parsed = ErrorCode::parse(code);
            assert!(!matches!(parsed, ErrorCode::Other(_)), "{code}");
            assert_eq!(parsed.as_str(), code);
        }
    }

    #[test]
    fn a_foreign_code_is_cut_and_cleaned() {
        let code = ErrorCode::parse(&format!("x\r\n{}", "é".repeat(1000)));
        assert_eq!(code.as_str().len(), MAX_ERROR_TEXT_BYTES);
        assert!(code.as_str().starts_with("x????"));
    }
}
