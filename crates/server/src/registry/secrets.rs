//! Client secrets: how they are made, and the keyed digest that is kept of them.

use super::RegistryError;
use crate::server_key::ServerKey;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::SecretDigest;
use jeton_proto::secret::Secret;
use zeroize::Zeroizing;

/// What every generated secret begins with, so that scanners for leaked secrets know one when they see it.
pub(crate) const SECRET_PREFIX: &str = "jeton_secret_";

/// The name under which the secret `secret_name` of a client is sealed, and opened again. A secret's name has no `/`, so no two have
/// one name.
pub(crate) fn sealing_name(client_id: &str, secret_name: &str) -> String {
    format!("client secret/{client_id}/{secret_name}")
}

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
