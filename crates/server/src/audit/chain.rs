//! The lines of the audit log and the chain that they are. Pure: bytes in, bytes out.
//!
//! ```text
//! {"sequence":7,…,"previous":"DIGEST OF LINE 6","digest":"SHA-256 OF THIS LINE UP TO THE COMMA BEFORE digest"}
//! ```
//!
//! A digest covers the one before it, so whoever changes, removes, adds or exchanges lines has to write every line after
//! them anew; whoever keeps the digest of a later line elsewhere finds that out too.

use crate::http::push_number;
use aws_lc_rs::digest::{SHA256, digest};

const BEGIN: &[u8] = b"{\"sequence\":";
const PREVIOUS: &[u8] = b",\"previous\":\"";
const DIGEST: &[u8] = b"\",\"digest\":\"";
const END: &[u8] = b"\"}";
const HEX_BYTES: usize = 64;

/// SHA-256 in lower-case hexadecimal, as it stands in the log.
pub(super) type HexDigest = [u8; HEX_BYTES];

/// The last line of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    sequence: u64,
    digest: HexDigest,
}

impl Head {
    /// Before the first line.
    pub(super) const START: Self = Self { sequence: 0, digest: [b'0'; HEX_BYTES] };

    /// The number of the line, counted from 1; 0 before the first.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The digest of the line, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        std::str::from_utf8(&self.digest).unwrap_or_default()
    }

    /// Adds the line with these members to `out`, and becomes the head after it.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, members: &[u8]) {
        let begin = out.len();
        self.sequence = self.sequence.saturating_add(1);
        out.extend_from_slice(BEGIN);
        push_number(out, self.sequence);
        out.push(b',');
        out.extend_from_slice(members);
        out.extend_from_slice(PREVIOUS);
        out.extend_from_slice(&self.digest);
        out.push(b'"');
        self.digest = hex_digest(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(b",\"digest\":\"");
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(END);
        out.push(b'\n');
    }

    /// The head after `line`, which is to follow this one.
    pub(super) fn follow(&self, line: &Line<'_>) -> Result<Self, Break> {
        if !line.is_intact() {
            return Err(Break::Edited);
        }
        let expected = self.sequence.saturating_add(1);
        if line.sequence != expected {
            return Err(Break::Sequence { expected, found: line.sequence });
        }
        if line.previous != self.digest {
            return Err(Break::Previous);
        }
        Ok(line.head())
    }
}

/// Where a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// A line has another form.
    #[error("the line is no record of an audit log: it was edited or added")]
    Form,
    /// A line has another digest than it says.
    #[error("the line was edited: its digest is another one")]
    Edited,
    /// A line has another number than the one before it and one.
    #[error(
        "the line has the sequence number {found} where {expected} is due: lines were removed, added or exchanged before it"
    )]
    Sequence {
        /// The number that is due.
        expected: u64,
        /// The number of the line.
        found: u64,
    },
    /// A line follows another one than it says.
    #[error(
        "the line does not follow the one before it, which was edited and given another digest, or exchanged"
    )]
    Previous,
}

/// A line taken apart, without its line feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) sequence: u64,
    previous: HexDigest,
    digest: HexDigest,
    digested: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart. There is one way to write each line, so that no byte can be changed unseen.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (rest, digest) = rest.split_last_chunk::<HEX_BYTES>()?;
        let rest = rest.strip_suffix(DIGEST)?;
        let digested = line.get(..rest.len() + 1)?;
        let (rest, previous) = rest.split_last_chunk::<HEX_BYTES>()?;
        let members = rest.strip_suffix(PREVIOUS)?.strip_prefix(BEGIN)?;
        let digits = members.iter().position(|byte| *byte == b',')?;
        let digits = std::str::from_utf8(members.get(..digits)?).ok()?;
        let sequence: u64 = digits.parse().ok()?;
        let canonical = sequence > 0 && sequence.to_string() == digits;
        canonical.then_some(Self { sequence, previous: *previous, digest: *digest, digested })
    }

    /// Whether it has the digest that it says.
    pub(super) fn is_intact(&self) -> bool {
        hex_digest(self.digested) == self.digest
    }

    /// The head of a chain that ends with it.
    pub(super) const fn head(&self) -> Head {
        Head { sequence: self.sequence, digest: self.digest }
    }

    /// The head of the chain that it goes on with.
    pub(super) const fn before(&self) -> Head {
        Head { sequence: self.sequence.saturating_sub(1), digest: self.previous }
    }
}

/// Whether these bytes may be what was written of a line before the writer was cut off.
pub(super) fn is_beginning(torn: &[u8]) -> bool {
    let known = torn.len().min(BEGIN.len());
    torn.get(..known) == BEGIN.get(..known)
        // A line that is whole and has more than its line feed missing was added to.
        && !torn.windows(DIGEST.len()).enumerate().any(|(at, window)| {
            window == DIGEST && torn.len() > at + DIGEST.len() + HEX_BYTES + END.len()
        })
}

fn hex_digest(bytes: &[u8]) -> HexDigest {
    // 0 to 9, then a to f, which are 39 characters behind where the digits end; without a branch.
    let digit = |nibble: u8| b'0' + nibble + u8::from(nibble > 9) * 39;
    let mut hex = [0; HEX_BYTES];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest(&SHA256, bytes).as_ref()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    hex
}
