//! Private keys that sign.

use super::rsa_modulus::check_modulus;
use super::{Jwk, KeyError, PublicKey};
use crate::jose::jws::Algorithm;
use crate::secret::Secret;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use std::fmt;

/// A private key, parsed once, with its public key and its `kid` at hand.
///
/// The `kid` is the SHA-256 thumbprint of the public key (RFC 7638), so that two keys never share one and the same key
/// has the same one wherever it is loaded.
pub struct SigningKey {
    pair: KeyPair,
    public_jwk: Jwk,
    key_id: Box<str>,
}

enum KeyPair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl SigningKey {
    /// Makes a new key. An RSA key has 2048 bits: every verifier takes that, and a longer one costs several times more
    /// for each token.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the cryptographic library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(KeyPair::Es256),
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(KeyPair::EdDsa),
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048).map(KeyPair::Rs256),
        };
        Self::from_pair(pair.map_err(|_| KeyError::Generation)?)
    }

    /// Reads an unencrypted PKCS#8 private key in DER (RFC 5958).
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] when it is none, or not for `algorithm`; [`KeyError::ModulusLength`] for an RSA key under
    /// 2048 bits.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(KeyPair::Es256)
            }
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der).map(KeyPair::EdDsa),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der).map(KeyPair::Rs256),
        };
        Self::from_pair(pair.map_err(|_| KeyError::Pkcs8(algorithm))?)
    }

    /// The key as unencrypted PKCS#8 version 1 in DER, which other tools read too.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] when the cryptographic library fails.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, KeyError> {
        let document = match &self.pair {
            KeyPair::Es256(pair) => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            KeyPair::EdDsa(pair) => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            KeyPair::Rs256(pair) => {
                AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map(|document| document.as_ref().to_vec())
            }
        };
        document.map(Secret::new).map_err(|_| KeyError::Pkcs8(self.algorithm()))
    }

    /// The algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.public_jwk.algorithm()
    }

    /// The `kid`: the SHA-256 thumbprint of the public key (RFC 7638), 43 characters.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key with its `kid`, to be published.
    pub fn public_jwk(&self) -> Jwk {
        self.public_jwk.clone()
    }

    /// Signs `message`; the signature is in the form of RFC 7518 §3.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the cryptographic library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            KeyPair::Es256(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            KeyPair::EdDsa(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            KeyPair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        signature.map_err(|_| KeyError::Signing)
    }

    fn from_pair(pair: KeyPair) -> Result<Self, KeyError> {
        let public = public_key(&pair)?;
        let mut public_jwk = Jwk { key_id: None, public };
        let key_id = public_jwk.thumbprint().into_boxed_str();
        public_jwk.key_id = Some(key_id.clone());
        Ok(Self { pair, public_jwk, key_id })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

fn public_key(pair: &KeyPair) -> Result<PublicKey, KeyError> {
    match pair {
        KeyPair::Es256(pair) => match pair.public_key().as_ref() {
            // SEC 1 §2.3.3: an uncompressed point is 4, then both coordinates.
            [0x04, coordinates @ ..] => match coordinates.as_chunks::<32>() {
                ([x, y], []) => Ok(PublicKey::P256 { x: *x, y: *y }),
                _ => Err(KeyError::Numbers),
            },
            _ => Err(KeyError::Numbers),
        },
        KeyPair::EdDsa(pair) => {
            let x = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Numbers)?;
            Ok(PublicKey::Ed25519 { x })
        }
        KeyPair::Rs256(pair) => rsa_public_key(pair.public_key().as_ref()),
    }
}

/// Reads `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 appendix A.1.1).
fn rsa_public_key(der: &[u8]) -> Result<PublicKey, KeyError> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let read = || {
        let (sequence, _) = der_element(der, SEQUENCE)?;
        let (modulus, rest) = der_element(sequence, INTEGER)?;
        let (exponent, _) = der_element(rest, INTEGER)?;
        Some((unsigned(modulus), unsigned(exponent)))
    };
    let (modulus, exponent) = read().ok_or(KeyError::Numbers)?;
    check_modulus(&modulus)?;
    Ok(PublicKey::Rsa { modulus, exponent })
}

/// The content of the element with this tag at the start of `der`, and what follows it.
fn der_element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // X.690 §8.1.3: below 0x80 the byte is the length, else the number of length bytes that follow.
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (
            bytes
                .iter()
                .try_fold(0_usize, |length, &byte| length.checked_mul(256)?.checked_add(usize::from(byte)))?,
            rest,
        )
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// A DER integer without the zero byte that keeps a high first bit from being a sign.
fn unsigned(integer: &[u8]) -> Box<[u8]> {
    integer.iter().copied().skip_while(|&byte| byte == 0).collect()
}
