//! The client as its callers reach it. Between a world and the client stands a door, so that a broken client can be put
//! in its place; what breaks a client is in the tests alone.

use jeton::http::HttpExchange;
use jeton::{
    CachedToken, Clock, Drained, TokenError, TokenHandle, TokenId, TokenKey, TokenManager,
    TokenManagerBuilder,
};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What waiting for a token gives.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<CachedToken>, TokenError>> + Send + 'a>>;

/// What closing gives.
pub type CloseFuture<'a> = Pin<Box<dyn Future<Output = Drained> + Send + 'a>>;

/// One key of one manager, as callers ask for it.
pub trait Door: Send + Sync + 'static {
    /// The token in hand, if it can be had at once.
    fn at_once(&self) -> Option<TokenId>;
    /// A token, waiting for at most `wait`.
    fn within(&self, wait: Duration) -> TokenFuture<'_>;
    /// An API refused this token.
    fn reject(&self, token: TokenId);
}

/// The door to the real client.
#[derive(Clone, Debug)]
pub struct RealDoor(pub TokenHandle);

impl Door for RealDoor {
    fn at_once(&self) -> Option<TokenId> {
        self.0.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        Box::pin(self.0.token_within(wait))
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

/// What a test puts in place of the parts around the client.
pub trait Workshop: Send + Sync + 'static {
    /// The door to a key.
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(RealDoor(handle))
    }

    /// The exchange that the client is given; `route` tells the journal what passes.
    fn exchange(&self, route: Arc<dyn HttpExchange>) -> Arc<dyn HttpExchange> {
        route
    }

    /// The clock that the client is given.
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        clock
    }

    /// The settings of a manager whose keys `prefetched` are to be prefetched.
    fn settings(&self, builder: TokenManagerBuilder, prefetched: &[TokenKey]) -> TokenManagerBuilder {
        prefetched.iter().cloned().fold(builder, TokenManagerBuilder::prefetch)
    }

    /// A manager was built, which the workshop may keep.
    fn built(&self, _manager: &TokenManager) {}

    /// Closes the manager.
    fn close<'a>(&self, manager: &'a TokenManager, within: Duration) -> CloseFuture<'a> {
        Box::pin(manager.close(within))
    }
}

/// Everything as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs;

impl Workshop for AsItIs {}

impl fmt::Debug for dyn Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workshop")
    }
}
