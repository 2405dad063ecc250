//! The guard itself: a token in, a principal or a refusal out.

mod builder;

pub use builder::{BuildError, GuardBuilder};

use crate::bearer_token::bearer_token;
use crate::keys::{KeyCache, KeysUnavailable};
use crate::layer::GuardLayer;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::revocations::{RevocationStatus, Revocations, Verdict};
use http::HeaderMap;
use jeton::Clock;
use jeton_proto::verification::{Expectations, Rejection, decide};
use std::fmt;
use std::sync::Arc;

/// How many sets of keys are tried on one token: those at hand, those of a fetch that was under way, those of its own.
const MAX_KEY_SETS_TRIED: usize = 3;

/// Checks access tokens of one issuer for one API. Cheap to clone; all clones share one set of keys.
///
/// ```no_run
/// use jeton_guard::Guard;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let guard = Guard::builder("http://localhost:8080", "https://api.example").build()?;
/// guard.prefetch().await?;
/// let layer = guard.layer();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    keys: KeyCache,
    expectations: Expectations,
    revocations: Option<Revocations>,
    realm: Arc<str>,
    clock: Arc<dyn Clock>,
}

impl Guard {
    /// A guard for tokens of `issuer`, named as in its metadata, that are meant for `audience`, compared byte by byte
    /// (RFC 9068 §4).
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> GuardBuilder {
        GuardBuilder::new(issuer.into(), audience.into())
    }

    /// The tower layer that lets good requests through, with a [`Principal`] in their extensions.
    pub fn layer(&self) -> GuardLayer {
        GuardLayer::new(self.clone())
    }

    /// Fetches the keys unless they are there, so that the first request need not wait and a wrong issuer is found at
    /// start. A service need not end when this fails: the guard tries again with later requests. The list of revoked tokens
    /// is asked for as well, when it is followed; how that went is in [`Guard::revocation_status`].
    ///
    /// # Errors
    /// [`KeysUnavailable`] says why there are no keys.
    pub async fn prefetch(&self) -> Result<(), KeysUnavailable> {
        let fetched = self.inner.keys.usable().await.map(|_| ());
        if let Some(revocations) = &self.inner.revocations {
            revocations.first().await;
        }
        fetched
    }

    /// Checks a token by itself. The layer does this for every request.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`], [`Refusal::KeysUnavailable`] or [`Refusal::RevocationsStale`].
    pub async fn check(&self, token: &str) -> Result<Principal, Refusal> {
        let Inner { keys, expectations, realm, clock, .. } = &*self.inner;
        let mut snapshot = keys.usable().await.map_err(Refusal::KeysUnavailable)?;
        let mut key_sets_tried = 0;
        loop {
            let rejection = match decide(token, &snapshot.set, expectations, clock.now()) {
                Ok(claims) => {
                    self.check_revocation(claims.jwt_id()).await?;
                    return Ok(Principal::new(claims, Arc::clone(realm)));
                }
                Err(rejection) => rejection,
            };
            key_sets_tried += 1;
            let may_be_cured = matches!(rejection, Rejection::UnknownKey { .. });
            if !may_be_cured || key_sets_tried == MAX_KEY_SETS_TRIED {
                return Err(Refusal::InvalidToken(rejection));
            }
            match keys.newer_than(&snapshot).await {
                Some(newer) => snapshot = newer,
                None => return Err(Refusal::InvalidToken(rejection)),
            }
        }
    }

    async fn check_revocation(&self, jwt_id: &str) -> Result<(), Refusal> {
        let Some(revocations) = &self.inner.revocations else { return Ok(()) };
        match revocations.verdict(jwt_id).await {
            Verdict::Good => Ok(()),
            Verdict::Revoked => Err(Refusal::InvalidToken(Rejection::Revoked)),
            Verdict::Unknown(stale) => Err(Refusal::RevocationsStale(stale)),
        }
    }

    /// What is known of the revoked tokens, for metrics and readiness; `None` when they are not followed.
    pub fn revocation_status(&self) -> Option<RevocationStatus> {
        self.inner.revocations.as_ref().map(Revocations::status)
    }

    /// Checks the one bearer token of a request.
    ///
    /// # Errors
    /// A [`Refusal`], whose answer is [`Refusal::to_response`] with [`Guard::realm`].
    pub async fn check_headers(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        self.check(bearer_token(headers)?).await
    }

    /// The realm of the challenges; the audience unless set otherwise.
    pub fn realm(&self) -> &str {
        &self.inner.realm
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("issuer", &self.inner.expectations.issuer())
            .field("audiences", &self.inner.expectations.audiences())
            .finish_non_exhaustive()
    }
}
