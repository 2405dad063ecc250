//! The guarded API: the guard crate's layer before a service, which at times refuses tokens that are good.

use crate::event::{Event, LineId};
use crate::journal::Journal;
use crate::weather::Weather;
use fastrand::Rng;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use jeton::TokenId;
use jeton_guard::{Guard, GuardService};
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::sleep;
use tower_layer::Layer as _;
use tower_service::Service;

/// Which call a request belongs to, and how often it was sent.
#[derive(Clone, Debug)]
pub struct CallTag {
    /// The call.
    pub call: u64,
    /// For which line it asks.
    pub line: LineId,
    /// How often it was sent so far.
    pub sent: Arc<AtomicU32>,
}

/// The API as its callers reach it.
#[derive(Clone)]
pub struct Api {
    guarded: GuardService<Orders>,
    journal: Arc<Journal>,
    weather: Arc<Weather>,
    random: Arc<Mutex<Rng>>,
}

/// What is behind the guard.
#[derive(Clone, Debug)]
pub struct Orders;

impl Api {
    /// An API behind `guard`.
    pub fn new(guard: &Guard, journal: Arc<Journal>, weather: Arc<Weather>, random: Rng) -> Self {
        let random = Arc::new(Mutex::new(random));
        Self { guarded: guard.layer().layer(Orders), journal, weather, random }
    }

    /// Whether the API takes a token that the guard takes; a fault is told when it does not.
    pub fn takes(&self, token: u32) -> bool {
        let draw = self.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let refusal = self.weather.refusal(token, draw);
        if let Some(kind) = refusal {
            self.journal.fault(kind);
        }
        refusal.is_none()
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(1..30))
    }
}

impl Service<Request<()>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let (Some(tag), Some(token)) = (request.extensions().get::<CallTag>().cloned(), bearer(&request))
        else {
            return Box::pin(ready(Ok(refused())));
        };
        // The layer hands the token over in the moment in which it calls.
        let token = self.journal.number_of(TokenId::of(token));
        self.journal.record(&Event::Given { call: tag.call, token });
        let times_sent = tag.sent.fetch_add(1, Ordering::Relaxed);
        let mut api = self.clone();
        Box::pin(async move {
            sleep(api.latency()).await;
            let response = if api.takes(token) { api.guarded.call(request).await? } else { refused() };
            sleep(api.latency()).await;
            match response.status() {
                // The layer rejects the token of the first answer in the moment in which it comes; the second is final.
                StatusCode::UNAUTHORIZED if times_sent == 0 => {
                    api.journal.record(&Event::Rejected { line: tag.line, token });
                }
                StatusCode::OK => api.journal.record(&Event::Accepted { line: tag.line, token }),
                _ => {}
            }
            Ok(response)
        })
    }
}

impl Service<Request<()>> for Orders {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

fn bearer(request: &Request<()>) -> Option<&str> {
    request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refused() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}
