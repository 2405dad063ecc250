//! The typed conversation with a token endpoint: one token request, one outcome.

use crate::credentials::Credential;
use crate::error::{TokenError, TokenErrorKind};
use crate::http::{EndpointUrl, ExchangeError, ExchangeLimits, HttpExchange};
use crate::key::TokenKey;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response};
use jeton_proto::secret::wiped_bytes;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::retry_after::parse_retry_after;
use jeton_proto::wire::token_request::TokenRequestForm;
use jeton_proto::wire::token_response::{MalformedAnswer, TokenAnswer, TokenResponse, parse};
use std::sync::Arc;
use std::time::Duration;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A token endpoint and the client that asks it.
pub(crate) struct AuthorizationServer {
    pub(crate) token_endpoint: EndpointUrl,
    pub(crate) credential: Credential,
    pub(crate) exchange: Arc<dyn HttpExchange>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_timeout: Duration,
}

/// A granted token, with the time from which its life counts.
pub(crate) struct Granted {
    pub(crate) response: TokenResponse,
    pub(crate) sent_at: Timestamp,
}

impl AuthorizationServer {
    /// Sends one token request. The life of the token counts from when the request was *sent*.
    pub(crate) async fn request_token(
        &self,
        key: &TokenKey,
        within: Duration,
    ) -> Result<Granted, TokenError> {
        let request = self.request(key)?;
        let limits = ExchangeLimits { time: within.min(self.request_timeout), body_bytes: MAX_ANSWER_BYTES };
        let sent_at = self.clock.now();
        // Held to the limit here as well: an exchange that forgets it would hold everybody who waits.
        let exchanged = tokio::time::timeout(limits.time, self.exchange.exchange(request, limits)).await;
        let answer = exchanged.unwrap_or(Err(ExchangeError::TimedOut));
        let answer = answer.map_err(|fault| self.unreachable(fault))?;
        self.judge(&answer).map(|response| Granted { response, sent_at })
    }

    pub(crate) fn name(&self) -> String {
        self.token_endpoint.authority().to_owned()
    }

    fn request(&self, key: &TokenKey) -> Result<Request<Bytes>, TokenError> {
        let form = TokenRequestForm {
            scope: key.scope.as_ref(),
            resources: &key.resources,
            audience: key.audience.as_deref(),
            credential: self.credential.body(),
            extra: &key.extra,
        };
        let body = form.render().map_err(|error| TokenError::new(error.into()))?;
        let unbuildable = |what: String| self.unreachable(ExchangeError::Request(what));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.token_endpoint.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(wiped_bytes(body.expose().as_bytes().to_vec()))
            .map_err(|error| unbuildable(error.to_string()))?;
        let authorization = self.credential.header().map_err(|error| unbuildable(error.to_string()))?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// Judges an answer by its body (traps T15 and T16), but for a redirect, which has no body that counts.
    fn judge(&self, answer: &Response<Bytes>) -> Result<TokenResponse, TokenError> {
        let status = answer.status().as_u16();
        if answer.status().is_redirection() || answer.headers().contains_key("refresh") {
            return Err(TokenError::new(TokenErrorKind::Redirected { server: self.name(), status }));
        }
        let retry_after = self.retry_after(answer.headers().get(RETRY_AFTER));
        match parse(status, answer.body()) {
            Ok(TokenAnswer::Granted(response)) => Ok(response),
            Ok(TokenAnswer::Refused(refusal)) => Err(TokenError::new(TokenErrorKind::Refused {
                server: self.name(),
                client_id: self.credential.client_id.clone(),
                error: refusal.error,
                description: refusal.error_description,
                status,
            })
            .retry_after_of(retry_after)),
            Err(fault) => Err(self.malformed(fault, status).retry_after_of(retry_after)),
        }
    }

    fn retry_after(&self, value: Option<&HeaderValue>) -> Option<Duration> {
        let value = value?.to_str().ok()?;
        parse_retry_after(value, self.clock.now())
    }

    fn malformed(&self, fault: MalformedAnswer, status: u16) -> TokenError {
        TokenError::new(TokenErrorKind::Malformed { server: self.name(), fault, status })
    }

    fn unreachable(&self, fault: ExchangeError) -> TokenError {
        TokenError::new(TokenErrorKind::Unreachable { server: self.name(), fault })
    }
}
