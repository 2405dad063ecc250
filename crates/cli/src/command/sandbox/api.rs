//! The guarded API of the sandbox: orders, behind the guard that any API would use.

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jeton::{InvalidScope, TokenId};
use jeton_guard::{Guard, Principal, require_scope};
use jeton_proto::wire::challenge::{BearerChallenge, BearerError};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The scope that reading wants.
pub(super) const READ_SCOPE: &str = "orders:read";
/// The scope that writing wants.
pub(super) const WRITE_SCOPE: &str = "orders:write";

/// What the API counts, and which token it refuses.
#[derive(Debug, Default)]
pub(super) struct ApiState {
    answered: AtomicU64,
    unauthorized: AtomicU64,
    revoked: Mutex<Option<TokenId>>,
}

/// How many requests the API answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiCounts {
    /// In all.
    pub(super) answered: u64,
    /// With 401.
    pub(super) unauthorized: u64,
}

impl ApiState {
    pub(super) fn counts(&self) -> ApiCounts {
        ApiCounts {
            answered: self.answered.load(Ordering::Relaxed),
            unauthorized: self.unauthorized.load(Ordering::Relaxed),
        }
    }

    /// From now on this token is refused, as one that was revoked. Its place is that of the one refused before.
    pub(super) fn revoke(&self, token: TokenId) {
        *self.revoked.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    fn is_revoked(&self, token: TokenId) -> bool {
        *self.revoked.lock().unwrap_or_else(PoisonError::into_inner) == Some(token)
    }

    fn count(&self, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            self.unauthorized.fetch_add(1, Ordering::Relaxed);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The routes: orders behind the guard, health open to all.
pub(super) fn router(guard: &Guard, state: Arc<ApiState>) -> Result<Router, InvalidScope> {
    let read = get(orders).route_layer(require_scope(READ_SCOPE)?);
    let write = post(add_order).route_layer(require_scope(WRITE_SCOPE)?);
    let guarded = Router::new()
        .route("/orders", read.merge(write))
        .layer(guard.layer())
        .layer(from_fn_with_state(state, front));
    Ok(guarded.route("/health", get(|| async { "ok" })))
}

async fn orders(caller: Principal) -> Json<Value> {
    Json(json!({ "caller": caller.client_id(), "orders": [{ "id": 1, "item": "a bicycle" }] }))
}

async fn add_order(caller: Principal) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({ "caller": caller.client_id(), "id": 2 })))
}

/// Counts, and refuses the token that was revoked, as an API with a list of such tokens does.
async fn front(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let revoked = presented(request.headers()).is_some_and(|token| state.is_revoked(token));
    let response = if revoked { refusal() } else { next.run(request).await };
    state.count(response.status());
    response
}

fn presented(headers: &HeaderMap) -> Option<TokenId> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    Some(TokenId::of(token))
}

fn refusal() -> Response {
    let challenge = BearerChallenge::new("orders").error(BearerError::InvalidToken, "the token was revoked");
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    if let Ok(value) = HeaderValue::try_from(challenge.to_string()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}
