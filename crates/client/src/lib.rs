//! `OAuth` 2.0 client credentials for applications: a token is minted once, shared by all callers, renewed in the
//! background, and replaced after a 401.
//!
//! ```no_run
//! use jeton::{Secret, TokenKey, TokenManager};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = TokenManager::builder("http://localhost:8080/oauth/token", "billing")
//!     .client_secret(Secret::new(std::env::var("CLIENT_SECRET")?))
//!     .build()?;
//!
//! // Any number of callers: one token request.
//! let token = manager.token(&TokenKey::scope("orders:read")?).await?;
//! println!("expires at {}", token.expires_at());
//! # Ok(())
//! # }
//! ```
//!
//! [`TokenManager`] is the noun and [`token`](TokenManager::token) the verb. A hot path resolves a [`TokenHandle`]
//! once and asks that. [`bearer::BearerLayer`] puts the token on every request of a tower stack and handles the 401.
//!
//! What it keeps: no token is given out at or past its expiry; a failure never removes a good token; a caller that is
//! cancelled cancels nobody else; a secret or token is in no `Debug`, log line or error.

mod authorization_server;
pub mod bearer;
mod clock;
pub mod credentials;
pub mod discovery;
mod error;
mod fleet;
mod flight;
mod gatekeeper;
mod handle;
pub mod http;
mod keeper;
mod key;
mod manager;
mod minting;
#[cfg(all(test, jeton_loom))]
mod models;
mod operations;
mod runway;
mod shared_slot;
mod slot_cell;
pub mod store;
mod sync;
mod telemetry;

pub use clock::SystemClock;
pub use credentials::SecretSource;
pub use error::{BuildError, Fault, TokenError, TokenErrorKind};
pub use handle::TokenHandle;
pub use jeton_proto::backoff::{BackoffPolicy, InvalidBackoffPolicy};
pub use jeton_proto::breaker::{BreakerPolicy, InvalidBreakerPolicy};
pub use jeton_proto::lifecycle::{CachedToken, InvalidRefreshPolicy, Life, RefreshPolicy, TokenId};
pub use jeton_proto::quota::{InvalidQuotaPolicy, QuotaPolicy};
pub use jeton_proto::secret::Secret;
pub use jeton_proto::time::{Clock, Moment, Timestamp};
pub use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod};
pub use jeton_proto::wire::error_response::ErrorCode;
pub use jeton_proto::wire::scope::{InvalidScope, Scope};
pub use key::TokenKey;
pub use manager::{GrantedScope, MAX_KEYS, RefreshAhead, TokenManager, TokenManagerBuilder};
pub use operations::Drained;
