//! A circuit breaker for one token endpoint: when it is down it is asked by one probe at a time, and rarely.
//!
//! | state | a request | a fault | an answer |
//! |---|---|---|---|
//! | closed | goes | opens at the threshold | forgets the faults |
//! | open | is held back until the window is over; then the first goes as the probe | | |
//! | half open | is held back while the probe is out | of the probe: opens, for a longer window | of the probe: closes |
//!
//! Only faults of the server or of the way to it count (R3.5): transport faults, time-outs and 5xx. Whatever else
//! comes back, `invalid_client` and 429 with it, is an answer of a server that is up.

use crate::backoff::{doubled, fraction};
use crate::time::Moment;
use std::time::Duration;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    threshold: u32,
    first_window: Duration,
    longest_window: Duration,
    probe_time: Duration,
}

impl BreakerPolicy {
    /// A breaker that opens after `threshold` faults in a row (default 5, 1 to 1000), the first time for at most
    /// `first_window` (default 5 s, 100 ms to 1 h), then for twice as long after each probe that fails, up to
    /// `longest_window` (default 60 s, `first_window` to 24 h). Each window is drawn between half of that and the whole, so that a
    /// fleet does not probe in step.
    ///
    /// # Errors
    /// [`InvalidBreakerPolicy`] when a value is out of its bounds.
    pub fn new(
        threshold: u32,
        first_window: Duration,
        longest_window: Duration,
    ) -> Result<Self, InvalidBreakerPolicy> {
        if !(1..=1000).contains(&threshold) {
            return Err(InvalidBreakerPolicy("the threshold must be from 1 to 1000 faults"));
        }
        if first_window < Duration::from_millis(100) || first_window > Duration::from_hours(1) {
            return Err(InvalidBreakerPolicy("the first window must be from 100 ms to 1 h"));
        }
        if longest_window < first_window || longest_window > Duration::from_hours(24) {
            return Err(InvalidBreakerPolicy("the longest window must be from the first one to 24 h"));
        }
        Ok(Self { threshold, first_window, longest_window, probe_time: Duration::ZERO })
    }

    /// A probe may take `span` (at most 24 h; default nothing but the longest window) before it is taken for lost and another
    /// one goes. Where requests may take longer than the longest window, this has to say so.
    #[must_use]
    pub fn with_probe_time(self, span: Duration) -> Self {
        Self { probe_time: span.min(Duration::from_hours(24)), ..self }
    }

    /// How long a probe that is out keeps all other requests back.
    #[must_use]
    pub fn probe_time(&self) -> Duration {
        self.probe_time.max(self.longest_window)
    }

    /// The longest time for which the endpoint is left alone.
    #[must_use]
    pub const fn longest_window(&self) -> Duration {
        self.longest_window
    }

    fn window(&self, openings: u32, jitter: f64) -> Duration {
        let bound = doubled(self.first_window, openings).min(self.longest_window);
        bound.mul_f64(0.5 + fraction(jitter) / 2.0)
    }
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            threshold: 5,
            first_window: Duration::from_secs(5),
            longest_window: Duration::from_mins(1),
            probe_time: Duration::ZERO,
        }
    }
}

/// How soon it is worth looking again while a probe is out.
const PROBE_GLANCE: Duration = Duration::from_secs(1);

/// A breaker policy whose values are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid breaker policy: {0}")]
pub struct InvalidBreakerPolicy(&'static str);

/// The breaker. It starts closed.
///
/// ```
/// use jeton_proto::breaker::{Breaker, BreakerPolicy, Verdict};
/// use jeton_proto::time::{Moment, Timestamp};
/// use std::time::Duration;
///
/// let policy = BreakerPolicy::new(1, Duration::from_secs(5), Duration::from_secs(60))?;
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let (breaker, passage) = Breaker::default().admit(&policy, now).ok_or("it is closed")?;
/// let breaker = breaker.settled(passage, Verdict::Faulted, &policy, 1.0, now);
///
/// assert!(breaker.admit(&policy, now).is_none());
/// let later = now.saturating_add(Duration::from_secs(5));
/// assert!(breaker.admit(&policy, later).is_some(), "the probe");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// Counts the probes, so that a late one is told from the one that is out.
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { faults: u32 },
    Open { since: Moment, window: Duration, openings: u32 },
    HalfOpen { since: Moment, openings: u32 },
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Requests go.
    #[default]
    Closed,
    /// A probe is out.
    HalfOpen,
    /// No request goes; when its window is over, the next one is the probe.
    Open,
}

/// What a breaker says to whoever would send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may go.
    Clear,
    /// It may go, as the one probe of an endpoint that was down when it was last asked.
    Probe {
        /// How long ago the last fault was.
        last_fault: Duration,
    },
    /// It may not go.
    Closed {
        /// When it is worth looking again.
        retry_after: Duration,
    },
}

/// Leave to send one request. It is settled once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The breaker was closed.
    Ordinary,
    /// The one request of a half-open breaker.
    Probe {
        /// Which probe.
        serial: u64,
    },
}

/// What came of a request, as far as the endpoint's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server answered: a token, a refusal by name, even nonsense, but no 5xx.
    Answered,
    /// No answer, or a 5xx.
    Faulted,
    /// It was given up on this side: nothing is known of the server (trap T26).
    Abandoned,
}

impl Breaker {
    /// What it says now.
    #[must_use]
    pub fn outlook(&self, policy: &BreakerPolicy, now: Moment) -> Outlook {
        let (since, span, glance) = match self.state {
            State::Closed { .. } => return Outlook::Clear,
            State::Open { since, window, .. } => (since, window, Duration::MAX),
            // A probe that is out for longer than it can take is lost; it must not hold the others for ever.
            State::HalfOpen { since, .. } => (since, policy.probe_time(), PROBE_GLANCE),
        };
        match now.left_of(span, since) {
            Some(left) => Outlook::Closed { retry_after: left.min(glance) },
            None => Outlook::Probe { last_fault: now.since(since).unwrap_or_default() },
        }
    }

    /// Lets a request through, or not: the breaker as it is then, and the request's passage.
    #[must_use]
    pub fn admit(&self, policy: &BreakerPolicy, now: Moment) -> Option<(Self, Passage)> {
        match (self.outlook(policy, now), self.state) {
            (Outlook::Clear, _) | (Outlook::Probe { .. }, State::Closed { .. }) => {
                Some((*self, Passage::Ordinary))
            }
            (Outlook::Closed { .. }, _) => None,
            (Outlook::Probe { .. }, State::Open { openings, .. } | State::HalfOpen { openings, .. }) => {
                let serial = self.probes.wrapping_add(1);
                let half_open = Self { state: State::HalfOpen { since: now, openings }, probes: serial };
                Some((half_open, Passage::Probe { serial }))
            }
        }
    }

    /// Notes what came of the request that had `passage`. `jitter` (a fraction from 0 to 1) places the end of the
    /// window, should this open it. What began before the breaker opened, and a probe that was taken for lost, change
    /// nothing: they tell of a time that is over.
    #[must_use]
    pub fn settled(
        &self,
        passage: Passage,
        verdict: Verdict,
        policy: &BreakerPolicy,
        jitter: f64,
        now: Moment,
    ) -> Self {
        let open =
            |openings: u32| State::Open { since: now, window: policy.window(openings, jitter), openings };
        let state = match (self.state, passage) {
            (State::Closed { faults }, Passage::Ordinary) => match verdict {
                Verdict::Answered => State::Closed { faults: 0 },
                Verdict::Abandoned => State::Closed { faults },
                Verdict::Faulted if faults.saturating_add(1) >= policy.threshold => open(1),
                Verdict::Faulted => State::Closed { faults: faults.saturating_add(1) },
            },
            (State::HalfOpen { since, openings }, Passage::Probe { serial }) if serial == self.probes => {
                match verdict {
                    Verdict::Answered => State::Closed { faults: 0 },
                    Verdict::Abandoned => State::Open { since, window: Duration::ZERO, openings },
                    Verdict::Faulted => open(openings.saturating_add(1)),
                }
            }
            (unchanged, Passage::Ordinary | Passage::Probe { .. }) => unchanged,
        };
        Self { state, ..*self }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::HalfOpen { .. } => Phase::HalfOpen,
            State::Open { .. } => Phase::Open,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { faults: 0 }, probes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const START: Moment =
        Moment::new(Timestamp::from_unix_seconds(1_700_000_000), Some(Duration::from_secs(1000)));

    fn after(seconds: u64) -> Moment {
        START.saturating_add(Duration::from_secs(seconds))
    }

    /// Opened by the default's five faults in a row, for exactly five seconds.
    fn opened() -> Breaker {
        let policy = BreakerPolicy::default();
        (0..5).fold(Breaker::default(), |breaker, fault| {
            assert_eq!(breaker.phase(), Phase::Closed, "after {fault} faults");
            let (breaker, passage) = breaker.admit(&policy, START).unwrap();
            breaker.settled(passage, Verdict::Faulted, &policy, 1.0, START)
        })
    }

    #[test]
    fn t25_it_opens_at_the_threshold_and_lets_exactly_one_probe_through() {
        let policy = BreakerPolicy::default();
        let open = opened();
        assert_eq!(open.phase(), Phase::Open);
        assert_eq!(open.outlook(&policy, after(4)), Outlook::Closed { retry_after: Duration::from_secs(1) });
        assert_eq!(open.admit(&policy, after(4)), None);
        let (half_open, probe) = open.admit(&policy, after(5)).unwrap();
        assert!(matches!(probe, Passage::Probe { .. }));
        assert_eq!(half_open.phase(), Phase::HalfOpen);
        assert_eq!(half_open.admit(&policy, after(6)), None, "the probe is out");
        let closed = half_open.settled(probe, Verdict::Answered, &policy, 0.5, after(6));
        assert_eq!(closed.phase(), Phase::Closed);
    }

    #[test]
    fn t25_an_answer_of_any_kind_forgets_the_faults() {
        let policy = BreakerPolicy::default();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for verdict in
                [Verdict::Faulted, Verdict::Faulted, Verdict::Faulted, Verdict::Faulted, Verdict::Answered]
            {
                breaker = breaker.settled(Passage::Ordinary, verdict, &policy, 1.0, START);
                assert_eq!(breaker.phase(), Phase::Closed);
            }
        }
    }

    #[test]
    fn t26_what_was_given_up_here_is_no_fault_and_gives_the_probe_back() {
        let policy = BreakerPolicy::default();
        let breaker = (0..100).fold(Breaker::default(), |breaker, _| {
            breaker.settled(Passage::Ordinary, Verdict::Abandoned, &policy, 1.0, START)
        });
        assert_eq!(breaker, Breaker::default());
        let (half_open, probe) = opened().admit(&policy, after(5)).unwrap();
        let given_up = half_open.settled(probe, Verdict::Abandoned, &policy, 1.0, after(6));
        assert!(given_up.admit(&policy, after(6)).is_some(), "the next probe goes at once");
    }

    #[test]
    fn windows_double_up_to_the_longest_and_end_with_an_answer() {
        let policy = BreakerPolicy::default();
        let (mut breaker, mut now) = (opened(), START);
        let mut windows = Vec::new();
        for _ in 0..6 {
            let Outlook::Closed { retry_after } = breaker.outlook(&policy, now) else {
                panic!("{breaker:?}")
            };
            windows.push(retry_after.as_secs());
            now = now.saturating_add(retry_after);
            let (half_open, probe) = breaker.admit(&policy, now).unwrap();
            breaker = half_open.settled(probe, Verdict::Faulted, &policy, 1.0, now);
        }
        assert_eq!(windows, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn what_began_before_it_opened_and_a_lost_probe_change_nothing() {
        let policy = BreakerPolicy::default();
        let open = opened();
        for verdict in [Verdict::Answered, Verdict::Faulted, Verdict::Abandoned] {
            assert_eq!(open.settled(Passage::Ordinary, verdict, &policy, 1.0, after(1)), open);
        }
        let (half_open, lost) = open.admit(&policy, after(5)).unwrap();
        let (again, probe) = half_open.admit(&policy, after(65)).unwrap();
        assert_ne!(lost, probe);
        for verdict in [Verdict::Answered, Verdict::Faulted, Verdict::Abandoned] {
            assert_eq!(again.settled(lost, verdict, &policy, 1.0, after(66)), again);
        }
    }

    #[test]
    fn t25_a_probe_that_may_take_longer_than_the_longest_window_is_not_lost_before() {
        let second = Duration::from_secs(1);
        let policy = BreakerPolicy::new(1, second, second).unwrap().with_probe_time(Duration::from_secs(10));
        let open = Breaker::default().settled(Passage::Ordinary, Verdict::Faulted, &policy, 1.0, START);
        let (half_open, probe) = open.admit(&policy, after(1)).unwrap();
        assert_eq!(half_open.admit(&policy, after(10)), None);
        assert!(half_open.admit(&policy, after(11)).is_some(), "that one is lost");
        let closed = half_open.settled(probe, Verdict::Answered, &policy, 1.0, after(10));
        assert_eq!(closed.phase(), Phase::Closed);
    }

    #[test]
    fn t5_a_wall_clock_that_steps_back_does_not_hold_it_open() {
        let policy = BreakerPolicy::new(1, Duration::from_secs(5), Duration::from_mins(1)).unwrap();
        let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
        let open = Breaker::default().settled(Passage::Ordinary, Verdict::Faulted, &policy, 1.0, now);
        assert!(open.admit(&policy, Moment::from(Timestamp::from_unix_seconds(10))).is_some());
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let s = Duration::from_secs;
        assert!(BreakerPolicy::new(0, s(1), s(1)).is_err());
        assert!(BreakerPolicy::new(1001, s(1), s(1)).is_err());
        assert!(BreakerPolicy::new(1, Duration::ZERO, s(1)).is_err());
        assert!(BreakerPolicy::new(1, s(2), s(1)).is_err());
        assert!(BreakerPolicy::new(1, s(1), Duration::MAX).is_err());
        assert!(BreakerPolicy::new(1, s(1), s(1)).is_ok());
    }

    proptest! {
        /// Whatever comes in whatever order, at most one probe is out, and an open breaker lets nothing through.
        #[test]
        fn r3_5_at_most_one_probe_is_out(events in prop::collection::vec((0_u8..5, 0_u64..40, any::<f64>()), 1..300)) {
            let policy = BreakerPolicy::default();
            let (mut breaker, mut now) = (Breaker::default(), START);
            let mut out: Vec<(Passage, Moment)> = Vec::new();
            for (event, seconds, jitter) in events {
                now = now.saturating_add(Duration::from_secs(seconds));
                if event < 2 {
                    let phase = breaker.phase();
                    let probing = out.iter().any(|(passage, since)| {
                        matches!(passage, Passage::Probe { .. }) && now.since(*since).unwrap() < policy.longest_window
                    });
                    if let Some((next, passage)) = breaker.admit(&policy, now) {
                        prop_assert_eq!(passage == Passage::Ordinary, phase == Phase::Closed);
                        prop_assert!(!(probing && phase != Phase::Closed), "a second probe");
                        breaker = next;
                        out.push((passage, now));
                    }
                } else if !out.is_empty() {
                    let verdict = [Verdict::Answered, Verdict::Faulted, Verdict::Abandoned][usize::from(event - 2)];
                    let (passage, _) = out.swap_remove(usize::try_from(seconds).unwrap() % out.len());
                    breaker = breaker.settled(passage, verdict, &policy, jitter, now);
                }
                if let Outlook::Closed { retry_after } = breaker.outlook(&policy, now) {
                    prop_assert!(retry_after <= policy.longest_window);
                }
            }
        }
    }
}
