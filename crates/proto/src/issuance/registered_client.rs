//! A client as the server knows it, and whether a request is from it.

use super::credentials::{
    ClientCredentials, InvalidCredentials, MAX_SECRETS, NamedSecret, SecretDigest, SecretTerm,
};
use super::{LifetimeOutOfBounds, MAX_AUDIENCE_BYTES, Rule, check_lifetime, is_audience};
use crate::jose::jws::Algorithm;
use crate::secret::constant_time_eq;
use crate::time::Timestamp;
use crate::wire::scope::{MAX_SCOPE_BYTES, Scope};
use std::collections::BTreeMap;
use std::time::Duration;

/// The token lifetime of a client that sets none: one hour.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// The longest client id, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 256;
/// The most audiences of one client.
pub const MAX_AUDIENCES: usize = 32;
/// The most labels of one client.
pub const MAX_LABELS: usize = 32;
/// The longest name of a label, in bytes.
pub const MAX_LABEL_NAME_BYTES: usize = 63;
/// The longest value of a label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 256;

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
    /// What its tokens are signed with; `None`: what the server signs with otherwise.
    pub signing_algorithm: Option<Algorithm>,
    /// What people want to know of it, such as its team: at most [`MAX_LABELS`], with names of 1 to [`MAX_LABEL_NAME_BYTES`] letters,
    /// digits and `-._/` and values of at most [`MAX_LABEL_VALUE_BYTES`] without control characters. No decision looks at them.
    pub labels: BTreeMap<String, String>,
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
            signing_algorithm: None,
            labels: BTreeMap::new(),
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
        if self.labels.len() > MAX_LABELS || !self.labels.iter().all(|(name, value)| is_label(name, value)) {
            return Err(InvalidClientSettings::Labels);
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
    /// Too many labels, or one whose name or value is not good.
    #[error(
        "a client has at most {MAX_LABELS} labels, with names of 1 to {MAX_LABEL_NAME_BYTES} letters, digits and -._/ and values of at \
         most {MAX_LABEL_VALUE_BYTES} bytes without control characters"
    )]
    Labels,
    /// What it is to authenticate with is not good.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
}

fn is_label(name: &str, value: &str) -> bool {
    let named = (1..=MAX_LABEL_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/'));
    named && value.len() <= MAX_LABEL_VALUE_BYTES && !value.chars().any(char::is_control)
}

/// A client that the server knows: settings that hold together, and what it authenticates with.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    settings: ClientSettings,
    granted_by_default: Scope,
    /// The same as a text, its tokens in sorted order.
    default_text: String,
    credentials: ClientCredentials,
}

impl RegisteredClient {
    /// A client with these settings and credentials. One without any credential is good, and cannot have tokens.
    pub fn new(
        settings: ClientSettings,
        credentials: ClientCredentials,
    ) -> Result<Self, InvalidClientSettings> {
        settings.check()?;
        credentials.check()?;
        let granted_by_default = settings.default_scope.as_ref().unwrap_or(&settings.allowed_scope).clone();
        let default_text = granted_by_default.to_text();
        Ok(Self { settings, granted_by_default, default_text, credentials })
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

    /// What a request for just that has as `scope`, if its tokens are sorted.
    pub(super) const fn default_text(&self) -> &str {
        self.default_text.as_str()
    }

    /// What it authenticates with.
    #[must_use]
    pub const fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }
}

/// Whether the client is there, enabled, and has a secret in force with the digest `presented`: that secret.
///
/// The work is the same in every case: [`MAX_SECRETS`] comparisons in constant time, against a dummy where there
/// is no secret, and the reason is only looked for after them. The reason is for the log; the caller of the server is
/// told `invalid_client` and no more.
pub fn authenticate<'a>(
    client: Option<&'a RegisteredClient>,
    presented: &SecretDigest,
    now: Timestamp,
) -> Result<&'a NamedSecret, AuthenticationFailure> {
    // No digest can be told to equal this one: its comparison is thrown away.
    const DUMMY: SecretDigest = SecretDigest::new([0; 32]);
    let secrets = client.map_or(&[][..], |client| &client.credentials.secrets);
    let mut matching = None;
    for slot in 0..MAX_SECRETS {
        let held = secrets.get(slot);
        let digest = held.map_or(&DUMMY, |secret| &secret.digest);
        if constant_time_eq(digest.as_bytes(), presented.as_bytes()) {
            matching = held;
        }
    }
    let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
    let secret = matching.ok_or(AuthenticationFailure::WrongSecret)?;
    match secret.term(now) {
        SecretTerm::NotYet => Err(AuthenticationFailure::SecretNotYet),
        SecretTerm::Expired => Err(AuthenticationFailure::SecretExpired),
        SecretTerm::InForce => check_status(client).map(|()| secret),
    }
}

/// Whether a client whose credential is good may have tokens.
pub fn check_status(client: &RegisteredClient) -> Result<(), AuthenticationFailure> {
    match client.settings.status {
        ClientStatus::Enabled => Ok(()),
        ClientStatus::Disabled => Err(AuthenticationFailure::Disabled),
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
    /// The secret is right, and not good yet.
    #[error("the client secret is not in force yet")]
    SecretNotYet,
    /// The secret is right, and not good any more.
    #[error("the client secret has expired")]
    SecretExpired,
    /// The secret is right, the client disabled.
    #[error("the client is disabled")]
    Disabled,
}

impl AuthenticationFailure {
    /// The rule behind it, for the audit log.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Self::UnknownClient => Rule::ClientUnknown,
            Self::WrongSecret => Rule::SecretWrong,
            Self::SecretNotYet => Rule::SecretNotYet,
            Self::SecretExpired => Rule::SecretExpired,
            Self::Disabled => Rule::ClientDisabled,
        }
    }
}
