//! What a client proves itself with, and how it is replaced while requests are under way.

use crate::error::{TokenError, TokenErrorKind};
use crate::sync::{Mutex, lock};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod, ColonInClientId, basic_authorization};
use jeton_proto::wire::error_response::printable;
use jeton_proto::wire::token_request::BodyCredential;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A client id with its secret, and the method by which they are sent (RFC 6749 §2.3.1).
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret<String>,
    pub(crate) method: ClientAuthMethod,
    pub(crate) basic_encoding: BasicEncoding,
}

impl Credential {
    /// The `Authorization` value, where the method uses the header.
    pub(crate) fn header(&self) -> Result<Option<http::HeaderValue>, ColonInClientId> {
        match self.method {
            ClientAuthMethod::ClientSecretBasic => {
                basic_authorization(&self.client_id, &self.client_secret, self.basic_encoding).map(Some)
            }
            ClientAuthMethod::ClientSecretPost => Ok(None),
        }
    }

    /// The parameters, where the method uses the body. Never both.
    pub(crate) fn body(&self) -> Option<BodyCredential<'_>> {
        match self.method {
            ClientAuthMethod::ClientSecretBasic => None,
            ClientAuthMethod::ClientSecretPost => {
                Some(BodyCredential { client_id: &self.client_id, client_secret: &self.client_secret })
            }
        }
    }
}

/// Where the client secret comes from: a file, a secret manager, whatever may hold another one tomorrow.
///
/// It is asked when the first token is needed, and once more whenever the server answers `invalid_client`: a secret that
/// has changed by then is tried at once. A wrong secret is harmless but for the refused request; what is returned as the
/// reason of a failure is shown to people, so it must not hold the secret.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads the secret.
    fn read(&self) -> SecretFuture<'_>;
}

/// The secret to come, or why there is none.
pub type SecretFuture<'a> = Pin<Box<dyn Future<Output = Result<Secret<String>, String>> + Send + 'a>>;

/// The credential in force, with its generation.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) credential: Arc<Credential>,
    pub(crate) generation: CredentialGeneration,
}

/// The credential of one client, which may be replaced at any time.
pub(crate) struct Credentials {
    held: Mutex<Held>,
    source: Option<Arc<dyn SecretSource>>,
}

struct Held {
    /// Without a secret until the source was read.
    in_force: InForce,
    is_read: bool,
}

/// The longest time for which a source is waited.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Credentials {
    /// Those of `credential`; with a `source`, its secret is not looked at before the source was read.
    pub(crate) fn new(credential: Credential, source: Option<Arc<dyn SecretSource>>) -> Self {
        let in_force =
            InForce { credential: Arc::new(credential), generation: CredentialGeneration::default() };
        Self { held: Mutex::new(Held { in_force, is_read: source.is_none() }), source }
    }

    /// Which credential is in force.
    pub(crate) fn generation(&self) -> CredentialGeneration {
        lock(&self.held).in_force.generation
    }

    /// The credential in force; reads the source the first time.
    pub(crate) async fn in_force(&self) -> Result<InForce, TokenError> {
        {
            let held = lock(&self.held);
            if held.is_read {
                return Ok(held.in_force.clone());
            }
        }
        self.read_source().await?;
        Ok(lock(&self.held).in_force.clone())
    }

    /// The credential in force when it is not the one of `refused` any more; asks the source for that (R3.3).
    pub(crate) async fn replacing(&self, refused: CredentialGeneration) -> Option<InForce> {
        if self.generation() == refused
            && let Err(error) = self.read_source().await
        {
            tracing::warn!(%error, "the client secret was refused, and its source cannot be read");
        }
        let in_force = lock(&self.held).in_force.clone();
        (in_force.generation > refused).then_some(in_force)
    }

    /// Puts another secret in force, unless it is the one that already is.
    pub(crate) fn replace(&self, secret: Secret<String>) {
        let mut held = lock(&self.held);
        if held.is_read && held.in_force.credential.client_secret == secret {
            return;
        }
        let credential = Credential { client_secret: secret, ..(*held.in_force.credential).clone() };
        let first = !held.is_read && self.source.is_some();
        let generation = if first { held.in_force.generation } else { held.in_force.generation.next() };
        *held = Held { in_force: InForce { credential: Arc::new(credential), generation }, is_read: true };
    }

    async fn read_source(&self) -> Result<(), TokenError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let unavailable =
            |reason: &str| TokenError::new(TokenErrorKind::SecretUnavailable { reason: printable(reason) });
        let read = tokio::time::timeout(READ_TIMEOUT, source.read()).await;
        let secret = read
            .map_err(|_elapsed| unavailable("its source did not answer within 10 s"))?
            .map_err(|reason| unavailable(&reason))?;
        if secret.expose().is_empty() {
            return Err(unavailable("its source gave an empty one"));
        }
        self.replace(secret);
        Ok(())
    }
}
