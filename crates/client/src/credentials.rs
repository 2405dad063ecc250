//! What a client proves itself with, where that is read from, and how it is replaced while requests are under way.

mod environment;
mod place;
mod source;

pub use environment::{Environment, Surroundings};
pub use place::{InvalidPlace, SecretPlace};
pub use source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};

use crate::error::{TokenError, TokenErrorKind};
use crate::sync::{Mutex, lock};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod, ColonInClientId, basic_authorization};
use jeton_proto::wire::token_request::BodyCredential;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
            ClientAuthMethod::ClientSecretPost
            | ClientAuthMethod::ClientSecretJwt
            | ClientAuthMethod::PrivateKeyJwt
            | ClientAuthMethod::TlsClientAuth
            | ClientAuthMethod::SelfSignedTlsClientAuth => Ok(None),
        }
    }

    /// The parameters, where the method uses the body. Never both.
    pub(crate) fn body(&self) -> Option<BodyCredential<'_>> {
        match self.method {
            ClientAuthMethod::ClientSecretBasic => None,
            ClientAuthMethod::ClientSecretPost => Some(BodyCredential::Secret {
                client_id: &self.client_id,
                client_secret: &self.client_secret,
            }),
            ClientAuthMethod::ClientSecretJwt
            | ClientAuthMethod::PrivateKeyJwt
            | ClientAuthMethod::TlsClientAuth
            | ClientAuthMethod::SelfSignedTlsClientAuth => {
                Some(BodyCredential::ClientId { client_id: &self.client_id })
            }
        }
    }
}

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
    /// Held by the flight that reads the source; the others wait for what it brings.
    reading: tokio::sync::Mutex<()>,
}

struct Held {
    /// Without a secret until the source was read.
    in_force: InForce,
    is_read: bool,
    /// Counts the reads that came to an end, so that whoever waited for one takes what it brought.
    reads: u64,
    /// When the last one began.
    reading_since: Option<Instant>,
    /// How the last one failed.
    failure: Option<TokenError>,
}

impl Held {
    /// Puts another secret in force, unless it is the one that already is.
    fn replace(&mut self, secret: Secret<String>, has_source: bool) {
        let InForce { credential, generation } = &self.in_force;
        if self.is_read && credential.client_secret == secret {
            return;
        }
        let credential = Arc::new(Credential { client_secret: secret, ..(**credential).clone() });
        let first = !self.is_read && has_source;
        let generation = if first { *generation } else { generation.next() };
        self.in_force = InForce { credential, generation };
        self.is_read = true;
    }
}

/// The longest time for which a source is waited, where the flight has that long.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer a read may hold the others up: after that its task is on a runtime that nobody drives.
const OVERDUE: Duration = Duration::from_secs(1);

impl Credentials {
    /// Those of `credential`; with a `source`, its secret is not looked at before the source was read.
    pub(crate) fn new(credential: Credential, source: Option<Arc<dyn SecretSource>>) -> Self {
        let in_force =
            InForce { credential: Arc::new(credential), generation: CredentialGeneration::default() };
        let held = Held { in_force, is_read: source.is_none(), reads: 0, reading_since: None, failure: None };
        Self { held: Mutex::new(held), source, reading: tokio::sync::Mutex::default() }
    }

    /// How the credential is sent, whichever is in force.
    pub(crate) fn method(&self) -> ClientAuthMethod {
        lock(&self.held).in_force.credential.method
    }

    /// Which credential is in force.
    pub(crate) fn generation(&self) -> CredentialGeneration {
        lock(&self.held).in_force.generation
    }

    /// The credential in force; reads the source the first time, for `within` at most.
    pub(crate) async fn in_force(&self, within: Duration) -> Result<InForce, TokenError> {
        {
            let held = lock(&self.held);
            if held.is_read {
                return Ok(held.in_force.clone());
            }
        }
        self.read_source(within).await?;
        Ok(lock(&self.held).in_force.clone())
    }

    /// The credential in force when it is not the one of `refused` any more; asks the source for that (R3.3), for `within` at
    /// most.
    pub(crate) async fn replacing(&self, refused: CredentialGeneration, within: Duration) -> Option<InForce> {
        if self.generation() == refused
            && let Err(error) = self.read_source(within).await
        {
            tracing::warn!(%error, "the client secret was refused, and its source cannot be read");
        }
        let in_force = lock(&self.held).in_force.clone();
        (in_force.generation > refused).then_some(in_force)
    }

    /// Puts another secret in force, unless it is the one that already is.
    pub(crate) fn replace(&self, secret: Secret<String>) {
        lock(&self.held).replace(secret, self.source.is_some());
    }

    /// Reads the source, or waits for the read that is under way and shares its outcome: many keys at once ask it once.
    async fn read_source(&self, within: Duration) -> Result<(), TokenError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let deadline = Instant::now() + within.min(READ_TIMEOUT);
        let (reads, seen, overdue_at) = {
            let held = lock(&self.held);
            let overdue_at = held.reading_since.map(|since| since + READ_TIMEOUT + OVERDUE);
            (held.reads, (held.in_force.generation, held.is_read), overdue_at)
        };
        let until = overdue_at.map_or(deadline, |overdue_at| overdue_at.min(deadline));
        let _turn = tokio::time::timeout_at(until, self.reading.lock()).await;
        {
            let mut held = lock(&self.held);
            if held.reads != reads {
                return held.failure.clone().map_or(Ok(()), Err);
            }
            if deadline <= Instant::now() {
                return checked(Err(too_late())).map(drop);
            }
            held.reading_since = Some(Instant::now());
        }
        let read = tokio::time::timeout_at(deadline, source.read()).await;
        let secret = checked(read.unwrap_or_else(|_elapsed| Err(too_late())));
        let mut held = lock(&self.held);
        held.reads = held.reads.wrapping_add(1);
        held.failure = secret.as_ref().err().cloned();
        let secret = secret?;
        // What was put in force meanwhile is newer than what the source told.
        if seen == (held.in_force.generation, held.is_read) {
            held.replace(secret, true);
        }
        Ok(())
    }
}

fn too_late() -> SourceFault {
    SourceFault::new(
        SourceFaultKind::Unreachable,
        "the source of the client secret",
        "it did not answer in time",
    )
}

fn checked(read: Result<SecretReading, SourceFault>) -> Result<Secret<String>, TokenError> {
    let unavailable = |reason: String| TokenError::new(TokenErrorKind::SecretUnavailable { reason });
    match read {
        Ok(reading) if reading.current.expose().is_empty() => {
            Err(unavailable("its source gave an empty one".to_owned()))
        }
        Ok(reading) => Ok(reading.current),
        Err(fault) => Err(unavailable(fault.to_string())),
    }
}
