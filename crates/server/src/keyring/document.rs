//! A signing key as a JSON document, its private half sealed.
//!
//! A member that is not known may be a restriction that a newer version keeps: such a document is not read.

use super::KeyringError;
use crate::server_key::{KeyId, Sealer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::jwk::{Jwk, KeyError, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{KeyTimes, Retirement, ScheduledKey};
use jeton_proto::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// A signing key as its record has it.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    pub(super) key: ScheduledKey,
    pub(super) jwk: Jwk,
    /// The private key in PKCS#8, sealed, in base64url.
    pub(super) sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    algorithm: String,
    number: u64,
    announced_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active_from_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    retirement_ordered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_since_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_lifetime_ms: Option<u64>,
    jwk: Value,
    sealed: String,
}

impl StoredKey {
    /// The record of a new key.
    pub(super) fn seal(
        key: &SigningKey,
        times: KeyTimes,
        sealer: &Sealer,
        sealing: Option<&KeyId>,
    ) -> Result<Self, KeyringError> {
        let pkcs8 = key.to_pkcs8().map_err(KeyringError::Generate)?;
        let private = sealer.seal(sealing, &sealed_name(key.key_id()), pkcs8.expose())?;
        let key_id = key.key_id().to_owned();
        Ok(Self {
            key: ScheduledKey { key_id, algorithm: key.algorithm(), times },
            jwk: key.public_jwk(),
            sealed: URL_SAFE_NO_PAD.encode(private),
        })
    }

    /// The same, sealed with the key that was given to `sealer`; `None` when it is already.
    pub(super) fn resealed(&self, sealer: &Sealer) -> Result<Option<Self>, Unopened> {
        let name = sealed_name(&self.key.key_id);
        let private = URL_SAFE_NO_PAD.decode(&self.sealed).map_err(|_| Unopened::Base64)?;
        if sealer.is_under_given(&name, &private) {
            return Ok(None);
        }
        let pkcs8 = sealer.open(&name, &private)?;
        let private = sealer.seal(Some(sealer.given()), &name, pkcs8.expose())?;
        Ok(Some(Self { sealed: URL_SAFE_NO_PAD.encode(private), ..self.clone() }))
    }

    /// The private key.
    pub(super) fn open(&self, sealer: &Sealer) -> Result<SigningKey, Unopened> {
        let private = URL_SAFE_NO_PAD.decode(&self.sealed).map_err(|_| Unopened::Base64)?;
        let pkcs8 = sealer.open(&sealed_name(&self.key.key_id), &private)?;
        let key = SigningKey::from_pkcs8(self.key.algorithm, pkcs8.expose())?;
        if key.key_id() == self.key.key_id { Ok(key) } else { Err(Unopened::AnotherKey) }
    }

    /// The document.
    pub(super) fn render(&self) -> Result<String, serde_json::Error> {
        let times = &self.key.times;
        let (retirement_ordered, retired_since) = match times.retired {
            None => (false, None),
            Some(Retirement::Ordered) => (true, None),
            Some(Retirement::Since(since)) => (false, Some(since)),
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        serde_json::to_string(&KeyDocument {
            algorithm: self.key.algorithm.as_str().to_owned(),
            number: times.number,
            announced_at_ms: times.announced_at.as_unix_millis(),
            active_from_ms: times.active_from.map(Timestamp::as_unix_millis),
            retirement_ordered,
            retired_since_ms: retired_since.map(Timestamp::as_unix_millis),
            token_lifetime_ms: times.token_lifetime.map(millis),
            jwk: self.jwk.to_json(),
            sealed: self.sealed.clone(),
        })
    }

    /// The key `key_id` of a document.
    pub(super) fn parse(key_id: &str, document: &str) -> Result<Self, InvalidDocument> {
        let document: KeyDocument = serde_json::from_str(document)?;
        let jwk = document.jwk.as_object().ok_or(InvalidDocument::Member("jwk"))?;
        let jwk = Jwk::from_json(jwk)?;
        let algorithm = Algorithm::parse(&document.algorithm).ok_or(InvalidDocument::Member("algorithm"))?;
        if jwk.algorithm() != algorithm || jwk.key_id() != Some(key_id) || jwk.thumbprint() != key_id {
            return Err(InvalidDocument::AnotherKey);
        }
        let retired = match (document.retirement_ordered, document.retired_since_ms) {
            (_, Some(since)) => Some(Retirement::Since(Timestamp::from_unix_millis(since))),
            (true, None) => Some(Retirement::Ordered),
            (false, None) => None,
        };
        let times = KeyTimes {
            number: document.number,
            announced_at: Timestamp::from_unix_millis(document.announced_at_ms),
            active_from: document.active_from_ms.map(Timestamp::from_unix_millis),
            retired,
            token_lifetime: document.token_lifetime_ms.map(Duration::from_millis),
        };
        let key = ScheduledKey { key_id: key_id.to_owned(), algorithm, times };
        Ok(Self { key, jwk, sealed: document.sealed })
    }
}

/// The name under which it is sealed: what is sealed for one key cannot be given out as another one.
fn sealed_name(key_id: &str) -> String {
    format!("signing key/{key_id}")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Why a document is no signing key.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidDocument {
    /// Not JSON of the kind, or with a member that is not known.
    #[error("its document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A member has a value that is none.
    #[error("its member {0} cannot be read")]
    Member(&'static str),
    /// The public key is none.
    #[error("its public key cannot be used: {0}")]
    Jwk(#[from] KeyError),
    /// The public key has another id or another algorithm.
    #[error("its public key is another one")]
    AnotherKey,
}

/// Why a private key cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    /// It is not written as it is to be.
    #[error("its private key is no base64url")]
    Base64,
    /// It was sealed otherwise.
    #[error(transparent)]
    Seal(#[from] crate::server_key::SealError),
    /// It is no private key.
    #[error("its private key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// It belongs to another public key.
    #[error("its private key is another one")]
    AnotherKey,
}
