//! As much of a certificate (RFC 5280) as tells which key it is of.

use super::{InvalidAssertionKey, pem};
use crate::jose::der::{self, BIT_STRING, INTEGER, SEQUENCE};
use crate::jose::jwk::KeyPair;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The tag of the version in a `TBSCertificate`.
const VERSION: u8 = 0xa0;

/// The `x5t#S256` (RFC 7515 §4.1.8) of that certificate among `certificates` which is of the key. Where there are
/// several of it the first counts: a chain begins with it.
pub(super) fn thumbprint_of<'c>(
    certificates: impl IntoIterator<Item = &'c [u8]>,
    pair: &KeyPair,
) -> Result<Option<Box<str>>, InvalidAssertionKey> {
    let mut missing = Ok(None);
    for certificate in certificates {
        if public_bytes(certificate).ok_or(InvalidAssertionKey::Certificate)? == pair.public_bytes() {
            return Ok(Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate)).into_boxed_str()));
        }
        missing = Err(InvalidAssertionKey::CertificateOfAnotherKey);
    }
    missing
}

/// The same for the certificates of a PEM text, which must have one.
pub(super) fn thumbprint_in(pem: &str, pair: &KeyPair) -> Result<Box<str>, InvalidAssertionKey> {
    let sections = pem::sections(pem)?;
    let certificates = sections.iter().filter(|section| section.label == pem::Label::Certificate);
    let thumbprint = thumbprint_of(certificates.map(|section| section.der.expose().as_slice()), pair)?;
    thumbprint.ok_or(InvalidAssertionKey::NoCertificate)
}

/// The content of `subjectPublicKey` (RFC 5280 §4.1). Equal bytes are the same key whatever the algorithm beside them
/// says: a point, an `RSAPublicKey` and 32 bytes cannot be taken for one another.
fn public_bytes(certificate: &[u8]) -> Option<&[u8]> {
    let (to_be_signed, _) = der::element(der::whole(certificate, SEQUENCE)?, SEQUENCE)?;
    // Only a certificate of version 1 has none.
    let rest = der::element(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_serial, mut rest) = der::element(rest, INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        (_, rest) = der::element(rest, SEQUENCE)?;
    }
    let (subject_public_key_info, _) = der::element(rest, SEQUENCE)?;
    let (_algorithm, rest) = der::element(subject_public_key_info, SEQUENCE)?;
    // The first byte of a bit string counts the bits that are not used (X.690 §8.6.2.2).
    der::whole(rest, BIT_STRING)?.strip_prefix(&[0])
}
