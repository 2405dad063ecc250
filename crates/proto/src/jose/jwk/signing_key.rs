//! Private keys that sign.

use super::key_pair::{KeyPair, RsaPadding, Signature};
use super::{Jwk, KeyError};
use crate::jose::jws::Algorithm;
use crate::secret::Secret;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
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

impl SigningKey {
    /// Makes a new key. An RSA key has 2048 bits: every verifier takes that, and a longer one costs several times more
    /// for each token.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the cryptographic library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(KeyPair::P256),
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(KeyPair::Ed25519),
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048).map(KeyPair::Rsa),
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
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(KeyPair::P256)
            }
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der).map(KeyPair::Ed25519),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der).map(KeyPair::Rsa),
        };
        Self::from_pair(pair.map_err(|_| KeyError::Pkcs8(algorithm))?)
    }

    /// The key as unencrypted PKCS#8 version 1 in DER, which other tools read too.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] when the cryptographic library fails.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, KeyError> {
        let document = match &self.pair {
            KeyPair::P256(pair) => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            KeyPair::Ed25519(pair) => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            KeyPair::Rsa(pair) => {
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
        self.signature(message).map(|signature| signature.as_ref().to_vec())
    }

    /// The same, where it lies.
    pub(in crate::jose) fn signature(&self, message: &[u8]) -> Result<Signature, KeyError> {
        self.pair.sign(message, RsaPadding::Pkcs1)
    }

    /// How long its signatures are.
    pub(in crate::jose) fn signature_bytes(&self) -> usize {
        self.pair.signature_bytes()
    }

    fn from_pair(pair: KeyPair) -> Result<Self, KeyError> {
        let mut public_jwk = pair.public_jwk()?;
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
