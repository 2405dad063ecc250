//! The clock that all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An instant by `CLOCK_MONOTONIC`, which shows every process the same: `std`'s keeps its number to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Monotonic {
    nanos: u64,
}

impl Monotonic {
    /// What it shows.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        Self { nanos: seconds.saturating_mul(1_000_000_000).saturating_add(nanos) }
    }

    /// `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// How long it is since `earlier`; nothing when that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// How long it is from now; nothing when it is over.
    pub fn left(self) -> Duration {
        self.since(Self::now())
    }
}
