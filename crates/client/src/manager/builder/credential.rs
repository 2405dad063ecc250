//! What the client proves itself with, as it is set, and how it is sent.

use super::TokenManagerBuilder;
use crate::credentials::{
    AssertionSettings, CredentialForm, Credentials, Evidence, InvalidCredential, SecretSource,
};
use crate::error::BuildError;
use crate::http::EndpointUrl;
use jeton_proto::credential::ROTATION_DUE_AFTER;
use jeton_proto::jose::assertion_key::AssertionAlgorithm;
use jeton_proto::method_choice::{HeldCredential, choose_method};
use jeton_proto::secret::Secret;
use jeton_proto::time::Clock;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod};
use jeton_proto::wire::metadata::AuthorizationServerMetadata;
use std::sync::Arc;
use std::time::Duration;

/// How often sources are read again by default.
const CREDENTIAL_PERIOD: Duration = Duration::from_mins(5);

/// What was set of the credential.
pub(super) struct CredentialSettings {
    given: Vec<(Evidence, Given)>,
    method: Option<ClientAuthMethod>,
    basic_encoding: BasicEncoding,
    assertion: AssertionSettings,
    issuer: Option<String>,
    metadata: Option<AuthorizationServerMetadata>,
    pub(super) period: Duration,
    pub(super) rotation_due_after: Duration,
}

enum Given {
    Text(Secret<String>),
    Source(Arc<dyn SecretSource>),
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self {
            given: Vec::new(),
            method: None,
            basic_encoding: BasicEncoding::default(),
            assertion: AssertionSettings::default(),
            issuer: None,
            metadata: None,
            period: CREDENTIAL_PERIOD,
            rotation_due_after: ROTATION_DUE_AFTER,
        }
    }
}

impl TokenManagerBuilder {
    /// The client secret. Read it from a file, the environment or a secret manager, never from the source code.
    pub fn client_secret(self, secret: Secret<String>) -> Self {
        self.given(Evidence::Secret, Given::Text(secret))
    }

    /// Where the client secret comes from, in place of [`client_secret`](Self::client_secret): it is read when the first token is
    /// needed, when the server answers `invalid_client`, and as often as the source says ([`SecretSource::reread`]).
    pub fn client_secret_source(self, source: Arc<dyn SecretSource>) -> Self {
        self.given(Evidence::Secret, Given::Source(source))
    }

    /// The private key of `private_key_jwt` (RFC 7523 §2.2), in place of a secret: PEM (PKCS#8, SEC 1, PKCS#1) or a JWK.
    pub fn private_key(self, key: Secret<String>) -> Self {
        self.given(Evidence::PrivateKey, Given::Text(key))
    }

    /// Where the private key of `private_key_jwt` comes from; as [`client_secret_source`](Self::client_secret_source).
    pub fn private_key_source(self, source: Arc<dyn SecretSource>) -> Self {
        self.given(Evidence::PrivateKey, Given::Source(source))
    }

    /// Where the assertions come from that somebody else makes for this client, such as the token of a Kubernetes service account
    /// (RFC 7523 §2.2). They are sent as they are; a file is read before each token request.
    pub fn client_assertion_source(self, source: Arc<dyn SecretSource>) -> Self {
        self.given(Evidence::Assertion, Given::Source(source))
    }

    /// The certificate chain and private key of mutual TLS (RFC 8705), in one PEM text. The method is `tls_client_auth`, unless
    /// [`auth_method`](Self::auth_method) says `self_signed_tls_client_auth`.
    pub fn client_certificate(self, pem: Secret<String>) -> Self {
        self.given(Evidence::Certificate, Given::Text(pem))
    }

    /// Where certificate chain and private key of mutual TLS come from, as one PEM text; what is replaced there is shown from the
    /// next token request on. As [`client_secret_source`](Self::client_secret_source).
    pub fn client_certificate_source(self, source: Arc<dyn SecretSource>) -> Self {
        self.given(Evidence::Certificate, Given::Source(source))
    }

    /// How the credential is sent. Default `client_secret_basic` for a secret, `private_key_jwt` for a private key and an
    /// assertion, `tls_client_auth` for a certificate; with [`metadata`](Self::metadata), what the server offers.
    pub fn auth_method(mut self, method: ClientAuthMethod) -> Self {
        self.credential.method = Some(method);
        self
    }

    /// How Basic is encoded. Default as RFC 6749 §2.3.1 wants it; [`BasicEncoding::Raw`] for servers that do not
    /// decode.
    pub fn basic_encoding(mut self, encoding: BasicEncoding) -> Self {
        self.credential.basic_encoding = encoding;
        self
    }

    /// How client assertions are made.
    pub fn assertion(mut self, settings: AssertionSettings) -> Self {
        self.credential.assertion = settings;
        self
    }

    /// The issuer identifier of the server (RFC 8414 §2), which is the `aud` of client assertions. Default: the token URL.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.credential.issuer = Some(issuer.into());
        self
    }

    /// What the server says of itself, as [`discovery`](crate::discovery) brought it: issuer, methods and algorithms are taken from
    /// there where they are not set, and the token endpoint for mutual TLS (RFC 8705 §5).
    pub fn metadata(mut self, metadata: AuthorizationServerMetadata) -> Self {
        self.credential.metadata = Some(metadata);
        self
    }

    /// How often the source of the credential is read again, where that costs something or finds nothing before a token request.
    /// Default 5 min, a tenth less or more; bounds 1 s to 24 h.
    pub fn credential_period(mut self, period: Duration) -> Self {
        self.credential.period = period;
        self
    }

    /// After how long a credential ought to be replaced, which is told by a warning and a metric. Default 90 days; bounds 1 s to
    /// ten years.
    pub fn rotation_due_after(mut self, after: Duration) -> Self {
        self.credential.rotation_due_after = after;
        self
    }

    fn given(mut self, evidence: Evidence, given: Given) -> Self {
        self.credential.given.push((evidence, given));
        self
    }
}

impl CredentialSettings {
    /// Where tokens are asked for: what is set, unless the metadata names another endpoint for who shows a certificate.
    pub(super) fn token_url(&self, token_url: String) -> String {
        let shows = self.given.iter().any(|(evidence, _)| *evidence == Evidence::Certificate);
        let method = Evidence::Certificate.default_method();
        let metadata = self.metadata.as_ref().filter(|_| shows);
        metadata.map_or(token_url, |metadata| metadata.token_endpoint_for(method).to_owned())
    }

    /// The credentials of `client_id` at `endpoint`.
    pub(super) fn credentials(
        self,
        client_id: String,
        endpoint: &EndpointUrl,
        clock: Arc<dyn Clock>,
    ) -> Result<Credentials, BuildError> {
        self.check_spans()?;
        let Self { given, method, basic_encoding, assertion, issuer, metadata, .. } = self;
        let (evidence, given) = the_one(given)?;
        let method = match (method, &metadata) {
            (Some(method), _) => method,
            (None, None) => evidence.default_method(),
            (None, Some(metadata)) => chosen(metadata, evidence)?,
        };
        if !evidence.serves(method) {
            return Err(BuildError::MethodMismatch { method, evidence: evidence.to_string() });
        }
        if evidence == Evidence::Certificate && !endpoint.is_https() {
            return Err(BuildError::MutualTlsWithoutTls);
        }
        let issuer = issuer.or_else(|| metadata.as_ref().map(|metadata| metadata.issuer.clone()));
        let audience = assertion.audience.clone().or(issuer);
        let audience = audience.unwrap_or_else(|| endpoint.as_str().to_owned());
        let form =
            CredentialForm { client_id, evidence, method, basic_encoding, assertion, audience, metadata };
        form.check_client_id()?;
        match given {
            Given::Text(text) => Ok(Credentials::of_text(form, text, clock)?),
            Given::Source(source) => Ok(Credentials::of_source(form, source, clock)),
        }
    }

    fn check_spans(&self) -> Result<(), BuildError> {
        if !(Duration::from_secs(1)..=Duration::from_hours(24)).contains(&self.period) {
            return Err(BuildError::CredentialSpan { name: "credential_period", least: "1 s", most: "24 h" });
        }
        if !(Duration::from_secs(1)..=Duration::from_hours(24 * 3653)).contains(&self.rotation_due_after) {
            let (least, most) = ("1 s", "ten years");
            return Err(BuildError::CredentialSpan { name: "rotation_due_after", least, most });
        }
        Ok(())
    }
}

/// The method that the server offers for what was given. Which algorithm a key signs is chosen once it is read.
fn chosen(
    metadata: &AuthorizationServerMetadata,
    evidence: Evidence,
) -> Result<ClientAuthMethod, BuildError> {
    /// What private keys sign.
    const SIGNED: [AssertionAlgorithm; 4] = [
        AssertionAlgorithm::Es256,
        AssertionAlgorithm::EdDsa,
        AssertionAlgorithm::Rs256,
        AssertionAlgorithm::Ps256,
    ];
    let held = match evidence {
        Evidence::Secret => HeldCredential::Secret,
        Evidence::PrivateKey => HeldCredential::PrivateKey(&SIGNED),
        Evidence::Certificate => HeldCredential::Certificate,
        // Servers list the methods of their own clients' keys, and not whom else they trust.
        Evidence::Assertion => return Ok(evidence.default_method()),
    };
    let chosen = choose_method(metadata, &[held]).map_err(InvalidCredential::from)?;
    Ok(chosen.method)
}

/// What was given, if that is one thing. An empty secret is none.
fn the_one(given: Vec<(Evidence, Given)>) -> Result<(Evidence, Given), BuildError> {
    let is_there = |given: &Given| match given {
        Given::Text(text) => !text.expose().is_empty(),
        Given::Source(_) => true,
    };
    let mut given = given.into_iter().filter(|(_, given)| is_there(given));
    let (evidence, first) = given.next().ok_or(BuildError::ClientSecret)?;
    match given.next() {
        None => Ok((evidence, first)),
        Some((other, _)) if other == evidence => Err(BuildError::TwoSecrets),
        Some((other, _)) => {
            Err(BuildError::TwoCredentials { first: evidence.to_string(), second: other.to_string() })
        }
    }
}
