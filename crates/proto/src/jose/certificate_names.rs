//! The names in a client's certificate (RFC 5280 §4.1.2.6, §4.2.1.6), and whether they are those of the client (RFC 8705
//! §2.1).

use super::der::{self, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use super::distinguished_name::{Attribute, DistinguishedName};
use crate::issuance::TlsSubject;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt::Write as _;

const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// The tags of a `GeneralName` (RFC 5280 §4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// The tags of the kinds that no client is known by: other names, X.400 addresses, directory names, EDI parties, registered ids.
const OTHER_NAMES: [u8; 5] = [0xa0, 0xa3, 0xa4, 0xa5, 0x88];
/// Stands for a text in an encoding that is not read. No name that is expected has it in it.
const UNREADABLE: &str = "\0";
/// The longest certificate that is read, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The names in a certificate that somebody else has verified: nothing here looks at signatures or times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames {
    subject: DistinguishedName,
    /// In the order of the certificate.
    alternative: Vec<AlternativeName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum AlternativeName {
    Dns(String),
    Uri(String),
    Ip(IpAddr),
    Email(String),
}

impl CertificateNames {
    /// Reads a certificate in DER of at most 64 KiB.
    ///
    /// # Errors
    /// [`InvalidCertificate`] for what is none, and for one that has two lists of alternative names.
    pub fn parse(certificate: &[u8]) -> Result<Self, InvalidCertificate> {
        if certificate.len() > MAX_CERTIFICATE_BYTES {
            return Err(InvalidCertificate);
        }
        read(certificate).ok_or(InvalidCertificate)
    }

    /// Whether the certificate has this name. A distinguished name is compared whole, an alternative one with each of its
    /// kind; there are no wildcards.
    #[must_use]
    pub fn has(&self, expected: &TlsSubject) -> bool {
        let any = |matches: &dyn Fn(&AlternativeName) -> bool| self.alternative.iter().any(matches);
        match expected {
            TlsSubject::DistinguishedName(text) => {
                DistinguishedName::parse(text).is_ok_and(|expected| self.subject == expected)
            }
            TlsSubject::Dns(expected) => {
                any(&|name| matches!(name, AlternativeName::Dns(dns) if dns.eq_ignore_ascii_case(expected)))
            }
            TlsSubject::Uri(expected) => {
                any(&|name| matches!(name, AlternativeName::Uri(uri) if uri == expected))
            }
            TlsSubject::Ip(expected) => {
                let expected: Option<IpAddr> = expected.parse().ok();
                any(&|name| matches!(name, AlternativeName::Ip(ip) if Some(*ip) == expected))
            }
            TlsSubject::Email(expected) => {
                any(&|name| matches!(name, AlternativeName::Email(email) if is_same_email(email, expected)))
            }
        }
    }
}

/// Bytes are no certificate that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate of the client cannot be read")]
pub struct InvalidCertificate;

/// RFC 5280 §7.5: the part before the `@` as it is, the host in any case.
fn is_same_email(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, host)), Some((other_local, other_host))) => {
            local == other_local && host.eq_ignore_ascii_case(other_host)
        }
        (Some(_) | None, Some(_) | None) => false,
    }
}

fn read(certificate: &[u8]) -> Option<CertificateNames> {
    let (to_be_signed, _) = der::element(der::whole(certificate, SEQUENCE)?, SEQUENCE)?;
    // Only a certificate of version 1 has none.
    let rest = der::element(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_serial, rest) = der::element(rest, INTEGER)?;
    let (_signature, rest) = der::element(rest, SEQUENCE)?;
    let (_issuer, rest) = der::element(rest, SEQUENCE)?;
    let (_validity, rest) = der::element(rest, SEQUENCE)?;
    let (subject, rest) = der::element(rest, SEQUENCE)?;
    let (_public_key, mut rest) = der::element(rest, SEQUENCE)?;
    let mut alternative = None;
    while let Some(&tag) = rest.first() {
        let (content, after) = der::element(rest, tag)?;
        match tag {
            EXTENSIONS => {
                let names = alternative_names(der::whole(content, SEQUENCE)?)?;
                // Two readers could choose differently.
                if alternative.replace(names).is_some() {
                    return None;
                }
            }
            ISSUER_UNIQUE_ID | SUBJECT_UNIQUE_ID => {}
            _nothing_of_a_certificate => return None,
        }
        rest = after;
    }
    Some(CertificateNames {
        subject: distinguished_name(subject)?,
        alternative: alternative.unwrap_or_default(),
    })
}

fn distinguished_name(mut sequence: &[u8]) -> Option<DistinguishedName> {
    let mut relative_names = Vec::new();
    while !sequence.is_empty() {
        let (mut set, after) = der::element(sequence, SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let (attribute, more) = der::element(set, SEQUENCE)?;
            attributes.push(attribute_of(attribute)?);
            set = more;
        }
        relative_names.push(attributes);
        sequence = after;
    }
    Some(DistinguishedName::new(relative_names))
}

fn attribute_of(attribute: &[u8]) -> Option<Attribute> {
    let (kind, value) = der::element(attribute, OBJECT_IDENTIFIER)?;
    let tag = *value.first()?;
    let text = text(tag, der::whole(value, tag)?);
    Some((object_identifier(kind)?, text.unwrap_or_else(|| UNREADABLE.to_owned())))
}

/// A text in one of the encodings of RFC 5280 §4.1.2.4 that leave no doubt.
fn text(tag: u8, bytes: &[u8]) -> Option<String> {
    let ascii = || bytes.is_ascii().then(|| bytes.iter().copied().map(char::from).collect());
    match tag {
        // UTF8String.
        0x0c => String::from_utf8(bytes.to_vec()).ok(),
        // PrintableString, TeletexString and IA5String.
        0x13 | 0x14 | 0x16 => ascii(),
        // BMPString.
        0x1e => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok())?
        }
        _ => None,
    }
}

/// In dots (X.690 §8.19).
fn object_identifier(bytes: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    let mut complete = false;
    for byte in bytes {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        complete = byte & 0x80 == 0;
        if complete {
            numbers.push(number);
            number = 0;
        }
    }
    let (first, rest) = numbers.split_first().filter(|_| complete)?;
    let root = (*first / 40).min(2);
    let mut dotted = format!("{root}.{}", first - root * 40);
    for number in rest {
        write!(dotted, ".{number}").ok()?;
    }
    Some(dotted)
}

fn alternative_names(mut extensions: &[u8]) -> Option<Vec<AlternativeName>> {
    let mut found = None;
    while !extensions.is_empty() {
        let (extension, after) = der::element(extensions, SEQUENCE)?;
        let (kind, rest) = der::element(extension, OBJECT_IDENTIFIER)?;
        let value = der::element(rest, BOOLEAN).map_or(rest, |(_critical, rest)| rest);
        if kind == SUBJECT_ALT_NAME {
            let names = der::whole(der::whole(value, OCTET_STRING)?, SEQUENCE)?;
            // RFC 5280 §4.2: not two of one kind. Two readers could choose differently.
            if found.replace(general_names(names)?).is_some() {
                return None;
            }
        }
        extensions = after;
    }
    Some(found.unwrap_or_default())
}

fn general_names(mut names: &[u8]) -> Option<Vec<AlternativeName>> {
    let mut found = Vec::new();
    while let Some(&tag) = names.first() {
        let (content, after) = der::element(names, tag)?;
        let text = || std::str::from_utf8(content).ok().filter(|text| text.is_ascii()).map(str::to_owned);
        found.extend(match tag {
            DNS => text().map(AlternativeName::Dns),
            URI => text().map(AlternativeName::Uri),
            EMAIL => text().map(AlternativeName::Email),
            IP => address(content).map(AlternativeName::Ip),
            _other_kind if OTHER_NAMES.contains(&tag) => None,
            _no_name => return None,
        });
        names = after;
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

#[cfg(test)]
mod tests;
