//! Tokens that were handed out to clients that mint per call, to be handed out once more.

use super::locked;
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// How many tokens are kept at most.
const MAX_TOKENS: usize = 1024;

/// All that makes one token as good as another: who gets it for what proof, what it grants, and what it is signed with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKind {
    pub(crate) client_id: String,
    /// In the one order that a scope has.
    pub(crate) scope: String,
    pub(crate) audience: Vec<String>,
    pub(crate) lifetime: Duration,
    /// What the client proved itself with and, where the token is bound to a key, what it is bound to.
    pub(crate) proof: Vec<u8>,
    /// The id of the signing key.
    pub(crate) key_id: String,
}

impl fmt::Debug for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKind").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Tokens that may be handed out once more. Each is wiped from memory when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct KeptTokens(Mutex<HashMap<TokenKind, KeptToken>>);

#[derive(Debug)]
struct KeptToken {
    access_token: Secret<String>,
    jwt_id: String,
    issued_at: Timestamp,
    lifetime: Duration,
}

impl KeptTokens {
    /// The token of this kind and what is left of its life, which is more than half of it.
    pub(crate) fn get(&self, kind: &TokenKind, now: Timestamp) -> Option<(Secret<String>, String, Duration)> {
        let tokens = locked(&self.0);
        let kept = tokens.get(kind)?;
        let left = kept.left(now)?;
        Some((kept.access_token.clone(), kept.jwt_id.clone(), Duration::from_secs(left.as_secs())))
    }

    /// Keeps a token in place of the one of its kind. When there is no room, even without those that are no good any
    /// more, it is not kept.
    pub(crate) fn keep(&self, kind: TokenKind, token: &Secret<String>, jwt_id: &str, issued_at: Timestamp) {
        let mut tokens = locked(&self.0);
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&kind) {
            tokens.retain(|_, kept| kept.left(issued_at).is_some());
            if tokens.len() >= MAX_TOKENS {
                return;
            }
        }
        let lifetime = kind.lifetime;
        tokens.insert(
            kind,
            KeptToken { access_token: token.clone(), jwt_id: jwt_id.to_owned(), issued_at, lifetime },
        );
    }

    /// Forgets the tokens of a client that was changed, disabled or removed.
    pub(crate) fn forget_client(&self, client_id: &str) {
        locked(&self.0).retain(|kind, _| kind.client_id != client_id);
    }

    /// Forgets a token that was revoked.
    pub(crate) fn forget_token(&self, jwt_id: &str) {
        locked(&self.0).retain(|_, kept| kept.jwt_id != jwt_id);
    }

    /// Forgets all of them, where nobody knows which clients were changed.
    pub(crate) fn forget_all(&self) {
        locked(&self.0).clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        locked(&self.0).len()
    }
}

impl KeptToken {
    /// What is left of its life, when that is more than half. A clock that stepped back to before its beginning leaves
    /// nothing: it would be handed out for longer than it lives.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = self.lifetime.checked_sub(now.saturating_since(self.issued_at))?;
        (self.issued_at <= now && left > self.lifetime / 2).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn kind(client_id: &str) -> TokenKind {
        TokenKind {
            client_id: client_id.to_owned(),
            scope: "a b".to_owned(),
            audience: vec!["https://api.example.com".to_owned()],
            lifetime: Duration::from_secs(100),
            proof: vec![1; 32],
            key_id: "key".to_owned(),
        }
    }

    #[test]
    fn a_token_is_had_again_during_the_first_half_of_its_life() {
        let kept = KeptTokens::default();
        kept.keep(kind("worker"), &Secret::from("token"), "0123456789012345678901", NOW);
        let left = |millis| {
            let now = NOW.saturating_add(Duration::from_millis(millis));
            kept.get(&kind("worker"), now).map(|(token, _, left)| (token.expose().clone(), left.as_secs()))
        };
        assert_eq!(left(0), Some(("token".to_owned(), 100)));
        assert_eq!(left(20_001), Some(("token".to_owned(), 79)), "never more than is left");
        assert_eq!(left(50_000), None);
        assert_eq!(left(1_000_000), None);
        assert!(kept.get(&kind("worker"), NOW.saturating_sub(Duration::from_secs(1))).is_none());
    }

    #[test]
    fn nothing_may_differ() {
        let kept = KeptTokens::default();
        kept.keep(kind("worker"), &Secret::from("token"), "0123456789012345678901", NOW);
        for other in [
            kind("other"),
            TokenKind { scope: "a".to_owned(), ..kind("worker") },
            TokenKind { audience: Vec::new(), ..kind("worker") },
            TokenKind { lifetime: Duration::from_secs(101), ..kind("worker") },
            TokenKind { proof: vec![2; 32], ..kind("worker") },
            TokenKind { key_id: "next".to_owned(), ..kind("worker") },
        ] {
            assert!(kept.get(&other, NOW).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_was_revoked_or_changed_is_forgotten() {
        let kept = KeptTokens::default();
        let jwt_ids = ["a123456789012345678901", "b123456789012345678901"];
        for (client_id, jwt_id) in ["one", "two"].into_iter().zip(jwt_ids) {
            kept.keep(kind(client_id), &Secret::from(client_id), jwt_id, NOW);
        }
        kept.forget_token("a123456789012345678901");
        assert!(kept.get(&kind("one"), NOW).is_none() && kept.get(&kind("two"), NOW).is_some());
        kept.forget_client("two");
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn t41_no_more_tokens_are_kept_than_there_is_room_for() {
        let kept = KeptTokens::default();
        for client in 0..2 * MAX_TOKENS {
            kept.keep(kind(&client.to_string()), &Secret::from("token"), "j", NOW);
        }
        assert_eq!(kept.len(), MAX_TOKENS);
        let later = NOW.saturating_add(Duration::from_secs(60));
        kept.keep(kind("late"), &Secret::from("token"), "k", later);
        assert_eq!(kept.len(), 1, "those past the half of their life make room");
    }
}
