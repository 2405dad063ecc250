//! A client as the server knows it, and whether a request is from it.

use super::{LifetimeOutOfBounds, MAX_AUDIENCE_BYTES, check_lifetime, is_audience};
use crate::secret::constant_time_eq;
use crate::wire::scope::{MAX_SCOPE_BYTES, Scope};
use std::fmt;
use std::time::Duration;

/// The token lifetime of a client that sets none: one hour.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// The longest client id, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 256;
/// The most audiences of one client.
pub const MAX_AUDIENCES: usize = 32;
/// The most secrets of one client that are good at the same time. Each authentication compares this many, so that
/// the time tells nothing of how many there are.
pub const MAX_LIVE_SECRETS: usize = 4;

/// Whether a client may have tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientStatus {
    /// It may.
    #[default]
    Enabled,
    /// It may not, and it is told no more than one whose secret is wrong.
    Disabled,
}

/// What is set for a client, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The client id: 1 to [`MAX_CLIENT_ID_BYTES`] printable ASCII characters (`VSCHAR`, RFC 6749 appendix A.1).
    pub client_id: String,
    /// Every scope that the client may have. Empty: tokens without a scope.
    pub allowed_scope: Scope,
    /// What a request without `scope` is given (RFC 6749 §3.3). `None`: all that is allowed.
    pub default_scope: Option<Scope>,
    /// The resources the client may have tokens for (RFC 8707), the first being the default. Empty: the server's
    /// default audience alone.
    pub audiences: Vec<String>,
    /// How long its tokens live, in whole seconds from [`MIN_TOKEN_LIFETIME`](super::MIN_TOKEN_LIFETIME) to
    /// [`MAX_TOKEN_LIFETIME`](super::MAX_TOKEN_LIFETIME).
    pub token_lifetime: Duration,
    /// Whether it may have tokens.
    pub status: ClientStatus,
}

impl ClientSettings {
    /// An enabled client without scopes, for the server's default audience, with [`DEFAULT_TOKEN_LIFETIME`].
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            allowed_scope: Scope::empty(),
            default_scope: None,
            audiences: Vec::new(),
            token_lifetime: DEFAULT_TOKEN_LIFETIME,
            status: ClientStatus::Enabled,
        }
    }

    fn check(&self) -> Result<(), InvalidClientSettings> {
        let id = self.client_id.as_bytes();
        if id.is_empty()
            || id.len() > MAX_CLIENT_ID_BYTES
            || !id.iter().all(|byte| matches!(byte, b' '..=b'~'))
        {
            return Err(InvalidClientSettings::ClientId);
        }
        // A default scope is a part of the allowed one, so its length needs no check of its own.
        if self.allowed_scope.to_string().len() > MAX_SCOPE_BYTES {
            return Err(InvalidClientSettings::AllowedScope);
        }
        if self.default_scope.as_ref().is_some_and(|scope| !scope.is_subset_of(&self.allowed_scope)) {
            return Err(InvalidClientSettings::DefaultScope);
        }
        if self.audiences.len() > MAX_AUDIENCES {
            return Err(InvalidClientSettings::TooManyAudiences);
        }
        if !self.audiences.iter().all(|audience| is_audience(audience)) {
            return Err(InvalidClientSettings::Audience);
        }
        if self.audiences.contains(&self.client_id) {
            return Err(InvalidClientSettings::AudienceIsClient);
        }
        check_lifetime(self.token_lifetime)
            .map_err(|LifetimeOutOfBounds| InvalidClientSettings::TokenLifetime)
    }
}

/// Why settings make no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientSettings {
    /// The client id is empty, too long, or has a character that RFC 6749 appendix A.1 does not allow.
    #[error("a client id has 1 to {MAX_CLIENT_ID_BYTES} printable ascii characters")]
    ClientId,
    /// The allowed scopes are too long together.
    #[error("the allowed scopes are longer than {MAX_SCOPE_BYTES} bytes together")]
    AllowedScope,
    /// The default scope has a token that is not allowed.
    #[error("the default scope has a scope that is not among the allowed ones")]
    DefaultScope,
    /// More than [`MAX_AUDIENCES`].
    #[error("a client has at most {MAX_AUDIENCES} audiences")]
    TooManyAudiences,
    /// An audience is empty, too long, or has a character other than printable ASCII without space.
    #[error("an audience has 1 to {MAX_AUDIENCE_BYTES} printable ascii characters and no space")]
    Audience,
    /// An audience is the client id: RFC 9068 §3 wants a resource.
    #[error("the client id cannot be an audience: an access token is for an api, not for the client")]
    AudienceIsClient,
    /// The lifetime is out of bounds, or has a fraction of a second.
    #[error("a token lifetime is a whole number of seconds from 1 to 2592000 (30 days)")]
    TokenLifetime,
    /// No secret, or more than [`MAX_LIVE_SECRETS`].
    #[error("a client has 1 to {MAX_LIVE_SECRETS} secrets")]
    Secrets,
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

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// A client that the server knows: settings that hold together, and the digests of its secrets.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    settings: ClientSettings,
    granted_by_default: Scope,
    secrets: Vec<SecretDigest>,
}

impl RegisteredClient {
    /// A client with these settings and 1 to [`MAX_LIVE_SECRETS`] secrets.
    pub fn new(settings: ClientSettings, secrets: Vec<SecretDigest>) -> Result<Self, InvalidClientSettings> {
        settings.check()?;
        if secrets.is_empty() || secrets.len() > MAX_LIVE_SECRETS {
            return Err(InvalidClientSettings::Secrets);
        }
        let granted_by_default = settings.default_scope.as_ref().unwrap_or(&settings.allowed_scope).clone();
        Ok(Self { settings, granted_by_default, secrets })
    }

    /// What is set for it.
    #[must_use]
    pub const fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// What a request without `scope` is granted.
    pub(super) const fn granted_by_default(&self) -> &Scope {
        &self.granted_by_default
    }

    /// The digests of its secrets.
    #[must_use]
    pub fn secrets(&self) -> &[SecretDigest] {
        &self.secrets
    }
}

/// Whether the client is there, enabled, and has a secret with the digest `presented`.
///
/// The work is the same in every case: [`MAX_LIVE_SECRETS`] comparisons in constant time, against a dummy where there
/// is no secret, and the reason is only looked for after them. The reason is for the log; the caller of the server is
/// told `invalid_client` and no more.
pub fn authenticate(
    client: Option<&RegisteredClient>,
    presented: &SecretDigest,
) -> Result<(), AuthenticationFailure> {
    // No digest can be told to equal this one: its comparison is thrown away.
    const DUMMY: SecretDigest = SecretDigest::new([0; 32]);
    let secrets = client.map_or(&[][..], RegisteredClient::secrets);
    let mut matches = 0_usize;
    for slot in 0..MAX_LIVE_SECRETS {
        let held = secrets.get(slot);
        let equal = constant_time_eq(held.unwrap_or(&DUMMY).as_bytes(), presented.as_bytes());
        matches += usize::from(equal & held.is_some());
    }
    match client.map(|client| client.settings.status) {
        None => Err(AuthenticationFailure::UnknownClient),
        Some(ClientStatus::Enabled | ClientStatus::Disabled) if matches == 0 => {
            Err(AuthenticationFailure::WrongSecret)
        }
        Some(ClientStatus::Disabled) => Err(AuthenticationFailure::Disabled),
        Some(ClientStatus::Enabled) => Ok(()),
    }
}

/// Why a client was not authenticated: for the log, never for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationFailure {
    /// There is no client with this id.
    #[error("the client is not registered")]
    UnknownClient,
    /// None of its secrets has the digest presented.
    #[error("the client secret is wrong")]
    WrongSecret,
    /// The secret is right, the client disabled.
    #[error("the client is disabled")]
    Disabled,
}
