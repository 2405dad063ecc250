//! Clients that are built or ended in a broken way.

use jeton::{BackoffPolicy, Clock, QuotaPolicy, Timestamp, TokenKey, TokenManager, TokenManagerBuilder};
use sim::door::{CloseFuture, Workshop};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Has a clock that goes at half speed.
pub(crate) struct SlowClock;

struct HalfSpeed {
    clock: Arc<dyn Clock>,
    begun: Timestamp,
}

impl Workshop for SlowClock {
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(HalfSpeed { begun: clock.now(), clock })
    }
}

impl Clock for HalfSpeed {
    fn now(&self) -> Timestamp {
        self.begun.saturating_add(self.clock.now().saturating_since(self.begun) / 2)
    }

    fn since_boot(&self) -> Option<Duration> {
        self.clock.since_boot().map(|since_boot| since_boot / 2)
    }
}

/// Asks as often as it likes.
pub(crate) struct WithoutQuota;

impl Workshop for WithoutQuota {
    fn settings(&self, builder: TokenManagerBuilder, _prefetched: &[TokenKey]) -> TokenManagerBuilder {
        builder.request_quota(QuotaPolicy::new(100_000, Duration::from_millis(1)).unwrap())
    }
}

/// Remembers for a second alone that it was refused.
pub(crate) struct ForgetsRefusals;

impl Workshop for ForgetsRefusals {
    fn settings(&self, builder: TokenManagerBuilder, _prefetched: &[TokenKey]) -> TokenManagerBuilder {
        let (base, second) = (Duration::from_millis(500), Duration::from_secs(1));
        builder.backoff_policy(BackoffPolicy::new(base, Duration::from_secs(30), second).unwrap())
    }
}

/// Forgets what was to be prefetched.
pub(crate) struct WithoutPrefetch;

impl Workshop for WithoutPrefetch {
    fn settings(&self, builder: TokenManagerBuilder, _prefetched: &[TokenKey]) -> TokenManagerBuilder {
        builder
    }
}

/// Holds every manager for ever.
#[derive(Default)]
pub(crate) struct LeaksManagers(Mutex<Vec<TokenManager>>);

impl Workshop for LeaksManagers {
    fn built(&self, manager: &TokenManager) {
        self.0.lock().unwrap().push(manager.clone());
    }
}

/// Closes without waiting for anything.
pub(crate) struct ClosesAtOnce;

impl Workshop for ClosesAtOnce {
    fn close<'a>(&self, manager: &'a TokenManager, _within: Duration) -> CloseFuture<'a> {
        Box::pin(manager.close(Duration::ZERO))
    }
}
