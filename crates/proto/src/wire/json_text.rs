//! Texts as they stand in JSON (RFC 8259 §7).

/// Whether `text` stands between the quotes of a JSON string as it is: ASCII without control characters, `"` and `\`. Of what has other
/// characters JSON could hold some too, but they are seldom, and the long way is right for them.
///
/// Eight bytes are looked at at once, and all of them, instead of stopping at the first: there seldom is one.
///
/// ```
/// use jeton_proto::wire::json_text::needs_no_escape;
///
/// assert!(needs_no_escape("orders:read orders:write"));
/// assert!(!needs_no_escape("a \"quoted\" word") && !needs_no_escape("é"));
/// ```
#[must_use]
pub fn needs_no_escape(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    words.iter().fold(special(last), |found, word| found | special(*word)) == 0
}

/// Not 0 when one of eight bytes is no plain one. Which one is not told: a byte below it in the word may be marked with it.
const fn special(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    const fn has_below(word: u64, bound: u64) -> u64 {
        word.wrapping_sub(bound * ONES) & !word & HIGH
    }
    let word = u64::from_ne_bytes(bytes);
    let control = has_below(word, b' ' as u64);
    let quote = has_below(word ^ (b'"' as u64 * ONES), 1);
    let backslash = has_below(word ^ (b'\\' as u64 * ONES), 1);
    (word & HIGH) | control | quote | backslash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &str) -> bool {
        text.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=0x7f))
    }

    #[test]
    fn every_byte_is_told_at_every_place() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..0x80 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).unwrap();
                    assert_eq!(needs_no_escape(&text), naive(&text), "{text:?}");
                }
            }
        }
        assert!(needs_no_escape("") && !needs_no_escape("plain é"));
    }

    proptest! {
        #[test]
        fn what_needs_no_escape_is_written_as_it_is(text in "[ -~\\x00-\\x1fé\u{2028}]{0,40}") {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(needs_no_escape(&text), naive(&text));
            if needs_no_escape(&text) {
                prop_assert_eq!(written, format!("\"{text}\""));
            }
        }
    }
}
