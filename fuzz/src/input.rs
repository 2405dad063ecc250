//! How the bytes of the fuzzer are made into the input of a parser, by means that a mutation keeps.

/// What stands for a secret in an input. No fixed text of this project has it.
pub(crate) const CANARY: &str = "c4n4ry-v4lue";
/// What is written for the canary in seeds; the dictionaries have it too.
const PLACE: &[u8] = b"@@";

/// The input with the canary wherever `@@` stands.
pub(crate) fn planted(input: &[u8]) -> Vec<u8> {
    let mut planted = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(PLACE) {
            planted.extend_from_slice(CANARY.as_bytes());
            rest = behind;
        } else {
            planted.push(first);
            rest = behind;
        }
    }
    planted
}

/// The first byte, and the rest.
pub(crate) fn first_byte(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

/// The first line without its end, and the rest.
pub(crate) fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == b'\n');
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

/// `N` lines; those that are not there are empty, and the last one has the rest.
pub(crate) fn lines<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut lines = input.splitn(N, |byte| *byte == b'\n');
    std::array::from_fn(|_| lines.next().unwrap_or_default())
}

/// An HTTP status of those that token endpoints answer with.
pub(crate) fn status(byte: u8) -> u16 {
    const STATUSES: [u16; 8] = [200, 201, 302, 400, 401, 429, 500, 503];
    STATUSES.get(usize::from(byte) % STATUSES.len()).copied().unwrap_or(200)
}

/// The bytes as text, what is no UTF-8 replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is enough to go beyond the limits that [`repeated`] is for; more only takes time.
const MOST_REPEATED_BYTES: usize = 20 * 1024;

/// `bytes` 1 to 64 times, so that the limits of a parser are within reach of a short input.
pub(crate) fn repeated(times: u8, bytes: &[u8]) -> Vec<u8> {
    let most = MOST_REPEATED_BYTES.max(bytes.len());
    bytes.repeat(1 + usize::from(times % 64)).into_iter().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_planted_wherever_its_place_is() {
        assert_eq!(planted(b"a@@b@@@"), format!("a{CANARY}b{CANARY}@").as_bytes());
        assert_eq!(planted(b""), b"");
    }

    #[test]
    fn inputs_of_any_length_have_their_parts() {
        assert_eq!(first_byte(b""), (0, &b""[..]));
        assert_eq!(first_line(b"a\nb\nc"), (&b"a"[..], &b"b\nc"[..]));
        assert_eq!(lines::<3>(b"a"), [&b"a"[..], b"", b""]);
        assert_eq!(lines::<2>(b"a\nb\nc"), [&b"a"[..], b"b\nc"]);
        assert_eq!(repeated(255, b"ab").len(), 128);
        assert_eq!(repeated(255, &[b'a'; 4096]).len(), MOST_REPEATED_BYTES);
        assert_eq!(repeated(0, &vec![b'a'; 40_000]).len(), 40_000);
    }
}
