//! The names in the certificate of a client. Input: a name that may be expected in it, a line feed, the certificate in DER.

use crate::input::{first_line, text};
use crate::verdict::{Verdict, fit_for_a_log, holds};
use jeton_proto::issuance::TlsSubject;
use jeton_proto::jose::certificate_names::{CertificateNames, InvalidCertificate};
use std::fmt::Write as _;
use std::net::IpAddr;
use x509_parser::asn1_rs::{Class, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The object identifier of a type in dots, and the text.
pub(crate) type Attribute = (String, String);

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(CertificateNames::parse, input)
}

fn check_with(
    parser: impl Fn(&[u8]) -> Result<CertificateNames, InvalidCertificate>,
    input: &[u8],
) -> Verdict {
    let (expected, der) = first_line(input);
    let names = match parser(der) {
        Ok(names) => names,
        Err(error) => return fit_for_a_log(&error),
    };
    let longer = [der, &[0]].concat();
    holds(parser(&longer).is_err(), || "a byte behind the certificate was passed over".to_owned())?;
    // What another reader does not take is refused by who verifies the chain, and has no other reading.
    let Some(other) = Other::read(der) else { return Ok(()) };
    for name in &other.names {
        holds(names.has(name), || format!("{name:?} is in the certificate, and was not found: {names:?}"))?;
    }
    let expected = text(expected);
    for name in [TlsSubject::Dns, TlsSubject::Uri, TlsSubject::Email, TlsSubject::Ip]
        .map(|kind| kind(expected.clone()))
    {
        let found = !names.has(&name) || other.names.iter().any(|held| is_same(held, &name));
        holds(found, || format!("{name:?} is not in the certificate, and was found: {names:?}"))?;
    }
    let subject = TlsSubject::DistinguishedName(expected);
    let found = !names.has(&subject) || other.has_readable_subject;
    holds(found, || format!("{subject:?} cannot be read in the certificate, and was found: {names:?}"))
}

/// What `x509-parser` reads.
struct Other {
    names: Vec<TlsSubject>,
    has_readable_subject: bool,
}

impl Other {
    fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Vec::new();
        for extension in
            certificate.extensions().iter().filter(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
        {
            let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() else {
                return None;
            };
            names.extend(alternative.general_names.iter().filter_map(alternative_name));
        }
        let subject = subject(certificate.subject());
        names.extend(subject.clone().map(TlsSubject::DistinguishedName));
        rest.is_empty().then_some(Self { names, has_readable_subject: subject.is_some() })
    }
}

/// A name that is an `IA5String`, as RFC 5280 §4.2.1.6 wants it, or an address.
fn alternative_name(name: &GeneralName<'_>) -> Option<TlsSubject> {
    let ascii = |name: &str| name.is_ascii().then(|| name.to_owned());
    match name {
        GeneralName::DNSName(name) => ascii(name).map(TlsSubject::Dns),
        GeneralName::URI(name) => ascii(name).map(TlsSubject::Uri),
        GeneralName::RFC822Name(name) => ascii(name).filter(|name| name.contains('@')).map(TlsSubject::Email),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| TlsSubject::Ip(address.to_string()))
        }
        _ => None,
    }
}

/// The subject as RFC 4514 writes it; `None` where a text is in another encoding than UTF-8 and ASCII, or cannot be written.
fn subject(name: &X509Name<'_>) -> Option<String> {
    let mut names = Vec::new();
    for relative in name.iter_rdn() {
        let mut attributes = Vec::new();
        for attribute in relative.iter() {
            let text = attribute_text(attribute).filter(|text| !text.is_empty() && !text.contains('\0'))?;
            attributes.push((dotted(attribute.attr_type().as_bytes())?, text));
        }
        names.push(attributes);
    }
    names.reverse();
    (!names.is_empty() && names.iter().all(|attributes| !attributes.is_empty())).then(|| rfc_4514(&names))
}

/// A text in one of the encodings that leave no doubt. What `x509-parser` itself makes of it goes by the number of the tag alone.
fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    if value.class() != Class::Universal || value.header.is_constructed() {
        return None;
    }
    let plain = || String::from_utf8(value.data.to_vec()).ok();
    match value.tag() {
        Tag::Utf8String => plain(),
        Tag::PrintableString | Tag::T61String | Tag::Ia5String => plain().filter(|text| text.is_ascii()),
        Tag::BmpString if value.data.len() % 2 == 0 => {
            let unit = |pair: &[u8]| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte));
            String::from_utf16(&value.data.chunks(2).map(unit).collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// An object identifier as X.690 §8.19 has it; `None` for one of numbers that nobody gives. `x509-parser` itself writes those of the root 2 wrong.
fn dotted(bytes: &[u8]) -> Option<String> {
    let mut numbers: Vec<String> = Vec::new();
    for digits in bytes.split_inclusive(|byte| *byte < 0x80) {
        let digit =
            |number: u64, byte: &u8| number.checked_mul(128).map(|number| number | u64::from(byte & 0x7f));
        let number = digits.iter().try_fold(0, digit)?;
        if !numbers.is_empty() {
            numbers.push(number.to_string());
            continue;
        }
        let (root, second) = match number {
            0..40 => (0, number),
            40..80 => (1, number - 40),
            _ => (2, number - 80),
        };
        numbers.extend([root.to_string(), second.to_string()]);
    }
    (bytes.last()? < &0x80).then(|| numbers.join("."))
}

fn is_same(held: &TlsSubject, name: &TlsSubject) -> bool {
    match (held, name) {
        (TlsSubject::Dns(held), TlsSubject::Dns(name)) => held.eq_ignore_ascii_case(name),
        (TlsSubject::Uri(held), TlsSubject::Uri(name)) => held == name,
        (TlsSubject::Email(held), TlsSubject::Email(name)) => {
            let lower_host = |email: &str| {
                email.rsplit_once('@').map(|(local, host)| (local.to_owned(), host.to_ascii_lowercase()))
            };
            lower_host(held).is_some() && lower_host(held) == lower_host(name)
        }
        (TlsSubject::Ip(held), TlsSubject::Ip(name)) => {
            held.parse::<IpAddr>().ok() == name.parse::<IpAddr>().ok()
        }
        _ => false,
    }
}

/// The text of a name, the most special relative name first, with each byte of a value as two digits.
pub(crate) fn rfc_4514(names: &[Vec<Attribute>]) -> String {
    let mut text = String::new();
    for (at, attributes) in names.iter().enumerate() {
        for (more, (kind, value)) in attributes.iter().enumerate() {
            let divider = if more > 0 {
                "+"
            } else if at > 0 {
                ","
            } else {
                ""
            };
            let _infallible = write!(text, "{divider}{kind}=");
            for byte in value.bytes() {
                let _infallible = write!(text, "\\{byte:02x}");
            }
        }
    }
    text
}

/// As much of a certificate as names are read of, with this subject, the most general relative name first. `None` for an identifier
/// that cannot be written.
pub(crate) fn certificate_with(subject: &[Vec<Attribute>]) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    for attributes in subject {
        let mut set = Vec::new();
        for (kind, value) in attributes {
            let identifier = element(0x06, &object_identifier(kind)?);
            set.extend(element(0x30, &[identifier, element(0x0c, value.as_bytes())].concat()));
        }
        names.extend(element(0x31, &set));
    }
    let empty = || element(0x30, &[]);
    let parts = [element(0x02, &[1]), empty(), empty(), empty(), element(0x30, &names), empty()];
    Some(element(0x30, &element(0x30, &parts.concat())))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = length.get(length.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default();
    let mut whole = vec![tag];
    match length {
        [] => whole.push(0),
        [short] if *short < 0x80 => whole.push(*short),
        long => {
            whole.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            whole.extend_from_slice(long);
        }
    }
    whole.extend_from_slice(content);
    whole
}

fn object_identifier(dotted: &str) -> Option<Vec<u8>> {
    let numbers: Vec<u64> = dotted.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [root, second, rest @ ..] = numbers.as_slice() else { return None };
    if *root > 2 || (*root < 2 && *second > 39) {
        return None;
    }
    let first = (root * 40).checked_add(*second)?;
    let mut bytes = Vec::new();
    for number in [first].iter().chain(rest) {
        let mut digits = vec![u8::try_from(number & 0x7f).ok()?];
        let mut left = number >> 7;
        while left > 0 {
            digits.push(0x80 | u8::try_from(left & 0x7f).ok()?);
            left >>= 7;
        }
        bytes.extend(digits.into_iter().rev());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = include_bytes!("../../seeds/certificate_names/names");

    #[test]
    fn a_reader_that_takes_too_much_or_finds_too_little_is_caught() {
        assert_eq!(check(SEED), Ok(()));
        let (_, der) = first_line(SEED);
        let lenient = |der: &[u8]| {
            let shorter = der.strip_suffix(&[0]).unwrap_or(der);
            CertificateNames::parse(shorter)
        };
        assert!(check_with(lenient, SEED).is_err());
        let other = certificate_with(&[vec![("2.5.4.3".to_owned(), "other".to_owned())]]).unwrap();
        let elsewhere = |read: &[u8]| CertificateNames::parse(if read == der { &other } else { read });
        assert!(check_with(elsewhere, SEED).is_err());
        let nameless = [b"worker.example\n", der].concat();
        let with_names = |read: &[u8]| CertificateNames::parse(if read == der { der } else { read });
        assert_eq!(check_with(with_names, &nameless), Ok(()));
    }
}
