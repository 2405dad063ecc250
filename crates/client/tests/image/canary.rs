//! A value to look for, and how it is told to a process that must not hold it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// How long a part is that counts as a hit: too long for chance, and short enough to be found where the allocator or the next user of
/// the memory has written over the rest.
pub(crate) const NEEDLE_BYTES: usize = 12;

/// A text that is nowhere else in the world.
pub(crate) struct Canary(String);

/// A part of it.
#[derive(Clone)]
pub(crate) struct Needle {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Canary {
    pub(crate) fn random(length: usize) -> Self {
        Self(std::iter::repeat_with(fastrand::alphanumeric).take(length).collect())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Its parts: as it is, and as base64 at each of the three places where it can begin.
    pub(crate) fn needles(&self, name: &str) -> Vec<Needle> {
        let mut needles = parts(name, self.0.as_bytes());
        for before in 0..3 {
            let encoded = STANDARD.encode(format!("{}{}", "x".repeat(before), self.0));
            // The characters at the ends depend on the neighbours.
            needles.extend(parts(&format!("{name} in base64"), &encoded.as_bytes()[4..encoded.len() - 4]));
        }
        needles
    }
}

fn parts(name: &str, bytes: &[u8]) -> Vec<Needle> {
    let parts = bytes.chunks_exact(NEEDLE_BYTES).enumerate();
    parts
        .map(|(number, part)| Needle { name: format!("{name}, part {number}"), bytes: part.to_vec() })
        .collect()
}

/// The form in which values go to the child: hexadecimal digits of bytes that are not theirs.
pub(crate) struct Mask;

impl Mask {
    pub(crate) const BYTE: u8 = 0xa5;

    pub(crate) fn hide(text: &str) -> String {
        Self::hidden(text.as_bytes())
    }

    pub(crate) fn hide_all(needles: &[Needle]) -> String {
        let hidden = |needle: &Needle| format!("{}={}", needle.name, Self::hidden(&needle.bytes));
        needles.iter().map(hidden).collect::<Vec<_>>().join(";")
    }

    fn hidden(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{:02x}", byte ^ Self::BYTE).unwrap();
            text
        })
    }

    /// The bytes, still masked.
    pub(crate) fn masked(hidden: &str) -> Vec<u8> {
        let digits = hidden.as_bytes().chunks_exact(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }
}
