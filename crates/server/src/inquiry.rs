//! What the issuer tells of its tokens, and how it revokes them.

use crate::endpoint::{
    Introspected, RevocationEffect, RevocationFeedPage, Revoked, TokenInquiry, TokenRefusal,
};
use crate::issuer::Issuer;
use crate::keyring::Keys;
use crate::revocations::{Feed, NoPage, RevocationWriter, Revocations, SignedPage, Unavailable};
use crate::store::{StoreLocation, WatchError, Writability};
use crate::workers::Workers;
use jeton_proto::introspection::{self, InactiveReason, Standing};
use jeton_proto::issuance::Rule;
use jeton_proto::jose::access_token::{AccessTokenSigner, VerifiedClaims};
use jeton_proto::revocation::{self, FeedPosition, ShareUsed};
use jeton_proto::time::Clock;
use jeton_proto::verification::{MAX_CLOCK_SKEW, check_times, recognize};
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::introspection::{AnswerForm, IntrospectionAnswer};
use std::sync::Arc;
use std::time::Duration;

/// When a client that has used its share is to come again. What is over leaves the list once in ten minutes.
const RETRY_SHARE_AFTER: Duration = Duration::from_mins(1);

/// What the issuer needs for it beside its keys and clients.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) revocations: Arc<Revocations>,
    /// Whether what this server writes to the store arrives there.
    pub(crate) writability: Writability,
    writer: RevocationWriter,
    feed: Feed,
}

impl Desk {
    /// Opens a connection for the writer.
    pub(crate) fn open(
        location: &StoreLocation,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
        workers: &Workers,
        writability: Writability,
    ) -> Result<Self, WatchError> {
        let store = writability.noting(location.open()?);
        let writer = RevocationWriter::start(store, Arc::clone(&revocations), clock, workers)?;
        Ok(Self { revocations, writability, writer, feed: Feed::default() })
    }
}

impl Issuer {
    /// Answers of the introspection endpoint (RFC 7662).
    pub(crate) async fn introspected(
        &self,
        inquiry: TokenInquiry<'_>,
        form: AnswerForm,
    ) -> Result<Introspected, TokenRefusal> {
        let caller = self.authenticate(&inquiry.call).await?.0.client;
        let claims = self.active(inquiry.token.expose()).and_then(|claims| {
            let standing = self.desk.revocations.standing(claims.jwt_id());
            introspection::decide(&claims, standing, &caller).map(|()| claims)
        });
        let answer = claims.as_ref().map_or(IntrospectionAnswer::Inactive, IntrospectionAnswer::Active);
        let caller = &caller.settings().client_id;
        let body = match form {
            AnswerForm::Json => answer.to_json().to_string(),
            AnswerForm::Jwt => answer
                .sign(self.own_signer(&self.keyring.keys())?.key(), &self.url, caller, self.clock.now())
                .map_err(|error| TokenRefusal::server_error(error.to_string()))?,
        };
        Ok(Introspected {
            caller: caller.clone(),
            form,
            body: body.into(),
            inactive: claims.err().map(|reason| reason.to_string()),
        })
    }

    /// Answers of the revocation endpoint (RFC 7009).
    pub(crate) async fn revoked(&self, inquiry: TokenInquiry<'_>) -> Result<Revoked, TokenRefusal> {
        let client = self.authenticate(&inquiry.call).await?.0.client;
        let caller = client.settings().client_id.clone();
        let recognized = recognize(inquiry.token.expose(), self.keyring.keys().verification(), &self.url);
        let claims = match recognized {
            Ok(claims) => claims,
            // RFC 7009 §2.2: what is no token of this server is as good as revoked.
            Err(rejection) => {
                return Ok(Revoked { caller, effect: RevocationEffect::Nothing(rejection.to_string()) });
            }
        };
        // One that a guard may still take, or that this server would not take yet, is worth revoking.
        if self.clock.now() >= claims.expires_at().saturating_add(MAX_CLOCK_SKEW) {
            let reason = format!("the token expired at {}", claims.expires_at());
            return Ok(Revoked { caller, effect: RevocationEffect::Nothing(reason) });
        }
        revocation::decide(&claims, &client).map_err(|not| {
            TokenRefusal::new(
                ErrorCode::UnauthorizedClient,
                "the client may not revoke this token: it was issued to another client",
            )
            .by(Rule::TokenOfOther)
            .with_detail(not.to_string())
        })?;
        let effect = match self.desk.revocations.standing(claims.jwt_id()) {
            Standing::Revoked => RevocationEffect::RevokedBefore,
            Standing::Standing => {
                if !revocation::may_revoke_all(&client) {
                    self.desk.revocations.has_room_for(&caller).map_err(share_used)?;
                }
                let written = self.desk.writer.revoke(claims.jwt_id(), claims.expires_at(), &caller).await;
                written.map_err(unavailable)?;
                RevocationEffect::Revoked { jwt_id: claims.jwt_id().to_owned() }
            }
        };
        Ok(Revoked { caller, effect })
    }

    /// The page of the feed for a follower at this position.
    pub(crate) async fn feed_page(&self, position: FeedPosition) -> Result<RevocationFeedPage, TokenRefusal> {
        let mut found = self.signed_page(position)?;
        if found.is_none() {
            // Another instance told of a change that this one has not read yet.
            self.authenticator.watch.look_again().await;
            found = self.signed_page(position)?;
        }
        // Where that does not help, the store is one from before that change, and everything is told anew.
        let found =
            found.map_or_else(|| self.signed_page(FeedPosition::default()), |found| Ok(Some(found)))?;
        let SignedPage { jwt, tag } =
            found.ok_or_else(|| TokenRefusal::server_error("the list of revoked tokens has no beginning"))?;
        Ok(RevocationFeedPage { jwt, tag })
    }

    /// `None`: no such change was seen yet.
    fn signed_page(&self, position: FeedPosition) -> Result<Option<SignedPage>, TokenRefusal> {
        let keys = self.keyring.keys();
        let (key, now) = (self.own_signer(&keys)?.key(), self.clock.now());
        match self.desk.feed.page(&self.desk.revocations, position, key, &self.url, now) {
            Ok(page) => Ok(Some(page)),
            Err(NoPage::Ahead) => Ok(None),
            Err(NoPage::Unsigned(error)) => Err(TokenRefusal::server_error(error.to_string())),
        }
    }

    /// What signs what is no access token.
    fn own_signer<'k>(&self, keys: &'k Keys) -> Result<&'k AccessTokenSigner, TokenRefusal> {
        let signer = keys.signer(self.default_algorithm, self.clock.now());
        signer.ok_or_else(|| TokenRefusal::server_error("there is no key to sign with"))
    }

    fn active(&self, token: &str) -> Result<VerifiedClaims, InactiveReason> {
        let claims = recognize(token, self.keyring.keys().verification(), &self.url)?;
        check_times(&claims, Duration::ZERO, self.clock.now())?;
        Ok(claims)
    }
}

/// RFC 7009 §2.2.1 has 503 for a token that still exists, and may be revoked later.
fn share_used(used: ShareUsed) -> TokenRefusal {
    TokenRefusal {
        retry_after: Some(RETRY_SHARE_AFTER),
        ..TokenRefusal::new(
            ErrorCode::TemporarilyUnavailable,
            "the client has revoked so many tokens that others would have no room; this one is still good, try again when earlier ones have expired",
        )
        .by(Rule::RevocationShareUsed)
        .with_detail(used.to_string())
    }
}

fn unavailable(unavailable: Unavailable) -> TokenRefusal {
    TokenRefusal {
        retry_after: Some(unavailable.retry_after()),
        ..TokenRefusal::new(
            ErrorCode::TemporarilyUnavailable,
            "the token could not be revoked now, and may still be good; try again",
        )
        .by(Rule::RevocationNotStored)
        .with_detail(unavailable.to_string())
    }
}

#[cfg(test)]
mod tests;
