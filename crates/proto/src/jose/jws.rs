//! JSON Web Signatures in compact serialization (RFC 7515), with a closed list of algorithms.
//!
//! The header is read strictly and believed in nothing but the choice among keys that are already trusted: embedded
//! keys and key addresses (`jwk`, `jku`, `x5c`, `x5u`) are not looked at, extensions (`crit`, `b64`) are refused.

mod compact;
pub(crate) mod json;
#[cfg(test)]
mod tests;

use crate::jose::jwk::{KeyError, Signature, SigningKey, VerificationKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub(in crate::jose) use compact::Compact;
pub use json::{InvalidJson, parse_object};
use serde_json::json;
use std::fmt;

/// The longest compact serialization that is parsed, in bytes. HTTP servers refuse header fields of this size anyway.
pub const MAX_JWS_BYTES: usize = 64 * 1024;
/// The longest protected header that is parsed, in bytes of base64url.
pub const MAX_HEADER_BYTES: usize = 4096;
/// The longest `kid` that is taken, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1). There are no others: no `none`, no HMAC, no PSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256; the signature is `r || s`, 64 bytes.
    Es256,
    /// `EdDSA` with Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a modulus of at least 2048 bits.
    Rs256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// The name as it stands in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// Reads an `alg` value. Names are case-sensitive (RFC 7515 §4.1.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Signs `payload` under the protected header `{"alg":…,"typ":media_type,"kid":…}` (RFC 7515 §5.1).
///
/// Most callers do not need this: [`AccessTokenSigner`](crate::jose::access_token::AccessTokenSigner) makes access
/// tokens, and encodes the header once.
///
/// # Errors
/// [`KeyError::Signing`] when the cryptographic library fails.
pub fn sign(key: &SigningKey, media_type: &str, payload: &[u8]) -> Result<String, KeyError> {
    let mut compact = encoded_header(key, media_type);
    append_payload_and_signature(&mut compact, key, payload)?;
    Ok(compact)
}

/// The protected header in base64url, and the dot after it.
pub(in crate::jose) fn encoded_header(key: &SigningKey, media_type: &str) -> String {
    let header = json!({ "alg": key.algorithm().as_str(), "typ": media_type, "kid": key.key_id() });
    let mut encoded = URL_SAFE_NO_PAD.encode(header.to_string());
    encoded.push('.');
    encoded
}

/// Completes `compact`, which ends with the dot after the header.
pub(in crate::jose) fn append_payload_and_signature(
    compact: &mut String,
    key: &SigningKey,
    payload: &[u8],
) -> Result<(), KeyError> {
    append_signed(compact, payload, |input| key.signature(input))
}

/// The same with whatever makes the signature of the signing input.
pub(in crate::jose) fn append_signed(
    compact: &mut String,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Signature, KeyError>,
) -> Result<(), KeyError> {
    URL_SAFE_NO_PAD.encode_string(payload, compact);
    let signature = sign(compact.as_bytes())?;
    compact.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, compact);
    Ok(())
}

/// A well-formed compact JWS whose signature has not been checked: what its header says may choose a key, no more.
pub struct UnverifiedJws<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    media_type: Option<String>,
    signature: Vec<u8>,
    compact: Compact<'a>,
}

impl<'a> UnverifiedJws<'a> {
    /// Splits and reads a compact serialization of at most [`MAX_JWS_BYTES`] bytes (RFC 7515 §5.2, steps 1 to 7).
    pub fn parse(compact: &'a str) -> Result<Self, InvalidJws> {
        let compact = Compact::parse(compact)?;
        let algorithm = compact.algorithm_name().and_then(Algorithm::parse).ok_or(InvalidJws::Algorithm)?;
        Ok(Self {
            algorithm,
            signature: compact.signature()?,
            key_id: compact.text("kid")?.map(str::to_owned),
            media_type: compact.text("typ")?.map(str::to_owned),
            compact,
        })
    }

    /// The algorithm that the header names.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of the header (RFC 7515 §4.1.4), at most [`MAX_KEY_ID_BYTES`] long.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The `typ` of the header (RFC 7515 §4.1.9).
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// Checks the signature with `key` and gives the payload.
    pub fn verify(&self, key: &VerificationKey) -> Result<Vec<u8>, InvalidJws> {
        if key.algorithm() != self.algorithm {
            return Err(InvalidJws::KeyOfOtherAlgorithm { key: key.algorithm(), header: self.algorithm });
        }
        if !key.verifies(self.compact.signing_input.as_bytes(), &self.signature) {
            return Err(InvalidJws::Signature);
        }
        self.compact.payload()
    }
}

/// Shows the header alone: payload and signature make the token.
impl fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedJws")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

/// A part of the compact serialization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The protected header.
    Header,
    /// The payload.
    Payload,
    /// The signature.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// Why a text is no JWS that can be trusted. No variant carries text of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJws {
    /// Longer than [`MAX_JWS_BYTES`].
    #[error("the token is {bytes} bytes long, the limit is {MAX_JWS_BYTES}")]
    TooLong {
        /// The length found.
        bytes: usize,
    },
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("the header is {bytes} bytes long, the limit is {MAX_HEADER_BYTES}")]
    HeaderTooLong {
        /// The length found.
        bytes: usize,
    },
    /// Not three parts with dots between them.
    #[error("the token has {dots} dots, a signed token in compact serialization has 2")]
    NotThreeParts {
        /// The dots found.
        dots: usize,
    },
    /// Five parts: a JWE (RFC 7516 §3.1).
    #[error("the token is encrypted (five parts), only signed tokens are taken")]
    Encrypted,
    /// JWS JSON serialization (RFC 7515 §7.2).
    #[error("the token is in JSON serialization, only compact serialization is taken")]
    JsonSerialization,
    /// A part is not base64url without padding and with the unused bits zero (RFC 7515 §2).
    #[error("the {0} is not base64url without padding")]
    Base64(Part),
    /// The header is no JSON object of the strict kind.
    #[error("the header {0}")]
    Header(InvalidJson),
    /// A header parameter is not a string, or longer than [`MAX_KEY_ID_BYTES`].
    #[error("the header parameter \"{0}\" is not a string of at most {MAX_KEY_ID_BYTES} bytes")]
    HeaderParameter(&'static str),
    /// `alg` is missing or not in the closed list: `none`, HMAC and the rest.
    #[error("the signature algorithm is not one of ES256, EdDSA, RS256")]
    Algorithm,
    /// `crit` or `b64` is present (RFC 7515 §4.1.11, RFC 7797).
    #[error("the header uses the extension \"{0}\", which is not supported")]
    Extension(&'static str),
    /// The key is for another algorithm than the header names.
    #[error("the key is for {key}, the header says {header}")]
    KeyOfOtherAlgorithm {
        /// What the key is for.
        key: Algorithm,
        /// What the header names.
        header: Algorithm,
    },
    /// The signature is not by this key over this header and payload.
    #[error("the signature does not verify")]
    Signature,
}
