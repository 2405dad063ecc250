//! The typed conversation with a token endpoint: one token request, one outcome.

use crate::credentials::{Authentication, Credential};
use crate::error::{TokenError, TokenErrorKind};
use crate::http::{EndpointUrl, ExchangeError, ExchangeLimits, HttpExchange};
use crate::key::TokenKey;
use bytes::Bytes;
use http::header::{ACCEPT, AGE, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response};
use jeton_proto::secret::wiped_bytes;
use jeton_proto::skew::{Skew, parse_date};
use jeton_proto::time::{Clock, Moment, Timestamp};
use jeton_proto::wire::retry_after::parse_retry_after;
use jeton_proto::wire::token_request::TokenRequestForm;
use jeton_proto::wire::token_response::{ErrorResponse, MalformedAnswer, TokenAnswer, TokenResponse, parse};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A token endpoint and the client that asks it.
pub(crate) struct AuthorizationServer {
    pub(crate) token_endpoint: EndpointUrl,
    pub(crate) client_id: String,
    pub(crate) exchange: Arc<dyn HttpExchange>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_timeout: Duration,
    skew: Mutex<Option<Skew>>,
}

/// A granted token, with the time from which its life counts.
pub(crate) struct Granted {
    pub(crate) response: TokenResponse,
    pub(crate) sent: Moment,
    /// How long the answer had been kept by a cache on the way (RFC 9111 §5.1), which ought to be nothing.
    pub(crate) age: Duration,
}

impl AuthorizationServer {
    pub(crate) fn new(
        token_endpoint: EndpointUrl,
        client_id: String,
        exchange: Arc<dyn HttpExchange>,
        clock: Arc<dyn Clock>,
        request_timeout: Duration,
    ) -> Self {
        Self { token_endpoint, client_id, exchange, clock, request_timeout, skew: Mutex::new(None) }
    }

    /// Sends one token request. The life of the token counts from when the request was *sent*.
    pub(crate) async fn request_token(
        &self,
        key: &TokenKey,
        credential: &Credential,
        within: Duration,
    ) -> Result<Granted, TokenError> {
        let authentication = credential.authentication(self.now());
        let authentication = authentication.map_err(|error| self.unbuildable(error.to_string()))?;
        let request = self.request(key, credential, &authentication)?;
        let limits = ExchangeLimits { time: within.min(self.request_timeout), body_bytes: MAX_ANSWER_BYTES };
        let sent = self.clock.moment();
        // Held to the limit here as well: an exchange that forgets it would hold everybody who waits.
        let exchanged = tokio::time::timeout(limits.time, self.exchange.exchange(request, limits)).await;
        let answer = exchanged.unwrap_or(Err(ExchangeError::TimedOut));
        let answer = answer.map_err(|fault| self.unreachable(fault))?;
        self.learn_skew(answer.headers(), sent);
        let age = seconds_of(answer.headers(), AGE);
        let judged = self.judge(&answer, |refusal| TokenErrorKind::Refused {
            server: self.name(),
            client_id: self.client_id.clone(),
            error: credential.code_unless_repeated(&authentication, refusal.error),
            description: refusal
                .error_description
                .map(|text| credential.unless_repeated(&authentication, text)),
            status: answer.status().as_u16(),
        });
        judged.map(|response| Granted { response, sent, age })
    }

    /// How far the server's clock is ahead of ours, as its last answer with a `Date` told.
    pub(crate) fn skew(&self) -> Option<Skew> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_skew(&self, headers: &HeaderMap, sent: Moment) {
        let answered_at = self.clock.now();
        let observed = text_of(headers, DATE).and_then(|date| Skew::observe(date, sent.wall(), answered_at));
        let Some(observed) = observed else { return };
        let before = self.skew.lock().unwrap_or_else(PoisonError::into_inner).replace(observed);
        if observed.is_worth_a_warning() && !before.is_some_and(|before| before.is_worth_a_warning()) {
            tracing::warn!(server = %self.name(), seconds = observed.at_least_seconds(),
                "the authorization server's clock and this machine's differ; tokens may be refused as expired or not yet valid");
        }
    }

    pub(crate) fn name(&self) -> String {
        self.token_endpoint.authority().to_owned()
    }

    fn request(
        &self,
        key: &TokenKey,
        credential: &Credential,
        authentication: &Authentication,
    ) -> Result<Request<Bytes>, TokenError> {
        let form = TokenRequestForm {
            scope: key.scope.as_ref(),
            resources: &key.resources,
            audience: key.audience.as_deref(),
            credential: credential.body(authentication),
            extra: &key.extra,
        };
        let body = form.render().map_err(|error| TokenError::new(error.into()))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.token_endpoint.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(wiped_bytes(body.expose().as_bytes().to_vec()))
            .map_err(|error| self.unbuildable(error.to_string()))?;
        if let Some(authorization) = &authentication.header {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(identity) = &authentication.identity {
            request.extensions_mut().insert(identity.clone());
        }
        Ok(request)
    }

    /// Judges an answer by its body (traps T15 and T16), but for a redirect, which has no body that counts.
    fn judge(
        &self,
        answer: &Response<Bytes>,
        refused: impl FnOnce(ErrorResponse) -> TokenErrorKind,
    ) -> Result<TokenResponse, TokenError> {
        let status = answer.status().as_u16();
        if answer.status().is_redirection() || answer.headers().contains_key("refresh") {
            return Err(TokenError::new(TokenErrorKind::Redirected { server: self.name(), status }));
        }
        let retry_after = self.retry_after(answer.headers());
        match parse(status, answer.body()) {
            Ok(TokenAnswer::Granted(response)) => Ok(response),
            Ok(TokenAnswer::Refused(refusal)) => {
                Err(TokenError::new(refused(refusal)).retry_after_of(retry_after))
            }
            Err(fault) => Err(self.malformed(fault, status).retry_after_of(retry_after)),
        }
    }

    /// A date is taken against the `Date` of the same answer where there is one: what our own clock is off by must not
    /// become a pause, nor the lack of one.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = text_of(headers, RETRY_AFTER)?;
        let now = text_of(headers, DATE).and_then(parse_date).unwrap_or_else(|| self.now());
        parse_retry_after(value, now)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn malformed(&self, fault: MalformedAnswer, status: u16) -> TokenError {
        TokenError::new(TokenErrorKind::Malformed { server: self.name(), fault, status })
    }

    fn unbuildable(&self, what: String) -> TokenError {
        self.unreachable(ExchangeError::Request(what))
    }

    fn unreachable(&self, fault: ExchangeError) -> TokenError {
        TokenError::new(TokenErrorKind::Unreachable { server: self.name(), fault })
    }
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn seconds_of(headers: &HeaderMap, name: HeaderName) -> Duration {
    let seconds = text_of(headers, name).and_then(|value| value.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}
