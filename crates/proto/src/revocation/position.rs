//! Where a follower of the list stands: after a change, which is known by its number and by its mark.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// What tells a change from every other one that ever had its number.
///
/// Numbers are given again when a store goes back to a backup, or when a standby takes over that was behind. The mark is
/// drawn by random with each change, and is stored with what the change has written; so whoever finds the mark of change N
/// has before it the same N changes as everybody else who has found it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChangeMark([u8; Self::BYTES]);

impl ChangeMark {
    /// The length in bytes. No two of a billion billion are the same by chance.
    pub const BYTES: usize = 9;
    /// The length of its text, in base64url.
    pub const TEXT_BYTES: usize = 12;

    /// The mark of these bytes, which must be random.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The mark that is written so; `None` when this is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Twelve characters of base64url.
impl fmt::Display for ChangeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for ChangeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeMark({self})")
    }
}

/// Up to where a follower knows the list. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FeedPosition {
    /// The number of the last change that is known; 0: none is.
    pub through: u64,
    /// The mark of that change. Without it the number is believed, which is wrong after a restore.
    pub mark: Option<ChangeMark>,
}

impl FeedPosition {
    /// What is put behind the address of the list, without `?`.
    ///
    /// ```
    /// use jeton_proto::revocation::{ChangeMark, FeedPosition};
    ///
    /// let mark = Some(ChangeMark::from_bytes([0; 9]));
    /// assert_eq!(FeedPosition { through: 7, mark }.query(), "since=7&mark=AAAAAAAAAAAA");
    /// assert_eq!(FeedPosition::default().query(), "since=0");
    /// ```
    #[must_use]
    pub fn query(&self) -> String {
        let Self { through, mark } = self;
        mark.map_or_else(|| format!("since={through}"), |mark| format!("since={through}&mark={mark}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mark = ChangeMark::from_bytes([255, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(mark.to_string().len(), ChangeMark::TEXT_BYTES);
        assert_eq!(ChangeMark::parse(&mark.to_string()), Some(mark));
        for bad in ["", "AAAA", "AAAAAAAAAAA=", "AAAAAAAAAA+A", "AAAAAAAAAAAAAAAA", " AAAAAAAAAAA"] {
            assert_eq!(ChangeMark::parse(bad), None, "{bad}");
        }
    }
}
