//! Tokens that end before their time (RFC 7009): who may end one, the signed list of those that were ended
//! as a server has it ([`RevocationList`]) and tells it ([`RevocationPage`]), and what a follower of that list knows
//! ([`RevokedTokens`]).
//!
//! A JWT is good by itself, so its end has to be told to everyone who checks it. It is told by the digest of its `jti`,
//! which says nothing to who has not seen the token.

mod feed;
mod list;
mod position;
mod revoked_tokens;
mod share;
#[cfg(test)]
mod tests;

pub use feed::{
    FEED_MEDIA_TYPE, InvalidFeed, MAX_PAGE_ENTRIES, More, RevocationEntry, RevocationPage, VerifiedPage,
};
pub use list::{Ahead, ListVersion, ListedPage, PagePlace, Revocation, RevocationList};
pub use position::{ChangeMark, FeedPosition};
pub use revoked_tokens::{FeedFault, MAX_FOLLOWED_TOKENS, Progress, RevokedTokens};
pub use share::{LEAST_SHARE, ShareUsed, decide_share};

use crate::issuance::RegisteredClient;
use crate::jose::access_token::VerifiedClaims;
use crate::time::Timestamp;
use crate::verification::MAX_CLOCK_SKEW;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt;
use std::time::Duration;

/// A client with this scope among its allowed ones may revoke every token.
pub const REVOKE_SCOPE: &str = "jeton:revoke";

/// The most revoked tokens that a server remembers.
pub const MAX_REVOKED_TOKENS: usize = 1_000_000;

/// For how long after `exp` a revocation is remembered: a guard may take a token for [`MAX_CLOCK_SKEW`] longer, by a clock
/// that is itself as much behind.
pub const REMEMBERED_AFTER_EXPIRY: Duration = Duration::from_secs(2 * MAX_CLOCK_SKEW.as_secs());

/// How a `jti` stands in the list: the first 16 bytes of its SHA-256. Two live tokens with one of these are as likely as a
/// guessed AES key, so no good token is refused for another's sake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevokedId([u8; Self::BYTES]);

impl RevokedId {
    /// The length in bytes.
    pub const BYTES: usize = 16;

    /// The id of the token with this `jti`.
    #[must_use]
    pub fn of(jwt_id: &str) -> Self {
        let mut id = [0; Self::BYTES];
        id.iter_mut().zip(digest(&SHA256, jwt_id.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for RevokedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevokedId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Until when it must be remembered that a token was revoked.
#[must_use]
pub fn remembered_until(token_expires_at: Timestamp) -> Timestamp {
    token_expires_at.saturating_add(REMEMBERED_AFTER_EXPIRY)
}

/// Whether `caller`, which has authenticated, may revoke a token whose signature and times are good: its own (RFC 7009
/// §2.1), or any with [`REVOKE_SCOPE`].
///
/// # Errors
/// [`NotOfCaller`]. RFC 7009 §2.1 has the request refused and the client told so.
pub fn decide(claims: &VerifiedClaims, caller: &RegisteredClient) -> Result<(), NotOfCaller> {
    let settings = caller.settings();
    let may = claims.client_id() == settings.client_id || may_revoke_all(caller);
    if may { Ok(()) } else { Err(NotOfCaller) }
}

/// Whether a client has [`REVOKE_SCOPE`]. Such a one has no share either: it is who acts when another client has used up its
/// own.
#[must_use]
pub fn may_revoke_all(caller: &RegisteredClient) -> bool {
    caller.settings().allowed_scope.contains(REVOKE_SCOPE)
}

/// The token was issued to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token was issued to another client")]
pub struct NotOfCaller;
