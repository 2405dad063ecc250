//! Client secrets: how they are made, and the keyed digest that is kept of them.

use super::RegistryError;
use super::document::{hexadecimal, parse_digest};
use crate::server_key::ServerKey;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jeton_proto::issuance::{CertificateThumbprint, SecretDigest};
use jeton_proto::secret::Secret;
use zeroize::Zeroizing;

/// What every generated secret begins with, so that scanners for leaked secrets know one when they see it.
pub(crate) const SECRET_PREFIX: &str = "jeton_secret_";

/// The name under which the secret `secret_name` of a client is sealed, and opened again. A secret's name has no `/`, so no two have
/// one name.
pub(crate) fn sealing_name(client_id: &str, secret_name: &str) -> String {
    format!("client secret/{client_id}/{secret_name}")
}

/// What the text of a digest begins with.
const DIGEST_SCHEME: &str = "hmac-sha256";

const RANDOM_BYTES: usize = 32;

/// The key under which client secrets are hashed.
#[derive(Clone)]
pub(crate) struct SecretHasher(hmac::Key);

impl SecretHasher {
    /// Hashes with the server's key.
    pub(crate) fn new(key: &ServerKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.bytes()))
    }

    /// The digest of a client secret. The cost depends on the length of `secret` alone.
    pub(crate) fn digest(&self, secret: &Secret<String>) -> SecretDigest {
        self.hash(&[b"client secret\0", secret.expose().as_bytes()])
    }

    /// What tells this key from another one without telling anything of it.
    pub(crate) fn fingerprint(&self) -> SecretDigest {
        self.hash(&[b"fingerprint\0"])
    }

    /// The beginning of the fingerprint, by which a digest says with which key it was made.
    pub(crate) fn key_id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *self.fingerprint().as_bytes();
        [a, b, c, d]
    }

    /// The digest of a client secret as a file of clients has it: `hmac-sha256:KEY:DIGEST`, both in hexadecimal digits.
    pub(crate) fn digest_text(&self, secret: &Secret<String>) -> String {
        let digest = hexadecimal(self.digest(secret).as_bytes());
        format!("{DIGEST_SCHEME}:{}:{digest}", hexadecimal(&self.key_id()))
    }

    fn hash(&self, parts: &[&[u8]]) -> SecretDigest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        SecretDigest::new(digest)
    }
}

impl std::fmt::Debug for SecretHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHasher(…)")
    }
}

/// The id of the key and the digest in a text that [`SecretHasher::digest_text`] has made.
pub(crate) fn parse_digest_text(text: &str) -> Option<([u8; 4], SecretDigest)> {
    let (key_id, digest) = text.strip_prefix(DIGEST_SCHEME)?.strip_prefix(':')?.split_once(':')?;
    if key_id.len() != 8 || !key_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let key_id = u32::from_str_radix(key_id, 16).ok()?.to_be_bytes();
    Some((key_id, parse_digest(digest)?))
}

/// The thumbprint (`x5t#S256`, RFC 8705 §3.1) of the one certificate in a PEM text (RFC 7468); `None` when there is none, or more
/// than one.
#[must_use]
pub fn certificate_thumbprint(pem: &str) -> Option<CertificateThumbprint> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let (_, behind) = pem.split_once(BEGIN)?;
    let (body, rest) = behind.split_once(END)?;
    if rest.contains(BEGIN) {
        return None;
    }
    let body: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(body).ok().filter(|der| is_one_sequence(der))?;
    digest::digest(&digest::SHA256, &der).as_ref().try_into().ok().map(CertificateThumbprint)
}

/// Whether DER is one sequence of exactly this length, as a certificate of 128 bytes and more is.
fn is_one_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else { return false };
    let count = usize::from(first.wrapping_sub(0x80));
    let Some((length, content)) = rest.split_at_checked(count).filter(|_| (1..=3).contains(&count)) else {
        return false;
    };
    length.iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte)) == content.len()
}

/// A new client secret: [`SECRET_PREFIX`], then 256 random bits in base64url.
pub(crate) fn generate() -> Result<Secret<String>, RegistryError> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    aws_lc_rs::rand::fill(random.as_mut()).map_err(|_| RegistryError::Random)?;
    let mut secret = String::with_capacity(SECRET_PREFIX.len() + RANDOM_BYTES.div_ceil(3) * 4);
    secret.push_str(SECRET_PREFIX);
    URL_SAFE_NO_PAD.encode_string(*random, &mut secret);
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognisable_and_have_256_random_bits() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, two);
        let random = one.expose().strip_prefix(SECRET_PREFIX).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32);
    }

    #[test]
    fn the_digest_depends_on_the_secret_and_on_the_key() {
        let digest = |key: u8, secret: &str| {
            let hasher = SecretHasher::new(&ServerKey::from_bytes(&[key; 32]).unwrap());
            *hasher.digest(&Secret::from(secret)).as_bytes()
        };
        let first = digest(1, "secret");
        assert_eq!(digest(1, "secret"), first);
        assert_ne!(digest(1, "secreT"), first);
        assert_ne!(digest(2, "secret"), first);
    }
}
