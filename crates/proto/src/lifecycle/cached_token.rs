//! A token in hand.

use crate::secret::{Secret, wiped_header_value};
use crate::time::{Moment, Timestamp};
use crate::wire::scope::Scope;
use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use std::fmt;
use std::time::Duration;

const BEARER: &str = "Bearer ";

/// An access token with its ready-made `Authorization` value. Its memory is wiped when the last clone of that value is
/// dropped; its `Debug` shows the fingerprint in place of the token.
#[derive(Clone)]
pub struct CachedToken {
    authorization: HeaderValue,
    granted_scope: Option<Scope>,
    obtained: Moment,
    life: Life,
    id: TokenId,
}

/// How long a token lives, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The server stated it.
    Stated(Duration),
    /// The server did not, so the policy assumes it.
    Assumed(Duration),
}

impl Life {
    /// Its length.
    #[must_use]
    pub const fn span(self) -> Duration {
        match self {
            Self::Stated(span) | Self::Assumed(span) => span,
        }
    }
}

/// A length alone is a stated life.
impl From<Duration> for Life {
    fn from(span: Duration) -> Self {
        Self::Stated(span)
    }
}

impl CachedToken {
    /// A token that lives for `life` from `obtained`, the time at which it was *asked for*.
    ///
    /// # Errors
    /// When `access_token` has a byte that a header field may not carry.
    #[allow(clippy::needless_pass_by_value, reason = "the caller's copy is wiped when this returns")]
    pub fn new(
        access_token: Secret<String>,
        granted_scope: Option<Scope>,
        obtained: impl Into<Moment>,
        life: impl Into<Life>,
    ) -> Result<Self, InvalidHeaderValue> {
        let life = life.into();
        let id = TokenId::of(access_token.expose());
        let mut value = Vec::with_capacity(BEARER.len() + access_token.expose().len());
        value.extend_from_slice(BEARER.as_bytes());
        value.extend_from_slice(access_token.expose().as_bytes());
        Ok(Self {
            authorization: wiped_header_value(value)?,
            granted_scope,
            obtained: obtained.into(),
            life,
            id,
        })
    }

    /// The token itself. Handle it as the secret that it is; [`CachedToken::id`] is the form for logs.
    pub fn access_token(&self) -> &str {
        // The value was made of this prefix and visible ASCII.
        self.authorization.to_str().ok().and_then(|value| value.strip_prefix(BEARER)).unwrap_or_default()
    }

    /// `Bearer` and the token, marked sensitive; a clone of it shares its memory.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The scope that the server granted, which may be narrower than the one asked for; `None` when the server did
    /// not tell, which means the one asked for (RFC 6749 §5.1).
    pub fn granted_scope(&self) -> Option<&Scope> {
        self.granted_scope.as_ref()
    }

    /// When it was asked for, by the wall clock as it stood then.
    pub fn obtained_at(&self) -> Timestamp {
        self.obtained.wall()
    }

    /// When it was asked for, by both clocks.
    pub fn obtained(&self) -> Moment {
        self.obtained
    }

    /// When it expires, by the wall clock as it stood when the token was asked for. It is never given out once its life
    /// has passed, whatever happened to the wall clock since.
    pub fn expires_at(&self) -> Timestamp {
        self.obtained.wall().saturating_add(self.life.span())
    }

    /// How much of its life is left at `now`: nothing once it has expired, all of it when the wall clock stands before the
    /// token was asked for and no boot clock tells better.
    pub fn left(&self, now: impl Into<Moment>) -> Duration {
        let passed = now.into().since(self.obtained).unwrap_or_default();
        self.life.span().saturating_sub(passed)
    }

    /// Its whole life, and who says so.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Its whole life.
    pub fn lifetime(&self) -> Duration {
        self.life.span()
    }

    /// Its fingerprint.
    pub fn id(&self) -> TokenId {
        self.id
    }
}

impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedToken")
            .field("id", &self.id)
            .field("granted_scope", &self.granted_scope)
            .field("obtained_at", &self.obtained_at())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// The fingerprint of a token: the first 128 bits of its SHA-256. It identifies the token in logs, of which 48 bits
/// are shown, and is of no use to whoever reads it there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// The fingerprint of `access_token`.
    #[must_use]
    pub fn of(access_token: &str) -> Self {
        let hash = digest(&SHA256, access_token.as_bytes());
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(id)
    }

    /// The fingerprint of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}
