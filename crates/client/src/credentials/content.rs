//! What was read at a place, made a secret: bounded, text, without the line break that editors leave behind.

use super::source::{SourceFault, SourceFaultKind};
use jeton_proto::secret::Secret;
use std::fmt::Display;
use std::io::{self, Read};
#[cfg(unix)]
use std::time::Instant;
use zeroize::Zeroizing;

/// The longest secret that is taken, in bytes.
pub(super) const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Reads to the end, which must come within [`MAX_SECRET_BYTES`].
pub(super) fn read_to_end(place: &dyn Display, from: impl Read) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
    // Room for the whole of it, so that no copy stays behind where the vector grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    let read = from.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes);
    if read.map_err(|error| io_fault(place, &error))? > MAX_SECRET_BYTES {
        return Err(too_long(place));
    }
    Ok(bytes)
}

/// As [`read_to_end`], from what may have nothing to read yet; `None` when the end did not come by `deadline`.
#[cfg(unix)]
pub(super) fn read_until(
    place: &dyn Display,
    from: &mut (impl Read + std::os::fd::AsFd),
    deadline: Instant,
) -> Result<Option<Zeroizing<Vec<u8>>>, SourceFault> {
    use rustix::event::{PollFd, PollFlags, poll};

    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES));
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(left) = left.try_into().ok().filter(|_| !left.is_zero()) else { return Ok(None) };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(io_fault(place, &error.into())),
        }
        let read = match from.read(piece.as_mut_slice()) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(io_fault(place, &error)),
        };
        let more = piece.get(..read).unwrap_or_default();
        if more.is_empty() {
            return Ok(Some(bytes));
        }
        if bytes.len() + more.len() > MAX_SECRET_BYTES {
            return Err(too_long(place));
        }
        bytes.extend_from_slice(more);
    }
}

/// The secret that is in `bytes`, without one line break at the end.
pub(super) fn secret(place: &dyn Display, bytes: &[u8]) -> Result<Secret<String>, SourceFault> {
    let malformed = |what| SourceFault::new(SourceFaultKind::Malformed, place, what);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not utf-8 text"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    // An editor put it there, and no server takes it; it cannot be seen in what an editor shows.
    if text.starts_with('\u{feff}') {
        return Err(malformed("it begins with a byte order mark; save it as utf-8 without one"));
    }
    if text.is_empty() {
        return Err(SourceFault::of_nothing(place));
    }
    if text.len() > MAX_SECRET_BYTES {
        return Err(too_long(place));
    }
    Ok(Secret::from(text))
}

/// Whether everybody may see it: certificates in PEM, whose private key is somewhere else.
pub(super) fn is_public(bytes: &[u8]) -> bool {
    let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    holds(b"-----BEGIN CERTIFICATE-----") && !holds(b"PRIVATE KEY")
}

pub(super) fn too_long(place: &dyn Display) -> SourceFault {
    let what = format!("it is longer than {MAX_SECRET_BYTES} bytes");
    SourceFault::new(SourceFaultKind::Malformed, place, what)
}

/// What the system said.
pub(super) fn io_fault(place: &dyn Display, error: &io::Error) -> SourceFault {
    use io::ErrorKind as Kind;
    let (kind, what) = match error.kind() {
        Kind::NotFound => (SourceFaultKind::Absent, "it is not there".to_owned()),
        Kind::PermissionDenied => {
            (SourceFaultKind::Denied, "the user of this process may not read it".to_owned())
        }
        Kind::TimedOut | Kind::StaleNetworkFileHandle | Kind::HostUnreachable | Kind::NetworkUnreachable => {
            (SourceFaultKind::Unreachable, error.to_string())
        }
        _ => (SourceFaultKind::Unusable, error.to_string()),
    };
    SourceFault::new(kind, place, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t32_one_line_break_at_the_end_is_not_part_of_the_secret() {
        for (content, expected) in [
            ("s", "s"),
            ("s\n", "s"),
            ("s\r\n", "s"),
            ("s\n\n", "s\n"),
            ("s\r\n\r\n", "s\r\n"),
            ("s\r", "s\r"),
            ("\ns", "\ns"),
            (" s ", " s "),
            ("é\n", "é"),
        ] {
            assert_eq!(secret(&"x", content.as_bytes()).unwrap().expose(), expected, "{content:?}");
        }
    }

    #[test]
    fn certificates_without_a_private_key_are_public() {
        const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        for public in [CERTIFICATE, &CERTIFICATE.repeat(2), &CERTIFICATE.replace('\n', "\r\n")] {
            assert!(is_public(public.as_bytes()), "{public}");
        }
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let key = format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n");
            for secret in [key.clone(), key.clone() + CERTIFICATE, CERTIFICATE.to_owned() + &key] {
                assert!(!is_public(secret.as_bytes()), "{secret}");
            }
        }
        for secret in ["", "s", "{\"kty\":\"EC\"}", "-----BEGIN CERTIFICATE"] {
            assert!(!is_public(secret.as_bytes()), "{secret}");
        }
    }

    #[test]
    fn t32_what_is_no_secret_is_told_apart() {
        let told = |bytes: &[u8]| secret(&"the place", bytes).unwrap_err();
        for nothing in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(told(nothing).to_string(), "the place: it is empty");
            assert!(told(nothing).is_of_nothing());
        }
        let not_text = told(b"canary\xff");
        assert_eq!(not_text.to_string(), "the place: it is not utf-8 text");
        assert!(!not_text.is_of_nothing());
        let marked = told("\u{feff}canary\r\n".as_bytes());
        let expected = "the place: it begins with a byte order mark; save it as utf-8 without one";
        assert_eq!((marked.kind(), marked.to_string().as_str()), (SourceFaultKind::Malformed, expected));
        let longest = vec![b'a'; MAX_SECRET_BYTES];
        assert!(secret(&"x", &longest).is_ok() && read_to_end(&"x", longest.as_slice()).is_ok());
        let longer = vec![b'a'; MAX_SECRET_BYTES + 1];
        assert_eq!(told(&longer).to_string(), "the place: it is longer than 65536 bytes");
        let read = read_to_end(&"the place", io::repeat(b'a')).unwrap_err();
        assert_eq!((read.kind(), read), (SourceFaultKind::Malformed, told(&longer)));
    }
}
