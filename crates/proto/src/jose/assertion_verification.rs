//! Client assertions as an authorization server verifies them (RFC 7523 §3, `OpenID` Connect Core §9).
//!
//! Two kinds. A client's *own* assertion (`client_secret_jwt`, `private_key_jwt`) names the client as issuer and subject,
//! is for the server alone, lives for five minutes at most and is good once. A *workload* assertion is a token that some
//! platform gave to the process in which the client runs: it is of an issuer that the client's registration trusts, and
//! the process cannot have it made anew for each request, so it is good for as long as it lives.
//!
//! Everything here is decided from values. Spending the `jti` of an own assertion is the caller's last step, after all of
//! this and after the status of the client: a forgery must not burn a good one.

mod claims;
mod rejection;
mod signature;
#[cfg(test)]
mod tests;
mod workload;

pub use claims::AssertionClaims;
pub use rejection::{AssertionRejection, InvalidAssertionClaims};
pub use signature::{AssertionKeys, AssertionSecret, MAX_ASSERTION_KEYS_TRIED, VerifiedBy};
pub use workload::{WorkloadExpectations, verify_workload};

use super::assertion_algorithm::AssertionAlgorithm;
use super::client_assertion::AssertionLifetime;
use super::jws::Compact;
use crate::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// The longest assertion that is looked at, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 16 * 1024;
/// The longest `jti`, in bytes.
pub const MAX_JWT_ID_BYTES: usize = 256;
/// The name of RFC 9864 for `EdDSA` with Ed25519, which is taken besides the older one.
pub const ED25519_ALGORITHM: &str = "Ed25519";
/// How far the clocks of a client and of the server may be apart: 30 s. An assertion that ends at 12:00:00 is taken until
/// 12:00:29.999, and one that begins at 12:00:00 from 11:59:30.
pub const ASSERTION_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// An assertion that was read and of which nothing has been checked: what it says may choose a client and a key, no more.
pub struct UnverifiedAssertion<'a> {
    compact: Compact<'a>,
    algorithm: AssertionAlgorithm,
    key_id: Option<String>,
    signature: Vec<u8>,
    claims: AssertionClaims,
}

impl<'a> UnverifiedAssertion<'a> {
    /// Reads a compact JWS of at most [`MAX_ASSERTION_BYTES`].
    ///
    /// The `typ` is none, `JWT`, or the `client-authentication+jwt` of draft-ietf-oauth-rfc7523bis: an access token, an
    /// ID token with a type of its own or a logout token is no assertion. Keys and addresses of keys in the header
    /// (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
    ///
    /// # Errors
    /// [`AssertionRejection::Malformed`], [`AssertionRejection::Algorithm`], [`AssertionRejection::WrongType`] and
    /// [`AssertionRejection::Claims`].
    pub fn parse(assertion: &'a str) -> Result<Self, AssertionRejection> {
        if assertion.len() > MAX_ASSERTION_BYTES {
            return Err(AssertionRejection::TooLong { bytes: assertion.len() });
        }
        let compact = Compact::parse(assertion).map_err(AssertionRejection::Malformed)?;
        let algorithm = compact.algorithm_name().and_then(algorithm);
        let algorithm = algorithm.ok_or(AssertionRejection::Algorithm)?;
        if !compact.text("typ").map_err(AssertionRejection::Malformed)?.is_none_or(is_assertion) {
            return Err(AssertionRejection::WrongType);
        }
        let key_id = compact.text("kid").map_err(AssertionRejection::Malformed)?.map(str::to_owned);
        let signature = compact.signature().map_err(AssertionRejection::Malformed)?;
        let payload = compact.payload().map_err(AssertionRejection::Malformed)?;
        let claims = AssertionClaims::parse(&payload).map_err(AssertionRejection::Claims)?;
        Ok(Self { compact, algorithm, key_id, signature, claims })
    }

    /// The algorithm that the header names.
    #[must_use]
    pub const fn algorithm(&self) -> AssertionAlgorithm {
        self.algorithm
    }

    /// The `kid` of the header.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The claims, which anybody may have written.
    #[must_use]
    pub const fn claims(&self) -> &AssertionClaims {
        &self.claims
    }

    /// Which client the assertion says it is of, when it is an own one: `iss` and `sub` are the same (RFC 7523 §3).
    #[must_use]
    pub fn own_client_id(&self) -> Option<&str> {
        (self.claims.issuer() == self.claims.subject()).then(|| self.claims.issuer())
    }
}

/// Shows the header alone.
impl fmt::Debug for UnverifiedAssertion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedAssertion")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// RFC 9864 gives `EdDSA` with Ed25519 the name of the curve, which is what browsers and Node.js write today.
fn algorithm(name: &str) -> Option<AssertionAlgorithm> {
    if name == ED25519_ALGORITHM { Some(AssertionAlgorithm::EdDsa) } else { name.parse().ok() }
}

/// Media types are case-insensitive, and `application/` may be left out (RFC 7515 §4.1.9).
fn is_assertion(media_type: &str) -> bool {
    let (prefix, rest) = media_type.split_once('/').unwrap_or(("application", media_type));
    let known = ["JWT", "JOSE", "client-authentication+jwt"];
    prefix.eq_ignore_ascii_case("application") && known.iter().any(|name| rest.eq_ignore_ascii_case(name))
}

/// What an own assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct AssertionExpectations<'a> {
    /// The client that it must name in `iss` and in `sub`.
    pub client_id: &'a str,
    /// What `aud` may be: the issuer identifier of the server, byte by byte, and whatever else the server has been told
    /// to take. Every audience of the assertion must be among them, so that it is of no use anywhere else.
    pub audiences: &'a [&'a str],
}

/// An own assertion whose signature and claims are good. It is yet to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// `jti`: 1 to [`MAX_JWT_ID_BYTES`] bytes, unique for the client while the assertion lives.
    pub jwt_id: String,
    /// `iat`, where it is told.
    pub issued_at: Option<Timestamp>,
    /// `exp`. The assertion may be presented until [`ASSERTION_CLOCK_SKEW`] after it.
    pub expires_at: Timestamp,
    /// The key that has signed it.
    pub by: VerifiedBy,
}

impl VerifiedAssertion {
    /// When the assertion is refused for its age at the latest, so that its `jti` may be forgotten.
    #[must_use]
    pub fn usable_until(&self) -> Timestamp {
        self.expires_at.saturating_add(ASSERTION_CLOCK_SKEW)
    }

    /// The earliest that the assertion can have been made: its `iat`, or else 300 s before its `exp`.
    #[must_use]
    pub fn made_at_earliest(&self) -> Timestamp {
        let by_expiry = self.expires_at.saturating_sub(AssertionLifetime::LONGEST.as_duration());
        self.issued_at.unwrap_or(by_expiry)
    }
}

/// Verifies an own assertion at `now`: claims first, as they cost nothing and tell a caller nothing but what it wrote
/// itself, then one signature at least, whether or not there is a key for it.
///
/// `exp` must be there and at most 300 s ahead, `jti` must be there, `iat` and `nbf` must not be ahead where they are
/// there; each with [`ASSERTION_CLOCK_SKEW`].
///
/// # Errors
/// An [`AssertionRejection`], which is for the log. [`AssertionRejection::UnknownKey`] may be cured by fetching the keys
/// of the client again.
pub fn verify_own(
    assertion: &UnverifiedAssertion<'_>,
    expectations: &AssertionExpectations<'_>,
    keys: &AssertionKeys<'_>,
    now: Timestamp,
) -> Result<VerifiedAssertion, AssertionRejection> {
    let claims = &assertion.claims;
    if assertion.own_client_id() != Some(expectations.client_id) {
        return Err(AssertionRejection::NotOfClient);
    }
    let known = |audience: &String| expectations.audiences.contains(&audience.as_str());
    if !claims.audience().iter().all(known) {
        return Err(AssertionRejection::WrongAudience);
    }
    let jwt_id = claims.jwt_id().ok_or(InvalidAssertionClaims::Missing("jti"));
    let jwt_id = jwt_id.map_err(AssertionRejection::Claims)?.to_owned();
    claims.check_times(AssertionLifetime::LONGEST.as_duration(), now)?;
    let by = signature::check(assertion, keys)?;
    Ok(VerifiedAssertion { jwt_id, issued_at: claims.issued_at(), expires_at: claims.expires_at(), by })
}
