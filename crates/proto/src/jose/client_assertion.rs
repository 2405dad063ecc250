//! Client assertions: JWTs by which a client proves who it is (RFC 7523 §2.2 and §3, `OpenID` Connect Core §9).

use super::assertion_key::AssertionKey;
use super::jwk::KeyError;
use crate::secret::Secret;
use crate::time::Timestamp;
use serde_json::json;
use std::time::Duration;

/// What a client assertion says. It is good once, and for a short while: each attempt to get a token has a new one, with
/// an issue time and a `jti` of its own.
///
/// ```
/// use jeton_proto::jose::assertion_key::AssertionKey;
/// use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
/// use jeton_proto::{secret::Secret, time::Timestamp};
///
/// let key = AssertionKey::from_client_secret(&Secret::from("a secret of at least thirty-two bytes"));
/// let assertion = ClientAssertion {
///     client_id: "reporting",
///     audience: "https://as.example",
///     issued_at: Timestamp::from_unix_seconds(1_700_000_000),
///     lifetime: AssertionLifetime::default(),
///     jwt_id: "bUvBDNRkSbxhTYBbV1HsYw",
/// };
/// assert_eq!(assertion.sign(&key)?.expose().split('.').count(), 3);
/// # Ok::<(), jeton_proto::jose::jwk::KeyError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClientAssertion<'a> {
    /// `iss` and `sub`: the client itself.
    pub client_id: &'a str,
    /// `aud`: the server, as one string. Its issuer identifier is what servers of today ask for; older ones want the
    /// URL of the token endpoint.
    pub audience: &'a str,
    /// `iat`, written in whole seconds, rounded down.
    pub issued_at: Timestamp,
    /// How long after `iat` the `exp` is.
    pub lifetime: AssertionLifetime,
    /// `jti`: unique among the assertions of the client, and not to be guessed.
    pub jwt_id: &'a str,
}

impl ClientAssertion<'_> {
    /// Signs the assertion. It is a secret for as long as it lives, as whoever has it may use it first.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the cryptographic library fails.
    pub fn sign(&self, key: &AssertionKey) -> Result<Secret<String>, KeyError> {
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "jti": self.jwt_id,
            "iat": self.issued_at.as_unix_seconds(),
            "exp": self.issued_at.saturating_add(self.lifetime.as_duration()).as_unix_seconds(),
        });
        key.sign_payload(&claims.to_string())
    }
}

/// How long an assertion lives: 1 s to 300 s, 60 s by default. Servers that remember each `jti` until its `exp` refuse
/// longer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssertionLifetime(Duration);

impl AssertionLifetime {
    /// The shortest: 1 s.
    pub const SHORTEST: Self = Self(Duration::from_secs(1));
    /// The longest: 300 s.
    pub const LONGEST: Self = Self(Duration::from_secs(300));

    /// A lifetime within the bounds.
    ///
    /// # Errors
    /// [`InvalidAssertionLifetime`] outside of them.
    pub const fn new(lifetime: Duration) -> Result<Self, InvalidAssertionLifetime> {
        let nanos = lifetime.as_nanos();
        if nanos < Self::SHORTEST.0.as_nanos() || nanos > Self::LONGEST.0.as_nanos() {
            return Err(InvalidAssertionLifetime);
        }
        Ok(Self(lifetime))
    }

    /// The lifetime.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl Default for AssertionLifetime {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// A lifetime of less than 1 s or more than 300 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lifetime of client assertions must be from 1 s to 300 s")]
pub struct InvalidAssertionLifetime;
