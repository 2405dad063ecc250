//! Checks `OAuth` 2.0 access tokens before an API: JWT access tokens (RFC 9068) of one issuer, its keys found through
//! its metadata (RFC 8414), answers as in RFC 6750.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use jeton_guard::{Guard, Principal, require_scope};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let guard = Guard::builder("http://localhost:8080", "https://api.example").build()?;
//! guard.prefetch().await?;
//!
//! async fn orders(caller: Principal) -> String {
//!     format!("the orders of {}", caller.client_id())
//! }
//!
//! let app: Router = Router::new()
//!     .route("/orders", get(orders).route_layer(require_scope("orders:read")?))
//!     .layer(guard.layer());
//! # Ok(())
//! # }
//! ```
//!
//! [`Guard`] is the noun, [`Guard::layer`] the verb. The layer goes around any tower service whose response body has a
//! default; axum is not needed (`examples/without_axum.rs`).
//!
//! What a caller gets:
//!
//! | request | answer |
//! |---|---|
//! | without a bearer token | 401, `WWW-Authenticate: Bearer realm="…"` and no detail |
//! | two `Authorization` fields, or one that cannot be read | 400 `invalid_request` |
//! | a token that is expired, forged, from another issuer, for another API | 401 `invalid_token`, with the reason |
//! | a good token without the scope of the route | 403 `insufficient_scope`, naming the scope |
//! | a token that was revoked, with [`GuardBuilder::follow_revocations`] | 401 `invalid_token`, saying so |
//! | any token while there never were keys to check it with | 503 with `Retry-After` |
//!
//! A token in the query or the body is not looked at. A request that a browser sends ahead (CORS) carries no token:
//! put the CORS layer around this one.
//!
//! The keys are fetched once for all requests, in the background before they are old, and again when a token names a
//! key that is not known yet, which happens at most once in a while, so that nobody can use this service to flood the
//! issuer. While the issuer is down, good tokens pass, for up to a day. The fetching is done on the tokio runtime of the
//! requests, which must have its timers enabled (`enable_all`).

mod bearer_token;
mod guard;
mod keys;
mod layer;
mod principal;
mod refusal;
mod revocations;

pub use guard::{BuildError, Guard, GuardBuilder};
pub use jeton_proto::jose::access_token::VerifiedClaims;
pub use jeton_proto::jose::jws::Algorithm;
pub use jeton_proto::verification::Rejection;
pub use keys::KeysUnavailable;
pub use keys::source::FetchError;
pub use layer::{GuardLayer, GuardService, RequireScope, RequireScopeLayer, require_scope};
pub use principal::Principal;
pub use refusal::Refusal;
pub use revocations::{FeedError, RevocationFeed, RevocationStatus, RevocationsStale, WhenStale};
