//! Whether the endpoint is up, as far as the breaker has to know.

use super::doubled;
use crate::machines::clocks::{Left, Reading};
use crate::machines::findings::Findings;
use crate::machines::law::Law;
use crate::machines::setting::Numbers;
use jeton_proto::breaker::Verdict;

/// How a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// While the breaker was closed.
    Ordinary,
    /// As the probe of this number.
    Probe(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { faults: u32 },
    Open { since: Reading, least_ms: u64, most_ms: u64, openings: u32 },
    HalfOpen { since: Reading, openings: u32 },
}

/// The breaker, with a bound in place of each draw.
#[derive(Debug)]
pub(super) struct Line {
    state: State,
    probes: u64,
}

impl Default for Line {
    fn default() -> Self {
        Self { state: State::Closed { faults: 0 }, probes: 0 }
    }
}

impl Line {
    pub(super) fn sent(&mut self, numbers: &Numbers, now: Reading, findings: &mut Findings) -> Sent {
        let openings = match self.state {
            State::Closed { .. } => return Sent::Ordinary,
            State::Open { since, least_ms, openings, .. } => {
                let left_ms = now.left_of(least_ms, since);
                findings.unless(left_ms == 0, Law::BreakerWindow, || {
                    format!("a request was sent {left_ms} ms before the window is over")
                });
                openings
            }
            State::HalfOpen { since, openings } => {
                let left_ms = now.left_of(numbers.probe_ms, since);
                findings.unless(left_ms == 0, Law::OneProbe, || "a second probe was sent".to_owned());
                openings
            }
        };
        self.probes += 1;
        self.state = State::HalfOpen { since: now, openings };
        Sent::Probe(self.probes)
    }

    pub(super) fn settled(&mut self, numbers: &Numbers, sent: Sent, verdict: Verdict, now: Reading) {
        let open = |openings: u32| {
            let most_ms = doubled(numbers.first_window_ms, openings).min(numbers.longest_window_ms);
            State::Open { since: now, least_ms: most_ms / 2, most_ms, openings }
        };
        let faults_more = |faults: u32| match faults.saturating_add(1) {
            enough if enough >= numbers.threshold => open(1),
            faults => State::Closed { faults },
        };
        self.state = match (self.state, sent) {
            (State::Closed { faults }, Sent::Ordinary) => match verdict {
                Verdict::Answered => State::Closed { faults: 0 },
                Verdict::Abandoned => State::Closed { faults },
                Verdict::Faulted => faults_more(faults),
            },
            (State::HalfOpen { since, openings }, Sent::Probe(probe)) if probe == self.probes => {
                match verdict {
                    Verdict::Answered => State::Closed { faults: 0 },
                    Verdict::Abandoned => State::Open { since, least_ms: 0, most_ms: 0, openings },
                    Verdict::Faulted => open(openings.saturating_add(1)),
                }
            }
            (unchanged, Sent::Ordinary | Sent::Probe(_)) => unchanged,
        };
    }

    /// For how long it may hold requests back.
    pub(super) fn left_of_cause(&self, left: Left, numbers: &Numbers, now: Reading) -> u64 {
        match self.state {
            State::Closed { .. } => 0,
            State::Open { since, most_ms, .. } => left(now, most_ms, since),
            State::HalfOpen { since, .. } => left(now, numbers.probe_ms, since),
        }
    }
}
