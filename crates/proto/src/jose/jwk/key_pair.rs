//! Key pairs of the three kinds, with whatever they are used for.

use super::rsa_modulus::check_modulus;
use super::{Jwk, KeyError, PublicKey};
use crate::jose::der::{self, INTEGER, SEQUENCE};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};

/// A private key with its public one.
pub(in crate::jose) enum KeyPair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// How an RSA key pads what it signs (RFC 8017 §8). The other kinds have one way to sign.
#[derive(Clone, Copy, Debug)]
pub(in crate::jose) enum RsaPadding {
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
    /// RSASSA-PSS, with a salt of the length of the hash (RFC 7518 §3.5).
    Pss,
}

/// A signature. Those of curves need no memory of their own.
pub(in crate::jose) enum Signature {
    OfCurve([u8; 64]),
    Long(Vec<u8>),
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::OfCurve(signature) => signature,
            Self::Long(signature) => signature,
        }
    }
}

fn of_curve(signature: &[u8]) -> Result<Signature, Unspecified> {
    signature.try_into().map(Signature::OfCurve).map_err(|_| Unspecified)
}

impl KeyPair {
    /// Signs `message` with SHA-256; the signature is in the form of RFC 7518 §3.
    pub(in crate::jose) fn sign(&self, message: &[u8], padding: RsaPadding) -> Result<Signature, KeyError> {
        let random = SystemRandom::new();
        let signature = match self {
            Self::P256(pair) => {
                pair.sign(&random, message).and_then(|signature| of_curve(signature.as_ref()))
            }
            Self::Ed25519(pair) => pair.try_sign(message).and_then(|signature| of_curve(signature.as_ref())),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = match padding {
                    RsaPadding::Pkcs1 => &RSA_PKCS1_SHA256,
                    RsaPadding::Pss => &RSA_PSS_SHA256,
                };
                pair.sign(encoding, &random, message, &mut signature).map(|()| Signature::Long(signature))
            }
        };
        signature.map_err(|_| KeyError::Signing)
    }

    /// How long its signatures are (RFC 7518 §3.3, §3.4, RFC 8037 §3.1).
    pub(in crate::jose) fn signature_bytes(&self) -> usize {
        match self {
            Self::P256(_) | Self::Ed25519(_) => 64,
            Self::Rsa(pair) => pair.public_modulus_len(),
        }
    }

    /// The public key as it stands in the bit string of a certificate (RFC 5480 §2.2, RFC 8410 §4, RFC 3279 §2.3.1).
    pub(in crate::jose) fn public_bytes(&self) -> &[u8] {
        match self {
            Self::P256(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The public key without a `kid`.
    ///
    /// # Errors
    /// [`KeyError::ModulusLength`] and [`KeyError::Factorable`] for an RSA key that is not to be used.
    pub(in crate::jose) fn public_jwk(&self) -> Result<Jwk, KeyError> {
        let public = match (self, self.public_bytes()) {
            // SEC 1 §2.3.3: an uncompressed point is 4, then both coordinates.
            (Self::P256(_), [0x04, coordinates @ ..]) => match coordinates.as_chunks::<32>() {
                ([x, y], []) => PublicKey::P256 { x: *x, y: *y },
                _ => return Err(KeyError::Numbers),
            },
            (Self::P256(_), _) => return Err(KeyError::Numbers),
            (Self::Ed25519(_), bytes) => {
                PublicKey::Ed25519 { x: bytes.try_into().map_err(|_| KeyError::Numbers)? }
            }
            (Self::Rsa(_), bytes) => rsa_public_key(bytes)?,
        };
        Ok(Jwk { key_id: None, public })
    }
}

/// Reads `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 appendix A.1.1).
fn rsa_public_key(der: &[u8]) -> Result<PublicKey, KeyError> {
    let read = || {
        let (sequence, _) = der::element(der, SEQUENCE)?;
        let (modulus, rest) = der::element(sequence, INTEGER)?;
        let (exponent, _) = der::element(rest, INTEGER)?;
        Some((der::unsigned(modulus), der::unsigned(exponent)))
    };
    let (modulus, exponent) = read().ok_or(KeyError::Numbers)?;
    check_modulus(&modulus)?;
    Ok(PublicKey::Rsa { modulus, exponent })
}
