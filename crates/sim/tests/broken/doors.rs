//! Clients that are broken towards their callers.

use jeton::{CachedToken, TokenHandle, TokenId};
use sim::door::{Door, TokenFuture, Workshop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Drops the token in hand before it asks for another, now and then.
pub(crate) struct DropsBeforeItAsks;

struct Hasty(TokenHandle, AtomicU64);

impl Workshop for DropsBeforeItAsks {
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(Hasty(handle, AtomicU64::new(0)))
    }
}

impl Door for Hasty {
    fn at_once(&self) -> Option<TokenId> {
        self.0.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(8)
            && let Some(token) = self.0.get_with(CachedToken::id)
        {
            self.0.reject(token);
        }
        Box::pin(self.0.token_within(wait))
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

/// Does nothing about a rejected token.
pub(crate) struct DeafToRejections;

struct Deaf(TokenHandle);

impl Workshop for DeafToRejections {
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(Deaf(handle))
    }
}

impl Door for Deaf {
    fn at_once(&self) -> Option<TokenId> {
        self.0.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        Box::pin(self.0.token_within(wait))
    }

    fn reject(&self, _token: TokenId) {}
}

/// Waits for as long as it likes.
pub(crate) struct IgnoresDeadlines;

struct Patient(TokenHandle);

impl Workshop for IgnoresDeadlines {
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(Patient(handle))
    }
}

impl Door for Patient {
    fn at_once(&self) -> Option<TokenId> {
        self.0.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        Box::pin(self.0.token_within(wait + Duration::from_secs(20)))
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

/// Takes it for granted that there is a token.
pub(crate) struct PanicsOnErrors;

struct Sure(TokenHandle);

impl Workshop for PanicsOnErrors {
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(Sure(handle))
    }
}

impl Door for Sure {
    fn at_once(&self) -> Option<TokenId> {
        self.0.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        Box::pin(async move { Ok(self.0.token_within(wait).await.expect("there is always a token")) })
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

/// Gives the token before the last out again, for a short while after there is a new one.
pub(crate) struct GoesBack;

struct Nostalgic {
    handle: TokenHandle,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    last: Option<Arc<CachedToken>>,
    before: Option<Arc<CachedToken>>,
    calls: u32,
}

impl Workshop for GoesBack {
    fn door(&self, handle: TokenHandle) -> Arc<dyn Door> {
        Arc::new(Nostalgic { handle, tokens: Mutex::default() })
    }
}

impl Door for Nostalgic {
    fn at_once(&self) -> Option<TokenId> {
        self.handle.get_with(CachedToken::id)
    }

    fn within(&self, wait: Duration) -> TokenFuture<'_> {
        Box::pin(async move {
            let token = self.handle.token_within(wait).await?;
            let mut tokens = self.tokens.lock().unwrap();
            if tokens.last.as_ref().is_none_or(|last| last.id() != token.id()) {
                *tokens = Tokens { before: tokens.last.take(), last: Some(Arc::clone(&token)), calls: 0 };
            }
            tokens.calls += 1;
            let goes_back = (2..4).contains(&tokens.calls);
            Ok(tokens.before.clone().filter(|_| goes_back).unwrap_or(token))
        })
    }

    fn reject(&self, token: TokenId) {
        self.handle.reject(token);
    }
}
