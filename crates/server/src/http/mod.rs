//! The HTTP face of a token endpoint: routes, methods, sizes, and answers as RFC 6749 §5 wants them.

mod credential;
mod document;
mod head;
mod reply;

pub use document::Documents;
pub(crate) use reply::close_after;

use crate::counters::Counters;
use crate::endpoint::{IssuedToken, Limit, PresentedCredential, TokenCall, TokenEndpoint, TokenRefusal};
use crate::limits::Limits;
use crate::registry::SECRET_PREFIX;
use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use document::Route;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use jeton_proto::wire::error_response::{ErrorCode, printable};
use jeton_proto::wire::token_request::TokenRequest;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
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
/// | `/oauth/jwks` | GET, HEAD | the public keys (RFC 7517 §5) |
/// | `/.well-known/oauth-authorization-server` | GET, HEAD | the metadata (RFC 8414) |
/// | `/.well-known/openid-configuration` | GET, HEAD | the same (RFC 8414 §5) |
/// | `/healthz`, `/livez`, `/readyz` | GET, HEAD | whether the server is up, and ready |
///
/// When the issuer has a path, everything is found under it too, and the metadata where RFC 8414 §3.1 puts it.
#[derive(Debug)]
pub struct Face<E> {
    endpoint: E,
    documents: Documents,
    limits: Limits,
    counters: Arc<Counters>,
    draining: AtomicBool,
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
        Self { endpoint, documents, limits, counters: Arc::default(), draining: AtomicBool::new(false) }
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

    /// The bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets `/readyz` tell that no new work is wanted here.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        self.answer_and_tell(request, peer).await.0
    }

    pub(crate) async fn answer_and_tell<B>(
        &self,
        request: Request<B>,
        peer: SocketAddr,
    ) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let route = self.documents.route(request.uri().path());
        let readable = matches!(*request.method(), Method::GET | Method::HEAD);
        let unread = if request.body().is_end_stream() { BodyOutcome::Read } else { BodyOutcome::Refused };
        if let Err(reason) = head::check(&request) {
            return (self.refused_head(route, reason, peer), unread);
        }
        let answer = match route {
            Some(Route::Token) if request.method() == Method::POST => return self.token(request, peer).await,
            Some(Route::Token) => self.token_method_not_allowed(peer),
            Some(_) if !readable => reply::read_method_not_allowed(),
            Some(Route::Metadata) => self.documents.metadata(),
            Some(Route::Jwks) => self.documents.jwks(),
            Some(Route::Live) => reply::health(StatusCode::OK),
            Some(Route::Ready) => reply::health(self.readiness()),
            None => reply::not_found(),
        };
        (answer, unread)
    }

    async fn token<B>(&self, request: Request<B>, peer: SocketAddr) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let (head, body) = request.into_parts();
        let body = match tokio::time::timeout(self.limits.body_timeout, self.collect(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(refused)) => return (self.refused_body(refused, peer), BodyOutcome::Refused),
            Err(_) => return (self.refused_body(RefusedBody::Slow, peer), BodyOutcome::Refused),
        };
        let caught = catch_panic(self.token_for(&head.headers, &body, peer)).await;
        let answer = caught.unwrap_or_else(|Panicked| {
            let refusal = TokenRefusal::server_error("a panic while the request was answered");
            self.refuse(&refusal, None, peer)
        });
        (answer, BodyOutcome::Read)
    }

    async fn token_for(&self, headers: &HeaderMap, body: &[u8], peer: SocketAddr) -> Answer {
        let invalid_request = |text: String| TokenRefusal::new(ErrorCode::InvalidRequest, text);
        if !is_form(headers) {
            let refusal =
                invalid_request("the content type must be application/x-www-form-urlencoded".to_owned());
            return self.refuse(&refusal, None, peer);
        }
        let request = match TokenRequest::parse(body) {
            Ok(request) => request,
            Err(error) => return self.refuse(&invalid_request(error.to_string()), None, peer),
        };
        let credential = match credential::presented(headers, &request) {
            Ok(credential) => credential,
            Err(refusal) => return self.refuse(&refusal, request.client_id.as_deref(), peer),
        };
        let call = TokenCall { request: &request, credential: &credential, peer };
        match self.endpoint.answer(call).await {
            Ok(issued) => self.grant(&issued, &credential, peer),
            Err(refusal) => {
                let client_id = credential.id_and_secret().map(|(client_id, _)| client_id);
                self.refuse(&refusal, client_id.or(request.client_id.as_deref()), peer)
            }
        }
    }

    fn grant(&self, issued: &IssuedToken, credential: &PresentedCredential<'_>, peer: SocketAddr) -> Answer {
        self.counters.count_granted();
        tracing::info!(
            client_id = credential.id_and_secret().map(|(client_id, _)| shown(client_id)).as_deref(),
            scope = issued.scope.as_deref(),
            expires_in = issued.expires_in.as_secs(),
            %peer,
            "token granted"
        );
        reply::token(issued)
    }

    fn refuse(&self, refusal: &TokenRefusal, client_id: Option<&str>, peer: SocketAddr) -> Answer {
        match refusal.limit {
            Some(limit) => self.counters.count_limited(limit),
            None => self.counters.count_refused(&refusal.code),
        }
        if refusal.limit == Some(Limit::Failures) {
            // Told once by what slows them down: a line for each would be the work that is to be saved.
            return reply::refusal(refusal);
        }
        tracing::info!(
            client_id = client_id.map(shown).as_deref(),
            error = refusal.code.as_str(),
            description = &*refusal.description,
            detail = refusal.detail.as_deref().map(shown).as_deref(),
            %peer,
            "token refused"
        );
        reply::refusal(refusal)
    }

    /// The connection ends with the answer: who knows where the next request begins.
    fn refused_head(&self, route: Option<Route>, reason: &'static str, peer: SocketAddr) -> Answer {
        let mut answer = match route {
            Some(Route::Token) => {
                self.refuse(&TokenRefusal::new(ErrorCode::InvalidRequest, reason), None, peer)
            }
            Some(Route::Jwks | Route::Metadata | Route::Live | Route::Ready) | None => reply::bad_request(),
        };
        close_after(&mut answer);
        answer
    }

    fn refused_body(&self, refused: RefusedBody, peer: SocketAddr) -> Answer {
        let (status, description) = match refused {
            RefusedBody::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the request body is too long"),
            RefusedBody::Slow => (StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"),
            RefusedBody::Broken => (StatusCode::BAD_REQUEST, "the request body did not arrive whole"),
        };
        let mut answer = self.refuse(&TokenRefusal::new(ErrorCode::InvalidRequest, description), None, peer);
        *answer.status_mut() = status;
        close_after(&mut answer);
        answer
    }

    fn token_method_not_allowed(&self, peer: SocketAddr) -> Answer {
        let description = "the token endpoint takes POST requests alone";
        let mut answer = self.refuse(&TokenRefusal::new(ErrorCode::InvalidRequest, description), None, peer);
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

    /// The body, of which no byte over the limit is kept. What says that it is longer is refused unread.
    async fn collect<B>(&self, body: B) -> Result<Bytes, RefusedBody>
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

/// Why a body was not read to its end.
#[derive(Clone, Copy)]
enum RefusedBody {
    TooLong,
    Slow,
    Broken,
}

struct Panicked;

/// What `future` gives, unless it panics: a request that hits a fault must not take its neighbours down.
async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // After a panic the future is never polled again, so no state that was left half changed is seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// What the log shows of a text that the caller sent. A secret that was sent in the wrong parameter is not shown.
pub(crate) fn shown(text: &str) -> Cow<'static, str> {
    if text.contains(SECRET_PREFIX) {
        return Cow::Borrowed("(a client secret in the wrong place, not shown)");
    }
    Cow::Owned(printable(text))
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests;
