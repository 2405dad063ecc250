//! JWK Sets (RFC 7517 §5).

use super::{Jwk, KeyError, VerificationKey};
use crate::jose::jws::Algorithm;
use crate::wire::error_response::printable;
use serde_json::{Value, json};

/// The largest key set that is parsed, in bytes.
pub const MAX_JWK_SET_BYTES: usize = 256 * 1024;
/// The most keys of a set that are looked at; those after them are skipped.
pub const MAX_JWK_SET_KEYS: usize = 100;

/// A set of public keys, parsed and ready to verify.
///
/// A key that cannot be used, because it is broken, of a kind outside the closed list or meant for encryption, never
/// drops the others; [`JwkSet::skipped`] tells which were left out and why (RFC 7517 §5).
#[derive(Debug, Default)]
pub struct JwkSet {
    keys: Vec<Entry>,
    skipped: Vec<SkippedKey>,
}

#[derive(Debug)]
struct Entry {
    jwk: Jwk,
    verification_key: VerificationKey,
}

/// A key of a set that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// The place of the key in the set, from 0.
    pub index: usize,
    /// The `kid`, cut and cleaned for a log line, when it has one.
    pub key_id: Option<String>,
    /// Why it was left out.
    pub reason: KeyError,
}

impl JwkSet {
    /// Reads a set of at most [`MAX_JWK_SET_BYTES`] bytes. A set without one usable key is a set all the same.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidJwkSet> {
        if bytes.len() > MAX_JWK_SET_BYTES {
            return Err(InvalidJwkSet::TooLong { bytes: bytes.len() });
        }
        // Editors and file servers put a byte order mark before it.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let set: Value = serde_json::from_slice(text)
            .map_err(|error| InvalidJwkSet::Json { line: error.line(), column: error.column() })?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(InvalidJwkSet::NoKeys)?;
        let mut parsed = Self::default();
        for (index, key) in keys.iter().enumerate() {
            if index == MAX_JWK_SET_KEYS {
                parsed.skip(index, key, KeyError::Surplus);
                break;
            }
            match usable(key) {
                Ok(entry) => parsed.keys.push(entry),
                Err(reason) => parsed.skip(index, key, reason),
            }
        }
        Ok(parsed)
    }

    /// The set of `keys`, in their order.
    pub fn from_keys(keys: impl IntoIterator<Item = Jwk>) -> Result<Self, KeyError> {
        let entries =
            keys.into_iter().map(|jwk| Ok(Entry { verification_key: jwk.verification_key()?, jwk }));
        Ok(Self { keys: entries.collect::<Result<_, _>>()?, skipped: Vec::new() })
    }

    /// The keys that a signature with this `kid` and algorithm may be by. Several keys may have one `kid`. A signature
    /// without `kid` may be by any key of its algorithm.
    pub fn candidates<'s>(
        &'s self,
        key_id: Option<&'s str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'s VerificationKey> {
        self.keys
            .iter()
            .filter(move |entry| entry.jwk.algorithm() == algorithm)
            .filter(move |entry| key_id.is_none() || entry.jwk.key_id() == key_id)
            .map(|entry| &entry.verification_key)
    }

    /// The usable keys in the order of the set.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Jwk> {
        self.keys.iter().map(|entry| &entry.jwk)
    }

    /// Whether no key of the set can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that were left out.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The set as JSON, with the usable keys alone.
    pub fn to_json(&self) -> Value {
        json!({ "keys": self.keys().map(Jwk::to_json).collect::<Vec<_>>() })
    }

    fn skip(&mut self, index: usize, key: &Value, reason: KeyError) {
        let key_id = key.get("kid").and_then(Value::as_str).map(printable);
        self.skipped.push(SkippedKey { index, key_id, reason });
    }
}

/// Why bytes are no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwkSet {
    /// More than [`MAX_JWK_SET_BYTES`].
    #[error("the key set is {bytes} bytes long, the limit is {MAX_JWK_SET_BYTES}")]
    TooLong {
        /// The length found.
        bytes: usize,
    },
    /// The bytes are not JSON.
    #[error("the key set is not valid JSON, at line {line} column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// There is no array `keys` in it.
    #[error("the key set has no array \"keys\"")]
    NoKeys,
}

fn usable(key: &Value) -> Result<Entry, KeyError> {
    let members = key.as_object().ok_or(KeyError::Member("kty"))?;
    let jwk = Jwk::from_json(members)?;
    Ok(Entry { verification_key: jwk.verification_key()?, jwk })
}
