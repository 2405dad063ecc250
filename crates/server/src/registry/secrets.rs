//! Client secrets: how they are made, and the keyed digest that is kept of them.

use super::RegistryError;
use crate::data_dir::read_or_create_private;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::SecretDigest;
use jeton_proto::secret::Secret;
use std::path::Path;
use zeroize::Zeroizing;

/// What every generated secret begins with, so that scanners for leaked secrets know one when they see it.
pub(crate) const SECRET_PREFIX: &str = "jeton_secret_";

const KEY_FILE: &str = "client-secrets.key";
const KEY_BYTES: usize = 32;

/// The key under which client secrets are hashed: it never leaves its file and this value.
#[derive(Clone)]
pub(crate) struct SecretHasher(hmac::Key);

impl SecretHasher {
    /// Reads the key in `data_dir`, or makes it.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        let path = data_dir.join(KEY_FILE);
        let key = read_or_create_private(&path, || random_bytes().map(|bytes| Secret::new(bytes.to_vec())))?;
        if key.expose().len() != KEY_BYTES {
            return Err(RegistryError::DamagedKey { path });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    /// The digest of a client secret. The cost depends on the length of `secret` alone.
    pub(crate) fn digest(&self, secret: &Secret<String>) -> SecretDigest {
        self.hash(&[b"client secret\0", secret.expose().as_bytes()])
    }

    /// What tells this key from another one without telling anything of it.
    pub(crate) fn fingerprint(&self) -> SecretDigest {
        self.hash(&[b"fingerprint\0"])
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

/// A new client secret: [`SECRET_PREFIX`], then 256 random bits in base64url.
pub(crate) fn generate() -> Result<Secret<String>, RegistryError> {
    let random = random_bytes()?;
    let mut secret = String::with_capacity(SECRET_PREFIX.len() + KEY_BYTES.div_ceil(3) * 4);
    secret.push_str(SECRET_PREFIX);
    URL_SAFE_NO_PAD.encode_string(*random, &mut secret);
    Ok(Secret::new(secret))
}

fn random_bytes() -> Result<Zeroizing<[u8; KEY_BYTES]>, RegistryError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| RegistryError::Random)?;
    Ok(bytes)
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
        let (one_dir, two_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let digest = |dir: &Path, secret: &str| {
            *SecretHasher::open(dir).unwrap().digest(&Secret::from(secret)).as_bytes()
        };
        let first = digest(one_dir.path(), "secret");
        assert_eq!(digest(one_dir.path(), "secret"), first);
        assert_ne!(digest(one_dir.path(), "secreT"), first);
        assert_ne!(digest(two_dir.path(), "secret"), first);
    }

    #[test]
    fn a_damaged_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        SecretHasher::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(KEY_FILE), "short").unwrap();
        let message = SecretHasher::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains(KEY_FILE) && message.contains("backup"), "{message}");
    }
}
