//! One credential of a client, and what a token request carries of it.

use super::assertion::AssertionSettings;
use crate::http::ClientIdentity;
use http::HeaderValue;
use jeton_proto::jose::assertion_key::AssertionKey;
use jeton_proto::method_choice::{HeldCredential, NoMethod, choose_method};
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod, ColonInClientId, basic_authorization};
use jeton_proto::wire::metadata::AuthorizationServerMetadata;
use jeton_proto::wire::token_request::BodyCredential;
use std::fmt;
use std::sync::Arc;

/// What a client has to prove itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A secret that it shares with the server.
    Secret,
    /// A private key, whose public key the server knows.
    PrivateKey,
    /// Assertions that somebody else makes for it, such as the platform that it runs on (RFC 7523 §2.2).
    Assertion,
    /// A certificate with its private key (RFC 8705).
    Certificate,
}

impl Evidence {
    /// The method where none is set.
    pub(crate) const fn default_method(self) -> ClientAuthMethod {
        match self {
            Self::Secret => ClientAuthMethod::ClientSecretBasic,
            Self::PrivateKey | Self::Assertion => ClientAuthMethod::PrivateKeyJwt,
            Self::Certificate => ClientAuthMethod::TlsClientAuth,
        }
    }

    /// Whether `method` proves a client by this.
    pub(crate) const fn serves(self, method: ClientAuthMethod) -> bool {
        match method {
            ClientAuthMethod::ClientSecretBasic
            | ClientAuthMethod::ClientSecretPost
            | ClientAuthMethod::ClientSecretJwt => matches!(self, Self::Secret),
            ClientAuthMethod::PrivateKeyJwt => matches!(self, Self::PrivateKey | Self::Assertion),
            ClientAuthMethod::TlsClientAuth | ClientAuthMethod::SelfSignedTlsClientAuth => {
                matches!(self, Self::Certificate)
            }
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "a client secret",
            Self::PrivateKey => "a private key",
            Self::Assertion => "a client assertion",
            Self::Certificate => "a client certificate",
        })
    }
}

/// How the credentials of one client are made of the texts that their source gives.
#[derive(Debug)]
pub(crate) struct CredentialForm {
    pub(crate) client_id: String,
    pub(crate) evidence: Evidence,
    pub(crate) method: ClientAuthMethod,
    pub(crate) basic_encoding: BasicEncoding,
    pub(crate) assertion: AssertionSettings,
    /// The `aud` of assertions: the issuer as one string, or the token endpoint where it is not known.
    pub(crate) audience: String,
    /// What the server says of itself, where that is known.
    pub(crate) metadata: Option<AuthorizationServerMetadata>,
}

/// A credential, read and ready to be sent. Two are equal when their texts are.
pub(crate) struct Credential {
    form: Arc<CredentialForm>,
    text: Secret<String>,
    proof: Proof,
}

enum Proof {
    Header(HeaderValue),
    Body,
    Key(Box<AssertionKey>),
    ReadyMade,
    Identity(ClientIdentity),
}

/// What one token request carries: at most one of the three.
#[derive(Default)]
pub(crate) struct Authentication {
    /// The `Authorization` field.
    pub(crate) header: Option<HeaderValue>,
    /// The client assertion of this request, and of no other (trap T19).
    assertion: Option<Secret<String>>,
    /// What is shown in the handshake.
    pub(crate) identity: Option<ClientIdentity>,
}

impl Authentication {
    /// The client assertion.
    pub(super) fn assertion(&self) -> Option<&Secret<String>> {
        self.assertion.as_ref()
    }
}

impl CredentialForm {
    /// Looks whether the client id can be sent at all, whatever its secret.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn check_client_id(&self) -> Result<(), InvalidCredential> {
        if self.method == ClientAuthMethod::ClientSecretBasic {
            basic_authorization(&self.client_id, &Secret::from(""), self.basic_encoding)?;
        }
        Ok(())
    }

    /// Reads a credential.
    ///
    /// # Errors
    /// [`InvalidCredential`] tells what is wrong with it, and nothing of it.
    pub(crate) fn credential(
        self: &Arc<Self>,
        text: Secret<String>,
    ) -> Result<Credential, InvalidCredential> {
        if text.expose().is_empty() {
            return Err(InvalidCredential::Empty);
        }
        let proof = match (self.evidence, self.method) {
            (Evidence::Secret, ClientAuthMethod::ClientSecretJwt) => {
                let key = AssertionKey::from_client_secret(&text);
                Proof::Key(Box::new(self.assertion.applied_to(key)?))
            }
            (Evidence::Secret, ClientAuthMethod::ClientSecretPost) => Proof::Body,
            (Evidence::Secret, _) => {
                Proof::Header(basic_authorization(&self.client_id, &text, self.basic_encoding)?)
            }
            (Evidence::PrivateKey, _) => {
                let key = AssertionKey::from_text(&text, self.assertion.algorithm);
                let key = key.map_err(|error| InvalidCredential::Key(error.to_string()))?;
                Proof::Key(Box::new(self.assertion.applied_to(self.with_chosen_algorithm(key)?)?))
            }
            (Evidence::Assertion, _) if is_compact(text.expose()) => Proof::ReadyMade,
            (Evidence::Assertion, _) => return Err(InvalidCredential::Assertion),
            (Evidence::Certificate, _) => Proof::Identity(identity(&text)?),
        };
        Ok(Credential { form: Arc::clone(self), text, proof })
    }
}

impl CredentialForm {
    /// The key with an algorithm that the server takes, unless one is set.
    fn with_chosen_algorithm(&self, key: AssertionKey) -> Result<AssertionKey, InvalidCredential> {
        let Some(metadata) = self.metadata.as_ref().filter(|_| self.assertion.algorithm.is_none()) else {
            return Ok(key);
        };
        let held = HeldCredential::PrivateKey(key.possible_algorithms());
        match choose_method(metadata, &[held])?.algorithm {
            None => Ok(key),
            Some(algorithm) => {
                key.with_algorithm(algorithm).map_err(|error| InvalidCredential::Key(error.to_string()))
            }
        }
    }
}

impl Credential {
    /// What a token request at `now` carries: another assertion for each.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub(crate) fn authentication(&self, now: Timestamp) -> Result<Authentication, InvalidCredential> {
        Ok(match &self.proof {
            Proof::Header(header) => {
                Authentication { header: Some(header.clone()), ..Authentication::default() }
            }
            Proof::Body => Authentication::default(),
            Proof::Key(key) => {
                let form = &self.form;
                let assertion = form.assertion.sign(key, &form.client_id, &form.audience, now)?;
                Authentication { assertion: Some(assertion), ..Authentication::default() }
            }
            Proof::ReadyMade => {
                Authentication { assertion: Some(self.text.clone()), ..Authentication::default() }
            }
            Proof::Identity(identity) => {
                Authentication { identity: Some(identity.clone()), ..Authentication::default() }
            }
        })
    }

    /// What it was made of.
    pub(super) fn text(&self) -> &Secret<String> {
        &self.text
    }

    /// Whether `text` is what it was made of.
    pub(super) fn is_of(&self, text: &Secret<String>) -> bool {
        self.text == *text
    }

    /// The parameters of the body that go with `authentication`; none beside the header.
    pub(crate) fn body<'a>(&'a self, authentication: &'a Authentication) -> Option<BodyCredential<'a>> {
        let client_id = &*self.form.client_id;
        match (&self.proof, &authentication.assertion) {
            (Proof::Header(_), _) => None,
            (Proof::Body, _) => Some(BodyCredential::Secret { client_id, client_secret: &self.text }),
            (Proof::Key(_) | Proof::ReadyMade, Some(assertion)) => {
                Some(BodyCredential::Assertion { client_id: Some(client_id), assertion })
            }
            (Proof::Key(_) | Proof::ReadyMade | Proof::Identity(_), _) => {
                Some(BodyCredential::ClientId { client_id })
            }
        }
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Why a text is no credential of the kind that was said. Nothing of it is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// The client id cannot be sent in the raw form of Basic.
    #[error(transparent)]
    ClientId(#[from] ColonInClientId),
    /// No private key for client assertions.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// No assertion.
    #[error("it is no assertion: a JWT in compact serialization has three parts with dots between them")]
    Assertion,
    /// No certificate with its key.
    #[error("{0}")]
    Certificate(String),
    /// The server offers no method, or no algorithm, that goes with it.
    #[error(transparent)]
    NoMethod(#[from] NoMethod),
    /// No assertion could be signed.
    #[error("no client assertion could be signed")]
    Signing,
}

/// Three parts of base64url (RFC 7515 §7.1). What is in them is the server's to judge.
fn is_compact(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

fn identity(pem: &Secret<String>) -> Result<ClientIdentity, InvalidCredential> {
    let identity = ClientIdentity::new(pem.clone());
    #[cfg(feature = "reqwest")]
    crate::http::tls::certified_key(&identity)
        .map_err(|error| InvalidCredential::Certificate(error.to_string()))?;
    Ok(identity)
}
