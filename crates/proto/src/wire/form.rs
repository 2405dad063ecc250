//! `application/x-www-form-urlencoded` (RFC 6749 appendix B): the body of a request, read strictly, and one component
//! of it, which a half of a Basic credential is too.

use super::token_request::{
    MAX_BODY_BYTES, MAX_NAME_BYTES, MAX_PARAMETERS, MAX_VALUE_BYTES, TokenRequestError,
};
use std::borrow::Cow;
use zeroize::Zeroize;

/// A parameter that a kind of request has.
pub(super) trait Parameter: Copy + PartialEq {
    /// The parameter with this name, unless it is one that this request does not have.
    fn named(name: &str) -> Option<Self>;

    /// Its name.
    fn as_str(self) -> &'static str;

    /// Whether it may stand more than once.
    fn repetition(self) -> Repetition;
}

/// Whether a parameter may stand more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    Allowed,
    Refused,
}

/// Reads a body and gives each known parameter that has a value to `take`. One that was sent without a value is as if
/// it had not been sent (RFC 6749 §3.2).
pub(super) fn read<'a, P: Parameter>(
    body: &'a [u8],
    mut take: impl FnMut(P, Cow<'a, str>),
) -> Result<(), TokenRequestError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(TokenRequestError::BodyTooLong { bytes: body.len() });
    }
    let mut seen = Names::new();
    let ends = memchr::memchr_iter(b'&', body).chain([body.len()]);
    let mut begin = 0;
    for end in ends {
        let pair = body.get(begin..end).unwrap_or_default();
        begin = end + 1;
        if pair.is_empty() {
            continue;
        }
        if seen.count == MAX_PARAMETERS {
            return Err(TokenRequestError::TooManyParameters);
        }
        let (name, value) = split_pair(pair);
        if name.len() > MAX_NAME_BYTES || value.len() > MAX_VALUE_BYTES {
            return Err(TokenRequestError::ParameterTooLong);
        }
        let name = decode_component(name)?;
        let known = P::named(&name);
        let repetition = known.map_or(Repetition::Refused, P::repetition);
        if seen.add(name, known) == Seen::Before && repetition == Repetition::Refused {
            return Err(TokenRequestError::Repeated { name: known.map(P::as_str) });
        }
        let value = decode_component(value)?;
        if let Some(known) = known.filter(|_| !value.is_empty()) {
            take(known, value);
        }
    }
    Ok(())
}

/// The names of the parameters so far. Those that are known need no memory of their own, and an honest request has no others.
struct Names<'a, P> {
    known: [Option<P>; MAX_KNOWN],
    others: Vec<Cow<'a, str>>,
    count: usize,
}

/// More than there are known parameters of any request.
const MAX_KNOWN: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    First,
    Before,
}

impl<'a, P: Parameter> Names<'a, P> {
    const fn new() -> Self {
        Self { known: [None; MAX_KNOWN], others: Vec::new(), count: 0 }
    }

    fn add(&mut self, name: Cow<'a, str>, known: Option<P>) -> Seen {
        self.count += 1;
        let Some(known) = known else {
            if self.others.contains(&name) {
                return Seen::Before;
            }
            self.others.push(name);
            return Seen::First;
        };
        for place in &mut self.known {
            match place {
                Some(before) if *before == known => return Seen::Before,
                Some(_) => {}
                None => {
                    *place = Some(known);
                    return Seen::First;
                }
            }
        }
        // There are fewer known parameters than places.
        Seen::Before
    }
}

/// Decodes a component: `+` is a space, `%` and two hexadecimal digits are a byte, and the bytes are UTF-8 without NUL.
///
/// What needs no decoding is borrowed. The component may be a secret: what was decoded of a refused one is wiped.
pub(super) fn decode_component(encoded: &[u8]) -> Result<Cow<'_, str>, InvalidComponent> {
    let text = if memchr::memchr2(b'%', b'+', encoded).is_some() {
        let decoded = String::from_utf8(unescape(encoded)?).map_err(|error| {
            error.into_bytes().zeroize();
            InvalidComponent::Utf8
        })?;
        Cow::Owned(decoded)
    } else {
        Cow::Borrowed(std::str::from_utf8(encoded).map_err(|_| InvalidComponent::Utf8)?)
    };
    if memchr::memchr(0, text.as_bytes()).is_some() {
        if let Cow::Owned(mut text) = text {
            text.zeroize();
        }
        return Err(InvalidComponent::Nul);
    }
    Ok(text)
}

/// Why bytes are no component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidComponent {
    /// A `%` without two hexadecimal digits.
    Percent,
    /// Bytes that are no UTF-8.
    Utf8,
    /// The character U+0000.
    Nul,
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at)) {
        Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

fn unescape(encoded: &[u8]) -> Result<Vec<u8>, InvalidComponent> {
    // Room for the whole of it, so that no copy stays behind where the vector grew.
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((plain, [escape, behind @ ..])) =
        memchr::memchr2(b'%', b'+', rest).and_then(|at| rest.split_at_checked(at))
    {
        decoded.extend_from_slice(plain);
        rest = behind;
        if *escape == b'+' {
            decoded.push(b' ');
            continue;
        }
        let byte = behind.split_first_chunk().and_then(|([high, low], behind)| {
            rest = behind;
            hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| high << 4 | low)
        });
        let Some(byte) = byte else {
            decoded.zeroize();
            return Err(InvalidComponent::Percent);
        };
        decoded.push(byte);
    }
    decoded.extend_from_slice(rest);
    Ok(decoded)
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plus_is_a_space_and_escapes_are_bytes() {
        for (encoded, decoded) in [
            ("", ""),
            ("plain", "plain"),
            ("a+b", "a b"),
            ("%2B%2b%20", "++ "),
            ("%C3%A9%e2%82%ac", "é€"),
            ("=", "="),
        ] {
            assert_eq!(decode_component(encoded.as_bytes()).unwrap(), decoded);
        }
        assert!(matches!(decode_component(b"plain"), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn t36_whatever_could_be_read_in_two_ways_is_refused() {
        for (encoded, error) in [
            (&b"%"[..], InvalidComponent::Percent),
            (b"a%2", InvalidComponent::Percent),
            (b"%%41", InvalidComponent::Percent),
            (b"%u0041", InvalidComponent::Percent),
            (b"%4\xc3\xa9", InvalidComponent::Percent),
            (b"\xc0\x80", InvalidComponent::Utf8),
            (b"%C0%80", InvalidComponent::Utf8),
            (b"%ED%A0%80", InvalidComponent::Utf8),
            (b"%F4%90%80%80", InvalidComponent::Utf8),
            (b"\0", InvalidComponent::Nul),
            (b"a%00b", InvalidComponent::Nul),
        ] {
            assert_eq!(decode_component(encoded), Err(error), "{}", encoded.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(text in "[^\0]{0,60}") {
            let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            prop_assert_eq!(decode_component(encoded.as_bytes()).unwrap(), text);
        }
    }
}
