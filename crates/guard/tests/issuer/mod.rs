//! An issuer with keys, metadata and faults, in memory or on a loopback port, and a clock that is set by hand.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, an issuer with a fault too"
)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Clock, Timestamp};
use jeton_guard::Algorithm;
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const API: &str = "https://api.example";
pub(crate) const T0: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(time.as_unix_millis())))
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What the issuer does when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Behaviour {
    Answers,
    Fails(u16),
    /// The keys are there, their metadata is not.
    MetadataFails(u16),
    MetadataHangs,
    Panics,
    Hangs,
    RefusesConnections,
    Says(&'static str),
}

#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) clock: Arc<ManualClock>,
    /// The keys that are published.
    published: Mutex<Vec<Value>>,
    behaviour: Mutex<Behaviour>,
    cache_control: Mutex<Option<&'static str>>,
    pub(crate) metadata_requests: AtomicUsize,
    pub(crate) key_set_requests: AtomicUsize,
}

impl Issuer {
    /// An issuer in memory: hand it to a guard as its exchange.
    pub(crate) fn in_memory() -> Arc<Self> {
        Arc::new(Self::at("https://as.example".to_owned(), ManualClock::at(T0)))
    }

    /// An issuer on a loopback port.
    pub(crate) async fn on_loopback() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Arc::new(Self::at(url, ManualClock::at(T0)));
        let served = Arc::clone(&issuer);
        let app = axum::Router::new().fallback(move |request: Request<axum::body::Body>| {
            let served = Arc::clone(&served);
            async move { served.answer(request.uri().path()).map(axum::body::Body::from) }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        issuer
    }

    fn at(url: String, clock: Arc<ManualClock>) -> Self {
        Self {
            url,
            clock,
            published: Mutex::default(),
            behaviour: Mutex::new(Behaviour::Answers),
            cache_control: Mutex::default(),
            metadata_requests: AtomicUsize::new(0),
            key_set_requests: AtomicUsize::new(0),
        }
    }

    /// A new key, published.
    pub(crate) fn new_key(&self, algorithm: Algorithm) -> SigningKey {
        let key = SigningKey::generate(algorithm).unwrap();
        self.published.lock().unwrap().push(key.public_jwk().to_json());
        key
    }

    pub(crate) fn publish(&self, keys: Vec<Value>) {
        *self.published.lock().unwrap() = keys;
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn cache_control(&self, value: &'static str) {
        *self.cache_control.lock().unwrap() = Some(value);
    }

    /// A good token of an hour, signed with `key`.
    pub(crate) fn token(&self, key: &SigningKey) -> String {
        self.token_with(key, &json!({}))
    }

    /// A token with these claims changed.
    pub(crate) fn token_with(&self, key: &SigningKey, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        let header = json!({ "alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": key.key_id() });
        signed(key, &header.to_string(), &claims.to_string())
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        let now = self.clock.now().as_unix_seconds();
        json!({
            "iss": self.url, "aud": API, "sub": "reporting", "client_id": "reporting", "scope": "orders:read",
            "iat": now, "exp": now + 3600, "jti": "id-1",
        })
    }

    /// The published set as it goes over the wire.
    pub(crate) fn key_set(&self) -> Value {
        json!({ "keys": *self.published.lock().unwrap() })
    }

    pub(crate) fn key_set_requests(&self) -> usize {
        self.key_set_requests.load(Ordering::SeqCst)
    }

    /// Waits until the key set has been asked for `count` times.
    pub(crate) async fn asked(&self, count: usize) {
        for _ in 0..2000 {
            if self.key_set_requests() == count {
                // The answer is on its way; one more pause lets it be kept.
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(self.key_set_requests(), count);
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.key_set_requests(), count, "requests for keys");
    }

    fn answer(&self, path: &str) -> Response<Bytes> {
        let document = match path {
            "/.well-known/oauth-authorization-server" => {
                self.metadata_requests.fetch_add(1, Ordering::SeqCst);
                let url = &self.url;
                json!({ "issuer": url, "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/jwks") })
            }
            "/jwks" => {
                self.key_set_requests.fetch_add(1, Ordering::SeqCst);
                self.key_set()
            }
            _ => return with_status(404, "not found"),
        };
        match &*self.behaviour.lock().unwrap() {
            Behaviour::MetadataFails(status) if path != "/jwks" => return with_status(*status, "trouble"),
            Behaviour::Answers
            | Behaviour::Hangs
            | Behaviour::MetadataFails(_)
            | Behaviour::MetadataHangs
            | Behaviour::Panics
            | Behaviour::RefusesConnections => {}
            Behaviour::Fails(status) => return with_status(*status, "trouble"),
            Behaviour::Says(text) => return with_status(200, text),
        }
        let mut response = Response::new(Bytes::from(document.to_string()));
        if let Some(value) = *self.cache_control.lock().unwrap() {
            response.headers_mut().insert("cache-control", value.parse().unwrap());
        }
        response
    }
}

impl HttpExchange for Issuer {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert_eq!(request.uri().host(), Some("as.example"), "nothing else may ever be asked");
            let answer = self.answer(request.uri().path());
            let behaviour = self.behaviour.lock().unwrap().clone();
            match behaviour {
                Behaviour::RefusesConnections => Err(ExchangeError::Connect("refused".to_owned())),
                Behaviour::MetadataHangs if request.uri().path() == "/jwks" => Ok(answer),
                Behaviour::Hangs | Behaviour::MetadataHangs => {
                    tokio::time::sleep(limits.time).await;
                    Err(ExchangeError::TimedOut)
                }
                Behaviour::Panics => panic!("an exchange with a fault in it"),
                Behaviour::Answers
                | Behaviour::Fails(_)
                | Behaviour::MetadataFails(_)
                | Behaviour::Says(_) => Ok(answer),
            }
        })
    }
}

/// A compact serialization of whatever is given, signed with `key`.
pub(crate) fn signed(key: &SigningKey, header: &str, payload: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()))
}

/// The public keys of `keys` as a set.
pub(crate) fn set_of(keys: &[&SigningKey]) -> Vec<Value> {
    let set = JwkSet::from_keys(keys.iter().map(|key| key.public_jwk())).unwrap().to_json();
    set["keys"].as_array().unwrap().clone()
}

fn with_status(status: u16, body: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
