//! What a resource server makes of a bearer token (RFC 9068 §4), and an issuer of one of its own: claims, or the
//! reason for a refusal.

#[cfg(test)]
mod tests;

use crate::jose::access_token::{InvalidClaims, MEDIA_TYPE, VerifiedClaims};
use crate::jose::jwk::JwkSet;
use crate::jose::jws::{Algorithm, InvalidJws, MAX_JWS_BYTES, UnverifiedJws};
use crate::time::Timestamp;
use crate::wire::error_response::printable;
use std::time::Duration;

/// The largest clock skew that may be allowed. A larger one hides a broken clock.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);
/// The clock skew that is allowed unless said otherwise. Machines that keep time at all agree to well under a second;
/// every second allowed here is one that an expired token works on.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(5);
/// The longest token that is looked at unless said otherwise, in bytes.
pub const DEFAULT_MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The most audiences that one resource server may answer to.
pub const MAX_AUDIENCES: usize = 32;
/// How many keys are tried on one token at most. More than one fits when keys share a `kid` or a token has none.
pub const MAX_KEYS_TRIED: usize = 4;

/// What a resource server expects of a token. Checked when it is made, so that deciding cannot fail on it.
///
/// ```
/// use jeton_proto::verification::Expectations;
/// use std::time::Duration;
///
/// let expectations = Expectations::new("https://as.example", ["https://api.example"])?
///     .with_clock_skew(Duration::from_secs(10))?;
/// assert!(Expectations::new("https://as.example", [""]).is_err());
/// # Ok::<(), jeton_proto::verification::InvalidExpectations>(())
/// ```
#[derive(Clone, Debug)]
pub struct Expectations {
    issuer: String,
    audiences: Vec<String>,
    clock_skew: Duration,
    algorithms: Vec<Algorithm>,
    max_token_bytes: usize,
}

impl Expectations {
    /// Tokens of `issuer` for one of `audiences`, signed with any algorithm of the closed list. Both are compared byte
    /// by byte (RFC 9068 §4).
    pub fn new<A: Into<String>>(
        issuer: impl Into<String>,
        audiences: impl IntoIterator<Item = A>,
    ) -> Result<Self, InvalidExpectations> {
        let issuer = issuer.into();
        let audiences: Vec<String> = audiences.into_iter().take(MAX_AUDIENCES + 1).map(Into::into).collect();
        if issuer.is_empty() {
            return Err(InvalidExpectations::Issuer);
        }
        if audiences.is_empty() || audiences.len() > MAX_AUDIENCES || audiences.iter().any(String::is_empty) {
            return Err(InvalidExpectations::Audiences);
        }
        Ok(Self {
            issuer,
            audiences,
            clock_skew: DEFAULT_CLOCK_SKEW,
            algorithms: Algorithm::ALL.to_vec(),
            max_token_bytes: DEFAULT_MAX_TOKEN_BYTES,
        })
    }

    /// How far the clocks of issuer and resource server may be apart: 0 to 60 s, by default 5 s. With 5 s a token that
    /// expires at 12:00:00 is taken until 12:00:04.999.
    pub fn with_clock_skew(self, clock_skew: Duration) -> Result<Self, InvalidExpectations> {
        if clock_skew > MAX_CLOCK_SKEW {
            return Err(InvalidExpectations::ClockSkew);
        }
        Ok(Self { clock_skew, ..self })
    }

    /// The algorithms that are taken; by default every one of the closed list.
    pub fn with_algorithms(self, algorithms: &[Algorithm]) -> Result<Self, InvalidExpectations> {
        if algorithms.is_empty() {
            return Err(InvalidExpectations::Algorithms);
        }
        Ok(Self { algorithms: algorithms.to_vec(), ..self })
    }

    /// The longest token that is looked at, in bytes: 1 to 65536, by default 16384.
    pub fn with_max_token_bytes(self, max_token_bytes: usize) -> Result<Self, InvalidExpectations> {
        if !(1..=MAX_JWS_BYTES).contains(&max_token_bytes) {
            return Err(InvalidExpectations::MaxTokenBytes);
        }
        Ok(Self { max_token_bytes, ..self })
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences, one of which a token must be for.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

/// Why expectations make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpectations {
    /// The issuer is empty.
    #[error("the issuer is empty")]
    Issuer,
    /// No audience, an empty one, or more than [`MAX_AUDIENCES`].
    #[error("there must be 1 to {MAX_AUDIENCES} audiences, none of them empty")]
    Audiences,
    /// More than [`MAX_CLOCK_SKEW`].
    #[error("the clock skew is more than 60 s; correct the clock instead")]
    ClockSkew,
    /// No algorithm.
    #[error("no signature algorithm is allowed, so no token could ever be")]
    Algorithms,
    /// Zero, or more than [`MAX_JWS_BYTES`].
    #[error("the longest token must be 1 to {MAX_JWS_BYTES} bytes")]
    MaxTokenBytes,
}

/// Checks `token` at `now` (RFC 9068 §4): form and type, then signature, then issuer, audience and times.
///
/// The cheap checks come first: what is too long, malformed or of another type costs no cryptography, and at most
/// [`MAX_KEYS_TRIED`] signatures are checked. The times are `exp`, `nbf`, and an `iat` that is more than
/// [`MAX_CLOCK_SKEW`] ahead, which only a wrong clock can show.
///
/// # Errors
/// A [`Rejection`]. [`Rejection::UnknownKey`] may be cured by fetching the key set again.
pub fn decide(
    token: &str,
    keys: &JwkSet,
    expectations: &Expectations,
    now: Timestamp,
) -> Result<VerifiedClaims, Rejection> {
    if token.len() > expectations.max_token_bytes {
        return Err(Rejection::Malformed(InvalidJws::TooLong { bytes: token.len() }));
    }
    let jws = UnverifiedJws::parse(token).map_err(Rejection::Malformed)?;
    if !jws.media_type().is_some_and(is_access_token) {
        return Err(Rejection::WrongType);
    }
    if !expectations.algorithms.contains(&jws.algorithm()) {
        return Err(Rejection::AlgorithmNotAllowed { algorithm: jws.algorithm() });
    }
    let payload = verified_payload(&jws, keys)?;
    let claims = VerifiedClaims::parse(&payload).map_err(Rejection::Claims)?;
    if claims.issuer() != expectations.issuer {
        return Err(Rejection::WrongIssuer);
    }
    if !claims.audience().iter().any(|audience| expectations.audiences.contains(audience)) {
        return Err(Rejection::WrongAudience);
    }
    check_times(&claims, expectations.clock_skew, now)?;
    Ok(claims)
}

/// Checks that `issuer` made the token with one of its `keys`: what an issuer wants to know of a token that it is asked
/// about (RFC 7662 §4). Audience and times are not looked at; [`check_times`] is for the latter. It is no access control.
///
/// # Errors
/// A [`Rejection`].
pub fn recognize(token: &str, keys: &JwkSet, issuer: &str) -> Result<VerifiedClaims, Rejection> {
    let jws = UnverifiedJws::parse(token).map_err(Rejection::Malformed)?;
    if !jws.media_type().is_some_and(is_access_token) {
        return Err(Rejection::WrongType);
    }
    let payload = verified_payload(&jws, keys)?;
    let claims = VerifiedClaims::parse(&payload).map_err(Rejection::Claims)?;
    if claims.issuer() == issuer { Ok(claims) } else { Err(Rejection::WrongIssuer) }
}

/// Whether a token lives at `now`, by clocks that may be `clock_skew` apart: `exp`, `nbf`, and an `iat` that is more than
/// [`MAX_CLOCK_SKEW`] ahead.
///
/// # Errors
/// [`Rejection::Expired`], [`Rejection::IssuedInFuture`] or [`Rejection::NotYetValid`].
pub fn check_times(claims: &VerifiedClaims, clock_skew: Duration, now: Timestamp) -> Result<(), Rejection> {
    // RFC 7519 §4.1.4: a token is not taken on or after `exp`.
    if now >= claims.expires_at().saturating_add(clock_skew) {
        return Err(Rejection::Expired { at: claims.expires_at() });
    }
    // A clock that stepped back makes expired tokens look fresh. Tokens from its future give it away.
    if now < claims.issued_at().saturating_sub(MAX_CLOCK_SKEW) {
        return Err(Rejection::IssuedInFuture { at: claims.issued_at() });
    }
    match claims.not_before() {
        Some(at) if now < at.saturating_sub(clock_skew) => Err(Rejection::NotYetValid { at }),
        Some(_) | None => Ok(()),
    }
}

/// Why a token is refused. `Display` is for the log; [`Rejection::description`] is for the client. Neither has anything
/// of the token in it but a cleaned `kid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The token is no compact JWS of the strict kind.
    #[error("malformed token: {0}")]
    Malformed(InvalidJws),
    /// `typ` is not `at+jwt` (RFC 9068 §2.1): an ID token, for example, or one of an issuer that does not follow it.
    #[error("the header parameter \"typ\" is not \"at+jwt\"")]
    WrongType,
    /// The algorithm is in the closed list, but not allowed here.
    #[error("the signature algorithm {algorithm} is not allowed")]
    AlgorithmNotAllowed {
        /// What the header names.
        algorithm: Algorithm,
    },
    /// No key of the set could have made the signature. The set may be out of date.
    #[error("no key of the issuer fits the token, which names {}", name(key_id.as_deref()))]
    UnknownKey {
        /// The `kid` of the token, cleaned for a log line.
        key_id: Option<String>,
    },
    /// The signature is not by the key that the token names.
    #[error("the signature does not verify")]
    BadSignature,
    /// The signature is good, the payload is not.
    #[error("malformed claims: {0}")]
    Claims(InvalidClaims),
    /// `iss` is another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` has none of the audiences expected.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `exp` is past.
    #[error("the token expired at {at}")]
    Expired {
        /// `exp`.
        at: Timestamp,
    },
    /// `iat` is further in the future than any clock skew that may be allowed.
    #[error(
        "the token was issued at {at}, which is in the future; is the clock of this machine or of the issuer wrong?"
    )]
    IssuedInFuture {
        /// `iat`.
        at: Timestamp,
    },
    /// `nbf` is in the future.
    #[error("the token is not valid before {at}")]
    NotYetValid {
        /// `nbf`.
        at: Timestamp,
    },
    /// The issuer has revoked the token (RFC 7009).
    #[error("the token was revoked")]
    Revoked,
}

impl Rejection {
    /// A short text for the `error_description` of the challenge (RFC 6750 §3), without anything of the token.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Claims(_) => "the token is malformed",
            Self::WrongType => "the token is not an access token",
            Self::AlgorithmNotAllowed { .. } => "the signature algorithm is not allowed",
            Self::UnknownKey { .. } => "the token is signed with an unknown key",
            Self::BadSignature => "the signature is invalid",
            Self::WrongIssuer => "the token is from another issuer",
            Self::WrongAudience => "the token is for another audience",
            Self::Expired { .. } => "the token expired",
            Self::IssuedInFuture { .. } => "the token was issued in the future",
            Self::NotYetValid { .. } => "the token is not valid yet",
            Self::Revoked => "the token was revoked",
        }
    }
}

/// Media types are case-insensitive, and `application/` may be left out (RFC 7515 §4.1.9).
fn is_access_token(media_type: &str) -> bool {
    let (prefix, rest) = media_type.split_once('/').unwrap_or(("application", media_type));
    prefix.eq_ignore_ascii_case("application") && rest.eq_ignore_ascii_case(MEDIA_TYPE)
}

pub(crate) fn verified_payload(jws: &UnverifiedJws<'_>, keys: &JwkSet) -> Result<Vec<u8>, Rejection> {
    let mut tried = false;
    for key in keys.candidates(jws.key_id(), jws.algorithm()).take(MAX_KEYS_TRIED) {
        tried = true;
        match jws.verify(key) {
            Ok(payload) => return Ok(payload),
            Err(InvalidJws::Signature) => {}
            Err(malformed) => return Err(Rejection::Malformed(malformed)),
        }
    }
    // Without a `kid` nothing tells a forged signature from one by a key that is not in the set yet.
    if tried && jws.key_id().is_some() {
        return Err(Rejection::BadSignature);
    }
    Err(Rejection::UnknownKey { key_id: jws.key_id().map(printable) })
}

fn name(key_id: Option<&str>) -> String {
    key_id.map_or_else(|| "none".to_owned(), |key_id| format!("\"{key_id}\""))
}
