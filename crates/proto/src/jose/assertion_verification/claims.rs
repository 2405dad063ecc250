//! The claims of an assertion (RFC 7523 §3).

use super::rejection::{AssertionRejection, InvalidAssertionClaims};
use super::{ASSERTION_CLOCK_SKEW, MAX_JWT_ID_BYTES};
use crate::jose::access_token::MAX_NUMERIC_DATE_SECONDS;
use crate::jose::jws::json;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// The most audiences of one assertion that are read.
const MAX_AUDIENCES: usize = 8;

/// What an assertion says.
#[derive(Clone, PartialEq)]
pub struct AssertionClaims {
    issuer: String,
    subject: String,
    audience: Vec<String>,
    expires_at: Timestamp,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    jwt_id: Option<String>,
    all: Map<String, Value>,
}

impl AssertionClaims {
    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `aud`, one or several, never none.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// `exp`.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `iat`.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// `jti`.
    #[must_use]
    pub fn jwt_id(&self) -> Option<&str> {
        self.jwt_id.as_deref()
    }

    /// Every claim, those above among them.
    #[must_use]
    pub const fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    pub(super) fn parse(payload: &[u8]) -> Result<Self, InvalidAssertionClaims> {
        let all = json::parse_object(payload).map_err(InvalidAssertionClaims::Json)?;
        Ok(Self {
            issuer: text(&all, "iss")?.ok_or(InvalidAssertionClaims::Missing("iss"))?,
            subject: text(&all, "sub")?.ok_or(InvalidAssertionClaims::Missing("sub"))?,
            audience: audience(&all)?,
            expires_at: numeric_date(&all, "exp")?.ok_or(InvalidAssertionClaims::Missing("exp"))?,
            issued_at: numeric_date(&all, "iat")?,
            not_before: numeric_date(&all, "nbf")?,
            jwt_id: jwt_id(&all)?,
            all,
        })
    }

    /// Whether the assertion is in force at `now`, and lives for `longest` at most.
    pub(super) fn check_times(&self, longest: Duration, now: Timestamp) -> Result<(), AssertionRejection> {
        // RFC 7519 §4.1.4: not on or after `exp`.
        if now >= self.expires_at.saturating_add(ASSERTION_CLOCK_SKEW) {
            return Err(AssertionRejection::Expired { at: self.expires_at });
        }
        let longest = longest.saturating_add(ASSERTION_CLOCK_SKEW);
        if self.expires_at > now.saturating_add(longest) {
            return Err(AssertionRejection::LivesTooLong { at: self.expires_at });
        }
        let latest = now.saturating_add(ASSERTION_CLOCK_SKEW);
        if let Some(at) = self.issued_at {
            if at > latest {
                return Err(AssertionRejection::IssuedInFuture { at });
            }
            // One that was made long before may have been seen by many since, however soon it ends.
            if self.expires_at > at.saturating_add(longest) {
                return Err(AssertionRejection::LivesTooLong { at: self.expires_at });
            }
        }
        match self.not_before {
            Some(at) if at > latest => Err(AssertionRejection::NotYetValid { at }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Shows nothing that the caller wrote.
impl fmt::Debug for AssertionClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionClaims").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

fn text(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, InvalidAssertionClaims> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(value)) if !value.is_empty() => Ok(Some(value.clone())),
        Some(_) => Err(InvalidAssertionClaims::Value(name)),
    }
}

fn jwt_id(claims: &Map<String, Value>) -> Result<Option<String>, InvalidAssertionClaims> {
    match text(claims, "jti")? {
        Some(jwt_id) if jwt_id.len() > MAX_JWT_ID_BYTES => Err(InvalidAssertionClaims::Value("jti")),
        jwt_id => Ok(jwt_id),
    }
}

/// RFC 7519 §4.1.3: one string, or an array of strings.
fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, InvalidAssertionClaims> {
    let wrong = InvalidAssertionClaims::Value("aud");
    match claims.get("aud") {
        None => Err(InvalidAssertionClaims::Missing("aud")),
        Some(Value::String(one)) if !one.is_empty() => Ok(vec![one.clone()]),
        Some(Value::Array(several)) if (1..=MAX_AUDIENCES).contains(&several.len()) => {
            several.iter().map(|value| value.as_str().map(str::to_owned).ok_or(wrong)).collect()
        }
        Some(_) => Err(wrong),
    }
}

/// RFC 7519 §2 lets a `NumericDate` have a fraction, and programs that pass their clock on as it is write one. What is
/// below a millisecond is cut off; a text, a negative number and one past the year 9999 are no time.
fn numeric_date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, InvalidAssertionClaims> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let wrong = InvalidAssertionClaims::Value(name);
    if let Some(seconds) = value.as_u64() {
        let bounded = seconds <= MAX_NUMERIC_DATE_SECONDS;
        return if bounded { Ok(Some(Timestamp::from_unix_seconds(seconds))) } else { Err(wrong) };
    }
    let seconds = value.as_f64().ok_or(wrong)?;
    #[allow(clippy::cast_precision_loss, reason = "seconds up to the year 9999 are far below 2^52")]
    let bounded = (0.0..=MAX_NUMERIC_DATE_SECONDS as f64).contains(&seconds);
    let since_epoch = Duration::try_from_secs_f64(seconds).ok().filter(|_| bounded).ok_or(wrong)?;
    Ok(Some(Timestamp::EPOCH.saturating_add(since_epoch)))
}
