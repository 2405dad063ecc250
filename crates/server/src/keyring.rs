//! The signing keys: one for each algorithm that this data directory was ever used with, all published, one signing.

use crate::data_dir::{PrivateFileError, read_or_create_private, read_private};
use jeton_proto::jose::access_token::AccessTokenSigner;
use jeton_proto::jose::jwk::{Jwk, JwkSet, KeyError, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use std::path::{Path, PathBuf};

/// The keys of a server, kept across restarts.
#[derive(Debug)]
pub(crate) struct Keyring {
    signer: AccessTokenSigner,
    published: Vec<Jwk>,
}

impl Keyring {
    /// Reads the keys in `data_dir`, and makes the one for `algorithm` if it is missing.
    ///
    /// Keys of other algorithms are published too: after a change of algorithm, tokens that live are still verified.
    pub(crate) fn open(data_dir: &Path, algorithm: Algorithm) -> Result<Self, KeyringError> {
        let path = key_path(data_dir, algorithm);
        let pkcs8 = read_or_create_private(&path, || new_key(algorithm))?;
        let signing_key = parse(&path, algorithm, &pkcs8)?;
        let mut published = vec![signing_key.public_jwk()];
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let path = key_path(data_dir, other);
            if let Some(pkcs8) = read_private(&path)? {
                published.push(parse(&path, other, &pkcs8)?.public_jwk());
            }
        }
        Ok(Self { signer: AccessTokenSigner::new(signing_key), published })
    }

    /// The public keys as a JWK Set document (RFC 7517 §5).
    pub(crate) fn jwks_json(&self) -> Result<Vec<u8>, KeyError> {
        let set = JwkSet::from_keys(self.published.iter().cloned())?;
        Ok(set.to_json().to_string().into_bytes())
    }

    /// What signs new tokens.
    pub(crate) fn into_signer(self) -> AccessTokenSigner {
        self.signer
    }
}

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A key file cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A key file has something else in it.
    #[error(
        "the signing key {path} is damaged; restore it from a backup, or move it away to have a new one made \
         (tokens signed with the old one are then refused)",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A new key could not be made.
    #[error("a new signing key could not be made")]
    Generate(#[source] KeyError),
}

fn key_path(data_dir: &Path, algorithm: Algorithm) -> PathBuf {
    data_dir.join(match algorithm {
        Algorithm::Es256 => "signing-key-es256.p8",
        Algorithm::EdDsa => "signing-key-eddsa.p8",
        Algorithm::Rs256 => "signing-key-rs256.p8",
    })
}

fn new_key(algorithm: Algorithm) -> Result<Secret<Vec<u8>>, KeyringError> {
    SigningKey::generate(algorithm).and_then(|key| key.to_pkcs8()).map_err(KeyringError::Generate)
}

fn parse(path: &Path, algorithm: Algorithm, pkcs8: &Secret<Vec<u8>>) -> Result<SigningKey, KeyringError> {
    SigningKey::from_pkcs8(algorithm, pkcs8.expose())
        .map_err(|source| KeyringError::Damaged { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_ids(keyring: &Keyring) -> Vec<String> {
        keyring.published.iter().map(|jwk| jwk.key_id().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_is_made_once_for_each_algorithm_and_all_are_published() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keyring::open(dir.path(), Algorithm::Es256).unwrap();
        let again = Keyring::open(dir.path(), Algorithm::Es256).unwrap();
        assert_eq!(key_ids(&first), key_ids(&again));
        for algorithm in [Algorithm::EdDsa, Algorithm::Rs256] {
            let other = Keyring::open(dir.path(), algorithm).unwrap();
            assert_eq!(other.signer.key().algorithm(), algorithm);
            assert_eq!(key_ids(&other)[0], other.signer.key().key_id());
            assert!(key_ids(&other).contains(&key_ids(&first)[0]));
        }
        let jwks = JwkSet::parse(&Keyring::open(dir.path(), Algorithm::Es256).unwrap().jwks_json().unwrap())
            .unwrap();
        assert_eq!((jwks.keys().count(), jwks.skipped().len()), (3, 0));
    }

    #[test]
    fn servers_that_start_at_once_have_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Keyring::open(dir.path(), Algorithm::Es256).unwrap()))
                .collect();
            starts.into_iter().map(|start| key_ids(&start.join().unwrap())).collect()
        });
        assert!(ids.iter().all(|id| id == &ids[0]));
    }

    #[test]
    fn a_damaged_key_is_never_replaced_and_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        Keyring::open(dir.path(), Algorithm::Es256).unwrap();
        let path = key_path(dir.path(), Algorithm::Es256);
        std::fs::write(&path, "canary").unwrap();
        let message = Keyring::open(dir.path(), Algorithm::Es256).unwrap_err().to_string();
        assert!(message.contains("signing-key-es256.p8") && message.contains("backup"), "{message}");
        assert!(!message.contains("canary"));
        assert_eq!(std::fs::read(&path).unwrap(), b"canary");
    }
}
