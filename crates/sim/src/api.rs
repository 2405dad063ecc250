//! The guarded API: the guard crate's layer before a service, which at times refuses tokens that are good.

use crate::event::{Event, LineId};
use crate::journal::Journal;
use crate::usher::Usher;
use crate::weather::Weather;
use fastrand::Rng;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use jeton::TokenId;
use jeton_guard::{Guard, GuardService};
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
    usher: Arc<Usher>,
    seed: u64,
    /// The guard is asked by one at a time: those who wait for its keys would be woken in any order.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is behind the guard.
#[derive(Clone, Debug)]
pub struct Orders;

impl Api {
    /// An API behind `guard`.
    pub fn new(
        guard: &Guard,
        journal: Arc<Journal>,
        weather: Arc<Weather>,
        usher: Arc<Usher>,
        seed: u64,
    ) -> Self {
        let turn = Arc::default();
        Self { guarded: guard.layer().layer(Orders), journal, weather, usher, seed, turn }
    }

    /// Whether the API takes from `call` a token that the guard takes; a fault is told when it does not.
    pub fn takes(&self, token: u32, call: u64) -> bool {
        let refusal = self.weather.refusal(token, self.random_of(call).f64());
        if let Some(kind) = refusal {
            self.journal.fault(kind);
        }
        refusal.is_none()
    }

    /// Random numbers that depend on the call alone, and not on who else is there.
    fn random_of(&self, call: u64) -> Rng {
        Rng::with_seed(self.seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15))
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
            let mut random = api.random_of(tag.call.wrapping_add(u64::from(times_sent) << 40));
            let mut way = || sleep(Duration::from_millis(random.u64(1..30)));
            let (there, back) = (way(), way());
            api.usher.line_up(tag.call).await;
            there.await;
            api.usher.line_up(tag.call).await;
            let response = if api.takes(token, tag.call) {
                let _turn = Arc::clone(&api.turn).lock_owned().await;
                api.guarded.call(request).await?
            } else {
                refused()
            };
            back.await;
            api.usher.line_up(tag.call).await;
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
