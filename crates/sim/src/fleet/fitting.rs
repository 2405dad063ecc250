//! The parts around a client, which tests put others in the place of.

use jeton::store::{KeyRing, SharedStore};
use jeton::{CachedToken, Clock, TokenHandle, TokenId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a caller got: a token, or why it got none.
pub type Got = Result<Arc<CachedToken>, String>;

/// What waiting for a token gives.
pub type GotFuture<'a> = Pin<Box<dyn Future<Output = Got> + Send + 'a>>;

/// One key of one process, as its callers ask for it.
pub trait Counter: Send + Sync + 'static {
    /// A token, waiting for at most `wait`.
    fn within(&self, wait: Duration) -> GotFuture<'_>;
    /// An API refused this token.
    fn reject(&self, token: TokenId);
}

/// The real client.
#[derive(Clone, Debug)]
pub struct RealCounter(pub TokenHandle);

impl Counter for RealCounter {
    fn within(&self, wait: Duration) -> GotFuture<'_> {
        Box::pin(async move { self.0.token_within(wait).await.map_err(|error| error.to_string()) })
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

/// What a test puts in place of the parts around a process.
pub trait Fitting: Send + Sync + 'static {
    /// The store that a process is given.
    fn store(&self, store: Arc<dyn SharedStore>) -> Arc<dyn SharedStore> {
        store
    }

    /// The keys that it seals with.
    fn keys(&self, keys: KeyRing) -> KeyRing {
        keys
    }

    /// Its clock.
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        clock
    }

    /// Where its callers ask, for each key.
    fn counters(&self, handles: Vec<TokenHandle>) -> Vec<Arc<dyn Counter>> {
        handles.into_iter().map(|handle| Arc::new(RealCounter(handle)) as Arc<dyn Counter>).collect()
    }
}

/// Everything as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs;

impl Fitting for AsItIs {}

impl fmt::Debug for dyn Fitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fitting")
    }
}
