//! The key of a server: 32 bytes from which comes whatever keeps a secret of its registry.

mod sealing;

pub(crate) use sealing::{KeyId, SEALING, Sealer, SealingRecord, StoreKeys};

use crate::config::Storage;
use crate::data_dir::{PrivateFileError, read_or_create_private, read_private};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_proto::secret::Secret;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY_FILE: &str = "client-secrets.key";
const KEY_BYTES: usize = 32;

/// The 32 bytes under which client secrets are hashed, and from which the key is derived that seals what must be read back.
///
/// Without it no client can authenticate by a secret and no signing key can be read: keep it with the backups of the registry, and
/// apart from them. Several instances over one database need the same one.
///
/// While it is replaced there are two: see [`ServerKey::with_previous`].
#[derive(Clone)]
pub struct ServerKey {
    bytes: Secret<[u8; KEY_BYTES]>,
    previous: Option<Secret<[u8; KEY_BYTES]>>,
}

impl ServerKey {
    /// The same key with the one before it. What is kept under either can be opened, and everything goes on under the one before until
    /// [`SigningKeys::reseal`](crate::SigningKeys::reseal) puts it under this one.
    #[must_use]
    pub fn with_previous(self, previous: &Self) -> Self {
        Self { previous: Some(previous.bytes.clone()), ..self }
    }

    /// The key that was given, or the one in `data_dir`, which no other instance has. Where both are there, the one in `data_dir` is the
    /// previous one, unless another one is.
    pub(crate) fn of(
        given: Option<&Self>,
        storage: &Storage,
        data_dir: &Path,
    ) -> Result<Self, ServerKeyError> {
        match (given, storage) {
            (Some(Self { bytes, previous: None }), Storage::Embedded) => {
                let path = data_dir.join(KEY_FILE);
                let Some(made) = read_private(&path)? else {
                    return Ok(Self { bytes: bytes.clone(), previous: None });
                };
                let made = Self::from_bytes(made.expose()).ok_or(ServerKeyError::Damaged { path })?;
                Ok(Self { bytes: bytes.clone(), previous: Some(made.bytes) })
            }
            (Some(given), _) => Ok(given.clone()),
            (None, Storage::Embedded) => Self::open(data_dir),
            (None, Storage::Postgres(_)) => Err(ServerKeyError::NotGiven),
        }
    }

    /// The key in a text: 64 hexadecimal digits, or base64 of 32 bytes, as `openssl rand -hex 32` and `openssl rand -base64 32` make
    /// them. `None` for any other text.
    #[must_use]
    pub fn from_text(text: &Secret<String>) -> Option<Self> {
        let text = text.expose().trim().as_bytes();
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        if text.len() == 2 * KEY_BYTES {
            for pair in text.chunks(2) {
                let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
                bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
            }
        } else {
            STANDARD.decode_vec(text, &mut bytes).ok()?;
        }
        Self::from_bytes(&bytes)
    }

    /// Reads the key in `data_dir`, or makes it.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, ServerKeyError> {
        let path = data_dir.join(KEY_FILE);
        let key = read_or_create_private(&path, || {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| ServerKeyError::Random)?;
            Ok::<_, ServerKeyError>(Secret::new(bytes.to_vec()))
        })?;
        Self::from_bytes(key.expose()).ok_or(ServerKeyError::Damaged { path })
    }

    /// The key of these 32 bytes; `None` for any other number.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(bytes.try_into().ok()?);
        Some(Self { bytes: Secret::new(*bytes), previous: None })
    }

    /// The key alone, and the one before it.
    fn each(&self) -> impl Iterator<Item = Self> {
        let alone = |bytes: &Secret<[u8; KEY_BYTES]>| Self { bytes: bytes.clone(), previous: None };
        std::iter::once(&self.bytes).chain(&self.previous).map(alone)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

/// Why something cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another key, under another name, or changed since.
    #[error(
        "it was sealed with another server key or was changed since; give the server the key it was sealed with"
    )]
    Unreadable,
    /// The key that seals now is not at hand: it was replaced while this program ran.
    #[error(
        "the server key was replaced, and this program has not got the new one; give it that one and start it anew"
    )]
    NotHeld,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Cryptography,
}

/// Why there is no server key.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// The file cannot be read or made.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The key file has not the length of a key.
    #[error("{} is damaged; restore it from a backup (without it no client secret can be checked)", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The random source of the machine failed.
    #[error("the random source failed, so no key can be made")]
    Random,
    /// Instances that share a database need one key, which none of them makes.
    #[error(
        "a registry in PostgreSQL needs a server key that all instances share: 32 random bytes, made once by openssl rand -hex 32 and \
         kept at a place that server.key names"
    )]
    NotGiven,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_hexadecimal_or_base64() {
        let read = |text: &str| ServerKey::from_text(&Secret::from(text)).map(|key| key.bytes().to_vec());
        let hexadecimal = "00ff".repeat(16);
        assert_eq!(read(&hexadecimal).unwrap(), [0, 255].repeat(16));
        assert_eq!(read(&format!("{}\n", hexadecimal.to_uppercase())).unwrap(), [0, 255].repeat(16));
        assert_eq!(read(&STANDARD.encode([7; 32])).unwrap(), [7; 32]);
        let wrong = [
            String::new(),
            "0".repeat(63),
            "0".repeat(65),
            "g".repeat(64),
            "é".repeat(32),
            STANDARD.encode([7; 31]),
        ];
        for text in wrong {
            assert!(read(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_damaged_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        ServerKey::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(KEY_FILE), "short").unwrap();
        let message = ServerKey::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains(KEY_FILE) && message.contains("backup"), "{message}");
    }
}
