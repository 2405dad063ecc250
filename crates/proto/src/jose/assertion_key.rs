//! Keys that sign client assertions: private keys as people have them in files, and client secrets.

mod certificate;
mod invalid;
mod pem;
mod private_der;
mod private_jwk;
#[cfg(test)]
mod tests;

pub use crate::jose::assertion_algorithm::{AssertionAlgorithm, UnknownAssertionAlgorithm};
pub use invalid::InvalidAssertionKey;

use crate::jose::jwk::{KeyError, KeyPair, RsaPadding, Signature};
use crate::jose::jws::{self, MAX_KEY_ID_BYTES};
use crate::secret::Secret;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// The longest key text that is read, in bytes: an RSA key of 8192 bits in PEM has 6400, the rest is for certificates.
pub const MAX_KEY_TEXT_BYTES: usize = 64 * 1024;
/// The fewest bytes that RFC 7518 §3.2 wants a secret for HS256 to have.
const HASH_BYTES: usize = 32;

/// A key that signs client assertions, parsed once, with the header of what it signs at hand. Clones share the key.
///
/// ```
/// use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
/// use jeton_proto::secret::Secret;
///
/// let jwk = r#"{"kty":"OKP","crv":"Ed25519","kid":"2026-01",
///     "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// let key = AssertionKey::from_text(&Secret::from(jwk), None)?;
/// assert_eq!((key.algorithm(), key.key_id()), (AssertionAlgorithm::EdDsa, Some("2026-01")));
/// # Ok::<(), jeton_proto::jose::assertion_key::InvalidAssertionKey>(())
/// ```
#[derive(Clone)]
pub struct AssertionKey {
    signer: Arc<Signer>,
    algorithm: AssertionAlgorithm,
    possible: &'static [AssertionAlgorithm],
    key_id: Option<Box<str>>,
    certificate: Option<Box<str>>,
    thumbprint: CertificateThumbprint,
    media_type: AssertionMediaType,
    /// In base64url, with the dot behind it.
    header: String,
}

/// Whether the header of an assertion names the certificate of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CertificateThumbprint {
    /// It does not.
    #[default]
    Omitted,
    /// By its SHA-256 thumbprint in `x5t#S256` (RFC 7515 §4.1.8), as Microsoft Entra ID asks for.
    X5tS256,
}

/// The `typ` in the header of an assertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AssertionMediaType {
    /// `JWT`, which every server takes.
    #[default]
    Jwt,
    /// `client-authentication+jwt`, which the successor of RFC 7523 (draft-ietf-oauth-rfc7523bis) asks for.
    ClientAuthenticationJwt,
}

impl AssertionMediaType {
    /// The value as it stands in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::ClientAuthenticationJwt => "client-authentication+jwt",
        }
    }
}

enum Signer {
    Pair(KeyPair),
    Secret { key: Box<hmac::Key>, bytes: usize },
}

/// What a text told.
struct Loaded {
    pair: KeyPair,
    algorithm: Option<AssertionAlgorithm>,
    key_id: Option<Box<str>>,
    certificate: Option<Box<str>>,
}

impl AssertionKey {
    /// Reads a private key for `private_key_jwt`, of at most [`MAX_KEY_TEXT_BYTES`]:
    /// - in PEM: PKCS#8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`), unencrypted, with or
    ///   without the key's certificate and its chain;
    /// - as a JWK (RFC 7517), or a JWK Set with exactly one private key; `kid`, `alg`, `use` and `key_ops` are obeyed.
    ///
    /// A key on P-256 signs ES256, one of Ed25519 `EdDSA`. An RSA key of 2048 to 8192 bits signs RS256, or PS256 where
    /// `algorithm` or the JWK's `alg` says so. With a JWK's `kid` assertions have it; with PEM they have none before
    /// [`AssertionKey::with_key_id`], for servers refuse a key id that they do not know.
    ///
    /// # Errors
    /// [`InvalidAssertionKey`] says what was found in place of such a key, and what to do.
    pub fn from_text(
        text: &Secret<String>,
        algorithm: Option<AssertionAlgorithm>,
    ) -> Result<Self, InvalidAssertionKey> {
        let text = text.expose();
        if text.len() > MAX_KEY_TEXT_BYTES {
            return Err(InvalidAssertionKey::TooLong { bytes: text.len() });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
        let loaded = if text.starts_with('{') { private_jwk::read(text)? } else { from_pem(text)? };
        // The length of a modulus, and where it comes from, are looked at here at the latest.
        loaded.pair.public_jwk().map_err(InvalidAssertionKey::Rsa)?;
        let own = algorithms_of(&loaded.pair);
        let possible = match loaded.algorithm {
            None => own,
            Some(named) => only(own, named).ok_or(InvalidAssertionKey::AlgorithmOfJwk)?,
        };
        let first = possible.first().copied().unwrap_or(AssertionAlgorithm::Es256);
        let mut key = Self {
            signer: Arc::new(Signer::Pair(loaded.pair)),
            algorithm: first,
            possible,
            key_id: loaded.key_id,
            certificate: loaded.certificate,
            thumbprint: CertificateThumbprint::default(),
            media_type: AssertionMediaType::default(),
            header: String::new(),
        };
        key.write_header();
        match algorithm {
            None => Ok(key),
            Some(wanted) => key.with_algorithm(wanted),
        }
    }

    /// The key of `client_secret_jwt`: HS256 under the bytes of the secret in UTF-8 (`OpenID` Connect Core §9).
    #[must_use]
    pub fn from_client_secret(secret: &Secret<String>) -> Self {
        Self::from_secret_bytes(secret.expose().as_bytes())
    }

    fn from_secret_bytes(secret: &[u8]) -> Self {
        let key = Box::new(hmac::Key::new(HMAC_SHA256, secret));
        let signer = Signer::Secret { key, bytes: secret.len() };
        let mut key = Self {
            signer: Arc::new(signer),
            algorithm: AssertionAlgorithm::Hs256,
            possible: &[AssertionAlgorithm::Hs256],
            key_id: None,
            certificate: None,
            thumbprint: CertificateThumbprint::default(),
            media_type: AssertionMediaType::default(),
            header: String::new(),
        };
        key.write_header();
        key
    }

    /// The key with another algorithm, one of [`AssertionKey::possible_algorithms`].
    ///
    /// # Errors
    /// [`InvalidAssertionKey::Algorithm`] for another.
    pub fn with_algorithm(mut self, wanted: AssertionAlgorithm) -> Result<Self, InvalidAssertionKey> {
        let own = self.algorithm;
        self.possible = only(self.possible, wanted).ok_or(InvalidAssertionKey::Algorithm { wanted, own })?;
        self.algorithm = wanted;
        self.write_header();
        Ok(self)
    }

    /// The key with this `kid` in the header, or with none, whatever a JWK says.
    ///
    /// # Errors
    /// [`InvalidAssertionKey::KeyId`] for one that is empty or longer than [`MAX_KEY_ID_BYTES`].
    pub fn with_key_id(mut self, key_id: Option<String>) -> Result<Self, InvalidAssertionKey> {
        if key_id.as_ref().is_some_and(|key_id| key_id.is_empty() || key_id.len() > MAX_KEY_ID_BYTES) {
            return Err(InvalidAssertionKey::KeyId);
        }
        self.key_id = key_id.map(String::into_boxed_str);
        self.write_header();
        Ok(self)
    }

    /// The key with the certificate that is its own in this PEM text; others, as those of a chain, are passed over.
    ///
    /// # Errors
    /// [`InvalidAssertionKey::CertificateOfAnotherKey`], [`InvalidAssertionKey::NoCertificate`], or what is wrong with
    /// the text.
    pub fn with_certificate(mut self, pem: &str) -> Result<Self, InvalidAssertionKey> {
        if pem.len() > MAX_KEY_TEXT_BYTES {
            return Err(InvalidAssertionKey::TooLong { bytes: pem.len() });
        }
        self.certificate = match &*self.signer {
            Signer::Pair(pair) => Some(certificate::thumbprint_in(pem, pair)?),
            Signer::Secret { .. } => return Err(InvalidAssertionKey::CertificateOfAnotherKey),
        };
        self.write_header();
        Ok(self)
    }

    /// The key with the thumbprint of its certificate in the header, or without.
    ///
    /// # Errors
    /// [`InvalidAssertionKey::NoCertificate`] when the text of the key had none and none was given beside.
    pub fn with_certificate_thumbprint(
        mut self,
        thumbprint: CertificateThumbprint,
    ) -> Result<Self, InvalidAssertionKey> {
        match (thumbprint, &self.certificate) {
            (CertificateThumbprint::X5tS256, None) => return Err(InvalidAssertionKey::NoCertificate),
            (CertificateThumbprint::X5tS256, Some(_)) | (CertificateThumbprint::Omitted, _) => {}
        }
        self.thumbprint = thumbprint;
        self.write_header();
        Ok(self)
    }

    /// The key with another `typ` in the header.
    #[must_use]
    pub fn with_media_type(mut self, media_type: AssertionMediaType) -> Self {
        self.media_type = media_type;
        self.write_header();
        self
    }

    /// The algorithm that assertions are signed with.
    pub fn algorithm(&self) -> AssertionAlgorithm {
        self.algorithm
    }

    /// Every algorithm that may be chosen still: for an RSA key RS256 and PS256, where neither its JWK nor anybody
    /// since has named one.
    pub fn possible_algorithms(&self) -> &'static [AssertionAlgorithm] {
        self.possible
    }

    /// The `kid` in the header.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The `x5t#S256` of the key's certificate, where there is one, whether or not the header has it.
    pub fn certificate_thumbprint(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Whether a client secret has fewer bytes than the hash, 32, which is against RFC 7518 §3.2: whoever sees an
    /// assertion can try secrets on it at leisure. Many servers make such secrets all the same.
    pub fn is_shorter_than_its_hash(&self) -> bool {
        match *self.signer {
            Signer::Pair(_) => false,
            Signer::Secret { bytes, .. } => bytes < HASH_BYTES,
        }
    }

    /// The SHA-256 thumbprint of the public key in base64url (RFC 7638 §3), which some servers know a key by; `None`
    /// for a client secret.
    pub fn thumbprint(&self) -> Option<String> {
        self.public().map(|jwk| jwk.thumbprint())
    }

    /// The public key as a JWK, with the `alg` and `kid` of the header: what is to be registered at the server. `None`
    /// for a client secret.
    pub fn public_jwk(&self) -> Option<Value> {
        let mut public = self.public()?.to_json();
        let members = public.as_object_mut()?;
        members.insert("alg".to_owned(), json!(self.algorithm.as_str()));
        if let Some(key_id) = &self.key_id {
            members.insert("kid".to_owned(), json!(key_id));
        }
        Some(public)
    }

    fn public(&self) -> Option<crate::jose::jwk::Jwk> {
        match &*self.signer {
            Signer::Pair(pair) => pair.public_jwk().ok(),
            Signer::Secret { .. } => None,
        }
    }

    /// The JWS in compact serialization of this payload (RFC 7515 §5.1).
    pub(in crate::jose) fn sign_payload(&self, payload: &str) -> Result<Secret<String>, KeyError> {
        /// What a signature of 8192 bits has in base64url, with the dots.
        const MOST_SIGNATURE_BYTES: usize = 1370;
        // Room for all of it at once: what grows leaves copies behind.
        let bytes = self.header.len() + payload.len().div_ceil(3) * 4 + MOST_SIGNATURE_BYTES;
        let mut compact = String::with_capacity(bytes);
        compact.push_str(&self.header);
        jws::append_signed(&mut compact, payload.as_bytes(), |input| self.signature(input))?;
        Ok(Secret::new(compact))
    }

    fn signature(&self, input: &[u8]) -> Result<Signature, KeyError> {
        let padding = match self.algorithm {
            AssertionAlgorithm::Ps256 => RsaPadding::Pss,
            AssertionAlgorithm::Es256
            | AssertionAlgorithm::Rs256
            | AssertionAlgorithm::EdDsa
            | AssertionAlgorithm::Hs256 => RsaPadding::Pkcs1,
        };
        match &*self.signer {
            Signer::Pair(pair) => pair.sign(input, padding),
            Signer::Secret { key, .. } => Ok(Signature::Long(hmac::sign(key, input).as_ref().to_vec())),
        }
    }

    fn write_header(&mut self) {
        let mut header = serde_json::Map::new();
        header.insert("alg".to_owned(), json!(self.algorithm.as_str()));
        header.insert("typ".to_owned(), json!(self.media_type.as_str()));
        if let Some(key_id) = &self.key_id {
            header.insert("kid".to_owned(), json!(key_id));
        }
        match (self.thumbprint, &self.certificate) {
            (CertificateThumbprint::X5tS256, Some(certificate)) => {
                header.insert("x5t#S256".to_owned(), json!(certificate));
            }
            (CertificateThumbprint::X5tS256, None) | (CertificateThumbprint::Omitted, _) => {}
        }
        self.header = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
        self.header.push('.');
    }
}

/// Shows how it signs, and nothing of what it signs with.
impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

fn from_pem(text: &str) -> Result<Loaded, InvalidAssertionKey> {
    use pem::Label;
    let sections = pem::sections(text)?;
    let mut private = None;
    let mut public = false;
    for section in &sections {
        match section.label {
            Label::Pkcs8 | Label::Sec1 | Label::Pkcs1 | Label::Encrypted | Label::OpenSsh | Label::Dsa => {
                if private.replace(section).is_some() {
                    return Err(InvalidAssertionKey::SeveralKeys);
                }
            }
            Label::Certificate | Label::Public => public = true,
            Label::Other => {}
        }
    }
    let pair = match private.map(|section| (section.label, section.der.expose())) {
        Some((Label::Pkcs8, der)) => private_der::pkcs8(der)?,
        Some((Label::Sec1, der)) => private_der::sec1(der)?,
        Some((Label::Pkcs1, der)) => private_der::pkcs1(der)?,
        Some((Label::Encrypted, _)) => return Err(InvalidAssertionKey::Encrypted),
        Some((Label::OpenSsh, _)) => return Err(InvalidAssertionKey::OpenSsh),
        Some((Label::Dsa, _)) => return Err(InvalidAssertionKey::Kind("DSA")),
        Some((Label::Certificate | Label::Public | Label::Other, _)) | None if public => {
            return Err(InvalidAssertionKey::PublicOnly);
        }
        Some((Label::Certificate | Label::Public | Label::Other, _)) | None => {
            return Err(InvalidAssertionKey::NoKey);
        }
    };
    let certificates = sections.iter().filter(|section| section.label == Label::Certificate);
    let certificate =
        certificate::thumbprint_of(certificates.map(|section| section.der.expose().as_slice()), &pair)?;
    Ok(Loaded { pair, algorithm: None, key_id: None, certificate })
}

/// What a key of its kind signs; the first is the default.
fn algorithms_of(pair: &KeyPair) -> &'static [AssertionAlgorithm] {
    match pair {
        KeyPair::P256(_) => &[AssertionAlgorithm::Es256],
        KeyPair::Ed25519(_) => &[AssertionAlgorithm::EdDsa],
        KeyPair::Rsa(_) => &[AssertionAlgorithm::Rs256, AssertionAlgorithm::Ps256],
    }
}

/// The part of the list that has this algorithm alone.
fn only(
    algorithms: &'static [AssertionAlgorithm],
    one: AssertionAlgorithm,
) -> Option<&'static [AssertionAlgorithm]> {
    algorithms.chunks(1).find(|chunk| chunk.contains(&one))
}
