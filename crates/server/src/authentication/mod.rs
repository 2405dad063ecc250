//! Who is asking? Every method of RFC 7591 §2, and tokens of other issuers that stand for a client.
//!
//! An answer of `invalid_client` is the same whatever was wrong (trap T35); what it was stands in the log. A method is good
//! for a client when there is a credential of its kind. What a client may be told is in
//! [`TokenRefusal::invalid_client`]; all else here is the detail beside it.

mod assertion;
mod certificate;
mod prepared;

pub(crate) use assertion::AssertionAuthenticator;

use crate::client_certificate::ClientCertificate;
use crate::endpoint::{Authentication, PresentedCredential, TokenCall, TokenRefusal};
use crate::registry::{Clients, KnownClient, SecretHasher};
use crate::remote_keys::KeysUnavailable;
use crate::spent_assertions::SpentAssertions;
use crate::store::StoreWatch;
use assertion::PresentedAssertion;
use jeton_proto::issuance::{self, AuthenticationFailure, CertificateThumbprint, Rule, SecretDigest};
use jeton_proto::jose::assertion_verification::AssertionRejection;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::error_response::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// Authenticates clients of the registry.
#[derive(Debug)]
pub(crate) struct Authenticator {
    pub(crate) hasher: SecretHasher,
    pub(crate) clients: Arc<Clients>,
    pub(crate) watch: StoreWatch,
    pub(crate) assertions: AssertionAuthenticator,
    pub(crate) spent: SpentAssertions,
}

/// A client that is who it says, and may have tokens.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) client: Arc<KnownClient>,
    pub(crate) method: ClientAuthMethod,
    /// The name of the credential, where it has one.
    pub(crate) credential: Option<String>,
    /// The certificate that its tokens are bound to (RFC 8705 §3).
    pub(crate) confirmation: Option<CertificateThumbprint>,
}

impl Authenticated {
    /// What tells the credential from others of the client: a token that was given for one is not given for another.
    pub(crate) fn proof_bytes(&self, proof: &Proof<'_>) -> Vec<u8> {
        let digest = match proof {
            Proof::Secret { digest, .. } => digest.as_bytes().as_slice(),
            Proof::Assertion(_) | Proof::Certificate { .. } => &[],
        };
        let confirmation = self.confirmation.as_ref().map_or(&[][..], |thumbprint| &thumbprint.0);
        let credential = self.credential.as_deref().unwrap_or_default().as_bytes();
        [self.method.as_str().as_bytes(), b"\0", digest, confirmation, credential].concat()
    }

    /// What is told of it beside the token.
    pub(crate) fn into_authentication(self) -> Authentication {
        Authentication { method: self.method, credential: self.credential }
    }
}

/// Why a client is not authenticated.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is not who it says, or may not have tokens: for the log alone.
    Refused { rule: Rule, detail: String },
    /// Nobody can tell now.
    Unavailable { detail: String, retry_after: Duration },
}

impl Failure {
    /// Whether the caller has done something wrong, or it may be that it has not.
    pub(crate) const fn is_the_callers(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Unavailable { .. } => false,
        }
    }
}

/// A first attempt, and the client as it was then.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    failure: Failure,
    client: Option<Arc<KnownClient>>,
}

impl From<AuthenticationFailure> for Failure {
    fn from(failure: AuthenticationFailure) -> Self {
        Self::Refused { rule: failure.rule(), detail: failure.to_string() }
    }
}

impl From<KeysUnavailable> for Failure {
    fn from(unavailable: KeysUnavailable) -> Self {
        Self::Unavailable { retry_after: KeysUnavailable::RETRY_AFTER, detail: unavailable.to_string() }
    }
}

impl From<AssertionRejection> for Failure {
    fn from(rejection: AssertionRejection) -> Self {
        let rule = match rejection {
            AssertionRejection::UnknownKey { .. } => Rule::KeyUnknown,
            AssertionRejection::UntrustedIssuer
            | AssertionRejection::UntrustedSubject
            | AssertionRejection::UntrustedClaim(_) => Rule::WorkloadUntrusted,
            AssertionRejection::TooLong { .. }
            | AssertionRejection::Malformed(_)
            | AssertionRejection::Algorithm
            | AssertionRejection::WrongType
            | AssertionRejection::Claims(_)
            | AssertionRejection::NotOfClient
            | AssertionRejection::WrongAudience
            | AssertionRejection::Expired { .. }
            | AssertionRejection::LivesTooLong { .. }
            | AssertionRejection::IssuedInFuture { .. }
            | AssertionRejection::NotYetValid { .. }
            | AssertionRejection::BadSignature => Rule::AssertionInvalid,
        };
        Self::Refused { rule, detail: rejection.to_string() }
    }
}

impl From<Failure> for TokenRefusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { rule, detail } => Self::invalid_client().by(rule).with_detail(detail),
            Failure::Unavailable { detail, retry_after } => Self {
                // Whole seconds, rounded up: a caller that comes at that time must not be too early.
                retry_after: Some(Duration::from_secs(
                    retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(1),
                )),
                ..Self::new(
                    ErrorCode::TemporarilyUnavailable,
                    "the client cannot be authenticated now; try again with a new assertion",
                )
            }
            .by(Rule::AssertionUndecided)
            .with_detail(detail),
        }
    }
}

/// What a request proves itself with, as far as it can be judged without knowing the client.
pub(crate) enum Proof<'a> {
    Secret { client_id: &'a str, digest: SecretDigest, method: ClientAuthMethod },
    Assertion(Box<PresentedAssertion<'a>>),
    Certificate { client_id: &'a str, certificate: &'a ClientCertificate },
}

impl Proof<'_> {
    /// Whether to check it takes a signature, which is a hundred times the work of a digest.
    pub(crate) const fn is_dear_to_check(&self) -> bool {
        match self {
            Self::Assertion(_) => true,
            Self::Secret { .. } | Self::Certificate { .. } => false,
        }
    }

    /// The client that it is of, as it says.
    pub(crate) fn client_id(&self) -> &str {
        match self {
            Self::Secret { client_id, .. } | Self::Certificate { client_id, .. } => client_id,
            Self::Assertion(presented) => presented.client_id(),
        }
    }
}

impl Authenticator {
    /// Whether the registry could be read at the last look.
    pub(crate) fn is_ready(&self) -> bool {
        self.watch.is_readable()
    }

    /// Whether the proof is good, as far as is known `now`.
    pub(crate) async fn attempt(
        &self,
        proof: &Proof<'_>,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Authenticated, FailedAttempt> {
        let client = self.client(proof.client_id());
        let checked = match proof {
            Proof::Secret { digest, method, .. } => by_secret(client.as_ref(), digest, *method, now),
            // Boxed: a secret need not have the room that they need.
            Proof::Assertion(_) | Proof::Certificate { .. } => {
                Box::pin(self.check(proof, client.as_ref(), clock)).await
            }
        };
        checked.map_err(|failure| FailedAttempt { failure, client })
    }

    /// The same after one look more at the registry. A client that is as it was is not checked again.
    pub(crate) async fn attempt_again(
        &self,
        proof: &Proof<'_>,
        first: FailedAttempt,
        clock: &dyn Clock,
    ) -> Result<Authenticated, Failure> {
        self.watch.look_again().await;
        let client = self.client(proof.client_id());
        if first.client.as_ref().map(Arc::as_ptr) == client.as_ref().map(Arc::as_ptr) {
            return Err(first.failure);
        }
        self.check(proof, client.as_ref(), clock).await
    }

    /// What the call proves itself with.
    pub(crate) fn proof<'a>(&self, call: &TokenCall<'a>) -> Result<Proof<'a>, TokenRefusal> {
        let of_secret = |client_id, secret, method| Proof::Secret {
            client_id,
            digest: self.hasher.digest(secret),
            method,
        };
        match call.credential {
            PresentedCredential::Basic(basic) => {
                let method = ClientAuthMethod::ClientSecretBasic;
                Ok(of_secret(&basic.client_id, &basic.client_secret, method))
            }
            PresentedCredential::Post { client_id, client_secret } => {
                Ok(of_secret(client_id, client_secret, ClientAuthMethod::ClientSecretPost))
            }
            PresentedCredential::Assertion { client_id, assertion } => {
                let presented = PresentedAssertion::read(assertion, *client_id);
                Ok(Proof::Assertion(Box::new(presented.map_err(Failure::from)?)))
            }
            PresentedCredential::Absent => match (call.certificate, call.request.client_id.as_deref()) {
                (Some(certificate), Some(client_id)) => Ok(Proof::Certificate { client_id, certificate }),
                (Some(_), None) => Err(no_client_id()),
                (None, _) => Err(no_credential()),
            },
        }
    }

    fn client(&self, client_id: &str) -> Option<Arc<KnownClient>> {
        self.clients.snapshot().client(client_id).cloned()
    }

    async fn check(
        &self,
        proof: &Proof<'_>,
        client: Option<&Arc<KnownClient>>,
        clock: &dyn Clock,
    ) -> Result<Authenticated, Failure> {
        match proof {
            Proof::Secret { digest, method, .. } => by_secret(client, digest, *method, clock.now()),
            Proof::Assertion(presented) => {
                self.assertions.authenticate(presented, client, &self.spent, clock).await
            }
            Proof::Certificate { certificate, .. } => {
                let registered = certificate::authenticate(certificate, client, None);
                // Keys that are elsewhere are asked for only where nothing that is here will do.
                match (registered, client) {
                    (Err(_), Some(client)) if client.credentials().keys.is_some() => {
                        let keys = self.assertions.keys_of(client).await?;
                        certificate::authenticate(certificate, Some(client), keys.as_deref())
                    }
                    (registered, _) => registered,
                }
            }
        }
    }
}

fn by_secret(
    client: Option<&Arc<KnownClient>>,
    digest: &SecretDigest,
    method: ClientAuthMethod,
    now: Timestamp,
) -> Result<Authenticated, Failure> {
    let secret = issuance::authenticate(client.map(|client| &***client), digest, now)?;
    let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
    Ok(Authenticated {
        client: Arc::clone(client),
        method,
        credential: Some(secret.name.clone()),
        confirmation: None,
    })
}

/// RFC 6749 §5.2 names "no client authentication included" under `invalid_client`.
fn no_credential() -> TokenRefusal {
    TokenRefusal::new(
        ErrorCode::InvalidClient,
        "the client did not authenticate: send client id and client secret by HTTP Basic, or both as form parameters, or a \
         client_assertion",
    )
    .by(Rule::NoCredential)
}

/// RFC 8705 §2: a request with mutual TLS has the `client_id`, since a certificate need not name the client.
fn no_client_id() -> TokenRefusal {
    TokenRefusal::new(
        ErrorCode::InvalidClient,
        "the client did not authenticate: beside a certificate the parameter client_id is needed",
    )
    .by(Rule::ClientIdMissing)
}
