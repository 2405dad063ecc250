//! What a client may authenticate with: a set of credentials, each good for the methods of its kind.

use super::client_keys::{ClientKeys, check_url};
use super::is_audience;
use crate::jose::distinguished_name::DistinguishedName;
use crate::jose::jwk::PrivateKey;
use crate::secret::constant_time_eq;
use crate::time::Timestamp;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::IpAddr;
use std::fmt;

/// The most secrets of one client that are kept at the same time: the one in force, and its successor or predecessor. Each
/// authentication compares this many, so that the time tells nothing of how many there are.
pub const MAX_SECRETS: usize = 2;
/// The longest name of a secret, in bytes.
pub const MAX_SECRET_NAME_BYTES: usize = 64;
/// The most certificates of one client.
pub const MAX_CERTIFICATES: usize = 8;
/// The most workload identities of one client.
pub const MAX_WORKLOADS: usize = 16;
/// The most conditions on the claims of one workload identity.
pub const MAX_CLAIM_CONDITIONS: usize = 16;
/// The longest JWK Set that is kept with a client, in bytes.
pub const MAX_CLIENT_JWKS_BYTES: usize = 16 * 1024;
/// The longest text in a credential (a URL, a subject, the value of a claim), in bytes.
pub const MAX_CREDENTIAL_TEXT_BYTES: usize = 2048;

/// What a client may authenticate with. A method (RFC 7591 §2, `token_endpoint_auth_method`) is good for a client when there is a
/// credential of its kind, so that a client which has two kinds for a while moves from one method to the other without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCredentials {
    /// For `client_secret_basic` and `client_secret_post`, and for `client_secret_jwt` where the secret is kept sealed: at most
    /// [`MAX_SECRETS`], with names of their own.
    pub secrets: Vec<NamedSecret>,
    /// For `private_key_jwt`.
    pub keys: Option<ClientKeys>,
    /// For `tls_client_auth`.
    pub tls_subject: Option<TlsSubject>,
    /// For `self_signed_tls_client_auth`: at most [`MAX_CERTIFICATES`].
    pub certificates: Vec<CertificateThumbprint>,
    /// For assertions of other issuers (RFC 7523 §2.2): at most [`MAX_WORKLOADS`].
    pub workloads: Vec<WorkloadTrust>,
}

impl ClientCredentials {
    /// One secret with this digest, called `default`, that never expires.
    #[must_use]
    pub fn from_digest(digest: SecretDigest) -> Self {
        Self { secrets: vec![NamedSecret::new("default", digest, Timestamp::EPOCH)], ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), InvalidCredentials> {
        self.check_secrets()?;
        if let Some(keys) = &self.keys {
            keys.check()?;
        }
        if let Some(subject) = &self.tls_subject
            && !(is_text(subject.value()) && is_name(subject))
        {
            return Err(InvalidCredentials::TlsSubject);
        }
        if self.certificates.len() > MAX_CERTIFICATES {
            return Err(InvalidCredentials::TooManyCertificates);
        }
        if self.workloads.len() > MAX_WORKLOADS {
            return Err(InvalidCredentials::TooManyWorkloads);
        }
        self.workloads.iter().try_for_each(WorkloadTrust::check)
    }

    fn check_secrets(&self) -> Result<(), InvalidCredentials> {
        if self.secrets.len() > MAX_SECRETS {
            return Err(InvalidCredentials::TooManySecrets);
        }
        if !self.secrets.iter().all(|secret| is_secret_name(&secret.name)) {
            return Err(InvalidCredentials::SecretName);
        }
        let mut names: Vec<_> = self.secrets.iter().map(|secret| &secret.name).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != self.secrets.len() {
            return Err(InvalidCredentials::SameSecretName);
        }
        if self.secrets.iter().any(NamedSecret::never_in_force) {
            return Err(InvalidCredentials::SecretTerm);
        }
        Ok(())
    }
}

/// A client secret as it is kept: its keyed digest, and when it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedSecret {
    /// By which people know it: 1 to [`MAX_SECRET_NAME_BYTES`] letters, digits and `-._`.
    pub name: String,
    /// Its keyed digest.
    pub digest: SecretDigest,
    /// The secret itself, sealed: only where the client uses `client_secret_jwt`, which cannot be checked with a digest.
    pub sealed: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is good; `None`: since it was made.
    pub not_before: Option<Timestamp>,
    /// Until when it is good, exclusively; `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
}

impl NamedSecret {
    /// A secret without a term.
    #[must_use]
    pub fn new(name: impl Into<String>, digest: SecretDigest, created_at: Timestamp) -> Self {
        Self { name: name.into(), digest, sealed: None, created_at, not_before: None, expires_at: None }
    }

    /// What holds for it at `now`.
    #[must_use]
    pub fn term(&self, now: Timestamp) -> SecretTerm {
        if self.expires_at.is_some_and(|end| end <= now) {
            SecretTerm::Expired
        } else if self.not_before.is_some_and(|begin| now < begin) {
            SecretTerm::NotYet
        } else {
            SecretTerm::InForce
        }
    }

    fn never_in_force(&self) -> bool {
        matches!((self.not_before, self.expires_at), (Some(begin), Some(end)) if end <= begin)
    }
}

/// Shows no digest.
impl fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedSecret")
            .field("name", &self.name)
            .field("created_at", &self.created_at)
            .field("not_before", &self.not_before)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Whether a secret is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretTerm {
    /// It will be.
    NotYet,
    /// It is.
    InForce,
    /// It was.
    Expired,
}

/// The keyed digest of a client secret: HMAC-SHA-256 under the server's key.
///
/// A generated secret has 256 random bits, so a fast digest is as good as a slow one, and no request can be made to
/// cost much.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Takes the 32 bytes of the digest.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 32 bytes, to be stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// What the certificate of a client has to say, one name of RFC 8705 §2.1.2. The certificate itself must chain to an anchor that the
/// server was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSubject {
    /// `tls_client_auth_subject_dn`: the distinguished name as RFC 4514 writes it.
    DistinguishedName(String),
    /// `tls_client_auth_san_dns`.
    Dns(String),
    /// `tls_client_auth_san_uri`.
    Uri(String),
    /// `tls_client_auth_san_ip`.
    Ip(String),
    /// `tls_client_auth_san_email`.
    Email(String),
}

impl TlsSubject {
    /// The name of RFC 8705 §2.1.2.
    #[must_use]
    pub const fn member(&self) -> &'static str {
        match self {
            Self::DistinguishedName(_) => "tls_client_auth_subject_dn",
            Self::Dns(_) => "tls_client_auth_san_dns",
            Self::Uri(_) => "tls_client_auth_san_uri",
            Self::Ip(_) => "tls_client_auth_san_ip",
            Self::Email(_) => "tls_client_auth_san_email",
        }
    }

    /// What the certificate has to have there.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::DistinguishedName(value)
            | Self::Dns(value)
            | Self::Uri(value)
            | Self::Ip(value)
            | Self::Email(value) => value,
        }
    }
}

/// The SHA-256 of a certificate in DER: `x5t#S256` of RFC 8705 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateThumbprint(pub [u8; 32]);

impl CertificateThumbprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut thumbprint = [0; 32];
        for (to, from) in thumbprint.iter_mut().zip(digest(&SHA256, certificate).as_ref()) {
            *to = *from;
        }
        Self(thumbprint)
    }

    /// The text of `x5t#S256`: base64url without padding, 43 characters.
    #[must_use]
    pub fn to_base64url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Which identity of another issuer stands for this client: its assertions are signed by that issuer, and say what is wanted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadTrust {
    /// The `iss`, an https URL (or http to a loopback address), whose metadata names the keys.
    pub issuer: String,
    /// The JWK Set of the issuer, where it is not to be fetched.
    pub keys: Option<ClientKeys>,
    /// The `aud` that must be among those of the assertion. It ought to be this server.
    pub audience: String,
    /// The `sub`, in which each `*` stands for any text without `/` and `:`; `None`: any subject, for which there must be conditions.
    pub subject: Option<String>,
    /// What other claims must be: the name, or a path of names with `/` between, and the text, in which `*` is as above.
    pub claims: Vec<(String, String)>,
}

impl WorkloadTrust {
    fn check(&self) -> Result<(), InvalidCredentials> {
        // What is all stars takes everybody whom the issuer knows, which may be half the world.
        let says = |pattern: &String| !pattern.bytes().all(|byte| matches!(byte, b'*' | b'/' | b':'));
        let narrow = self.claims.iter().map(|(_, value)| value).chain(&self.subject).any(says);
        let texts = self.claims.iter().flat_map(|(name, value)| [name, value]).chain(&self.subject);
        let sound = check_url(&self.issuer)
            && is_audience(&self.audience)
            && narrow
            && self.claims.len() <= MAX_CLAIM_CONDITIONS
            && texts.into_iter().all(|text| is_text(text));
        if !sound {
            return Err(InvalidCredentials::Workload);
        }
        self.keys.as_ref().map_or(Ok(()), ClientKeys::check)
    }
}

/// Why credentials cannot be a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// More than [`MAX_SECRETS`].
    #[error("a client has at most {MAX_SECRETS} secrets; revoke one first")]
    TooManySecrets,
    /// The name of a secret is empty, too long, or has another character.
    #[error("the name of a secret has 1 to {MAX_SECRET_NAME_BYTES} letters, digits and -._")]
    SecretName,
    /// Two secrets have one name.
    #[error("two secrets of a client have the same name")]
    SameSecretName,
    /// A secret ends before it begins.
    #[error("a secret must expire after it begins")]
    SecretTerm,
    /// The JWK Set has no key that can verify, or is too long.
    #[error(
        "the jwks of a client must be a JWK Set of at most {MAX_CLIENT_JWKS_BYTES} bytes with a public key that can verify"
    )]
    Keys,
    /// The JWK Set has a key with its private part, or a symmetric one.
    #[error(
        "{0}: register public keys alone; a private key that others may have seen is no longer the client's own, so make a new one"
    )]
    PrivateKey(PrivateKey),
    /// The address of a JWK Set is no URL that is taken.
    #[error("the jwks_uri of a client must be an https url (http is for loopback addresses)")]
    KeysUrl,
    /// The subject of a certificate is empty, too long, or no name of its kind.
    #[error(
        "the subject of a client's certificate has 1 to {MAX_CREDENTIAL_TEXT_BYTES} bytes and no control character, and is written as \
         its kind is: CN=worker,O=Example (RFC 4514), 192.0.2.1, worker@example.com"
    )]
    TlsSubject,
    /// More than [`MAX_CERTIFICATES`].
    #[error("a client has at most {MAX_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// More than [`MAX_WORKLOADS`].
    #[error("a client has at most {MAX_WORKLOADS} workload identities")]
    TooManyWorkloads,
    /// A workload identity is not bounded enough, or a text in it is not good.
    #[error(
        "a workload identity wants an https issuer, an audience, and a subject or conditions on claims (at most \
         {MAX_CLAIM_CONDITIONS}) that say more than *"
    )]
    Workload,
}

fn is_secret_name(name: &str) -> bool {
    (1..=MAX_SECRET_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Whether a certificate can have this name at all.
fn is_name(subject: &TlsSubject) -> bool {
    match subject {
        TlsSubject::DistinguishedName(text) => DistinguishedName::parse(text).is_ok(),
        TlsSubject::Ip(text) => text.parse::<IpAddr>().is_ok(),
        TlsSubject::Email(text) => text.contains('@'),
        TlsSubject::Dns(_) | TlsSubject::Uri(_) => true,
    }
}

pub(super) fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_CREDENTIAL_TEXT_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_unix_seconds;

    fn secret(name: &str) -> NamedSecret {
        NamedSecret::new(name, SecretDigest::new([1; 32]), AT(0))
    }

    fn checked(credentials: &ClientCredentials) -> Result<(), InvalidCredentials> {
        credentials.check()
    }

    #[test]
    fn a_secret_is_good_from_its_beginning_until_its_end() {
        let secret = NamedSecret { not_before: Some(AT(10)), expires_at: Some(AT(20)), ..secret("a") };
        let terms = [9, 10, 19, 20].map(|second| secret.term(AT(second)));
        assert_eq!(
            terms,
            [SecretTerm::NotYet, SecretTerm::InForce, SecretTerm::InForce, SecretTerm::Expired]
        );
    }

    #[test]
    fn two_secrets_have_two_good_names() {
        let with = |names: &[&str]| {
            checked(&ClientCredentials {
                secrets: names.iter().map(|name| secret(name)).collect(),
                ..ClientCredentials::default()
            })
        };
        assert_eq!(with(&["2026-11", "next_1.b"]), Ok(()));
        assert_eq!(with(&["a", "a"]), Err(InvalidCredentials::SameSecretName));
        assert_eq!(with(&["a", "b", "c"]), Err(InvalidCredentials::TooManySecrets));
        for name in ["", "a b", "é", "a/b", &"a".repeat(MAX_SECRET_NAME_BYTES + 1)] {
            assert_eq!(with(&[name]), Err(InvalidCredentials::SecretName), "{name}");
        }
        let backwards = NamedSecret { not_before: Some(AT(20)), expires_at: Some(AT(20)), ..secret("a") };
        let credentials = ClientCredentials { secrets: vec![backwards], ..ClientCredentials::default() };
        assert_eq!(checked(&credentials), Err(InvalidCredentials::SecretTerm));
    }

    #[test]
    fn a_workload_identity_is_narrow() {
        let with = |change: fn(&mut WorkloadTrust)| {
            let mut trust = WorkloadTrust {
                issuer: "https://ci.example".to_owned(),
                keys: None,
                audience: "https://as.example".to_owned(),
                subject: Some("repo:acme/*".to_owned()),
                claims: Vec::new(),
            };
            change(&mut trust);
            checked(&ClientCredentials { workloads: vec![trust], ..ClientCredentials::default() })
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|trust| trust.subject = None), Err(InvalidCredentials::Workload));
        assert_eq!(
            with(|trust| trust.subject = Some("*:*/**".to_owned())),
            Err(InvalidCredentials::Workload),
            "everybody whom the issuer knows"
        );
        assert_eq!(
            with(|trust| (trust.subject, trust.claims) = (None, vec![("a".to_owned(), "*".to_owned())])),
            Err(InvalidCredentials::Workload)
        );
        assert_eq!(with(|trust| trust.audience = String::new()), Err(InvalidCredentials::Workload));
        assert_eq!(
            with(|trust| trust.issuer = "http://ci.example".to_owned()),
            Err(InvalidCredentials::Workload)
        );
    }
}
