//! The task that follows the list, for as long as there is a guard.

use super::{FeedError, Shared};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Follows the list. It does not keep the guard alive, and whatever ends it lets another one begin.
pub(crate) struct Follower {
    shared: Weak<Shared>,
}

impl Follower {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }

    pub(super) async fn run(self) {
        while let Some(shared) = self.shared.upgrade() {
            let outcome = shared.poll().await;
            let retry_after = outcome.as_ref().err().and_then(FeedError::retry_after);
            shared.ended(outcome);
            let failures = shared.state().failures;
            let pause = shared.settings.pause(failures, retry_after, fastrand::f64());
            drop(shared);
            tokio::time::sleep(pause).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            if std::thread::panicking() {
                shared.ended(Err(FeedError::Panicked));
            }
            shared.following.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    fn ended(&self, outcome: Result<(), FeedError>) {
        let issuer = &self.keys.source().issuer;
        let mut state = self.state();
        match outcome {
            Ok(()) => {
                if state.failures > 0 {
                    tracing::info!(%issuer, "the list of revoked tokens can be read again");
                }
                state.failures = 0;
                state.last_error = None;
            }
            Err(error) => {
                if state.last_error.as_ref() != Some(&error) {
                    tracing::warn!(%issuer, %error, "could not read the list of revoked tokens");
                }
                state.failures = state.failures.saturating_add(1);
                state.last_error = Some(error);
            }
        }
        drop(state);
        self.asked.send_replace(true);
    }
}
