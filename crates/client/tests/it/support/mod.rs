//! What the tests share: a token endpoint with behaviour behind the exchange trait, under virtual time, and one behind
//! a real socket.

pub(crate) mod authority;
pub(crate) mod fleet;
pub(crate) mod recorder;
#[cfg(feature = "redis")]
pub(crate) mod redis_server;
pub(crate) mod socket;

use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Clock, Secret, Timestamp, TokenKey, TokenManager, TokenManagerBuilder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const SECRET: &str = "canary-client-secret";

/// A wall clock that follows tokio's, so that a paused runtime moves it, and that can be stepped.
pub(crate) struct VirtualClock {
    started: Instant,
    step_millis: Mutex<i64>,
    /// How long the machine slept, where there is a boot clock that sees it.
    slept: Option<Mutex<Duration>>,
}

impl VirtualClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), step_millis: Mutex::new(0), slept: None })
    }

    pub(crate) fn with_boot_clock() -> Arc<Self> {
        let slept = Some(Mutex::new(Duration::ZERO));
        Arc::new(Self { started: Instant::now(), step_millis: Mutex::new(0), slept })
    }

    /// One of a machine that has just been booted: its wall clock goes by the first one's start.
    pub(crate) fn booted_after(first: &Self) -> Arc<Self> {
        let passed = first.started.elapsed();
        let step_millis = i64::try_from(passed.as_millis()).unwrap();
        let slept = Some(Mutex::new(Duration::ZERO));
        Arc::new(Self { started: Instant::now(), step_millis: Mutex::new(step_millis), slept })
    }

    pub(crate) fn step(&self, millis: i64) {
        *self.step_millis.lock().unwrap() += millis;
    }

    /// The machine sleeps: its timers stand still, its clocks go on.
    pub(crate) fn suspend(&self, span: Duration) {
        self.step(i64::try_from(span.as_millis()).unwrap());
        *self.slept.as_ref().expect("a boot clock").lock().unwrap() += span;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        let millis = 1_700_000_000_000 + elapsed + *self.step_millis.lock().unwrap();
        Timestamp::from_unix_millis(u64::try_from(millis).unwrap())
    }

    fn since_boot(&self) -> Option<Duration> {
        self.slept.as_ref().map(|slept| self.started.elapsed() + *slept.lock().unwrap() + secs(1000))
    }
}

/// What the endpoint does with a request.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Grants `token-N` for so many seconds, `N` counting requests.
    Grant { expires_in: u64 },
    /// Grants this token, whatever the count.
    GrantSame { token: &'static str, expires_in: &'static str },
    /// Answers so.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// Grants `token-N` for a minute to who sends one of these secrets by Basic, and refuses all others as `invalid_client`.
    Takes(Vec<&'static str>),
    /// Breaks the connection.
    Break,
    /// Never answers.
    Hang,
    /// Panics in the exchange.
    Panic,
}

/// A token endpoint in memory.
pub(crate) struct Endpoint {
    behaviour: Mutex<Behaviour>,
    latency: Mutex<Duration>,
    requests: AtomicU64,
    pub(crate) asked_at: Mutex<Vec<Instant>>,
    pub(crate) last_body: Mutex<String>,
    pub(crate) last_authorization: Mutex<Option<String>>,
}

impl Endpoint {
    pub(crate) fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            latency: Mutex::new(Duration::from_millis(20)),
            requests: AtomicU64::new(0),
            asked_at: Mutex::new(Vec::new()),
            last_body: Mutex::new(String::new()),
            last_authorization: Mutex::new(None),
        })
    }

    pub(crate) fn granting(expires_in: u64) -> Arc<Self> {
        Self::new(Behaviour::Grant { expires_in })
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        *self.latency.lock().unwrap() = latency;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    async fn answer(
        &self,
        request: Request<Bytes>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        self.asked_at.lock().unwrap().push(Instant::now());
        *self.last_body.lock().unwrap() = String::from_utf8(request.body().to_vec()).unwrap();
        let authorization =
            request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.last_authorization.lock().unwrap().clone_from(&authorization);
        let (behaviour, latency) = (self.behaviour.lock().unwrap().clone(), *self.latency.lock().unwrap());
        if matches!(behaviour, Behaviour::Hang) || latency > limits.time {
            tokio::time::sleep(limits.time).await;
            return Err(ExchangeError::TimedOut);
        }
        tokio::time::sleep(latency).await;
        match behaviour {
            Behaviour::Grant { expires_in } => Ok(Response::new(Bytes::from(format!(
                r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":{expires_in}}}"#
            )))),
            Behaviour::GrantSame { token, expires_in } => Ok(Response::new(Bytes::from(format!(
                r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#
            )))),
            Behaviour::Answer { status, headers, body } => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(Bytes::from(body)).unwrap())
            }
            Behaviour::Takes(secrets) => Ok(taken(count, &secrets, authorization.as_deref())),
            Behaviour::Break => Err(ExchangeError::Interrupted("reset by peer".to_owned())),
            Behaviour::Panic => panic!("the exchange panics"),
            Behaviour::Hang => unreachable!(),
        }
    }
}

fn taken(count: u64, secrets: &[&str], authorization: Option<&str>) -> Response<Bytes> {
    if secrets.iter().any(|secret| authorization == Some(&basic(secret))) {
        let body = format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":60}}"#);
        return Response::new(Bytes::from(body));
    }
    let refused = Bytes::from_static(br#"{"error":"invalid_client"}"#);
    Response::builder().status(401).body(refused).unwrap()
}

/// What the client `billing` sends with `secret`.
pub(crate) fn basic(secret: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("billing:{secret}")))
}

/// The endpoint as an exchange.
pub(crate) struct InMemory(pub Arc<Endpoint>);

impl HttpExchange for InMemory {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(self.0.answer(request, limits))
    }
}

pub(crate) fn builder(endpoint: &Arc<Endpoint>) -> TokenManagerBuilder {
    builder_with_clock(endpoint, VirtualClock::new())
}

pub(crate) fn builder_with_clock(endpoint: &Arc<Endpoint>, clock: Arc<dyn Clock>) -> TokenManagerBuilder {
    TokenManager::builder("https://as.example/token", "billing")
        .client_secret(Secret::from(SECRET))
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
        .clock(clock)
}

pub(crate) fn manager(endpoint: &Arc<Endpoint>) -> TokenManager {
    builder(endpoint).build().unwrap()
}

pub(crate) fn key() -> TokenKey {
    TokenKey::scope("orders:read").unwrap()
}

pub(crate) fn refusal(status: u16, error: &str) -> Behaviour {
    Behaviour::Answer { status, headers: Vec::new(), body: format!(r#"{{"error":"{error}"}}"#) }
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
