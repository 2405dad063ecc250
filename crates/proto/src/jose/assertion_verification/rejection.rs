//! Why an assertion is refused. All of it is for the log: the caller of the server is told `invalid_client` and no more.

use crate::jose::jws::{InvalidJson, InvalidJws};
use crate::time::Timestamp;

/// Why an assertion is refused. Nothing of the assertion is in it but a cleaned `kid` and times.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionRejection {
    /// Longer than [`MAX_ASSERTION_BYTES`](super::MAX_ASSERTION_BYTES).
    #[error("the assertion is {bytes} bytes long, the limit is {}", super::MAX_ASSERTION_BYTES)]
    TooLong {
        /// The length found.
        bytes: usize,
    },
    /// No compact JWS of the strict kind.
    #[error("malformed assertion: {0}")]
    Malformed(InvalidJws),
    /// `alg` is missing or not in the closed list: `none` and the rest.
    #[error("the algorithm of the assertion is not one of ES256, RS256, PS256, EdDSA, HS256")]
    Algorithm,
    /// `typ` says that it is something else.
    #[error(
        "the header parameter \"typ\" of the assertion is neither \"JWT\" nor \"client-authentication+jwt\""
    )]
    WrongType,
    /// The payload is no set of claims of an assertion.
    #[error("malformed assertion: {0}")]
    Claims(InvalidAssertionClaims),
    /// `iss` or `sub` is not the client.
    #[error("the claims \"iss\" and \"sub\" of the assertion are not both the client id")]
    NotOfClient,
    /// `aud` has something other than what the server goes by.
    #[error("the claim \"aud\" of the assertion is not the issuer identifier of this server, alone")]
    WrongAudience,
    /// `exp` is past.
    #[error("the assertion expired at {at}")]
    Expired {
        /// `exp`.
        at: Timestamp,
    },
    /// `exp` is further ahead, of now or of `iat`, than is taken.
    #[error("the assertion lives too long: it ends at {at}")]
    LivesTooLong {
        /// `exp`.
        at: Timestamp,
    },
    /// `iat` is in the future.
    #[error(
        "the assertion was made at {at}, which is in the future; is the clock of the client or of the server wrong?"
    )]
    IssuedInFuture {
        /// `iat`.
        at: Timestamp,
    },
    /// `nbf` is in the future.
    #[error("the assertion is not valid before {at}")]
    NotYetValid {
        /// `nbf`.
        at: Timestamp,
    },
    /// The client has no key for this algorithm, or none with this `kid`.
    #[error("the client has no key for the assertion, which is signed with {algorithm} and names {}", name(key_id.as_deref()))]
    UnknownKey {
        /// The algorithm.
        algorithm: crate::jose::assertion_key::AssertionAlgorithm,
        /// The `kid`, cleaned for a log line.
        key_id: Option<String>,
    },
    /// The signature is by none of the keys that it could be by.
    #[error("the signature of the assertion does not verify")]
    BadSignature,
    /// The token is not of the issuer that is trusted.
    #[error("the token is from another issuer than the one that the client trusts")]
    UntrustedIssuer,
    /// `sub` is not the one that is trusted.
    #[error("the subject of the token is not the one that the client trusts")]
    UntrustedSubject,
    /// A claim does not have the value that the client's registration asks for.
    #[error("the claim \"{0}\" of the token does not have the value that the client asks for")]
    UntrustedClaim(String),
}

/// Why the payload of an assertion cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssertionClaims {
    /// The payload is no JSON object of the strict kind.
    #[error("the payload {0}")]
    Json(InvalidJson),
    /// A claim that RFC 7523 §3 or `OpenID` Connect Core §9 requires is not there.
    #[error("the claim \"{0}\" is missing")]
    Missing(&'static str),
    /// A claim has a value of the wrong type, an empty one, or one out of bounds.
    #[error("the claim \"{0}\" has no valid value")]
    Value(&'static str),
}

fn name(key_id: Option<&str>) -> String {
    key_id.map_or_else(|| "no key id".to_owned(), |key_id| format!("the key id \"{key_id}\""))
}
