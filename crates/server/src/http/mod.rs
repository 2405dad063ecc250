//! The HTTP face of a token endpoint: routes, methods, sizes, and answers as RFC 6749 §5 wants them.

mod asked;
mod credential;
mod document;
mod feed;
mod head;
mod inquiry;
mod published_keys;
mod reply;

pub(crate) use asked::{Peer, RequestId};
pub use document::{Documents, MutualTls};
pub(crate) use head::check as check_head;
pub use published_keys::PublishedKeys;
pub(crate) use reply::{bytes_beside_token, close_after, push_number, push_text};

use crate::audit::{Audit, Event};
use crate::client_certificate::ClientCertificate;
use crate::counters::Counters;
use crate::endpoint::{IssuedToken, Limit, TokenCall, TokenEndpoint, TokenRefusal};
use crate::inquiry_counters::InquiryCounters;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::registry::SECRET_PREFIX;
use ::http::header::HeaderValue;
use ::http::request::Parts;
use ::http::{Method, Request, Response, StatusCode};
use asked::{Asked, Caller, RequestIds};
use bytes::{Bytes, BytesMut};
use document::Route;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use jeton_proto::issuance::Rule;
use jeton_proto::wire::error_response::{ErrorCode, MAX_ERROR_TEXT_BYTES, printable};
use jeton_proto::wire::token_request::TokenRequest;
use std::borrow::Cow;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

/// What a server answers with.
pub type Answer = Response<Full<Bytes>>;

/// Serves a token endpoint, its metadata and its keys over HTTP.
///
/// | path | method | |
/// |---|---|---|
/// | `/oauth/token` | POST | the token endpoint (RFC 6749 §3.2) |
/// | `/oauth/introspect` | POST | what is known of a token (RFC 7662, RFC 9701) |
/// | `/oauth/revoke` | POST | the end of a token (RFC 7009) |
/// | `/oauth/revocations` | GET, HEAD | the signed list of revoked tokens |
/// | `/oauth/jwks` | GET, HEAD | the public keys (RFC 7517 §5) |
/// | `/.well-known/oauth-authorization-server` | GET, HEAD | the metadata (RFC 8414) |
/// | `/.well-known/openid-configuration` | GET, HEAD | the same (RFC 8414 §5) |
/// | `/oauth/openapi.json` | GET, HEAD | the description of all this (`OpenAPI` 3.1) |
/// | `/healthz`, `/livez`, `/readyz` | GET, HEAD | whether the server is up, and ready |
///
/// When the issuer has a path, everything is found under it too, and the metadata where RFC 8414 §3.1 puts it.
#[derive(Debug)]
pub struct Face<E> {
    endpoint: E,
    documents: Documents,
    limits: Limits,
    counters: Arc<Counters>,
    inquiry_counters: Arc<InquiryCounters>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    audit: Option<Audit>,
    request_ids: RequestIds,
}

/// What became of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyOutcome {
    /// It was read, or there was none.
    Read,
    /// The caller may still be sending it.
    Refused,
}

impl<E: TokenEndpoint> Face<E> {
    /// A face before `endpoint`, that shows `documents`.
    pub fn new(endpoint: E, documents: Documents, limits: Limits) -> Self {
        Self {
            endpoint,
            documents,
            limits,
            counters: Arc::default(),
            inquiry_counters: Arc::default(),
            metrics: Arc::default(),
            draining: AtomicBool::new(false),
            audit: None,
            request_ids: RequestIds::new(),
        }
    }

    /// The same, which tells every token request to `audit`.
    #[must_use]
    pub fn with_audit(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// What stands behind the face.
    pub const fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// The same, which counts in `counters`.
    #[must_use]
    pub fn counting_in(self, counters: Arc<Counters>) -> Self {
        Self { counters, ..self }
    }

    /// The counts of answered token requests.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What is counted for the metrics.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The counts of answered requests about tokens.
    pub fn inquiry_counters(&self) -> &Arc<InquiryCounters> {
        &self.inquiry_counters
    }

    /// The bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The id of one more request, for what is answered beside this face.
    pub(crate) fn next_request_id(&self) -> RequestId {
        self.request_ids.next()
    }

    /// Lets `/readyz` tell that no new work is wanted here.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers one request. Every answer has an id, by which the audit log knows the request, in `X-Request-Id`.
    pub async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let (head, body) = request.into_parts();
        let body = pin!(body);
        self.answer_and_tell(&head, body, &peer.into()).await.0
    }

    /// The same for a request in its parts, which are not moved: what waits for a request is kept small.
    pub(crate) async fn answer_and_tell<B>(
        &self,
        head: &Parts,
        body: Pin<&mut B>,
        peer: &Peer,
    ) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let asked = Asked::new(peer, self.request_ids.next());
        let (mut answer, body) = self.answer_to(head, body, &asked).await;
        asked.id.write_to(&mut answer);
        (answer, body)
    }

    async fn answer_to<B>(&self, head: &Parts, body: Pin<&mut B>, asked: &Asked<'_>) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let route = self.documents.route(head.uri.path());
        let readable = matches!(head.method, Method::GET | Method::HEAD);
        let unread = if body.is_end_stream() { BodyOutcome::Read } else { BodyOutcome::Refused };
        if let Err(reason) = head::check(head.version, &head.headers) {
            return (self.refused_head(route, reason, asked), unread);
        }
        let answer = match route {
            Some(Route::Token) if head.method == Method::POST => {
                return self.token(head, body, asked).await;
            }
            Some(Route::Token) => self.token_method_not_allowed(asked),
            // Boxed, as the next one is: a token request need not have the room that they need.
            Some(Route::Inquiry(inquiry)) => {
                return Box::pin(self.inquire(inquiry, head, body, asked)).await;
            }
            Some(_) if !readable => reply::read_method_not_allowed(),
            Some(Route::Metadata) => self.documents.metadata(),
            Some(Route::Jwks) => self.documents.jwks(&head.headers),
            Some(Route::Revocations) => Box::pin(self.revocations(head.uri.query(), &head.headers)).await,
            Some(Route::Description) => Documents::description(),
            Some(Route::Live) => reply::health(StatusCode::OK),
            Some(Route::Ready) => reply::health(self.readiness()),
            None => reply::not_found(),
        };
        (answer, unread)
    }

    async fn token<B>(&self, head: &Parts, body: Pin<&mut B>, asked: &Asked<'_>) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(refused) => {
                let answer = self.refuse(&refused.refusal(), Caller::default(), asked);
                return (refused.finish(answer), BodyOutcome::Refused);
            }
        };
        let answering = pin!(self.token_for(head, &body, asked));
        let answer = catch_panic(answering).await.unwrap_or_else(|Panicked| {
            let refusal = TokenRefusal::server_error("a panic while the request was answered");
            self.refuse(&refusal, Caller::default(), asked)
        });
        (answer, BodyOutcome::Read)
    }

    async fn token_for(&self, head: &Parts, body: &[u8], asked: &Asked<'_>) -> Answer {
        let invalid_request =
            |rule, text: String| TokenRefusal::new(ErrorCode::InvalidRequest, text).by(rule);
        if !head::is_form(&head.headers) {
            let refusal = invalid_request(
                Rule::ContentType,
                "the content type must be application/x-www-form-urlencoded".to_owned(),
            );
            return self.refuse(&refusal, Caller::default(), asked);
        }
        let request = match TokenRequest::parse(body) {
            Ok(request) => request,
            Err(error) => {
                let refusal = invalid_request(Rule::FormMalformed, error.to_string());
                return self.refuse(&refusal, Caller::default(), asked);
            }
        };
        let credential = match credential::presented(&head.headers, &request) {
            Ok(credential) => credential,
            Err(refusal) => {
                let caller = Caller { client_id: request.client_id.as_deref(), method: None };
                return self.refuse(&refusal, caller, asked);
            }
        };
        let certificate = head.extensions.get::<Arc<ClientCertificate>>().map(Arc::as_ref);
        let call =
            TokenCall { request: &request, credential: &credential, peer: asked.peer.address, certificate };
        let caller = Caller::of(&request, &credential);
        match self.endpoint.answer(call).await {
            Ok(issued) => self.grant(issued, asked),
            Err(refusal) => self.refuse(&refusal, caller, asked),
        }
    }

    fn grant(&self, issued: IssuedToken, asked: &Asked<'_>) -> Answer {
        let took = asked.elapsed();
        self.counters.count_granted(Some(issued.authentication.method));
        self.metrics.time_granted(took);
        // The audit log has each of them; a line in this log too would cost as much as a good part of the token.
        if tracing::enabled!(tracing::Level::DEBUG) {
            log_grant(&issued, asked);
        }
        if let Some(audit) = &self.audit {
            let record = audit.record(Event::TokenGranted);
            audit.add(&asked.granted(record, &issued, took));
        }
        reply::token(issued)
    }

    #[cold]
    fn refuse(&self, refusal: &TokenRefusal, caller: Caller<'_>, asked: &Asked<'_>) -> Answer {
        self.counters.count_refused(&refusal.code, refusal.limit, caller.method);
        self.metrics.time_refused(asked.elapsed());
        self.tell_refusal(Event::TokenRefused, "token refused", refusal, caller, asked)
    }

    /// Tells log and audit log of a refusal, and answers it.
    fn tell_refusal(
        &self,
        event: Event,
        message: &'static str,
        refusal: &TokenRefusal,
        caller: Caller<'_>,
        asked: &Asked<'_>,
    ) -> Answer {
        let client_id = caller.client_id.map(shown);
        let detail = refusal.detail.as_deref().map(shown);
        // What slows failures down tells of it once: a line for each would be the work that is to be saved.
        if refusal.limit != Some(Limit::Failures) {
            tracing::info!(
                client_id = client_id.as_deref(),
                error = refusal.code.as_str(),
                rule = refusal.rule.id(),
                description = &*refusal.description,
                detail = detail.as_deref(),
                peer = %asked.peer.address,
                request_id = asked.id.as_str(),
                "{message}"
            );
        }
        if let Some(audit) = &self.audit {
            let record = audit.record(event);
            let caller = Caller { client_id: client_id.as_deref(), ..caller };
            let reason = detail.as_deref().unwrap_or(&refusal.description);
            audit.add(&asked.refused(record, refusal, reason, caller, asked.elapsed()));
        }
        reply::refusal(refusal)
    }

    /// The connection ends with the answer: who knows where the next request begins.
    fn refused_head(&self, route: Option<Route>, reason: &'static str, asked: &Asked<'_>) -> Answer {
        let mut answer = match route {
            Some(Route::Token) => {
                let refusal = TokenRefusal::new(ErrorCode::InvalidRequest, reason).by(Rule::HeadMalformed);
                self.refuse(&refusal, Caller::default(), asked)
            }
            Some(Route::Inquiry(inquiry)) => {
                let refusal = TokenRefusal::new(ErrorCode::InvalidRequest, reason).by(Rule::HeadMalformed);
                self.refuse_inquiry(inquiry, &refusal, Caller::default(), asked)
            }
            Some(
                Route::Jwks
                | Route::Revocations
                | Route::Metadata
                | Route::Description
                | Route::Live
                | Route::Ready,
            )
            | None => reply::bad_request(),
        };
        close_after(&mut answer);
        answer
    }

    fn token_method_not_allowed(&self, asked: &Asked<'_>) -> Answer {
        let description = "the token endpoint takes POST requests alone";
        let refusal = TokenRefusal::new(ErrorCode::InvalidRequest, description).by(Rule::MethodNotAllowed);
        let mut answer = self.refuse(&refusal, Caller::default(), asked);
        reply::allow(&mut answer, HeaderValue::from_static("POST"));
        answer
    }

    fn readiness(&self) -> StatusCode {
        if self.endpoint.is_ready() && !self.draining.load(Ordering::Relaxed) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// The body, if it comes in time.
    async fn read<B>(&self, body: B) -> Result<Bytes, RefusedBody>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error,
    {
        let mut collecting = pin!(self.collect(body));
        // Nearly every body came with its head, and needs no timer.
        let here = poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await;
        if let Poll::Ready(body) = here {
            return body;
        }
        let in_time = tokio::time::timeout(self.limits.body_timeout, collecting).await;
        in_time.unwrap_or(Err(RefusedBody::Slow))
    }

    /// The body, of which no byte over the limit is kept. What says that it is longer is refused unread.
    pub(crate) async fn collect<B>(&self, body: B) -> Result<Bytes, RefusedBody>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error,
    {
        let limit = self.limits.max_body_bytes;
        if body.size_hint().lower() > limit as u64 {
            return Err(RefusedBody::TooLong);
        }
        let mut body = pin!(body);
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // Trailers say nothing that matters here.
            let Ok(data) = frame.map_err(|_| RefusedBody::Broken)?.into_data() else {
                continue;
            };
            if first.len().max(joined.len()) + data.len() > limit {
                return Err(RefusedBody::TooLong);
            }
            // Nearly every body comes in one piece, which is used where it lies.
            if first.is_empty() {
                first = data;
            } else {
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }
}

#[cold]
fn log_grant(issued: &IssuedToken, asked: &Asked<'_>) {
    tracing::debug!(
        client_id = issued.granted.client_id(),
        method = issued.authentication.method.as_str(),
        credential = issued.authentication.credential.as_deref(),
        scope = issued.granted.scope(),
        expires_in = issued.expires_in.as_secs(),
        peer = %asked.peer.address,
        request_id = asked.id.as_str(),
        "token granted"
    );
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RefusedBody {
    /// It is longer than it may be.
    TooLong,
    /// It took too long.
    Slow,
    /// It ended before its end.
    Broken,
}

impl RefusedBody {
    fn refusal(self) -> TokenRefusal {
        let (rule, description) = match self {
            Self::TooLong => (Rule::BodyTooLong, "the request body is too long"),
            Self::Slow => (Rule::BodySlow, "the request body did not arrive in time"),
            Self::Broken => (Rule::BodyBroken, "the request body did not arrive whole"),
        };
        TokenRefusal::new(ErrorCode::InvalidRequest, description).by(rule)
    }

    /// The answer with the status that says it best. The connection ends with it.
    fn finish(self, mut answer: Answer) -> Answer {
        *answer.status_mut() = match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        close_after(&mut answer);
        answer
    }
}

#[derive(Debug)]
pub(crate) struct Panicked;

/// What `future` gives, unless it panics: a request, or a step of a worker, that hits a fault must not take its neighbours down.
pub(crate) async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // After a panic the future is never polled again, so no state that was left half changed is seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// What the log shows of a text that the caller sent. A secret or a token that was sent in the wrong parameter is not
/// shown.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.contains(SECRET_PREFIX) {
        return Cow::Borrowed("(a client secret in the wrong place, not shown)");
    }
    // What every JWT begins with, once it is encoded.
    if text.contains("eyJ") && text.contains('.') {
        return Cow::Borrowed("(a token in the wrong place, not shown)");
    }
    let clean = text.len() <= MAX_ERROR_TEXT_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if clean { Cow::Borrowed(text) } else { Cow::Owned(printable(text)) }
}

#[cfg(test)]
mod tests;
