//! Answers of the token endpoint (RFC 6749 §5.1 and §5.2), judged by their body.

mod parameters;

use super::error_response::{ErrorCode, printable};
use super::scope::Scope;
use crate::secret::Secret;
use parameters::{Parameter, Parameters};
use std::time::Duration;

/// The longest access token that is taken, in bytes. Longer ones do not fit into the header of any common server.
pub const MAX_ACCESS_TOKEN_BYTES: usize = 64 * 1024;

/// What a token endpoint answered.
#[derive(Debug)]
pub enum TokenAnswer {
    /// A token (RFC 6749 §5.1).
    Granted(TokenResponse),
    /// An error by name (RFC 6749 §5.2).
    Refused(ErrorResponse),
}

/// A successful answer (RFC 6749 §5.1). A refresh token in it is passed over (RFC 6749 §4.4.3).
#[derive(Debug)]
pub struct TokenResponse {
    /// The token: visible ASCII, 1 to [`MAX_ACCESS_TOKEN_BYTES`] bytes.
    pub access_token: Secret<String>,
    /// How long it lives.
    pub expires_in: ExpiresIn,
    /// The granted scope; `None` means that it is the requested one.
    pub scope: Option<Scope>,
}

/// The `expires_in` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    /// A life of at least one second, in whole seconds.
    Stated(Duration),
    /// Missing, null, zero or negative: the server told no life that a token could have.
    NotStated,
}

/// An error answer (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The code.
    pub error: ErrorCode,
    /// The description, cut and cleaned by [`printable`].
    pub error_description: Option<String>,
}

/// Reads an answer by what its body says, since servers send 200 with an error, 400 with HTML, and right answers
/// under wrong content types. JSON first, then the form encoding that some servers use. An `error` that can be read
/// counts whatever else is wrong: a wrong secret must not look like a server that stutters.
///
/// # Errors
/// [`MalformedAnswer`] says what was wrong with the answer, and carries nothing of it.
pub fn parse(status: u16, body: &[u8]) -> Result<TokenAnswer, MalformedAnswer> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.is_empty() {
        return Err(MalformedAnswer::Empty { status });
    }
    let parameters = match body.first() {
        Some(b'{') => Parameters::from_json(status, body)?,
        Some(_) | None => Parameters::from_form(status, body)?,
    };
    match parameters.error.text() {
        Some(error) if !error.is_empty() => Ok(TokenAnswer::Refused(ErrorResponse {
            error: ErrorCode::parse(error),
            error_description: parameters.error_description.text().map(printable),
        })),
        Some(_) | None => granted(status, parameters).map(TokenAnswer::Granted),
    }
}

/// Why an answer is none. Nothing of the body is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    /// No body.
    #[error("the answer with status {status} has no body")]
    Empty {
        /// The HTTP status.
        status: u16,
    },
    /// HTML, plain text or the like.
    #[error("the answer with status {status} is neither JSON nor form-encoded")]
    NeitherJsonNorForm {
        /// The HTTP status.
        status: u16,
    },
    /// JSON that ends too early.
    #[error("the answer with status {status} ends in the middle of its JSON object")]
    CutShort {
        /// The HTTP status.
        status: u16,
    },
    /// A parameter that is there twice (RFC 6749 §3.2 and RFC 8259 §4 leave open which one counts).
    #[error("the answer with status {status} repeats a parameter of RFC 6749")]
    Repeated {
        /// The HTTP status.
        status: u16,
    },
    /// A parameter of another JSON type than a string.
    #[error("in the answer with status {status}, `{parameter}` is not a string")]
    NotAString {
        /// The HTTP status.
        status: u16,
        /// The name of the parameter.
        parameter: &'static str,
    },
    /// Broken JSON.
    #[error(
        "the answer with status {status} is not the JSON object of RFC 6749: line {line}, column {column}"
    )]
    Json {
        /// The HTTP status.
        status: u16,
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault, from 1.
        column: usize,
    },
    /// Neither a token nor an error.
    #[error("the answer with status {status} has neither `access_token` nor `error`")]
    NoAccessToken {
        /// The HTTP status.
        status: u16,
    },
    /// A token under a status that is no success.
    #[error("the answer has an access token under the status {status}")]
    TokenUnderErrorStatus {
        /// The HTTP status.
        status: u16,
    },
    /// A token with a byte that a header cannot carry, or an empty or over-long one.
    #[error("the `access_token` is empty, longer than {MAX_ACCESS_TOKEN_BYTES} bytes, or not visible ASCII")]
    AccessToken,
    /// No `token_type`.
    #[error("the answer has no `token_type`")]
    NoTokenType,
    /// A type other than the one asked for.
    #[error("the `token_type` is not Bearer")]
    TokenType,
    /// An `expires_in` that is no number.
    #[error("the `expires_in` is not a number")]
    ExpiresIn,
    /// A scope outside the grammar.
    #[error("the `scope` is not a list of scope tokens: {0}")]
    Scope(#[from] super::scope::InvalidScope),
}

fn granted(status: u16, parameters: Parameters) -> Result<TokenResponse, MalformedAnswer> {
    // Neither empty nor a string, and so of no use either way.
    parameters.error.string("error", status)?;
    let access_token = parameters.access_token.string("access_token", status)?;
    let access_token = access_token.ok_or(MalformedAnswer::NoAccessToken { status })?;
    if !(200..300).contains(&status) {
        return Err(MalformedAnswer::TokenUnderErrorStatus { status });
    }
    let text = access_token.expose();
    if text.is_empty()
        || text.len() > MAX_ACCESS_TOKEN_BYTES
        || !text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(MalformedAnswer::AccessToken);
    }
    let token_type = parameters.token_type.string("token_type", status)?;
    if !token_type.ok_or(MalformedAnswer::NoTokenType)?.expose().eq_ignore_ascii_case("bearer") {
        return Err(MalformedAnswer::TokenType);
    }
    let scope = parameters.scope.string("scope", status)?;
    let scope = match scope.as_ref().map(|scope| scope.expose().trim()) {
        None | Some("") => None,
        Some(text) => Some(text.parse()?),
    };
    Ok(TokenResponse { access_token, expires_in: expires_in(&parameters.expires_in)?, scope })
}

/// Any number, also one in a string; fractions of a second are cut off, huge values saturate.
fn expires_in(value: &Parameter) -> Result<ExpiresIn, MalformedAnswer> {
    let seconds = match value {
        Parameter::Missing => return Ok(ExpiresIn::NotStated),
        Parameter::Number(number) => *number,
        Parameter::Text(text) => number(text.expose().trim()).ok_or(MalformedAnswer::ExpiresIn)?,
        Parameter::Other => return Err(MalformedAnswer::ExpiresIn),
    };
    if seconds < 1.0 {
        return Ok(ExpiresIn::NotStated);
    }
    // A float beyond the range is an honest "very long"; the lifecycle bounds it.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and the value is at least one"
    )]
    Ok(ExpiresIn::Stated(Duration::from_secs(seconds as u64)))
}

/// Digits, and not the words that a float may be spelled with: "infinity" is no life, least of all the longest.
fn number(text: &str) -> Option<f64> {
    let spelled_as_number =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'));
    text.parse().ok().filter(|_| spelled_as_number)
}

#[cfg(test)]
mod tests;
