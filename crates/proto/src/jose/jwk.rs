//! Keys: JSON Web Keys (RFC 7517) of the closed list, key sets, and the private keys behind them.

mod client_key_set;
mod key_pair;
mod private_key;
mod rsa_modulus;
mod set;
mod signing_key;
#[cfg(test)]
mod tests;

pub use client_key_set::ClientKeySet;
pub(in crate::jose) use key_pair::{KeyPair, RsaPadding, Signature};
pub use private_key::PrivateKey;
pub(in crate::jose) use rsa_modulus::check_modulus;
pub use set::{InvalidJwkSet, JwkSet, MAX_JWK_SET_BYTES, MAX_JWK_SET_KEYS, SkippedKey};
pub use signing_key::SigningKey;

use crate::jose::jws::{Algorithm, MAX_KEY_ID_BYTES};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::fmt;

/// The longest RSA public exponent that is taken, in bytes. A long one makes every verification slow.
const RSA_MAX_EXPONENT_BYTES: usize = 4;

/// A public key in JSON (RFC 7517) for one algorithm of the closed list.
///
/// A private member (`d`, `p`, `k`, …) is never held here and never written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    key_id: Option<Box<str>>,
    public: PublicKey,
}

/// The public numbers, big-endian and of the exact length that RFC 7518 §6 and RFC 8037 §2 ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PublicKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
}

impl Jwk {
    /// Reads one key (RFC 7517 §4). `alg`, `use` and `key_ops` may be missing; when present they must allow the
    /// verification of signatures with the one algorithm that jeton uses with such a key.
    pub fn from_json(key: &Map<String, Value>) -> Result<Self, KeyError> {
        let public = public_numbers(key)?;
        check_use(key, &[public.algorithm().as_str()])?;
        Ok(Self { key_id: key_id(key)?, public })
    }

    /// The algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638 §3).
    pub fn thumbprint(&self) -> String {
        // The thumbprint is taken of the members in lexical order and without white space.
        let required = Value::Object(self.public.required_members()).to_string();
        URL_SAFE_NO_PAD.encode(digest(&SHA256, required.as_bytes()))
    }

    /// The key with `kid`, `alg` and `use`, ready for a JWK Set.
    pub fn to_json(&self) -> Value {
        let mut members = self.public.required_members();
        members.insert("alg".to_owned(), json!(self.algorithm().as_str()));
        members.insert("use".to_owned(), json!("sig"));
        if let Some(key_id) = &self.key_id {
            members.insert("kid".to_owned(), json!(key_id));
        }
        Value::Object(members)
    }

    /// Parses the numbers into a key object that is ready to verify.
    pub fn verification_key(&self) -> Result<VerificationKey, KeyError> {
        let parsed = match &self.public {
            PublicKey::P256 { x, y } => {
                let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            PublicKey::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x),
            PublicKey::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256),
        };
        match parsed {
            Ok(parsed) => Ok(VerificationKey { algorithm: self.algorithm(), parsed }),
            Err(_) => Err(KeyError::Numbers),
        }
    }
}

impl PublicKey {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256 { .. } => Algorithm::Es256,
            Self::Ed25519 { .. } => Algorithm::EdDsa,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The members that RFC 7638 §3.2 and RFC 8037 §2 take the thumbprint of, in lexical order.
    fn required_members(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
        let members = match self {
            Self::P256 { x, y } => {
                vec![("crv", json!("P-256")), ("kty", json!("EC")), ("x", text(x)), ("y", text(y))]
            }
            Self::Ed25519 { x } => vec![("crv", json!("Ed25519")), ("kty", json!("OKP")), ("x", text(x))],
            Self::Rsa { modulus, exponent } => {
                vec![("e", text(exponent)), ("kty", json!("RSA")), ("n", text(modulus))]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A public key, parsed once and ready to verify.
pub struct VerificationKey {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

impl VerificationKey {
    /// The algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature`, in the form of RFC 7518 §3, is by this key over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why a key cannot be used. No variant carries anything of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The member is missing or has a value that RFC 7517, RFC 7518 or RFC 8037 does not allow.
    #[error("the member \"{0}\" is missing or has no valid value")]
    Member(&'static str),
    /// `kty` and `crv` name a kind of key that jeton does not use.
    #[error("the key is not of a supported kind: EC with P-256, OKP with Ed25519, RSA")]
    Kind,
    /// `alg`, `use` or `key_ops` reserves the key for something else.
    #[error("the member \"{0}\" reserves the key for another use than verifying its signatures")]
    Reserved(&'static str),
    /// The key has private members, so whoever read it can forge its signatures.
    #[error("the key is published with its private part")]
    Private,
    /// The RSA modulus is outside 2048 to 8192 bits.
    #[error("the RSA modulus has {bits} bits, at least 2048 and at most 8192 are allowed")]
    ModulusLength {
        /// The length found, rounded up to whole bytes.
        bits: usize,
    },
    /// The RSA key was made by the faulty generator of CVE-2017-15361, so that anybody can compute its private part.
    #[error("the RSA modulus is of the faulty generator of CVE-2017-15361; make a new key elsewhere")]
    Factorable,
    /// The key stands after the first [`MAX_JWK_SET_KEYS`] of its set.
    #[error("the key stands after the first {MAX_JWK_SET_KEYS} of its set")]
    Surplus,
    /// The numbers are no key: a point off the curve, an even modulus.
    #[error("the numbers are not a valid public key")]
    Numbers,
    /// The bytes are not an unencrypted PKCS#8 private key for the algorithm.
    #[error("not an unencrypted PKCS#8 private key for {0}")]
    Pkcs8(Algorithm),
    /// The cryptographic library could not make a key.
    #[error("the cryptographic library could not generate a key")]
    Generation,
    /// The cryptographic library could not sign.
    #[error("the cryptographic library could not sign")]
    Signing,
}

fn public_numbers(key: &Map<String, Value>) -> Result<PublicKey, KeyError> {
    let kind = text_member(key, "kty")?;
    match kind {
        "EC" | "OKP" | "RSA" => {}
        _ => return Err(KeyError::Kind),
    }
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| key.contains_key(*name)) {
        return Err(KeyError::Private);
    }
    match kind {
        "EC" if text_member(key, "crv")? == "P-256" => {
            Ok(PublicKey::P256 { x: coordinate(key, "x")?, y: coordinate(key, "y")? })
        }
        "OKP" if text_member(key, "crv")? == "Ed25519" => Ok(PublicKey::Ed25519 { x: coordinate(key, "x")? }),
        "RSA" => rsa_numbers(key),
        _ => Err(KeyError::Kind),
    }
}

fn rsa_numbers(key: &Map<String, Value>) -> Result<PublicKey, KeyError> {
    let modulus = number(key, "n")?;
    check_modulus(&modulus)?;
    let exponent = number(key, "e")?;
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent.as_ref() == [1] || exponent.len() > RSA_MAX_EXPONENT_BYTES {
        return Err(KeyError::Member("e"));
    }
    Ok(PublicKey::Rsa { modulus, exponent })
}

fn key_id(key: &Map<String, Value>) -> Result<Option<Box<str>>, KeyError> {
    match key.get("kid") {
        None => Ok(None),
        Some(Value::String(key_id)) if key_id.len() <= MAX_KEY_ID_BYTES => {
            Ok(Some(Box::from(key_id.as_str())))
        }
        Some(_) => Err(KeyError::Member("kid")),
    }
}

fn check_use(key: &Map<String, Value>, algorithms: &[&str]) -> Result<(), KeyError> {
    let reserved = |name: &'static str, wanted: &[&str]| match key.get(name) {
        None => Ok(()),
        Some(Value::String(value)) if wanted.contains(&value.as_str()) => Ok(()),
        Some(Value::String(_)) => Err(KeyError::Reserved(name)),
        Some(_) => Err(KeyError::Member(name)),
    };
    reserved("alg", algorithms)?;
    reserved("use", &["sig"])?;
    match key.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(Value::Array(_)) => Err(KeyError::Reserved("key_ops")),
        Some(_) => Err(KeyError::Member("key_ops")),
    }
}

fn text_member<'k>(key: &'k Map<String, Value>, name: &'static str) -> Result<&'k str, KeyError> {
    key.get(name).and_then(Value::as_str).ok_or(KeyError::Member(name))
}

fn decoded_member(key: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text_member(key, name)?).map_err(|_| KeyError::Member(name))
}

/// A coordinate has the full 32 bytes, leading zeros included (RFC 7518 §6.2.1.2).
fn coordinate(key: &Map<String, Value>, name: &'static str) -> Result<[u8; 32], KeyError> {
    decoded_member(key, name)?.try_into().map_err(|_| KeyError::Member(name))
}

/// An integer without leading zeros. RFC 7518 §2 forbids them, but well-known libraries write one before a high bit,
/// so they are cut off.
fn number(key: &Map<String, Value>, name: &'static str) -> Result<Box<[u8]>, KeyError> {
    let bytes = decoded_member(key, name)?;
    match bytes.iter().position(|&byte| byte != 0) {
        Some(start) => Ok(bytes.into_iter().skip(start).collect()),
        None => Err(KeyError::Member(name)),
    }
}
