//! The token endpoint of a scenario, behind the client's exchange trait.

use super::log::{Log, Request as Sent, RequestEnd};
use super::shared::Gate;
use super::step::{Behaviour, Does, Failure};
use crate::clock::{WorldClock, millis};
use base64::Engine as _;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

pub(super) const CLIENT_ID: &str = "billing";
pub(super) const FIRST_SECRET: &str = "canary-first-secret";
const TOKEN: &str = "token-";
/// A token that has less than this left is not given out a second time: `expires_in` is told in whole seconds.
const LEAST_REISSUED_MS: u64 = 1_000;

/// The endpoint.
pub(super) struct Server {
    clock: Arc<WorldClock>,
    log: Arc<Mutex<Log>>,
    state: Mutex<State>,
}

struct State {
    behaviour: Behaviour,
    latency: Duration,
    secret: String,
    /// When each token dies, in true time; the first is token 1.
    deaths_ms: Vec<u64>,
    last_of_scope: BTreeMap<Arc<str>, u64>,
}

/// One manager's way to it.
pub(super) struct Route {
    pub(super) server: Arc<Server>,
    pub(super) manager: u32,
    pub(super) gate: Arc<Gate>,
}

/// What becomes of a request that has arrived.
enum Reply {
    Answer(Response<Bytes>, RequestEnd),
    Broken(ExchangeError, &'static str),
    Silence,
    Panic,
}

impl Server {
    pub(super) fn new(
        behaviour: Behaviour,
        latency: Duration,
        clock: Arc<WorldClock>,
        log: Arc<Mutex<Log>>,
    ) -> Arc<Self> {
        let state = State {
            behaviour,
            latency,
            secret: FIRST_SECRET.to_owned(),
            deaths_ms: Vec::new(),
            last_of_scope: BTreeMap::new(),
        };
        Arc::new(Self { clock, log, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    pub(super) fn answer_after(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Takes this secret from now on, and no other.
    pub(super) fn take_secret(&self, secret: String) {
        self.state().secret = secret;
    }

    /// When the token dies, in milliseconds of true time; `None` when it was never granted.
    pub(super) fn death_of(&self, token: u64) -> Option<u64> {
        let index = usize::try_from(token.checked_sub(1)?).ok()?;
        self.state().deaths_ms.get(index).copied()
    }

    async fn answer(
        &self,
        manager: u32,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let scope = scope_of(request.body());
        let mut flying =
            Flying { server: self, index: self.note(manager, &scope), end: RequestEnd::Abandoned };
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (reply, latency) = self.state().reply(&scope, authorization, self.clock.moment().boot_ms);
        if matches!(reply, Reply::Silence) || latency >= limits.time {
            sleep(limits.time).await;
            flying.end = RequestEnd::Failed { how: "timed out" };
            return Err(ExchangeError::TimedOut);
        }
        sleep(latency).await;
        match reply {
            Reply::Answer(response, end) => {
                flying.end = end;
                Ok(response)
            }
            Reply::Broken(error, how) => {
                flying.end = RequestEnd::Failed { how };
                Err(error)
            }
            Reply::Silence => Err(ExchangeError::TimedOut),
            Reply::Panic => {
                flying.end = RequestEnd::Failed { how: "panicked" };
                // A panic that nobody has to read about.
                std::panic::resume_unwind(Box::new("a fault of the exchange, made on purpose"))
            }
        }
    }

    fn note(&self, manager: u32, scope: &Arc<str>) -> usize {
        let (sent_ms, mut log) = (self.clock.moment().timers_ms, self.log());
        let (scope, end) = (Arc::clone(scope), RequestEnd::UnderWay);
        log.requests.push(Sent { manager, scope, sent_ms, ended_ms: sent_ms, end });
        log.requests.len() - 1
    }
}

impl State {
    fn reply(&mut self, scope: &Arc<str>, authorization: Option<&str>, now_ms: u64) -> (Reply, Duration) {
        let behaviour = self.behaviour.clone();
        let known = authorization == Some(&*basic(&self.secret));
        let refused = || answer(401, r#"{"error":"invalid_client"}"#.to_owned(), &BTreeMap::new());
        let reply = match behaviour.does {
            Does::Fail(Failure::Silent) => Reply::Silence,
            Does::Fail(Failure::Panic) => Reply::Panic,
            Does::Fail(Failure::Reset) => {
                Reply::Broken(ExchangeError::Interrupted("connection reset by peer".to_owned()), "reset")
            }
            Does::Fail(Failure::Refused) => {
                Reply::Broken(ExchangeError::Connect("connection refused".to_owned()), "connection refused")
            }
            Does::Answer { status, body } => answer(status, body, &behaviour.headers),
            Does::Grant { .. } | Does::Reissue { .. } if !known => refused(),
            Does::Grant { life, expires_in, scope } => {
                let number = self.grant(life, now_ms);
                let expires_in = expires_in.unwrap_or_else(|| life.as_secs().to_string());
                granted(number, &expires_in, scope.as_deref(), &behaviour.headers)
            }
            Does::Reissue { life } => {
                let left = |state: &Self, number: u64| {
                    let index = usize::try_from(number.saturating_sub(1)).ok()?;
                    state.deaths_ms.get(index).map(|death_ms| death_ms.saturating_sub(now_ms))
                };
                let last = self.last_of_scope.get(scope).copied();
                let good = last.filter(|last| left(self, *last) >= Some(LEAST_REISSUED_MS));
                let number = good.unwrap_or_else(|| self.grant(life, now_ms));
                self.last_of_scope.insert(Arc::clone(scope), number);
                let seconds = left(self, number).unwrap_or_default() / 1_000;
                granted(number, &seconds.to_string(), None, &behaviour.headers)
            }
        };
        (reply, self.latency)
    }

    fn grant(&mut self, life: Duration, now_ms: u64) -> u64 {
        self.deaths_ms.push(now_ms.saturating_add(millis(life)));
        u64::try_from(self.deaths_ms.len()).unwrap_or(u64::MAX)
    }
}

fn granted(number: u64, expires_in: &str, scope: Option<&str>, headers: &BTreeMap<String, String>) -> Reply {
    let scope = scope.map_or_else(String::new, |scope| format!(r#","scope":"{scope}""#));
    let body = format!(
        r#"{{"access_token":"{TOKEN}{number}","token_type":"Bearer","expires_in":{expires_in}{scope}}}"#
    );
    match answer(200, body, headers) {
        Reply::Answer(response, _) => Reply::Answer(response, RequestEnd::Token { number }),
        other @ (Reply::Broken(..) | Reply::Silence | Reply::Panic) => other,
    }
}

fn answer(status: u16, body: String, headers: &BTreeMap<String, String>) -> Reply {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap_or_default());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    match response.body(Bytes::from(body)) {
        Ok(response) => Reply::Answer(response, RequestEnd::Answered { status }),
        Err(error) => Reply::Broken(ExchangeError::Interrupted(error.to_string()), "no HTTP"),
    }
}

/// The number of a token of this server.
pub(super) fn number_of(access_token: &str) -> Option<u64> {
    access_token.strip_prefix(TOKEN)?.parse().ok()
}

/// The token with this number.
pub(super) fn token_text(number: u64) -> String {
    format!("{TOKEN}{number}")
}

fn basic(secret: &str) -> String {
    let pair = format!("{CLIENT_ID}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn scope_of(body: &Bytes) -> Arc<str> {
    let scope = form_urlencoded::parse(body).find(|(name, _)| name == "scope");
    scope.map_or_else(|| Arc::from(""), |(_, scope)| Arc::from(&*scope))
}

/// A request under way. Dropping it is how a client gives up.
struct Flying<'a> {
    server: &'a Server,
    index: usize,
    end: RequestEnd,
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        let ended_ms = self.server.clock.moment().timers_ms;
        if let Some(request) = self.server.log().requests.get_mut(self.index) {
            (request.ended_ms, request.end) = (ended_ms, self.end);
        }
    }
}

impl HttpExchange for Route {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            self.gate.pass().await;
            let answer = self.server.answer(self.manager, request, limits).await;
            self.gate.pass().await;
            answer
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
