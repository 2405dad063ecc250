//! The way between the client and the authorization server, and everything that can happen on it.

use crate::authority::Authority;
use crate::canary::generation_of;
use crate::clock::millis;
use crate::event::{Event, LineId, RequestEnd};
use crate::fault::FaultKind;
use crate::journal::Journal;
use crate::weather::{Outage, Weather};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Clock, ErrorCode, TokenId};
use jeton_proto::wire::retry_after::parse_retry_after;
use jeton_proto::wire::token_response::{ExpiresIn, TokenAnswer, parse};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The life of a token whose server states none, as the client's default settings have it.
const ASSUMED_LIFE_MS: u64 = 300_000;
/// What the panics that are made on purpose say.
pub const PANIC_ON_PURPOSE: &str = "a fault of the exchange, made on purpose";

/// The network of one world.
pub struct Network {
    journal: Arc<Journal>,
    authority: Arc<Authority>,
    weather: Arc<Weather>,
    client_clock: Arc<dyn Clock>,
    random: Mutex<Rng>,
}

/// One manager's connection to it.
#[derive(Debug)]
pub struct TokenRoute {
    network: Arc<Network>,
    manager: u32,
}

/// The guard's connection to it.
#[derive(Debug)]
pub struct KeyRoute(pub Arc<Network>);

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Delivered,
    Fault(FaultKind),
    Outage(Outage),
}

impl Network {
    /// A network between the two.
    pub fn new(
        journal: Arc<Journal>,
        authority: Arc<Authority>,
        weather: Arc<Weather>,
        client_clock: Arc<dyn Clock>,
        random: Rng,
    ) -> Arc<Self> {
        Arc::new(Self { journal, authority, weather, client_clock, random: Mutex::new(random) })
    }

    /// The exchange for a manager.
    pub fn route_of(self: &Arc<Self>, manager: u32) -> Arc<dyn HttpExchange> {
        Arc::new(TokenRoute { network: Arc::clone(self), manager })
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fate(&self) -> Fate {
        if let Some(outage) = self.weather.outage() {
            return Fate::Outage(outage);
        }
        let chance = self.weather.chance();
        self.draw(|random| {
            if random.f64() >= chance {
                return Fate::Delivered;
            }
            let pick = random.usize(0..ON_THE_WAY.len());
            ON_THE_WAY.get(pick).map_or(Fate::Delivered, |kind| Fate::Fault(*kind))
        })
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.draw(|random| random.u64(2..80)))
    }

    /// Carries a request there and its answer back, as `fate` has it. What never ends is ended by the client's time-out.
    async fn carry(
        &self,
        request: Request<Bytes>,
        fate: Fate,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let begun = Instant::now();
        sleep(self.latency()).await;
        match fate {
            Fate::Delivered => {
                let answer = self.authority.answer(request).await;
                sleep(self.latency()).await;
                Ok(answer)
            }
            Fate::Outage(outage) => {
                self.journal.fault(FaultKind::Outage);
                match outage {
                    Outage::Refusing => Err(ExchangeError::Connect("connection refused".to_owned())),
                    Outage::Silent => pending().await,
                    Outage::Failing => Ok(answer(StatusCode::SERVICE_UNAVAILABLE, "", None)),
                }
            }
            Fate::Fault(kind) => self.fail(kind, request, limits, begun).await,
        }
    }

    async fn fail(
        &self,
        kind: FaultKind,
        request: Request<Bytes>,
        limits: ExchangeLimits,
        begun: Instant,
    ) -> Result<Response<Bytes>, ExchangeError> {
        self.journal.fault(kind);
        match kind {
            FaultKind::LostResponse => {
                self.authority.answer(request).await;
                pending().await
            }
            FaultKind::DelayedRequest => {
                sleep(self.delay(limits)).await;
                Ok(self.authority.answer(request).await)
            }
            FaultKind::DelayedResponse => {
                let answer = self.authority.answer(request).await;
                sleep(self.delay(limits)).await;
                Ok(answer)
            }
            FaultKind::ResponsePastTimeout => {
                let answer = self.authority.answer(request).await;
                sleep(limits.time + Duration::from_secs(1)).await;
                Ok(answer)
            }
            FaultKind::SlowDrip => {
                self.authority.answer(request).await;
                let left = limits.time.saturating_sub(begun.elapsed());
                for _ in 0..10 {
                    sleep(left / 11).await;
                }
                Err(ExchangeError::TimedOut)
            }
            FaultKind::ConnectionReset => {
                if self.draw(Rng::bool) {
                    self.authority.answer(request).await;
                }
                Err(ExchangeError::Interrupted("connection reset by peer".to_owned()))
            }
            FaultKind::ConnectionRefused => Err(ExchangeError::Connect("connection refused".to_owned())),
            FaultKind::TooManyRequests => Ok(answer(StatusCode::TOO_MANY_REQUESTS, "slow down", None)),
            FaultKind::TooManyRequestsUntil => {
                Ok(answer(StatusCode::TOO_MANY_REQUESTS, "", Some(self.retry_after())))
            }
            FaultKind::ServerError => Ok(answer(self.server_error(), "", None)),
            FaultKind::ServerErrorWithBody => Ok(answer(self.server_error(), self.error_body(), None)),
            FaultKind::ServerErrorUntil => Ok(answer(self.server_error(), "", Some(self.retry_after()))),
            FaultKind::Garbage => Ok(answer(StatusCode::OK, self.garbage(), None)),
            #[allow(clippy::panic, reason = "the fault is that it panics")]
            FaultKind::ExchangePanic => panic!("{PANIC_ON_PURPOSE}"),
            FaultKind::LostRequest
            | FaultKind::Outage
            | FaultKind::StepForward
            | FaultKind::StepBack
            | FaultKind::Suspend
            | FaultKind::CancelledCaller
            | FaultKind::SecretLearntLate
            | FaultKind::SecretLearntEarly
            | FaultKind::SecretUnreadable
            | FaultKind::TokenRefusedOnce
            | FaultKind::UnauthorizedStorm
            | FaultKind::TokenRevoked => pending().await,
        }
    }

    /// From a moment to just short of the time-out.
    fn delay(&self, limits: ExchangeLimits) -> Duration {
        let most_ms = millis(limits.time).saturating_sub(100).max(2);
        Duration::from_millis(self.draw(|random| random.u64(1..most_ms)))
    }

    fn server_error(&self) -> StatusCode {
        let errors = [500, 502, 503, 504];
        let pick = self.draw(|random| random.usize(0..errors.len()));
        let status = errors.get(pick).and_then(|status| StatusCode::from_u16(*status).ok());
        status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_body(&self) -> &'static str {
        pick(
            self.draw(|random| random.usize(0..4)),
            &[
                r#"{"error":"temporarily_unavailable","error_description":"try again"}"#,
                r#"{"error":"server_error"}"#,
                "<html><body>Bad Gateway</body></html>",
                r#"{"message":"upstream connect error"}"#,
            ],
        )
    }

    fn garbage(&self) -> &'static str {
        pick(
            self.draw(|random| random.usize(0..8)),
            &[
                "",
                "<!doctype html><title>Sign in</title>CANARY-BODY",
                r#"{"access_token":"CANARY-BODY","expires_in":3600}"#,
                r#"{"access_token":"","token_type":"Bearer","expires_in":3600}"#,
                r#"{"access_token":"CANARY-BODY","token_type":"mac","expires_in":3600}"#,
                r#"{"access_token":"CANARY-BODY","token_type":"Bearer","expires_in":"#,
                r#"{"access_token":["CANARY-BODY"],"token_type":"Bearer"}"#,
                r#"{"token":"CANARY-BODY"}"#,
            ],
        )
    }

    /// Seconds, or now and then a date.
    fn retry_after(&self) -> HeaderValue {
        let (seconds, dated) = self.draw(|random| (random.u64(1..90), random.u8(0..4) == 0));
        if dated {
            let at = std::time::UNIX_EPOCH
                + Duration::from_millis(self.client_clock.now().as_unix_millis())
                + Duration::from_secs(seconds);
            if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(at)) {
                return date;
            }
        }
        HeaderValue::from(seconds)
    }

    /// What the client makes of an answer, told by what the answer says.
    fn end_of(&self, outcome: &Result<Response<Bytes>, ExchangeError>) -> RequestEnd {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(ExchangeError::TimedOut) => return RequestEnd::TimedOut,
            Err(
                ExchangeError::Connect(_)
                | ExchangeError::Interrupted(_)
                | ExchangeError::BodyTooLarge { .. }
                | ExchangeError::Request(_),
            ) => return RequestEnd::Broken,
        };
        let status = answer.status().as_u16();
        match parse(status, answer.body()) {
            Ok(TokenAnswer::Granted(granted)) => RequestEnd::Granted {
                token: self.journal.number_of(TokenId::of(granted.access_token.expose())),
                life_ms: match granted.expires_in {
                    ExpiresIn::Stated(life) => millis(life),
                    ExpiresIn::NotStated => ASSUMED_LIFE_MS,
                },
            },
            Ok(TokenAnswer::Refused(refusal)) if refusal.error == ErrorCode::InvalidClient => {
                RequestEnd::InvalidClient
            }
            Ok(TokenAnswer::Refused(_)) | Err(_) => {
                let field = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let pause = field.and_then(|value| parse_retry_after(value, self.client_clock.now()));
                RequestEnd::Answered { status, retry_after_ms: pause.map(millis) }
            }
        }
    }
}

/// The faults that befall a request on its way.
const ON_THE_WAY: &[FaultKind] = &[
    FaultKind::LostRequest,
    FaultKind::LostResponse,
    FaultKind::DelayedRequest,
    FaultKind::DelayedResponse,
    FaultKind::ResponsePastTimeout,
    FaultKind::TooManyRequests,
    FaultKind::TooManyRequestsUntil,
    FaultKind::ServerError,
    FaultKind::ServerErrorWithBody,
    FaultKind::ServerErrorUntil,
    FaultKind::Garbage,
    FaultKind::ConnectionReset,
    FaultKind::ConnectionRefused,
    FaultKind::SlowDrip,
    FaultKind::ExchangePanic,
];

fn pick(at: usize, from: &[&'static str]) -> &'static str {
    from.get(at).copied().unwrap_or_default()
}

fn answer(status: StatusCode, body: &'static str, retry_after: Option<HeaderValue>) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    if let Some(retry_after) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, retry_after);
    }
    answer
}

impl HttpExchange for TokenRoute {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let network = &*self.network;
        let line = LineId { manager: self.manager, key: key_of(request.body()) };
        let number = network.journal.next_request();
        let secret = secret_of(&request);
        network.journal.record(&Event::RequestSent { request: number, line, secret });
        let mut flying = Flying { network, number, sent: Instant::now(), limits, ended: false };
        let fate = network.fate();
        Box::pin(async move {
            let outcome = network.carry(request, fate, limits).await;
            let end = network.end_of(&outcome);
            if end == RequestEnd::InvalidClient
                && let Some(kind) = network.weather.secret_fault()
            {
                network.journal.fault(kind);
            }
            flying.end(end);
            outcome
        })
    }
}

impl HttpExchange for KeyRoute {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let network = &*self.0;
        let fate = network.fate();
        Box::pin(network.carry(request, fate, limits))
    }
}

/// A token request under way. Dropping it is how a client gives up.
struct Flying<'a> {
    network: &'a Network,
    number: u64,
    sent: Instant,
    limits: ExchangeLimits,
    ended: bool,
}

impl Flying<'_> {
    fn end(&mut self, end: RequestEnd) {
        if !self.ended {
            self.ended = true;
            self.network.journal.record(&Event::RequestEnded { request: self.number, end });
        }
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        let end = if std::thread::panicking() {
            RequestEnd::Panicked
        } else if self.sent.elapsed() >= self.limits.time {
            RequestEnd::TimedOut
        } else {
            RequestEnd::Abandoned
        };
        self.end(end);
    }
}

/// The key of a token request: worlds ask for the scopes `key:0`, `key:1` and so on.
pub(crate) fn key_of(body: &Bytes) -> u8 {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let digits = text.split("key%3A").nth(1).unwrap_or_default();
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(u8::MAX)
}

/// The generation of the secret that a request was sent with, by HTTP Basic.
fn secret_of(request: &Request<Bytes>) -> u32 {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = header.and_then(|header| header.strip_prefix("Basic ")).unwrap_or_default();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    let credential = String::from_utf8(decoded).unwrap_or_default();
    credential.split_once(':').and_then(|(_, secret)| generation_of(secret)).unwrap_or(u32::MAX)
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
