//! The signature of an assertion: by which of a client's keys is it?

use super::UnverifiedAssertion;
use super::rejection::AssertionRejection;
use crate::jose::assertion_algorithm::AssertionAlgorithm;
use crate::jose::jwk::ClientKeySet;
use crate::secret::Secret;
use crate::wire::error_response::printable;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use std::fmt;
use std::sync::OnceLock;

/// How many keys are tried on one assertion at most. More than one fits when keys share a `kid` or the assertion has none.
pub const MAX_ASSERTION_KEYS_TRIED: usize = 4;

/// What a client may sign its assertions with. A secret is never tried on a signature of a key pair, nor a public key as
/// a secret: which of the two it is follows from the algorithm before any key is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssertionKeys<'k> {
    /// Its public keys, for `private_key_jwt`.
    pub public: Option<&'k ClientKeySet>,
    /// Its secrets in force, for `client_secret_jwt`.
    pub secrets: &'k [AssertionSecret],
}

/// A client secret as the key of HS256, made once.
#[derive(Clone)]
pub struct AssertionSecret(hmac::Key);

impl AssertionSecret {
    /// The key is the bytes of the secret in UTF-8 (`OpenID` Connect Core §9).
    #[must_use]
    pub fn new(secret: &Secret<String>) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes()))
    }
}

impl fmt::Debug for AssertionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssertionSecret(…)")
    }
}

/// Which key an assertion is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifiedBy {
    /// One of the public keys: `private_key_jwt`.
    PublicKey,
    /// The secret at this place of [`AssertionKeys::secrets`]: `client_secret_jwt`.
    Secret(usize),
}

/// Checks the signature. Where there is no key to try, one that nobody has the private part of is tried instead, so that
/// the time tells little of which clients and keys there are.
pub(super) fn check(
    assertion: &UnverifiedAssertion<'_>,
    keys: &AssertionKeys<'_>,
) -> Result<VerifiedBy, AssertionRejection> {
    match assertion.algorithm() {
        AssertionAlgorithm::Hs256 => by_secret(assertion, keys.secrets),
        AssertionAlgorithm::Es256
        | AssertionAlgorithm::Rs256
        | AssertionAlgorithm::Ps256
        | AssertionAlgorithm::EdDsa => by_public_key(assertion, keys.public),
    }
}

fn by_secret(
    assertion: &UnverifiedAssertion<'_>,
    secrets: &[AssertionSecret],
) -> Result<VerifiedBy, AssertionRejection> {
    let nobodys = AssertionSecret(hmac::Key::new(HMAC_SHA256, &[0; 32]));
    let mut found = None;
    for place in 0..MAX_ASSERTION_KEYS_TRIED {
        let AssertionSecret(key) = secrets.get(place).unwrap_or(&nobodys);
        let input = assertion.compact.signing_input.as_bytes();
        let verified = hmac::verify(key, input, &assertion.signature).is_ok();
        if verified && place < secrets.len() && found.is_none() {
            found = Some(place);
        }
    }
    match found {
        Some(place) => Ok(VerifiedBy::Secret(place)),
        None if secrets.is_empty() => Err(unknown_key(assertion)),
        None => Err(AssertionRejection::BadSignature),
    }
}

fn by_public_key(
    assertion: &UnverifiedAssertion<'_>,
    keys: Option<&ClientKeySet>,
) -> Result<VerifiedBy, AssertionRejection> {
    let attempt = |keys: &ClientKeySet, key_id: Option<&str>| {
        let mut tried = false;
        let verified = keys
            .candidates(key_id, assertion.algorithm())
            .take(MAX_ASSERTION_KEYS_TRIED)
            .inspect(|_| tried = true)
            .any(|key| key.verifies(assertion.compact.signing_input.as_bytes(), &assertion.signature));
        (tried, verified)
    };
    let (tried, verified) = keys.map_or((false, false), |keys| attempt(keys, assertion.key_id()));
    if verified {
        return Ok(VerifiedBy::PublicKey);
    }
    if !tried {
        // The answer is thrown away.
        let _nobodys = attempt(nobodys_keys(), None);
    }
    // Without a `kid` nothing tells a forged signature from one by a key that is not in the set yet.
    if tried && assertion.key_id().is_some() {
        return Err(AssertionRejection::BadSignature);
    }
    Err(unknown_key(assertion))
}

fn unknown_key(assertion: &UnverifiedAssertion<'_>) -> AssertionRejection {
    AssertionRejection::UnknownKey {
        algorithm: assertion.algorithm(),
        key_id: assertion.key_id().map(printable),
    }
}

/// One key of each kind: the examples of RFC 7515 appendix A.2 and A.3 and RFC 8037 appendix A.2. That their private parts
/// are known does no harm, as nothing that they verify is believed.
fn nobodys_keys() -> &'static ClientKeySet {
    static KEYS: OnceLock<ClientKeySet> = OnceLock::new();
    KEYS.get_or_init(|| ClientKeySet::parse(include_bytes!("nobodys_keys.json")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_key_of_nobody_for_every_algorithm_of_key_pairs() {
        for algorithm in AssertionAlgorithm::ALL {
            let keys = nobodys_keys().candidates(None, algorithm).count();
            assert_eq!(keys, usize::from(algorithm != AssertionAlgorithm::Hs256), "{algorithm}");
        }
    }
}
