//! A token taken apart, leniently: what is to be looked at may well be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton::Timestamp;
use serde_json::{Map, Value};
use std::fmt;

/// What a token is.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded {
    /// A signed JWT in the compact form (RFC 7515 §7.1).
    Jwt(Jwt),
    /// An encrypted JWT (RFC 7516 §7.1): only its header can be read.
    Encrypted { header: Map<String, Value> },
    /// Anything else: it means something to its server alone.
    Opaque,
}

/// The readable parts of a signed JWT.
#[derive(Debug, PartialEq)]
pub(super) struct Jwt {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

impl Decoded {
    /// Takes `token` apart. It is a JWT when its first part is a JSON object in base64url.
    pub(super) fn read(token: &str) -> Result<Self, Malformed> {
        if token.is_empty() {
            return Err(Malformed::Empty);
        }
        if let Some(at) = token.find(|c: char| !is_token_character(c)) {
            return Err(Malformed::Character { at });
        }
        let parts: Vec<&str> = token.split('.').collect();
        let header = parts.first().map(|part| object(part));
        match (header, parts.as_slice()) {
            (Some(Ok(header)), [_, payload, _signature]) => {
                let claims = object(payload).map_err(|fault| Malformed::Part { part: "payload", fault })?;
                Ok(Self::Jwt(Jwt { header, claims }))
            }
            (Some(Ok(header)), [_, _, _, _, _]) => Ok(Self::Encrypted { header }),
            (Some(Ok(_)), other) => Err(Malformed::Parts { found: other.len() }),
            // Three parts that begin as every JWT does: a JWT that was damaged on the way.
            (Some(Err(fault)), [first, _, _]) if first.starts_with("eyJ") => {
                Err(Malformed::Part { part: "header", fault })
            }
            (_, _) => Ok(Self::Opaque),
        }
    }
}

impl Jwt {
    /// A claim that is a time (RFC 7519 §2, `NumericDate`).
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        timestamp(self.claims.get(name)?)
    }

    /// The first audience.
    pub(super) fn audience(&self) -> Option<String> {
        match self.claims.get("aud")? {
            Value::String(audience) => Some(audience.clone()),
            Value::Array(audiences) => audiences.first()?.as_str().map(str::to_owned),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }
}

/// Reads a `NumericDate`; a fraction of a second is cut off.
pub(super) fn timestamp(value: &Value) -> Option<Timestamp> {
    let whole = value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
        // Checked above: neither negative nor too large.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        Some(seconds as u64)
    });
    whole.map(Timestamp::from_unix_seconds)
}

fn object(part: &str) -> Result<Map<String, Value>, PartFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| PartFault::Base64)?;
    serde_json::from_slice(&bytes).map_err(|_| PartFault::Json)
}

/// `b64token` of RFC 6750 §2.1.
fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=')
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is empty")]
    Empty,
    #[error("it has a character that no bearer token has (RFC 6750 section 2.1), at byte {at}")]
    Character { at: usize },
    #[error("it begins as a jwt, but has {found} parts where a signed jwt has 3 and an encrypted one 5")]
    Parts { found: usize },
    #[error("its {part} {fault}")]
    Part { part: &'static str, fault: PartFault },
}

/// What is wrong with one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartFault {
    Base64,
    Json,
}

impl fmt::Display for PartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64 => "is not base64url without padding",
            Self::Json => "is not a json object",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn a_jwt_is_told_from_an_encrypted_and_an_opaque_token() {
        let header = part("{\"alg\":\"ES256\"}");
        let jwt = format!("{header}.{}.c2ln", part("{\"sub\":\"a\",\"exp\":1.5}"));
        let Ok(Decoded::Jwt(jwt)) = Decoded::read(&jwt) else {
            unreachable!("it is a jwt");
        };
        assert_eq!((&jwt.header["alg"], &jwt.claims["sub"]), (&Value::from("ES256"), &Value::from("a")));
        assert_eq!(jwt.time("exp"), Some(Timestamp::from_unix_seconds(1)));
        assert!(matches!(Decoded::read(&format!("{header}.a.b.c.d")), Ok(Decoded::Encrypted { .. })));
        for opaque in ["2YotnFZFEjr1zCsicMWpAA", "a.b.c", "a.b", "abc=="] {
            assert_eq!(Decoded::read(opaque), Ok(Decoded::Opaque), "{opaque}");
        }
    }

    #[test]
    fn what_is_damaged_is_told() {
        let header = part("{\"alg\":\"ES256\"}");
        for (token, expected) in [
            (String::new(), "empty"),
            ("a b".to_owned(), "at byte 1"),
            (format!("{header}.{}", part("{}")), "has 2 parts"),
            (format!("{header}.!.c2ln"), "at byte"),
            (format!("{header}.a.c2ln"), "its payload is not base64url"),
            (format!("{header}.{}.c2ln", part("[]")), "its payload is not a json object"),
            ("eyJhbGciOi.e30.c2ln".to_owned(), "its header"),
        ] {
            let message = Decoded::read(&token).unwrap_err().to_string();
            assert!(message.contains(expected), "{token}: {message}");
        }
    }

    #[test]
    fn times_that_are_none_are_not_taken_for_some() {
        for (json, expected) in
            [("-1", None), ("\"1\"", None), ("1e300", None), ("null", None), ("0", Some(0)), ("1.9", Some(1))]
        {
            let value = serde_json::from_str(json).unwrap();
            assert_eq!(timestamp(&value), expected.map(Timestamp::from_unix_seconds), "{json}");
        }
    }
}
