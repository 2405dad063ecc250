//! The token endpoint of the trials: a real socket, with books of who asked for what, and when.

use super::monotonic::Monotonic;
use super::{Broken, secrets};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jeton_proto::wire::client_auth::parse_basic;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

const MAX_BODY_BYTES: usize = 16 * 1024;

/// What is granted for a scope, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// `expires_in`.
    pub life_seconds: u64,
    /// How long an answer takes.
    pub latency: Duration,
}

/// One token request.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// The number of the token, among those of its scope.
    pub serial: u64,
    /// When it was asked for.
    pub asked: Monotonic,
    /// When the answer was given to the socket; `None` while it is being waited for, and where nobody waited any more.
    pub answered: Option<Monotonic>,
}

/// What happened to one scope.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Every token request, in order.
    pub requests: Vec<Granted>,
    /// How many were under way at once, at most.
    pub most_at_once: usize,
    at_once: usize,
    terms: Option<Terms>,
}

/// The endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct State {
    otherwise: Terms,
    books: Mutex<BTreeMap<String, Books>>,
    refused: Mutex<u64>,
    tokens: Mutex<Vec<String>>,
}

impl Endpoint {
    /// Starts at a free port, and grants on `terms`.
    pub async fn start(terms: Terms) -> Result<Self, Broken> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.map_err(Broken::system("starting the token endpoint"))?;
        let address = listener.local_addr().map_err(Broken::system("starting the token endpoint"))?;
        let state = Arc::new(State {
            otherwise: terms,
            books: Mutex::default(),
            refused: Mutex::default(),
            tokens: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&served)));
                }
            }
        });
        Ok(Self { address, state, accepting: accepting.abort_handle() })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Grants `scope` on other terms from now on.
    pub fn set(&self, scope: &str, terms: Terms) {
        self.state.books().entry(scope.to_owned()).or_default().terms = Some(terms);
    }

    /// What happened to `scope` until now.
    pub fn books(&self, scope: &str) -> Books {
        self.state.books().get(scope).cloned().unwrap_or_default()
    }

    /// How often `scope` was asked for until now.
    pub fn requests(&self, scope: &str) -> usize {
        self.state.books().get(scope).map_or(0, |books| books.requests.len())
    }

    /// How many requests it refused: those of somebody else.
    pub fn refused(&self) -> u64 {
        *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every token that was granted.
    pub fn tokens(&self) -> Vec<String> {
        self.state.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn books(&self) -> MutexGuard<'_, BTreeMap<String, Books>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_ours = request.headers().get(http::header::AUTHORIZATION).is_some_and(|value| {
            parse_basic(value.as_bytes()).is_ok_and(|parsed| {
                parsed.client_id == secrets::CLIENT_ID && parsed.client_secret.expose() == secrets::SECRET
            })
        });
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let scope =
            form_urlencoded::parse(&body).find_map(|(name, value)| (name == "scope").then_some(value));
        let (Some(scope), true) = (scope, is_ours) else {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            return response(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.to_owned());
        };
        let (under_way, terms) = UnderWay::begin(self, &scope);
        tokio::time::sleep(terms.latency).await;
        under_way.grant(terms)
    }
}

/// A request that is being answered. Whoever asked may be killed, and then nobody waits for the end of this.
struct UnderWay<'a> {
    state: &'a State,
    scope: &'a str,
    serial: u64,
}

impl<'a> UnderWay<'a> {
    fn begin(state: &'a State, scope: &'a str) -> (Self, Terms) {
        let mut all = state.books();
        let books = all.entry(scope.to_owned()).or_default();
        let serial = u64::try_from(books.requests.len()).unwrap_or(u64::MAX).saturating_add(1);
        books.requests.push(Granted { serial, asked: Monotonic::now(), answered: None });
        books.at_once += 1;
        books.most_at_once = books.most_at_once.max(books.at_once);
        let terms = books.terms.unwrap_or(state.otherwise);
        (Self { state, scope, serial }, terms)
    }

    fn grant(&self, terms: Terms) -> Response<Full<Bytes>> {
        let Ok(token) = secrets::token(self.serial) else {
            return response(StatusCode::SERVICE_UNAVAILABLE, String::new());
        };
        let body = serde_json::json!({
            "access_token": token, "token_type": "Bearer", "expires_in": terms.life_seconds, "scope": self.scope,
        });
        self.state.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        if let Some(granted) = self
            .state
            .books()
            .get_mut(self.scope)
            .and_then(|books| books.requests.iter_mut().find(|request| request.serial == self.serial))
        {
            granted.answered = Some(Monotonic::now());
        }
        response(StatusCode::OK, body.to_string())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(books) = self.state.books().get_mut(self.scope) {
            books.at_once = books.at_once.saturating_sub(1);
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let _nagle = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
