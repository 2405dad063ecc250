//! Requests about a token: whether it counts (RFC 7662), and that it shall not count any more (RFC 7009).

use super::TokenCall;
use bytes::Bytes;
use jeton_proto::secret::Secret;
use jeton_proto::wire::introspection::AnswerForm;

/// A well-formed request about a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenInquiry<'a> {
    /// Who asks, as with a token request.
    pub call: TokenCall<'a>,
    /// The token, which may be anything.
    pub token: &'a Secret<String>,
}

/// What is told of a token, to a client that has authenticated.
#[derive(Debug)]
pub struct Introspected {
    /// Whom it is told.
    pub caller: String,
    /// The form of `body`.
    pub form: AnswerForm,
    /// JSON, or a JWT in compact serialization (RFC 9701).
    pub body: Bytes,
    /// Why the answer is `{"active":false}`, for the log alone; `None`: the token is active.
    pub inactive: Option<String>,
}

/// What became of a token that was to be revoked. The caller is told the same in every case (RFC 7009 §2.2).
#[derive(Debug)]
pub struct Revoked {
    /// Who wanted it.
    pub caller: String,
    /// What was done, for the log.
    pub effect: RevocationEffect,
}

/// Whether there was anything to revoke.
#[derive(Debug)]
pub enum RevocationEffect {
    /// The token counts no more, and that is stored for good.
    Revoked {
        /// Its `jti`.
        jwt_id: String,
    },
    /// It was revoked before.
    RevokedBefore,
    /// It was none that counts, and why.
    Nothing(String),
}

/// A piece of the signed list of revoked tokens.
#[derive(Clone, Debug)]
pub struct RevocationFeedPage {
    /// A JWT in compact serialization.
    pub jwt: Bytes,
    /// What names exactly this answer: an entity tag (RFC 9110 §8.8.3) without its quotes, of letters, digits and `-`.
    pub tag: String,
}
