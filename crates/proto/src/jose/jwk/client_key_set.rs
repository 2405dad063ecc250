//! The public keys of a client, or of an issuer of workload identities: what assertions are verified with.

use super::private_key::private_member;
use super::{
    InvalidJwkSet, KeyError, MAX_JWK_SET_BYTES, MAX_JWK_SET_KEYS, PrivateKey, PublicKey, SkippedKey,
    check_use, key_id, public_numbers,
};
use crate::jose::assertion_algorithm::AssertionAlgorithm;
use crate::jose::assertion_verification::ED25519_ALGORITHM;
use crate::jose::jws::json;
use crate::wire::error_response::printable;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;

/// The most certificates that are taken of one set.
const MAX_CERTIFICATES: usize = MAX_JWK_SET_KEYS;

/// The JWK Set that is registered for a client (RFC 7591 §2, `jwks` and `jwks_uri`), parsed and ready to verify its
/// assertions.
///
/// It differs from [`JwkSet`](super::JwkSet) in what an RSA key is good for: PS256 besides RS256, unless its `alg` names
/// one of them. There is no symmetric key in it: one with `kty` `oct` is left out, whatever its `alg`. A key with its private part is
/// left out whole, with its certificate, since whoever has read the set can use it.
///
/// A key that cannot be used never drops the others (RFC 7517 §5); [`ClientKeySet::skipped`] tells which were left out.
#[derive(Debug, Default)]
pub struct ClientKeySet {
    keys: Vec<Entry>,
    certificates: Vec<[u8; 32]>,
    skipped: Vec<SkippedKey>,
    private: Option<PrivateKey>,
}

#[derive(Debug)]
struct Entry {
    key_id: Option<Box<str>>,
    verifiers: Vec<AssertionVerifier>,
}

/// A public key for one algorithm.
pub(in crate::jose) struct AssertionVerifier {
    algorithm: AssertionAlgorithm,
    parsed: ParsedPublicKey,
}

impl ClientKeySet {
    /// Reads a set of at most [`MAX_JWK_SET_BYTES`] bytes. A set without one usable key is a set all the same.
    ///
    /// # Errors
    /// [`InvalidJwkSet`] when the document is too long, not a JSON object in which no member is repeated, or has no
    /// `keys`.
    pub fn parse(document: &[u8]) -> Result<Self, InvalidJwkSet> {
        if document.len() > MAX_JWK_SET_BYTES {
            return Err(InvalidJwkSet::TooLong { bytes: document.len() });
        }
        let text = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        let set = Value::Object(json::parse_object(text).map_err(|error| match error {
            json::InvalidJson::NotAnObject => InvalidJwkSet::NoKeys,
            json::InvalidJson::RepeatedMember { line, column }
            | json::InvalidJson::Syntax { line, column } => InvalidJwkSet::Json { line, column },
        })?);
        let keys = set.get("keys").and_then(Value::as_array).ok_or(InvalidJwkSet::NoKeys)?;
        let mut parsed = Self { private: PrivateKey::first_of(&set), ..Self::default() };
        for (index, key) in keys.iter().enumerate() {
            if index == MAX_JWK_SET_KEYS {
                parsed.skip(index, key, KeyError::Surplus);
                break;
            }
            match usable(key) {
                Err(KeyError::Private) => parsed.skip(index, key, KeyError::Private),
                Ok(entry) => {
                    parsed.take_certificate(key);
                    parsed.keys.push(entry);
                }
                Err(reason) => {
                    parsed.take_certificate(key);
                    parsed.skip(index, key, reason);
                }
            }
        }
        Ok(parsed)
    }

    /// The keys that a signature with this `kid` and algorithm may be by. Several may have one `kid`; a signature without
    /// `kid` may be by any key of its algorithm.
    pub(in crate::jose) fn candidates<'s>(
        &'s self,
        key_id: Option<&'s str>,
        algorithm: AssertionAlgorithm,
    ) -> impl Iterator<Item = &'s AssertionVerifier> {
        self.keys
            .iter()
            .filter(move |entry| key_id.is_none() || entry.key_id.as_deref() == key_id)
            .flat_map(|entry| &entry.verifiers)
            .filter(move |verifier| verifier.algorithm == algorithm)
    }

    /// Whether a key with this `kid` is in the set; with none, whether there is any key.
    #[must_use]
    pub fn knows(&self, key_id: Option<&str>) -> bool {
        self.keys.iter().any(|entry| key_id.is_none() || entry.key_id.as_deref() == key_id)
    }

    /// The SHA-256 thumbprints of the certificates in `x5c`, the first of each key: those that are good for
    /// `self_signed_tls_client_auth` (RFC 8705 §2.2.2).
    #[must_use]
    pub fn certificates(&self) -> &[[u8; 32]] {
        &self.certificates
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The first key that has its private part with it, used or not.
    #[must_use]
    pub fn private_key(&self) -> Option<PrivateKey> {
        self.private
    }

    fn take_certificate(&mut self, key: &Value) {
        let leaf = key.get("x5c").and_then(Value::as_array).and_then(|chain| chain.first());
        // RFC 7517 §4.7: base64 with padding, not base64url.
        let der = leaf.and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let thumbprint: Option<[u8; 32]> = der.and_then(|der| digest(&SHA256, &der).as_ref().try_into().ok());
        if self.certificates.len() < MAX_CERTIFICATES {
            self.certificates.extend(thumbprint);
        }
    }

    fn skip(&mut self, index: usize, key: &Value, reason: KeyError) {
        let key_id = key.get("kid").and_then(Value::as_str).map(printable);
        self.skipped.push(SkippedKey { index, key_id, reason });
    }
}

impl AssertionVerifier {
    /// Whether `signature`, in the form of RFC 7518 §3, is by this key over `message`.
    pub(in crate::jose) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    fn new(public: &PublicKey, algorithm: AssertionAlgorithm) -> Result<Self, KeyError> {
        let parsed = match (public, algorithm) {
            (PublicKey::P256 { x, y }, AssertionAlgorithm::Es256) => {
                let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            (PublicKey::Ed25519 { x }, AssertionAlgorithm::EdDsa) => ParsedPublicKey::new(&ED25519, x),
            (PublicKey::Rsa { modulus, exponent }, AssertionAlgorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
            (PublicKey::Rsa { modulus, exponent }, AssertionAlgorithm::Ps256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .to_parsed_public_key(&RSA_PSS_2048_8192_SHA256)
            }
            (PublicKey::P256 { .. } | PublicKey::Ed25519 { .. } | PublicKey::Rsa { .. }, _) => {
                return Err(KeyError::Reserved("alg"));
            }
        };
        parsed.map(|parsed| Self { algorithm, parsed }).map_err(|_| KeyError::Numbers)
    }
}

impl fmt::Debug for AssertionVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionVerifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn usable(key: &Value) -> Result<Entry, KeyError> {
    let members = key.as_object().ok_or(KeyError::Member("kty"))?;
    if private_member(key).is_some() {
        return Err(KeyError::Private);
    }
    let public = public_numbers(members)?;
    let possible: &[AssertionAlgorithm] = match public {
        PublicKey::P256 { .. } => &[AssertionAlgorithm::Es256],
        PublicKey::Ed25519 { .. } => &[AssertionAlgorithm::EdDsa],
        PublicKey::Rsa { .. } => &[AssertionAlgorithm::Rs256, AssertionAlgorithm::Ps256],
    };
    let mut allowed: Vec<&str> = possible.iter().map(|algorithm| algorithm.as_str()).collect();
    if possible == [AssertionAlgorithm::EdDsa] {
        allowed.push(ED25519_ALGORITHM);
    }
    check_use(members, &allowed)?;
    let named = members.get("alg").and_then(Value::as_str);
    let verifiers = possible
        .iter()
        // Only an RSA key has a choice.
        .filter(|algorithm| possible.len() == 1 || named.is_none_or(|name| name == algorithm.as_str()))
        .map(|algorithm| AssertionVerifier::new(&public, *algorithm))
        .collect::<Result<_, _>>()?;
    Ok(Entry { key_id: key_id(members)?, verifiers })
}
