//! What leaves the process is sealed: AES-256-GCM-SIV, with the record's name and the part that it is as
//! associated data.
//!
//! `1 ‖ key id (8) ‖ nonce (12) ‖ ciphertext and tag`. The nonce is random; were one to repeat all the same, as
//! in a virtual machine that
//! was copied, this mode tells no more than that two records are equal.

use super::RecordName;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jeton_proto::flight::Version;
use jeton_proto::secret::Secret;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
/// What stands before the ciphertext.
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// 256 bits that records are sealed with.
///
/// Make one by [`StoreKey::generate`] or `openssl rand -hex 32`, and keep it as a secret: who has it and can
/// read the store has
/// the tokens.
pub struct StoreKey(Secret<[u8; KEY_BYTES]>);

impl StoreKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, InvalidStoreKey> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| InvalidStoreKey::NoRandom)?;
        Ok(Self(Secret::new(*bytes)))
    }

    /// The key of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Secret::new(*bytes))
    }

    /// Reads 64 hexadecimal digits, or 32 bytes as base64 or base64url.
    ///
    /// # Errors
    /// When `text` is neither. The error does not tell it.
    pub fn parse(text: &Secret<String>) -> Result<Self, InvalidStoreKey> {
        let text = text.expose().trim();
        // A part of a key in hexadecimal digits may be base64 of another key.
        let decoded = if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            from_hex(text)
        } else {
            let text = text.trim_end_matches('=');
            STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok().map(Zeroizing::new)
        };
        let bytes = decoded.ok_or(InvalidStoreKey::Form)?;
        let bytes: &[u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| InvalidStoreKey::Form)?;
        Ok(Self::from_bytes(bytes))
    }

    /// The key as 64 hexadecimal digits, as [`StoreKey::parse`] reads them.
    #[must_use]
    pub fn to_hex(&self) -> Secret<String> {
        let mut text = String::with_capacity(KEY_BYTES * 2);
        for byte in self.0.expose() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Secret::new(text)
    }

    fn derive<const N: usize>(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; N]>> {
        let prk = Salt::new(HKDF_SHA256, b"jeton store key").extract(self.0.expose());
        expand(&prk, purpose)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, purpose: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    prk.expand(&[purpose], Length(N)).and_then(|okm| okm.fill(&mut *bytes)).ok()?;
    Some(bytes)
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES));
    let digits: Option<Zeroizing<Vec<u8>>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<Vec<u8>>>()
        .map(Zeroizing::new);
    let digits = digits.filter(|digits| digits.len() == KEY_BYTES * 2)?;
    for pair in digits.chunks_exact(2) {
        let &[high, low] = pair else { return None };
        bytes.push(high << 4 | low);
    }
    Some(bytes)
}

/// Why a store key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreKey {
    /// It is not 32 bytes in one of the forms.
    #[error(
        "a store key is 64 hexadecimal digits, or 32 bytes as base64: make one by `openssl rand -hex 32`"
    )]
    Form,
    /// The system has no random numbers.
    #[error("the system has no random numbers to make a store key of")]
    NoRandom,
    /// The cryptographic library refused it.
    #[error("the store key cannot be used by the cryptographic library")]
    Library,
}

/// The keys that a fleet's records are sealed with: one that seals, and older ones that open too.
///
/// To replace the key of a fleet without a token request: give every process the new key as an older one; then
/// make it the active one, with
/// the previous one as an older one, everywhere; then leave the previous one out. The names of the records are
/// made with a key of their own:
/// without [`with_name_key`](Self::with_name_key) it is derived from the active key, and then the second step
/// costs one token request for each key.
///
/// ```
/// use jeton::store::{KeyRing, StoreKey};
///
/// let (new, old, names) = (StoreKey::generate()?, StoreKey::generate()?, StoreKey::generate()?);
/// let ring = KeyRing::new(&new)?.with_older(&old)?.with_name_key(&names)?;
/// # let _ = ring;
/// # Ok::<(), jeton::store::InvalidStoreKey>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

#[derive(Clone)]
struct Ring {
    active: Arc<SealingKey>,
    older: Vec<Arc<SealingKey>>,
    names: hmac::Key,
}

struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

impl SealingKey {
    fn of(key: &StoreKey) -> Result<Self, InvalidStoreKey> {
        let id = key.derive::<KEY_ID_BYTES>(b"id 1").ok_or(InvalidStoreKey::Library)?;
        let seal = key.derive::<KEY_BYTES>(b"seal 1").ok_or(InvalidStoreKey::Library)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*seal).map_err(|_| InvalidStoreKey::Library)?;
        Ok(Self { id: *id, key })
    }
}

fn name_key(key: &StoreKey) -> Result<hmac::Key, InvalidStoreKey> {
    let bytes = key.derive::<KEY_BYTES>(b"names 1").ok_or(InvalidStoreKey::Library)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*bytes))
}

impl KeyRing {
    /// A ring of one key.
    ///
    /// # Errors
    /// When the cryptographic library refuses the key, which it has no reason to.
    pub fn new(active: &StoreKey) -> Result<Self, InvalidStoreKey> {
        let (names, active) = (name_key(active)?, Arc::new(SealingKey::of(active)?));
        Ok(Self(Arc::new(Ring { active, older: Vec::new(), names })))
    }

    /// Opens records that were sealed with `key` too.
    ///
    /// # Errors
    /// As [`KeyRing::new`].
    pub fn with_older(self, key: &StoreKey) -> Result<Self, InvalidStoreKey> {
        let mut ring = Arc::unwrap_or_clone(self.0);
        ring.older.push(Arc::new(SealingKey::of(key)?));
        Ok(Self(Arc::new(ring)))
    }

    /// Makes the names of records with `key`, which stays when the others are replaced.
    ///
    /// # Errors
    /// As [`KeyRing::new`].
    pub fn with_name_key(self, key: &StoreKey) -> Result<Self, InvalidStoreKey> {
        let ring = Arc::unwrap_or_clone(self.0);
        Ok(Self(Arc::new(Ring { names: name_key(key)?, ..ring })))
    }

    /// Names records by `secret` too, so that a client with another secret, a wrong or a newer one, meets none of its tokens. Those
    /// who share tokens have to share the secret then. What was sealed before opens as before.
    ///
    /// Of the secret 16 bits of a keyed hash are used: enough to keep two apart, and too few for whoever has the keys and
    /// the names to find it out.
    #[must_use]
    pub fn bound_to(self, secret: &Secret<String>) -> Self {
        let ring = Arc::unwrap_or_clone(self.0);
        let mark = |bytes: &[u8]| hmac::sign(&ring.names, &[b"secret 1", bytes].concat());
        let few = mark(secret.expose().as_bytes());
        let names = mark(few.as_ref().get(..2).unwrap_or_default());
        Self(Arc::new(Ring { names: hmac::Key::new(hmac::HMAC_SHA256, names.as_ref()), ..ring }))
    }

    /// The name of the record for what `identity` describes.
    pub(crate) fn name(&self, identity: &[u8]) -> RecordName {
        let tag = hmac::sign(&self.0.names, identity);
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        RecordName::from_bytes(name)
    }

    /// Seals `plain`. The memory of what was plain is overwritten by the sealed bytes, as long as `plain` has
    /// [`SEAL_OVERHEAD`] to spare.
    pub(crate) fn seal(&self, name: &RecordName, part: Part, plain: Zeroizing<Vec<u8>>) -> Option<Vec<u8>> {
        let SealingKey { id, key } = &*self.0.active;
        let mut plain = plain;
        let nonce = key.seal_in_place_append_tag(associated(name, part, *id), &mut *plain).ok()?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&plain);
        Some(sealed)
    }

    /// Opens `sealed`, if it was sealed for this record and part with a key of this ring.
    pub(crate) fn open(
        &self,
        name: &RecordName,
        part: Part,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (&[format], rest) = sealed.split_first_chunk::<1>().ok_or(Unopened::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(Unopened::Damaged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unopened::Damaged)?;
        if format != FORMAT {
            return Err(Unopened::UnknownFormat);
        }
        let ring = &*self.0;
        let mut keys = std::iter::once(&ring.active).chain(&ring.older);
        let key = keys.find(|key| key.id == *id).ok_or(Unopened::UnknownKey)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = associated(name, part, *id);
        let opened = key.key.open_in_place(nonce, aad, &mut buffer).map_err(|_| Unopened::Damaged)?.len();
        buffer.truncate(opened);
        Ok(buffer)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("older", &self.0.older.len()).finish_non_exhaustive()
    }
}

/// How much room sealing in place takes.
pub(crate) const SEAL_OVERHEAD: usize = TAG_BYTES;

/// Which part of a record is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Note,
    Body,
}

/// Why a sealed part cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It is of a later version of this crate.
    UnknownFormat,
    /// It was sealed with a key that is not in the ring.
    UnknownKey,
    /// It was changed, belongs to another record, or is no sealed part at all.
    Damaged,
}

fn associated(name: &RecordName, part: Part, key_id: [u8; KEY_ID_BYTES]) -> Aad<Vec<u8>> {
    let part = match part {
        Part::Note => 0,
        Part::Body => 1,
    };
    let mut bytes = Vec::with_capacity(2 + KEY_ID_BYTES + name.bytes().len());
    bytes.extend_from_slice(&[FORMAT, part]);
    bytes.extend_from_slice(&key_id);
    bytes.extend_from_slice(name.bytes());
    Aad::from(bytes)
}

/// A version that was never used before; `None` when the system has no random numbers.
pub(crate) fn new_version() -> Option<Version> {
    let mut bytes = [0; 16];
    // The system's own: a version keeps no secret, and that of the cryptographic library takes tens of milliseconds when a process first
    // asks it, which is longer than a command takes that finds its token.
    getrandom::fill(&mut bytes).ok()?;
    Some(Version::from_random(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(byte: u8) -> KeyRing {
        KeyRing::new(&key(byte)).unwrap()
    }

    fn key(byte: u8) -> StoreKey {
        StoreKey::from_bytes(&[byte; 32])
    }

    fn plain() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(b"canary".to_vec())
    }

    #[test]
    fn t29_a_record_opens_in_its_place_alone_and_no_bit_of_it_may_change() {
        let ring = ring(1);
        let (name, other) = (ring.name(b"a"), ring.name(b"b"));
        let sealed = ring.seal(&name, Part::Body, plain()).unwrap();
        assert_eq!(&**ring.open(&name, Part::Body, &sealed).unwrap(), b"canary");
        assert_eq!(ring.open(&other, Part::Body, &sealed), Err(Unopened::Damaged));
        assert_eq!(ring.open(&name, Part::Note, &sealed), Err(Unopened::Damaged));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(&name, Part::Body, &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(ring.open(&name, Part::Body, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn t29_no_two_sealings_are_alike() {
        let ring = ring(1);
        let name = ring.name(b"a");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(ring.seal(&name, Part::Body, plain()).unwrap()));
        }
    }

    #[test]
    fn r2_2_a_key_is_replaced_without_losing_a_record() {
        let names = key(9);
        let before = ring(1).with_name_key(&names).unwrap();
        let between = ring(2).with_older(&key(1)).unwrap().with_name_key(&names).unwrap();
        let after = ring(2).with_name_key(&names).unwrap();
        let name = before.name(b"a");
        assert_eq!((between.name(b"a"), after.name(b"a")), (name, name));
        let sealed = before.seal(&name, Part::Body, plain()).unwrap();
        assert!(between.open(&name, Part::Body, &sealed).is_ok());
        assert_eq!(after.open(&name, Part::Body, &sealed), Err(Unopened::UnknownKey));
        let resealed = between.seal(&name, Part::Body, plain()).unwrap();
        assert!(after.open(&name, Part::Body, &resealed).is_ok());
        assert_eq!(before.open(&name, Part::Body, &resealed), Err(Unopened::UnknownKey));
    }

    #[test]
    fn a_ring_that_is_bound_to_a_secret_names_apart_and_opens_alike() {
        let bound = |secret: &str| ring(1).bound_to(&Secret::from(secret));
        assert_eq!(bound("a").name(b"x"), bound("a").name(b"x"));
        let names = [ring(1).name(b"x"), bound("a").name(b"x"), bound("b").name(b"x"), bound("").name(b"x")];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let name = bound("a").name(b"x");
        let sealed = bound("a").seal(&name, Part::Body, plain()).unwrap();
        assert!(ring(1).open(&name, Part::Body, &sealed).is_ok(), "a listing needs no secret");
    }

    #[test]
    fn a_key_is_read_in_three_forms_and_never_told() {
        let bytes = [0xfb; 32];
        let parse = |text: &str| StoreKey::parse(&Secret::from(text));
        let hex = "fb".repeat(32);
        for text in
            [hex.clone(), hex.to_uppercase(), STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)]
        {
            assert_eq!(parse(&text).unwrap().to_hex().expose(), &hex, "{text}");
            assert_eq!(parse(&format!("{text}\n")).unwrap().to_hex().expose(), &hex, "{text}");
        }
        let part: String = hex.chars().take(43).collect();
        for text in ["", "canary", &part, &"fb".repeat(31), &format!("{hex}f"), &"é".repeat(32)] {
            assert_eq!(parse(text).unwrap_err(), InvalidStoreKey::Form);
        }
        assert!(!format!("{:?} {:?}", key(7), ring(7)).contains('7'));
    }
}
