//! How client assertions are made (RFC 7523 §3, `OpenID` Connect Core §9).

use super::credential::InvalidCredential;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::assertion_key::{
    AssertionAlgorithm, AssertionKey, CertificateThumbprint, InvalidAssertionKey,
};
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;

/// The bytes of a `jti`: enough that no two are ever the same.
const JTI_BYTES: usize = 16;

/// How client assertions are made for `client_secret_jwt` and `private_key_jwt`. The defaults fit most servers.
///
/// ```
/// use jeton::credentials::{AssertionAlgorithm, AssertionSettings};
///
/// let settings = AssertionSettings::default().algorithm(AssertionAlgorithm::Ps256).key_id("2026-11");
/// ```
#[derive(Clone, Debug)]
pub struct AssertionSettings {
    pub(super) algorithm: Option<AssertionAlgorithm>,
    key_id: Option<String>,
    pub(crate) audience: Option<String>,
    thumbprint: CertificateThumbprint,
    certificate: Option<String>,
    lifetime: AssertionLifetime,
}

impl Default for AssertionSettings {
    fn default() -> Self {
        Self {
            algorithm: None,
            key_id: None,
            audience: None,
            thumbprint: CertificateThumbprint::Omitted,
            certificate: None,
            lifetime: AssertionLifetime::default(),
        }
    }
}

impl AssertionSettings {
    /// The algorithm. Default: the one that the key itself names, else ES256, `EdDSA` or RS256 by its kind.
    #[must_use]
    pub fn algorithm(mut self, algorithm: AssertionAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// The `kid` in the header. Default: the one that a JWK has; none for a key in PEM.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// The `aud`. Default: the issuer where it is known, else the token URL.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Puts the SHA-256 thumbprint of the key's certificate in the header (`x5t#S256`, RFC 7515 §4.1.8), for servers that find the
    /// key by it. The certificate stands beside the key in the PEM, or is given by [`certificate`](Self::certificate).
    #[must_use]
    pub fn with_thumbprint(mut self) -> Self {
        self.thumbprint = CertificateThumbprint::X5tS256;
        self
    }

    /// The certificate of the key, in PEM.
    #[must_use]
    pub fn certificate(mut self, pem: impl Into<String>) -> Self {
        self.certificate = Some(pem.into());
        self
    }

    /// How long an assertion is good. Default 60 s; bounds 1 s to 300 s, beyond which servers refuse it.
    #[must_use]
    pub fn lifetime(mut self, lifetime: AssertionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// `key` with what is set for its header.
    pub(super) fn applied_to(&self, key: AssertionKey) -> Result<AssertionKey, InvalidCredential> {
        let unfit = |error: InvalidAssertionKey| InvalidCredential::Key(error.to_string());
        let mut key = key;
        if let Some(key_id) = &self.key_id {
            key = key.with_key_id(Some(key_id.clone())).map_err(unfit)?;
        }
        if let Some(pem) = &self.certificate {
            key = key.with_certificate(pem).map_err(unfit)?;
        }
        key.with_certificate_thumbprint(self.thumbprint).map_err(unfit)
    }

    /// An assertion by `key` for one request, with a `jti` of its own.
    pub(super) fn sign(
        &self,
        key: &AssertionKey,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Secret<String>, InvalidCredential> {
        let mut random = [0; JTI_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| InvalidCredential::Signing)?;
        let jwt_id = URL_SAFE_NO_PAD.encode(random);
        let (lifetime, jwt_id) = (self.lifetime, &*jwt_id);
        let assertion = ClientAssertion { client_id, audience, issued_at: now, lifetime, jwt_id };
        assertion.sign(key).map_err(|_| InvalidCredential::Signing)
    }
}
