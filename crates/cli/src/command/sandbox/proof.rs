//! The proof: steps that are done with the real client over real sockets, and judged by the server's own counters.

mod guarding;
mod minting;
mod refusal;
mod renewal;

use super::api::READ_SCOPE;
use super::stage::Stage;
use crate::exchange;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response};
use jeton::bearer::BearerLayer;
use jeton::http::{ExchangeLimits, HttpExchange, TlsRoots};
use jeton::{TokenHandle, TokenKey, TokenManager};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _};

/// The longest time for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Bounds of one call.
const CALL_LIMITS: ExchangeLimits = ExchangeLimits { time: Duration::from_secs(10), body_bytes: 64 * 1024 };

/// A step that was done, with what was measured.
#[derive(Debug)]
pub(super) struct Step {
    /// One word.
    pub(super) name: &'static str,
    /// Whether it was proved.
    pub(super) ok: bool,
    /// What was measured, for people.
    pub(super) text: String,
    /// What was measured, for programs.
    pub(super) facts: Value,
}

impl Step {
    /// The form for people.
    pub(super) fn line(&self, colours: bool) -> String {
        let (verdict, colour) = if self.ok { ("ok    ", "\x1b[32m") } else { ("FAILED", "\x1b[31m") };
        let Self { name, text, .. } = self;
        if colours {
            format!("{colour}{verdict}\x1b[0m  {name:<8}  {text}")
        } else {
            format!("{verdict}  {name:<8}  {text}")
        }
    }

    /// The form for programs.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({ "step": self.name, "ok": self.ok });
        if let (Some(fields), Some(facts)) = (document.as_object_mut(), self.facts.as_object()) {
            fields.extend(facts.clone());
        }
        document
    }
}

/// The proof under way.
pub(super) struct Proof<'a> {
    stage: &'a Stage,
    callers: usize,
    caller: Caller,
    handle: TokenHandle,
    next: Option<Part>,
}

#[derive(Clone, Copy)]
enum Part {
    Mint,
    Reuse,
    Renewal,
    Refusal,
    Guard,
}

impl Part {
    const fn following(self) -> Option<Self> {
        match self {
            Self::Mint => Some(Self::Reuse),
            Self::Reuse => Some(Self::Renewal),
            Self::Renewal => Some(Self::Refusal),
            Self::Refusal => Some(Self::Guard),
            Self::Guard => None,
        }
    }
}

impl<'a> Proof<'a> {
    /// A proof with this many concurrent callers, whose client has nothing in its cache.
    pub(super) fn begin(stage: &'a Stage, callers: usize) -> Result<Self, Failure> {
        let handle = reading_handle(&stage.manager()?)?;
        let caller =
            Caller { exchange: exchange::exchange(&TlsRoots::Platform)?, url: stage.orders_url.clone() };
        Ok(Self { stage, callers, caller, handle, next: Some(Part::Mint) })
    }

    /// Does the next step; `None` when all are done.
    pub(super) async fn next_step(&mut self) -> Option<Result<Step, Failure>> {
        let part = self.next?;
        self.next = part.following();
        let step = tokio::time::timeout(STEP_TIMEOUT, self.step(part)).await;
        Some(step.unwrap_or_else(|_elapsed| {
            let message = format!("a step of the proof took more than {} s", STEP_TIMEOUT.as_secs());
            Err(Failure::new(ExitCode::Other, message))
        }))
    }

    async fn step(&self, part: Part) -> Result<Step, Failure> {
        match part {
            Part::Mint => minting::mint(self).await,
            Part::Reuse => Ok(minting::reuse(self)),
            Part::Renewal => renewal::renew(self).await,
            Part::Refusal => refusal::replace(self).await,
            Part::Guard => guarding::guard(self).await,
        }
    }

    /// How many token requests the server has answered.
    fn token_requests(&self) -> u64 {
        self.stage.counters.values().requests()
    }

    /// Lets all callers call the API at the same time.
    async fn call_together(&self) -> Result<Together, Failure> {
        let start = Arc::new(Barrier::new(self.callers));
        let mut calls = JoinSet::new();
        for _ in 0..self.callers {
            let (caller, handle, start) = (self.caller.clone(), self.handle.clone(), Arc::clone(&start));
            calls.spawn(async move {
                start.wait().await;
                let began = Instant::now();
                (caller.call(handle).await, began.elapsed())
            });
        }
        let mut together = Together::default();
        while let Some(ended) = calls.join_next().await {
            let (status, took) = ended
                .map_err(|error| Failure::new(ExitCode::Other, format!("a caller was cut off: {error}")))?;
            together.good += usize::from(status? == 200);
            together.slowest = together.slowest.max(took);
        }
        Ok(together)
    }
}

/// Calls the API as an application does.
#[derive(Clone)]
struct Caller {
    exchange: Arc<dyn HttpExchange>,
    url: String,
}

impl Caller {
    /// Reads the orders through the bearer layer; the status.
    async fn call(&self, handle: TokenHandle) -> Result<u16, Failure> {
        let service =
            BearerLayer::new(handle).layer(exchange::service(Arc::clone(&self.exchange), CALL_LIMITS));
        let answer = service.oneshot(self.request(Method::GET)?).await;
        Ok(answer.map_err(|error| failed(&error))?.status().as_u16())
    }

    /// Calls without the bearer layer, with this `Authorization` or none.
    async fn call_bare(
        &self,
        method: Method,
        authorization: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        let mut request = self.request(method)?;
        if let Some(text) = authorization {
            let value = HeaderValue::from_str(text).map_err(|error| failed(&error))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.exchange.exchange(request, CALL_LIMITS).await.map_err(|error| failed(&error))
    }

    fn request(&self, method: Method) -> Result<Request<Bytes>, Failure> {
        let request = Request::builder().method(method).uri(&self.url).body(Bytes::new());
        request.map_err(|error| failed(&error))
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::of(ExitCode::Other, error)
}

/// How concurrent calls ended.
#[derive(Clone, Copy, Debug, Default)]
struct Together {
    /// How many were answered with 200.
    good: usize,
    /// How long the slowest took.
    slowest: Duration,
}

/// What is asked for in all steps: no more than reading wants (R4.6).
fn reading_handle(manager: &TokenManager) -> Result<TokenHandle, Failure> {
    let key = TokenKey::scope(READ_SCOPE).map_err(|error| failed(&error))?;
    manager.handle(&key).map_err(|error| Failure::from(&error))
}

/// `1 token request`, `2 token requests`.
fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 100_000.0).round() / 100.0
}
