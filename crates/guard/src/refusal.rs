//! Answers to requests that are not let through (RFC 6750 §3).

use crate::keys::KeysUnavailable;
use crate::revocations::RevocationsStale;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use jeton::Scope;
use jeton_proto::verification::Rejection;
use jeton_proto::wire::challenge::{BearerChallenge, BearerError};
use std::time::Duration;

/// Why a request is not let through. `Display` is for the log; the caller gets [`Refusal::to_response`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Authorization` of the scheme Bearer: 401 with a realm and no other word (RFC 6750 §3.1).
    #[error("no bearer token")]
    NoCredentials,
    /// The credentials cannot be read: 400 `invalid_request`.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The token is not good: 401 `invalid_token`.
    #[error("{0}")]
    InvalidToken(Rejection),
    /// The token is good, but lacks a scope: 403 `insufficient_scope`, naming the scope that is needed.
    #[error("the token lacks the scope \"{needed}\"")]
    InsufficientScope {
        /// What is needed.
        needed: Scope,
    },
    /// There are no keys to check the token with: 503 with `Retry-After`. A 401 would tell the caller that its token
    /// is bad, and make every caller fetch a new one from an issuer that is in trouble already.
    #[error(transparent)]
    KeysUnavailable(KeysUnavailable),
    /// It is not known which tokens were revoked lately, and the service would rather let nobody through: 503 with
    /// `Retry-After`. See [`WhenStale::RefuseAfter`](crate::WhenStale::RefuseAfter).
    #[error(transparent)]
    RevocationsStale(RevocationsStale),
}

impl Refusal {
    /// The answer, with an empty body.
    pub fn to_response<B: Default>(&self, realm: &str) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge(realm)
            && let Ok(challenge) = HeaderValue::try_from(challenge.to_string())
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(retry_after) = self.retry_after() {
            let whole_seconds = retry_after.as_millis().div_ceil(1000);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(whole_seconds).unwrap_or(u64::MAX)));
        }
        response
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoCredentials | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            Self::KeysUnavailable(_) | Self::RevocationsStale(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable(unavailable) => Some(unavailable.retry_after()),
            Self::RevocationsStale(stale) => Some(stale.retry_after()),
            Self::NoCredentials
            | Self::InvalidRequest(_)
            | Self::InvalidToken(_)
            | Self::InsufficientScope { .. } => None,
        }
    }

    fn challenge(&self, realm: &str) -> Option<BearerChallenge> {
        let challenge = BearerChallenge::new(realm);
        match self {
            Self::NoCredentials => Some(challenge),
            Self::InvalidRequest(reason) => Some(challenge.error(BearerError::InvalidRequest, *reason)),
            Self::InvalidToken(rejection) => {
                Some(challenge.error(BearerError::InvalidToken, rejection.description()))
            }
            Self::InsufficientScope { needed } => Some(
                challenge
                    .error(BearerError::InsufficientScope, "the token lacks a scope that is needed here")
                    .scope(needed.clone()),
            ),
            Self::KeysUnavailable(_) | Self::RevocationsStale(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_2_each_refusal_has_its_status_and_challenge() {
        let check = |refusal: Refusal, status: u16, challenge: &str| {
            let response: Response<String> = refusal.to_response("orders");
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[WWW_AUTHENTICATE], challenge);
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert!(response.body().is_empty());
        };
        check(Refusal::NoCredentials, 401, r#"Bearer realm="orders""#);
        check(
            Refusal::InvalidRequest("two tokens"),
            400,
            r#"Bearer realm="orders", error="invalid_request", error_description="two tokens""#,
        );
        check(
            Refusal::InvalidToken(Rejection::Expired { at: jeton::Timestamp::EPOCH }),
            401,
            r#"Bearer realm="orders", error="invalid_token", error_description="the token expired""#,
        );
        check(
            Refusal::InsufficientScope { needed: "b a".parse().unwrap() },
            403,
            r#"Bearer realm="orders", error="insufficient_scope", error_description="the token lacks a scope that is needed here", scope="a b""#,
        );
    }
}
