//! The key of a server: 32 bytes from which comes whatever keeps a secret of its registry.

use crate::config::Storage;
use crate::data_dir::{PrivateFileError, read_or_create_private};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_proto::secret::Secret;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY_FILE: &str = "client-secrets.key";
const KEY_BYTES: usize = 32;
/// The first byte of what is sealed.
const FORMAT: u8 = 1;
/// What is before the ciphertext.
const HEADER_BYTES: usize = 1 + NONCE_LEN;

/// The 32 bytes under which client secrets are hashed, and from which the key is derived that seals what must be read back.
///
/// Without it no client can authenticate by a secret and no signing key can be read: keep it with the backups of the registry, and
/// apart from them. Several instances over one database need the same one.
#[derive(Clone)]
pub struct ServerKey(Secret<[u8; KEY_BYTES]>);

impl ServerKey {
    /// The key that was given, or the one in `data_dir`, which no other instance has.
    pub(crate) fn of(
        given: Option<&Self>,
        storage: &Storage,
        data_dir: &Path,
    ) -> Result<Self, ServerKeyError> {
        match (given, storage) {
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
        Some(Self(Secret::new(*bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }

    /// What seals and opens with a key that is derived from this one.
    pub(crate) fn sealer(&self) -> Result<Sealer, SealError> {
        struct KeyLength;
        impl KeyType for KeyLength {
            fn len(&self) -> usize {
                KEY_BYTES
            }
        }
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        Salt::new(HKDF_SHA256, b"jeton server key")
            .extract(self.bytes())
            .expand(&[b"seal"], KeyLength)
            .and_then(|expanded| expanded.fill(derived.as_mut()))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM_SIV, derived.as_ref()))
            .map(Sealer)
            .map_err(|_| SealError::Cryptography)
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

/// Seals with AES-256-GCM-SIV: what is sealed opens only under the same key and the same name.
pub(crate) struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// `format ‖ nonce ‖ ciphertext and tag`. The name is not in it, and must be given again to open it.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        // Sealed where it lies, so that no copy of the secret is left; room for the tag, so that it does not move.
        let mut sealed = Vec::with_capacity(secret.len() + 64);
        sealed.extend_from_slice(secret);
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Cryptography)?;
        let mut whole = vec![FORMAT];
        whole.extend_from_slice(nonce.as_ref());
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// What was sealed under `name`.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let (header, ciphertext) = sealed.split_at_checked(HEADER_BYTES).ok_or(SealError::Unreadable)?;
        let [FORMAT, nonce @ ..] = header else { return Err(SealError::Unreadable) };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Unreadable)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut buffer);
        opened.map(|secret| Secret::new(secret.to_vec())).map_err(|_| SealError::Unreadable)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
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

    fn sealer(byte: u8) -> Sealer {
        ServerKey::from_bytes(&[byte; KEY_BYTES]).unwrap().sealer().unwrap()
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_key_alone() {
        let sealed = sealer(1).seal("key/a", b"canary").unwrap();
        assert_eq!(sealer(1).open("key/a", &sealed).unwrap().expose(), b"canary");
        assert_eq!(sealer(1).open("key/b", &sealed).unwrap_err(), SealError::Unreadable);
        assert_eq!(sealer(2).open("key/a", &sealed).unwrap_err(), SealError::Unreadable);
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealer(1).seal("key/a", b"canary").unwrap(), sealed, "the nonce is new each time");
    }

    #[test]
    fn one_bit_is_another() {
        let sealed = sealer(1).seal("a", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer(1).open("a", &changed).unwrap_err(), SealError::Unreadable, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(sealer(1).open("a", &sealed[..length]).is_err(), "{length} bytes");
        }
    }

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
