//! Distinguished names as RFC 4514 writes them. Input: the text.

use crate::input::text;
use crate::target::certificate_names::{Attribute, certificate_with, rfc_4514};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use jeton_proto::issuance::TlsSubject;
use jeton_proto::jose::certificate_names::CertificateNames;
use jeton_proto::jose::distinguished_name::{DistinguishedName, InvalidDistinguishedName};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(DistinguishedName::parse, input)
}

fn check_with(
    parser: impl Fn(&str) -> Result<DistinguishedName, InvalidDistinguishedName>,
    input: &[u8],
) -> Verdict {
    let text = text(input);
    let (name, expected) = match (parser(&text), expected(&text)) {
        (Ok(name), Some(expected)) => (name, expected),
        (Err(error), None) => return fit_for_a_log(&error),
        (parsed, expected) => {
            return holds(false, || format!("{parsed:?} where RFC 4514 has {expected:?} for {text:?}"));
        }
    };
    same("the name written anew", &parser(&rfc_4514(&expected)), &Ok(name.clone()))?;
    // The certificate begins with what the text ends with, and within a relative name there is no order.
    let mut held = expected.clone();
    held.reverse();
    for attributes in &mut held {
        attributes.sort_unstable();
    }
    same("what is held", &format!("{name:?}"), &format!("DistinguishedName({held:?})"))?;
    // An identifier that does not fit into a certificate has none to be compared with.
    let Some(certificate) = certificate_with(&held) else { return Ok(()) };
    let Ok(names) = CertificateNames::parse(&certificate) else {
        return holds(false, || format!("the certificate of {text:?} was refused"));
    };
    holds(names.has(&TlsSubject::DistinguishedName(text.clone())), || {
        format!("the certificate of {text:?} has another name: {names:?}")
    })
}

/// RFC 4514 §3, written in another way: first cut at what divides, then each part read.
fn expected(text: &str) -> Option<Vec<Vec<Attribute>>> {
    let mut names = Vec::new();
    for relative in cut(text, ',') {
        names.push(cut(relative, '+').into_iter().map(attribute).collect::<Option<Vec<_>>>()?);
    }
    Some(names)
}

/// The parts of a text between the dividers that have no `\` before them.
fn cut(text: &str, divider: char) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        if !escaped && character == divider {
            parts.push(text.get(begin..at).unwrap_or_default());
            begin = at + 1;
        }
        escaped = !escaped && character == '\\';
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

fn attribute(text: &str) -> Option<Attribute> {
    let (kind, raw) = text.split_once('=')?;
    Some((identifier(kind.trim_matches(' '))?, value(raw)?))
}

fn identifier(kind: &str) -> Option<String> {
    let short = match kind.to_ascii_uppercase().as_str() {
        "CN" => "2.5.4.3",
        "SN" => "2.5.4.4",
        "SERIALNUMBER" => "2.5.4.5",
        "C" => "2.5.4.6",
        "L" => "2.5.4.7",
        "ST" => "2.5.4.8",
        "STREET" => "2.5.4.9",
        "O" => "2.5.4.10",
        "OU" => "2.5.4.11",
        "TITLE" => "2.5.4.12",
        "GN" => "2.5.4.42",
        "UID" => "0.9.2342.19200300.100.1.1",
        "DC" => "0.9.2342.19200300.100.1.25",
        "E" | "EMAILADDRESS" => "1.2.840.113549.1.9.1",
        _ => "",
    };
    if !short.is_empty() {
        return Some(short.to_owned());
    }
    let number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(part.trim_start_matches('0'), rest if rest == part || part == "0")
    };
    let parts: Vec<&str> = kind.split('.').collect();
    (parts.len() > 1 && parts.iter().all(|part| !part.is_empty() && number(part))).then(|| kind.to_owned())
}

fn value(raw: &str) -> Option<String> {
    let raw = raw.trim_start_matches(' ');
    if raw.starts_with('#') {
        return None;
    }
    // What each byte is, and whether a `\` was before it.
    let mut bytes: Vec<(u8, bool)> = Vec::new();
    let mut rest = raw.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'"' | b'<' | b'>' | b';' => return None,
            b'\\' => {
                let digit = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
                if let (Some(high), Some(low)) = (digit(0), digit(1)) {
                    bytes.push((u8::try_from(high * 16 + low).ok()?, true));
                    rest = rest.get(2..)?;
                } else {
                    let special = rest.first().filter(|byte| br##" "#+,;<=>\"##.contains(byte))?;
                    bytes.push((*special, true));
                    rest = rest.get(1..)?;
                }
            }
            plain => bytes.push((plain, false)),
        }
    }
    while bytes.last() == Some(&(b' ', false)) {
        bytes.pop();
    }
    let value = String::from_utf8(bytes.into_iter().map(|(byte, _)| byte).collect()).ok()?;
    (!value.is_empty() && !value.contains('\0')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_cuts_at_escapes_or_turns_the_order_is_caught() {
        for text in [r"CN=wörker,OU=Orders+L=Bern,O=Example\, Inc.,C=CH", r"1.2.3= a\20 ", "CN=", "CN=a,,O=b"]
        {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        let careless = |text: &str| DistinguishedName::parse(&text.replace("\\,", ""));
        assert!(check_with(careless, br"CN=a\,b").is_err());
        let first_alone = |text: &str| DistinguishedName::parse(text.split(',').next().unwrap_or_default());
        assert!(check_with(first_alone, b"CN=a,O=b").is_err());
        let patient = |text: &str| DistinguishedName::parse(text.trim_end_matches(','));
        assert!(check_with(patient, b"CN=a,").is_err());
    }
}
