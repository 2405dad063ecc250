//! The breaker while three requests are admitted and end: one probe at a time, and one that is given up frees its place.
//!
//! Whatever the threads do, it has to be what the pure breaker does in the order in which the steps took effect: each
//! model writes that order down, does the same one after the other, and compares.

use super::{START, Seen, after, explore, timed_out, together};
use crate::gatekeeper::{BreakerCell, Gatekeeper, Settlement};
use crate::sync::{Mutex, lock};
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::breaker::{Breaker, BreakerPolicy, Passage, Phase, Verdict};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::quota::QuotaPolicy;
use jeton_proto::time::Moment;
use std::sync::{Arc, Mutex as Ledger};
use std::time::Duration;

/// The whole window is drawn, so that no time has to be guessed.
const JITTER: f64 = 1.0;
const WINDOW: Duration = Duration::from_secs(5);

/// What the models ask of a gatekeeper, so that a careless one can stand in for it.
trait Gate: Send + Sync + 'static {
    fn admit(&self, now: Moment) -> Option<Passage>;
    fn settle(&self, passage: Passage, verdict: Verdict, now: Moment);
    fn phase(&self) -> Phase;
}

impl Gate for Gatekeeper {
    fn admit(&self, now: Moment) -> Option<Passage> {
        self.admit(CredentialGeneration::default(), now)
    }

    fn settle(&self, passage: Passage, verdict: Verdict, now: Moment) {
        let (error, with) = (timed_out(), CredentialGeneration::default());
        let outcome = match verdict {
            Verdict::Answered => Ok(()),
            Verdict::Faulted => Err(&error),
            Verdict::Abandoned => return self.abandon(passage, with, now),
        };
        self.settle(passage, &Settlement { outcome, with, jitter: JITTER, now });
    }

    fn phase(&self) -> Phase {
        self.breaker.phase()
    }
}

/// What there would be if the lock were let go between looking and writing.
struct Careless(Mutex<Breaker>);

impl Gate for Careless {
    fn admit(&self, now: Moment) -> Option<Passage> {
        let seen = *lock(&self.0);
        let (next, passage) = seen.admit(&policy(), now)?;
        *lock(&self.0) = next;
        Some(passage)
    }

    fn settle(&self, passage: Passage, verdict: Verdict, now: Moment) {
        let seen = *lock(&self.0);
        *lock(&self.0) = seen.settled(passage, verdict, &policy(), JITTER, now);
    }

    fn phase(&self) -> Phase {
        lock(&self.0).phase()
    }
}

/// One that does not hear of what was given up.
struct Forgetful(Gatekeeper);

impl Gate for Forgetful {
    fn admit(&self, now: Moment) -> Option<Passage> {
        Gate::admit(&self.0, now)
    }

    fn settle(&self, passage: Passage, verdict: Verdict, now: Moment) {
        match verdict {
            Verdict::Answered | Verdict::Faulted => Gate::settle(&self.0, passage, verdict, now),
            Verdict::Abandoned => {}
        }
    }

    fn phase(&self) -> Phase {
        Gate::phase(&self.0)
    }
}

/// A step, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Admit(Moment, Option<Passage>),
    Settle(Passage, Verdict, Moment),
}

/// A gate, and the steps in the order in which they took effect. The last lock of each call is what the breaker changes
/// under, and loom lets nobody in between that and what follows without a step of its own.
struct Recorded<G> {
    gate: G,
    steps: Ledger<Vec<Step>>,
}

impl<G: Gate> Recorded<G> {
    fn new(gate: G) -> Arc<Self> {
        Arc::new(Self { gate, steps: Ledger::default() })
    }

    fn admit(&self, now: Moment) -> Option<Passage> {
        let passage = self.gate.admit(now);
        self.steps.lock().unwrap().push(Step::Admit(now, passage));
        passage
    }

    fn settle(&self, passage: Passage, verdict: Verdict, now: Moment) {
        self.gate.settle(passage, verdict, now);
        self.steps.lock().unwrap().push(Step::Settle(passage, verdict, now));
    }

    /// One request: sent if it may be, and ended like this.
    fn request(&self, verdict: Verdict, now: Moment) {
        if let Some(passage) = self.admit(now) {
            self.settle(passage, verdict, now);
        }
    }

    /// Does the steps one after the other, and compares; gives them. At no time two probes are out.
    fn checked(&self) -> Vec<Step> {
        let steps = self.steps.lock().unwrap().clone();
        let (mut breaker, mut probe) = (Breaker::default(), None);
        for &step in &steps {
            match step {
                Step::Admit(now, passage) => {
                    let admitted = breaker.admit(&policy(), now);
                    if let Some(Passage::Probe { .. }) = passage {
                        assert_eq!(probe, None, "two probes are out");
                        probe = passage;
                    }
                    assert_eq!(
                        admitted.map(|(_, passage)| passage),
                        passage,
                        "let through or held back wrongly"
                    );
                    breaker = admitted.map_or(breaker, |(next, _)| next);
                }
                Step::Settle(passage, verdict, now) => {
                    probe = probe.filter(|probe| *probe != passage);
                    breaker = breaker.settled(passage, verdict, &policy(), JITTER, now);
                }
            }
        }
        assert_eq!(self.gate.phase(), breaker.phase(), "a change is lost");
        steps
    }
}

fn policy() -> BreakerPolicy {
    BreakerPolicy::new(2, WINDOW, WINDOW * 4).unwrap()
}

fn gatekeeper() -> Gatekeeper {
    let breaker = Arc::new(BreakerCell::new(policy()));
    Gatekeeper::new(breaker, BackoffPolicy::default(), QuotaPolicy::default())
}

fn window_over() -> Moment {
    after(WINDOW)
}

fn probes(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Admit(_, Some(Passage::Probe { .. })))).count()
}

/// Three requests that were let through end while it opens: two faults open it, an answer in between forgets one.
fn opening(gate: impl Gate, seen: &Seen) {
    let gate = Recorded::new(gate);
    let passages: Vec<_> = (0..3).map(|_| gate.admit(START).unwrap()).collect();
    let [a, b, c] = passages[..] else { panic!("three were let through") };
    let (first, second) = (Arc::clone(&gate), Arc::clone(&gate));
    together(
        move || first.settle(a, Verdict::Faulted, START),
        move || second.settle(b, Verdict::Faulted, START),
        || {
            gate.settle(c, Verdict::Answered, START);
            gate.request(Verdict::Abandoned, START);
        },
    );
    gate.checked();
    let phase = gate.gate.phase();
    seen.note(if phase == Phase::Open { "open" } else { "closed" });
    assert_ne!(phase, Phase::HalfOpen, "a probe before the window is over");
}

#[test]
fn t25_it_opens_as_if_requests_had_ended_one_after_the_other() {
    explore("opening", &["open", "closed"], |seen| opening(gatekeeper(), seen));
}

#[test]
#[should_panic(expected = "a change is lost")]
fn one_that_loses_a_fault_is_found_out() {
    let careless = || Careless(Mutex::new(Breaker::default()));
    explore("opening, carelessly", &[], move |seen| opening(careless(), seen));
}

/// Open, with the window over.
fn opened<G: Gate>(gate: G) -> Arc<Recorded<G>> {
    let gate = Recorded::new(gate);
    for _ in 0..2 {
        gate.request(Verdict::Faulted, START);
    }
    assert_eq!(gate.gate.phase(), Phase::Open);
    gate
}

/// Three requests come when the window is over; whichever is first is the probe.
fn half_open(gate: impl Gate, seen: &Seen) {
    let gate = opened(gate);
    let (first, second) = (Arc::clone(&gate), Arc::clone(&gate));
    together(
        move || first.request(Verdict::Abandoned, window_over()),
        move || second.request(Verdict::Faulted, window_over()),
        || gate.request(Verdict::Answered, window_over()),
    );
    let steps = gate.checked();
    match gate.gate.phase() {
        // What was given up says nothing of the server: whoever comes next is the next probe.
        Phase::Open if probes(&steps) == 1 && gate.admit(window_over()).is_some() => seen.note("given back"),
        Phase::Open => seen.note("open"),
        Phase::HalfOpen => panic!("a probe that has ended is out"),
        Phase::Closed => seen.note("closed"),
    }
    seen.note(if probes(&steps) > 1 { "a probe after one that was given up" } else { "one probe" });
}

const HALF_OPEN: [&str; 5] =
    ["given back", "open", "closed", "a probe after one that was given up", "one probe"];

#[test]
fn t25_exactly_one_probe_goes_and_one_that_is_given_up_frees_the_place() {
    explore("half open", &HALF_OPEN, |seen| half_open(gatekeeper(), seen));
}

#[test]
#[should_panic(expected = "let through or held back wrongly")]
fn t26_one_that_forgets_what_was_given_up_is_found_out() {
    explore("half open, forgetfully", &[], |seen| half_open(Forgetful(gatekeeper()), seen));
}

/// Three requests come when the window is over, and none of them ends.
fn three_ask(gate: impl Gate) {
    let gate = opened(gate);
    let (first, second) = (Arc::clone(&gate), Arc::clone(&gate));
    together(
        move || first.admit(window_over()),
        move || second.admit(window_over()),
        || gate.admit(window_over()),
    );
    assert_eq!(probes(&gate.checked()), 1, "nobody is let through");
}

#[test]
fn t25_one_of_three_is_the_probe() {
    explore("three ask", &[], |_| three_ask(gatekeeper()));
}

#[test]
#[should_panic(expected = "two probes are out")]
fn t25_one_that_lets_two_probes_through_is_found_out() {
    explore("three ask, carelessly", &[], |_| three_ask(Careless(Mutex::new(Breaker::default()))));
}

const PROBES: [&str; 3] = ["no probe", "one probe", "two, one after the other"];

/// One request opens it, while others whose window is over already by their clock come for the probe.
fn opening_and_half_open(gate: impl Gate, seen: &Seen) {
    let gate = Recorded::new(gate);
    gate.request(Verdict::Faulted, START);
    let passage = gate.admit(START).unwrap();
    let (opening, probing) = (Arc::clone(&gate), Arc::clone(&gate));
    together(
        move || opening.settle(passage, Verdict::Faulted, START),
        move || probing.request(Verdict::Faulted, window_over()),
        || gate.request(Verdict::Abandoned, window_over()),
    );
    let steps = gate.checked();
    seen.note(PROBES.get(probes(&steps)).unwrap());
}

#[test]
fn t25_a_request_from_before_it_opened_does_not_disturb_the_probe() {
    explore("opening and half open", &PROBES, |seen| opening_and_half_open(gatekeeper(), seen));
}
