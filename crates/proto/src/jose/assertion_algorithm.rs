//! The algorithms that client assertions are signed with.

use std::fmt;
use std::str::FromStr;

/// A signature algorithm of client assertions (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// It is another list than that of [`jws::Algorithm`](crate::jose::jws::Algorithm), which says what is believed of
/// others: nothing with an HMAC or with PSS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssertionAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// `EdDSA` with Ed25519.
    EdDsa,
    /// HMAC with SHA-256, for `client_secret_jwt`.
    Hs256,
}

impl AssertionAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Rs256, Self::Ps256, Self::EdDsa, Self::Hs256];

    /// The name as it stands in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

impl fmt::Display for AssertionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AssertionAlgorithm {
    type Err = UnknownAssertionAlgorithm;

    /// Reads an `alg` value. Names are case-sensitive (RFC 7515 §4.1.1).
    fn from_str(text: &str) -> Result<Self, UnknownAssertionAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(UnknownAssertionAlgorithm)
    }
}

/// A name that is not in the list of [`AssertionAlgorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm of client assertions must be ES256, RS256, PS256, EdDSA or HS256")]
pub struct UnknownAssertionAlgorithm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_read_by_its_name_and_named_in_the_error() {
        for algorithm in AssertionAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert!(UnknownAssertionAlgorithm.to_string().contains(algorithm.as_str()));
        }
        for unknown in ["", "none", "es256", "ES384", "RS256 "] {
            assert_eq!(unknown.parse::<AssertionAlgorithm>(), Err(UnknownAssertionAlgorithm), "{unknown}");
        }
    }
}
