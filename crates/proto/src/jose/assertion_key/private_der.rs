//! Private keys in DER: PKCS#8 (RFC 5958), SEC 1 (RFC 5915) and PKCS#1 (RFC 8017 appendix A.1.2).

use super::InvalidAssertionKey;
use crate::jose::der::{self, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use crate::jose::jwk::{KeyPair, check_modulus};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

// Object identifiers, as X.690 §8.19 encodes them.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const X448: &[u8] = &[0x2b, 0x65, 0x6f];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];

/// The tag of the parameters in an `ECPrivateKey`.
const SEC1_PARAMETERS: u8 = 0xa0;

/// Reads `OneAsymmetricKey` (RFC 5958 §2).
pub(super) fn pkcs8(document: &[u8]) -> Result<KeyPair, InvalidAssertionKey> {
    let read = || {
        let (_, rest) = der::element(der::whole(document, SEQUENCE)?, INTEGER)?;
        let (algorithm, rest) = der::element(rest, SEQUENCE)?;
        let (kind, parameters) = der::element(algorithm, OBJECT_IDENTIFIER)?;
        let (key, _) = der::element(rest, OCTET_STRING)?;
        Some((kind, parameters, key))
    };
    let (kind, parameters, key) = read().ok_or(InvalidAssertionKey::Numbers)?;
    match kind {
        EC => {
            check_curve(parameters)?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document);
            pair.map(KeyPair::P256).map_err(|_| InvalidAssertionKey::Numbers)
        }
        ED25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(document);
            pair.map(KeyPair::Ed25519).map_err(|_| InvalidAssertionKey::Numbers)
        }
        RSA => pkcs1(key),
        RSA_PSS => Err(InvalidAssertionKey::Kind("RSASSA-PSS")),
        X25519 => Err(InvalidAssertionKey::Kind("X25519")),
        X448 => Err(InvalidAssertionKey::Kind("X448")),
        ED448 => Err(InvalidAssertionKey::Kind("Ed448")),
        DSA => Err(InvalidAssertionKey::Kind("DSA")),
        _ => Err(InvalidAssertionKey::Kind("another algorithm")),
    }
}

/// Reads `ECPrivateKey` (RFC 5915 §3).
pub(super) fn sec1(document: &[u8]) -> Result<KeyPair, InvalidAssertionKey> {
    let read = || {
        let (_, rest) = der::element(der::whole(document, SEQUENCE)?, INTEGER)?;
        let (_, rest) = der::element(rest, OCTET_STRING)?;
        Some(der::element(rest, SEC1_PARAMETERS).map(|(parameters, _)| parameters))
    };
    if let Some(parameters) = read().ok_or(InvalidAssertionKey::Numbers)? {
        check_curve(parameters)?;
    }
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, document);
    pair.map(KeyPair::P256).map_err(|_| InvalidAssertionKey::Numbers)
}

/// Reads `RSAPrivateKey` (RFC 8017 appendix A.1.2).
pub(super) fn pkcs1(document: &[u8]) -> Result<KeyPair, InvalidAssertionKey> {
    let read = || {
        let (version, rest) = der::element(der::whole(document, SEQUENCE)?, INTEGER)?;
        let (modulus, _) = der::element(rest, INTEGER)?;
        Some((version, modulus))
    };
    let (version, modulus) = read().ok_or(InvalidAssertionKey::Numbers)?;
    if version != [0] {
        return Err(InvalidAssertionKey::ManyPrimes);
    }
    // The library refuses short keys too, but does not say why.
    check_modulus(&der::unsigned(modulus)).map_err(InvalidAssertionKey::Rsa)?;
    RsaKeyPair::from_der(document).map(KeyPair::Rsa).map_err(|_| InvalidAssertionKey::Numbers)
}

/// Curves by name alone (RFC 5480 §2.1.1); one that is written out is no named one.
fn check_curve(parameters: &[u8]) -> Result<(), InvalidAssertionKey> {
    match der::whole(parameters, OBJECT_IDENTIFIER) {
        Some(P256) => Ok(()),
        Some(P384) => Err(InvalidAssertionKey::Kind("EC with P-384")),
        Some(P521) => Err(InvalidAssertionKey::Kind("EC with P-521")),
        Some(SECP256K1) => Err(InvalidAssertionKey::Kind("EC with secp256k1")),
        Some(_) | None => Err(InvalidAssertionKey::Kind("EC with another curve")),
    }
}
