//! How long a database is left alone that cannot be used.

use super::fault::{Fault, FaultKind};
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(100);
/// A database that is back is found within this time.
const LONGEST: Duration = Duration::from_secs(2);
/// After what somebody has to change, such as a password that was refused: others lock a user out who asks too often.
const STANDING: Duration = Duration::from_secs(5);

/// A pause, and what it is for.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    current: Option<(Instant, Fault)>,
}

impl Pause {
    /// Why nothing is to be tried at `now`.
    pub(super) fn holds(&self, now: Instant) -> Option<&Fault> {
        self.current.as_ref().filter(|(until, _)| now < *until).map(|(_, fault)| fault)
    }

    /// How much of it is left at `now`.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.current.as_ref().map(|(until, _)| until.saturating_duration_since(now)).unwrap_or_default()
    }

    /// An attempt has failed. `jitter` is drawn from 0 to 1, so that instances do not come back in one instant.
    pub(super) fn failed(&mut self, fault: Fault, jitter: f64, now: Instant) {
        let bound = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        let bound = match fault.kind {
            FaultKind::Passing | FaultKind::Silent | FaultKind::ReadOnly => bound,
            FaultKind::Standing | FaultKind::NewerSchema(_) => STANDING,
        };
        self.failures = self.failures.saturating_add(1);
        let pause = bound.mul_f64(jitter.clamp(0.0, 1.0) / 2.0 + 0.5);
        self.current = now.checked_add(pause).map(|until| (until, fault));
    }

    /// An attempt has succeeded.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }
}

/// A fraction from 0 to 1.
pub(super) fn jitter() -> f64 {
    let mut random = [0; 4];
    // Without a random source all come back at the same time, which is no fault.
    let _filled = aws_lc_rs::rand::fill(&mut random);
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_end_with_a_success() {
        let mut pause = Pause::default();
        let now = Instant::now();
        assert!(pause.holds(now).is_none());
        let mut last = Duration::ZERO;
        for failure in 0..100 {
            pause.failed(Fault::silent(), 1.0, now);
            let left = pause.left(now);
            assert!(pause.holds(now).is_some() && left >= last && left <= LONGEST, "{failure}: {left:?}");
            last = left;
        }
        assert_eq!(last, LONGEST);
        assert!(pause.holds(now + LONGEST).is_none());
        pause.over();
        pause.failed(Fault::silent(), 0.0, now);
        assert_eq!(pause.left(now), SHORTEST / 2);
        pause.failed(Fault::gone(), 1.0, now);
        assert_eq!(pause.left(now), STANDING);
    }
}
