//! Request heads. One that can be read in two ways is refused: two readers that differ, a proxy and this server say, are how one
//! request is made to pass for another.

use http::Version;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};

/// Finds what RFC 9112 has a server refuse and the HTTP library lets through; the text says what it is.
pub(crate) fn check(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    check_host(version, headers)?;
    check_transfer_encoding(headers)
}

/// RFC 9112 §3.2: a `Host` in every request of HTTP/1.1, never two, and none that is no host. It is checked and used
/// for nothing.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err("there is more than one Host header"),
        (Some(host), None) if !host.as_bytes().iter().all(|byte| is_host_byte(*byte)) => {
            Err("the Host header is not a host and a port")
        }
        (None, _) if version >= Version::HTTP_11 => Err("there is no Host header"),
        (Some(_), None) | (None, _) => Ok(()),
    }
}

/// The characters of `uri-host [ ":" port ]` (RFC 3986 §3.2.2).
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// RFC 9112 §6.1: a coding that is not known here is no body that can be read, and `chunked` stands once.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        (Some(_), _) => Err("the transfer coding must be chunked, once, and no other"),
    }
}

/// Whether the body is a form (RFC 6749 §3.2), said once.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn check_lines(version: Version, lines: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        check(version, &headers)
    }

    #[test]
    fn a_request_has_one_host() {
        for host in ["localhost:8080", "[::1]:8080", "127.0.0.1", "id.example.com", ""] {
            assert_eq!(check_lines(Version::HTTP_11, &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check_lines(Version::HTTP_10, &[]), Ok(()));
        for (version, hosts) in [
            (Version::HTTP_11, &[][..]),
            (Version::HTTP_11, &[("host", "a"), ("host", "a")]),
            (Version::HTTP_10, &[("host", "a"), ("host", "b")]),
            (Version::HTTP_11, &[("host", "a b")]),
            (Version::HTTP_11, &[("host", "user@a")]),
            (Version::HTTP_11, &[("host", "a/b")]),
            (Version::HTTP_11, &[("host", "é")]),
        ] {
            assert!(check_lines(version, hosts).unwrap_err().contains("Host"), "{hosts:?}");
        }
    }

    #[test]
    fn a_body_has_one_length() {
        let check = |codings: &[&'static str]| {
            let lines: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            check_lines(Version::HTTP_11, &[&[("host", "a")][..], &lines].concat())
        };
        for good in [&[][..], &["chunked"], &["Chunked"]] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in
            [&["chunked, chunked"][..], &["chunked", "chunked"], &["gzip, chunked"], &["identity", "chunked"]]
        {
            assert!(check(bad).unwrap_err().contains("chunked"), "{bad:?}");
        }
    }
}
