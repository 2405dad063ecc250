//! What is sealed under the server key, and under which of two while one is replaced by the other.
//!
//! The key that seals is named in the registry, so that all instances change over at one moment: when everything is sealed anew. The
//! key under which client secrets are hashed stays the one that the registry began with, since a digest cannot be made anew; from the
//! first replacement on it lies in the registry, sealed.

use super::{KEY_BYTES, SealError, ServerKey};
use crate::registry::{RegistryError, SecretHasher};
use crate::store::{Kind, Store};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::secret::{Secret, constant_time_eq};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The record, among those of the signing keys, that names the key that seals. No key has this id: ids have 43 characters.
pub(crate) const SEALING: &str = "sealing";
/// The name under which the key of the digests is sealed.
const HASH_KEY_NAME: &str = "secret hash key";
/// The first byte of what is sealed.
const FORMAT: u8 = 1;
/// What is before the ciphertext.
const HEADER_BYTES: usize = 1 + NONCE_LEN;
/// How much of a fingerprint names a key.
const KEY_ID_BYTES: usize = 8;

/// What names a server key, and tells nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyId(String);

impl KeyId {
    fn of(key: &ServerKey) -> Self {
        let fingerprint = SecretHasher::new(key).fingerprint();
        Self(URL_SAFE_NO_PAD.encode(fingerprint.as_bytes().get(..KEY_ID_BYTES).unwrap_or_default()))
    }
}

/// The record [`SEALING`]. There is none until the server key is replaced for the first time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealingRecord {
    /// The key that seals.
    pub(crate) sealed_with: KeyId,
    /// The key of the digests, sealed with that key, in base64url.
    hash_key: String,
}

/// The keys of one store.
#[derive(Clone)]
pub(crate) struct StoreKeys {
    hash_key: ServerKey,
    sealer: Arc<Sealer>,
}

impl StoreKeys {
    /// The keys of `store`, which begins with `key` where it is new.
    ///
    /// # Errors
    /// [`RegistryError::ForeignKey`] when what is in the store was made under another key: that is told at once, instead of letting every
    /// client fail.
    pub(crate) fn of(key: &ServerKey, store: &mut dyn Store) -> Result<Self, RegistryError> {
        let first = SecretHasher::new(key).fingerprint();
        let kept = store.setting("secret_key_fingerprint", first.as_bytes())?;
        let record = store.record(Kind::SigningKey, SEALING)?.and_then(|record| record.body);
        let began_with =
            |key: &ServerKey| constant_time_eq(&kept, SecretHasher::new(key).fingerprint().as_bytes());
        let (hash_key, seals) = match record {
            None => {
                let began = key.each().find(began_with).ok_or(RegistryError::ForeignKey)?;
                let id = KeyId::of(&began);
                (began, id)
            }
            Some(body) => {
                let record: SealingRecord =
                    serde_json::from_str(&body).map_err(|_| RegistryError::Sealing)?;
                let found = key.each().find(|key| KeyId::of(key) == record.sealed_with);
                let found = found.ok_or(RegistryError::ForeignKey)?;
                let hash_key = record.hash_key(&Sealer::new(&found, record.sealed_with.clone())?)?;
                (hash_key.filter(began_with).ok_or(RegistryError::Sealing)?, record.sealed_with)
            }
        };
        Ok(Self { hash_key, sealer: Arc::new(Sealer::new(key, seals)?) })
    }

    /// What hashes client secrets.
    pub(crate) fn hasher(&self) -> SecretHasher {
        SecretHasher::new(&self.hash_key)
    }

    /// What seals and opens.
    pub(crate) const fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// The record that lets the key that was given seal from now on.
    pub(crate) fn record(&self) -> Result<SealingRecord, SealError> {
        let sealed_with = self.sealer.given.clone();
        let sealed = self.sealer.seal(Some(&sealed_with), HASH_KEY_NAME, self.hash_key.bytes())?;
        Ok(SealingRecord { sealed_with, hash_key: URL_SAFE_NO_PAD.encode(sealed) })
    }
}

impl SealingRecord {
    fn hash_key(&self, sealer: &Sealer) -> Result<Option<ServerKey>, SealError> {
        let kept = URL_SAFE_NO_PAD.decode(&self.hash_key).map_err(|_| SealError::Unreadable)?;
        Ok(ServerKey::from_bytes(sealer.open(HASH_KEY_NAME, &kept)?.expose()))
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(…)")
    }
}

/// Seals with AES-256-GCM-SIV: what is sealed opens only under the same key and the same name.
pub(crate) struct Sealer {
    /// The key that was given.
    given: KeyId,
    /// That one, and the one before it.
    keys: Vec<(KeyId, RandomizedNonceKey)>,
    /// What sealed when the store was opened.
    seals: KeyId,
}

impl Sealer {
    fn new(key: &ServerKey, seals: KeyId) -> Result<Self, SealError> {
        let keys = key.each().map(|key| Ok((KeyId::of(&key), derived(&key)?)));
        Ok(Self { given: KeyId::of(key), keys: keys.collect::<Result<_, SealError>>()?, seals })
    }

    /// What seals with `key` alone.
    #[cfg(test)]
    pub(crate) fn of(key: &ServerKey) -> Self {
        Self::new(key, KeyId::of(key)).unwrap()
    }

    /// The key that was given.
    pub(crate) const fn given(&self) -> &KeyId {
        &self.given
    }

    /// The key that seals, where the registry says that `named` does, or names none.
    pub(crate) fn seals<'s>(&'s self, named: Option<&'s KeyId>) -> &'s KeyId {
        // The record is never removed, so what is named now is newer than what was found at the opening.
        named.unwrap_or(&self.seals)
    }

    /// `format ‖ nonce ‖ ciphertext and tag`, under the key that the registry names. The name is not in it, and must be given again to
    /// open it.
    pub(crate) fn seal(
        &self,
        named: Option<&KeyId>,
        name: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self.key(self.seals(named)).ok_or(SealError::NotHeld)?;
        // Sealed where it lies, so that no copy of the secret is left; room for the tag, so that it does not move.
        let mut sealed = Vec::with_capacity(secret.len() + 64);
        sealed.extend_from_slice(secret);
        let nonce = key
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Cryptography)?;
        let mut whole = vec![FORMAT];
        whole.extend_from_slice(nonce.as_ref());
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// What was sealed under `name`, with any of the keys.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let opened = self.keys.iter().find_map(|(_, key)| opened(key, name, sealed));
        opened.ok_or(SealError::Unreadable)
    }

    /// Whether it is sealed with the key that was given.
    pub(crate) fn is_under_given(&self, name: &str, sealed: &[u8]) -> bool {
        self.key(&self.given).is_some_and(|key| opened(key, name, sealed).is_some())
    }

    fn key(&self, id: &KeyId) -> Option<&RandomizedNonceKey> {
        self.keys.iter().find(|(held, _)| held == id).map(|(_, key)| key)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

fn opened(key: &RandomizedNonceKey, name: &str, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
    let (header, ciphertext) = sealed.split_at_checked(HEADER_BYTES)?;
    let [FORMAT, nonce @ ..] = header else { return None };
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut buffer).ok()?;
    Some(Secret::new(opened.to_vec()))
}

/// The key that is derived for sealing.
fn derived(key: &ServerKey) -> Result<RandomizedNonceKey, SealError> {
    struct KeyLength;
    impl KeyType for KeyLength {
        fn len(&self) -> usize {
            KEY_BYTES
        }
    }
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    Salt::new(HKDF_SHA256, b"jeton server key")
        .extract(key.bytes())
        .expand(&[b"seal"], KeyLength)
        .and_then(|expanded| expanded.fill(derived.as_mut()))
        .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM_SIV, derived.as_ref()))
        .map_err(|_| SealError::Cryptography)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ServerKey {
        ServerKey::from_bytes(&[byte; KEY_BYTES]).unwrap()
    }

    fn sealer(byte: u8) -> Sealer {
        Sealer::of(&key(byte))
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_key_alone() {
        let sealed = sealer(1).seal(None, "key/a", b"canary").unwrap();
        assert_eq!(sealer(1).open("key/a", &sealed).unwrap().expose(), b"canary");
        assert_eq!(sealer(1).open("key/b", &sealed).unwrap_err(), SealError::Unreadable);
        assert_eq!(sealer(2).open("key/a", &sealed).unwrap_err(), SealError::Unreadable);
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealer(1).seal(None, "key/a", b"canary").unwrap(), sealed, "the nonce is new each time");
    }

    #[test]
    fn one_bit_is_another() {
        let sealed = sealer(1).seal(None, "a", b"secret").unwrap();
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
    fn of_two_keys_both_open_and_the_one_that_is_named_seals() {
        let both = key(2).with_previous(&key(1));
        let both = Sealer::new(&both, KeyId::of(&key(1))).unwrap();
        let before = both.seal(None, "a", b"secret").unwrap();
        assert!(sealer(1).open("a", &before).is_ok() && sealer(2).open("a", &before).is_err());
        let after = both.seal(Some(&KeyId::of(&key(2))), "a", b"secret").unwrap();
        assert!(sealer(1).open("a", &after).is_err() && sealer(2).open("a", &after).is_ok());
        assert_eq!((both.is_under_given("a", &before), both.is_under_given("a", &after)), (false, true));
        assert!(both.open("a", &before).is_ok() && both.open("a", &after).is_ok());
        let unheard = sealer(1).seal(Some(&KeyId::of(&key(2))), "a", b"secret");
        assert_eq!(unheard.unwrap_err(), SealError::NotHeld);
    }
}
