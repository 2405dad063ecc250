//! PEM (RFC 7468), as strict as its strict grammar but for text between the sections and space around the lines.
//!
//! This is no general reader: it tells apart whatever people have in files for keys, so that each can be answered with
//! what to do, and it wipes what it decodes.

use super::InvalidAssertionKey;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The most sections that a text may have: a key, and a chain of certificates.
pub(super) const MAX_SECTIONS: usize = 32;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// What a section is of, by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// An unencrypted PKCS#8 private key (RFC 5958).
    Pkcs8,
    /// A private key of an elliptic curve (RFC 5915).
    Sec1,
    /// An RSA private key (RFC 8017 appendix A.1.2).
    Pkcs1,
    /// A private key under a passphrase.
    Encrypted,
    /// A private key of OpenSSH.
    OpenSsh,
    /// A private DSA key.
    Dsa,
    /// An X.509 certificate (RFC 5280).
    Certificate,
    /// A public key.
    Public,
    /// Whatever else, passed over.
    Other,
}

/// One section, with its content decoded where it is of use.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) label: Label,
    pub(super) der: Secret<Vec<u8>>,
}

/// The sections of `text`, in their order.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, InvalidAssertionKey> {
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim).zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(name) = boundary(line, BEGIN)? else { continue };
        if sections.len() == MAX_SECTIONS {
            return Err(InvalidAssertionKey::Sections);
        }
        let content = lines.by_ref().map(|(line, _)| line);
        sections.push(section(name, content, InvalidAssertionKey::Pem { line: number })?);
    }
    Ok(sections)
}

/// Reads from behind the first line of a section to behind its last one.
fn section<'t>(
    name: &str,
    lines: impl Iterator<Item = &'t str>,
    damaged: InvalidAssertionKey,
) -> Result<Section, InvalidAssertionKey> {
    let label = label(name);
    let mut content: Vec<&str> = Vec::new();
    for line in lines {
        if let Some(end) = boundary(line, END)? {
            let label = if is_under_a_passphrase(&content) { Label::Encrypted } else { label };
            return match (end == name, label) {
                (false, _) => Err(damaged),
                (true, Label::Encrypted | Label::OpenSsh | Label::Dsa | Label::Public | Label::Other) => {
                    Ok(Section { label, der: Secret::new(Vec::new()) })
                }
                (true, Label::Pkcs8 | Label::Sec1 | Label::Pkcs1 | Label::Certificate) => {
                    Ok(Section { label, der: decoded(&content).ok_or(damaged)? })
                }
            };
        }
        if boundary(line, BEGIN)?.is_some() {
            return Err(damaged);
        }
        content.push(line);
    }
    Err(damaged)
}

/// The label of a line that begins or ends a section.
fn boundary<'t>(line: &'t str, prefix: &str) -> Result<Option<&'t str>, InvalidAssertionKey> {
    match line.strip_prefix(prefix).map(|rest| rest.split_once(DASHES)) {
        None => Ok(None),
        Some(Some((label, ""))) => Ok(Some(label)),
        Some(Some(_) | None) => Err(InvalidAssertionKey::LineBreaks),
    }
}

fn label(name: &str) -> Label {
    match name {
        "PRIVATE KEY" => Label::Pkcs8,
        "EC PRIVATE KEY" => Label::Sec1,
        "RSA PRIVATE KEY" => Label::Pkcs1,
        "ENCRYPTED PRIVATE KEY" => Label::Encrypted,
        "OPENSSH PRIVATE KEY" => Label::OpenSsh,
        "DSA PRIVATE KEY" => Label::Dsa,
        "CERTIFICATE" | "X509 CERTIFICATE" => Label::Certificate,
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Label::Public,
        _ => Label::Other,
    }
}

/// RFC 1421 §4.6.1.1: how keys were encrypted before PKCS#8, and still are by some tools.
fn is_under_a_passphrase(content: &[&str]) -> bool {
    content.first().is_some_and(|line| line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED"))
}

fn decoded(content: &[&str]) -> Option<Secret<Vec<u8>>> {
    let characters = content.iter().map(|line| line.len()).sum();
    // Room for all of it at once: what grows leaves copies behind.
    let mut base64 = Zeroizing::new(String::with_capacity(characters));
    base64.extend(content.iter().copied());
    let mut der = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(characters)));
    STANDARD.decode_vec(base64.as_bytes(), &mut der).ok()?;
    Some(Secret::new(std::mem::take(&mut *der)))
}
