//! Values that must not leak: redacted in `Debug`, wiped when dropped, compared in constant time.

use bytes::Bytes;
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use std::fmt;
use zeroize::Zeroize;

/// A secret value.
///
/// It has no `Display` and no `Serialize`, its `Debug` is `Secret(…)`, and its memory is wiped when it is dropped.
/// The value is only to be had through [`Secret::expose`], so that every place which touches it can be found.
///
/// ```
/// use jeton_proto::secret::Secret;
///
/// let secret = Secret::new(String::from("s3cr3t"));
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// assert_eq!(secret.expose(), "s3cr3t");
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` in.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. What is made of it is the caller's to wipe.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Default> Secret<T> {
    /// Gives the value away, which is the caller's to wipe from then on.
    #[must_use]
    pub fn into_exposed(mut self) -> T {
        std::mem::take(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Equality in time that depends on the lengths alone.
impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.0.as_ref(), other.0.as_ref())
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

/// `value` as bytes whose memory is wiped when the last clone of them is dropped. Clones share the one buffer.
#[must_use]
pub fn wiped_bytes(value: Vec<u8>) -> Bytes {
    Bytes::from_owner(Wiped::from(value))
}

/// Bytes that are wiped when they are dropped, all at once: `Zeroize` for a vector writes them one by one, which is felt where every
/// credential and every answer is wiped.
pub(crate) struct Wiped(Vec<u8>);

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Fills the memory of `bytes` with zeros, beyond their end too: they may have been longer. They are as long as their memory then.
pub fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    zeroize::optimization_barrier(bytes.as_slice());
}

/// `value` as a header value that is marked sensitive and whose memory is wiped when the last clone of it is dropped.
///
/// # Errors
/// When `value` has a byte that a header field may not carry (RFC 9110 §5.5).
pub fn wiped_header_value(value: Vec<u8>) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(wiped_bytes(value))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Whether two byte strings are equal, in time that depends on their lengths alone.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t34_debug_shows_nothing_of_the_value() {
        let secret = Secret::from("canary-value");
        assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("canary"));
    }

    #[test]
    fn t34_a_header_value_is_sensitive_and_refuses_line_breaks() {
        let header = wiped_header_value(b"Bearer canary".to_vec()).unwrap();
        assert!(!format!("{header:?}").contains("canary"));
        assert!(wiped_header_value(b"Bearer a\r\nb".to_vec()).is_err());
    }

    #[test]
    fn t34_all_the_memory_of_bytes_is_wiped() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"canary and more");
        bytes.truncate(6);
        let begin = bytes.as_ptr();
        wipe(&mut bytes);
        assert_eq!(bytes.as_ptr(), begin, "the same memory");
        assert!(bytes.len() >= 64 && bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn equality_is_of_the_values() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("aa"));
    }
}
