//! Processes that share a store, and whatever may happen to them.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A store as the contract wants it, and processes that share it, driven step by step.
#[derive(Default)]
struct World {
    millis: u64,
    record: Option<Record>,
    writes: u64,
    tokens: u64,
    mints: u64,
    rejected: BTreeSet<u64>,
    /// The largest sequence that was ever in the store.
    newest: Sequence,
}

#[derive(Clone)]
struct Record {
    version: Version,
    token: Option<(u64, Shared)>,
    rejected: Option<TokenId>,
    lease_until: Option<u64>,
    pause_until: Option<u64>,
}

struct Process {
    held: Option<(Arc<CachedToken>, Option<Sequence>)>,
    seen: Option<Version>,
    newest: Sequence,
    flight: Option<(Flight, Action)>,
    frozen_until: u64,
}

impl World {
    fn now(&self) -> Moment {
        at(self.millis)
    }

    fn found(&self) -> Option<Found> {
        let left = |until: Option<u64>| {
            until.and_then(|until| until.checked_sub(self.millis)).filter(|left| *left > 0)
        };
        self.record.as_ref().map(|record| Found {
            version: record.version,
            token: record.token.as_ref().map(|(_, shared)| shared.clone()),
            rejected: record.rejected,
            lease_left: left(record.lease_until).map(Duration::from_millis),
            pause_left: left(record.pause_until).map(Duration::from_millis),
        })
    }

    fn write(
        &mut self,
        expected: Option<Version>,
        change: impl FnOnce(&mut Record),
    ) -> Result<Version, Event> {
        if self.record.as_ref().map(|record| record.version) != expected {
            return Err(Event::Conflict(self.found()));
        }
        self.writes += 1;
        let version = version(self.writes);
        let mut record = self.record.take().unwrap_or(Record {
            version,
            token: None,
            rejected: None,
            lease_until: None,
            pause_until: None,
        });
        record.version = version;
        change(&mut record);
        if let Some((number, shared)) = &record.token {
            assert!(self.newest <= shared.sequence, "a superseded token came back");
            assert!(!self.rejected.contains(number), "a rejected token came back");
            self.newest = shared.sequence;
        }
        self.record = Some(record);
        Ok(version)
    }

    /// Does what a flight asked for, and gives what came of it.
    fn perform(&mut self, action: &Action, mint_fails: bool) -> Event {
        let millis = self.millis;
        match action {
            Action::TakeLease { expected, rejecting } => {
                let rejecting = *rejecting;
                let mut dropped = None;
                let written = self.write(*expected, |record| {
                    record.lease_until = Some(millis + 5_000);
                    (record.rejected, record.pause_until) = (rejecting, None);
                    if rejecting.is_some() {
                        dropped = record.token.take();
                    }
                });
                self.rejected.extend(
                    dropped.filter(|(_, shared)| Some(shared.token.id()) == rejecting).map(|(n, _)| n),
                );
                written.map_or_else(
                    |conflict| conflict,
                    |version| Event::Leased { version, store_millis: millis },
                )
            }
            Action::Load => Event::Loaded(self.found()),
            Action::Follow { .. } => Event::Woken,
            Action::Mint if mint_fails => Event::MintFailed { pause: None },
            Action::Mint => {
                self.tokens += 1;
                self.mints += 1;
                Event::Minted(token(self.tokens, self.now()))
            }
            Action::Publish { expected, shared } => {
                let (number, shared) = (number_of(shared), shared.clone());
                let written = self.write(*expected, |record| {
                    record.token = Some((number, shared));
                    record.rejected = None;
                    record.lease_until = None;
                    record.pause_until = None;
                });
                written.map_or_else(|conflict| conflict, Event::Written)
            }
            Action::Release { expected, .. } => {
                let written = self.write(Some(*expected), |record| record.lease_until = None);
                written.map_or_else(|conflict| conflict, Event::Written)
            }
            Action::Finish(_) => unreachable!("a flight that is over does nothing"),
        }
    }
}

fn number_of(shared: &Shared) -> u64 {
    shared.token.access_token().trim_start_matches("token-").parse().unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Go(usize),
    Begin(usize, MintReason),
    Freeze(usize, u64),
    Kill(usize),
    Pass(u64),
    StoreFails(usize),
    MintFails(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..4_usize;
    prop_oneof![
        12 => who.clone().prop_map(Step::Go),
        3 => (who.clone(), prop_oneof![Just(MintReason::Early), Just(MintReason::Needed), Just(MintReason::Forced)])
            .prop_map(|(who, reason)| Step::Begin(who, reason)),
        1 => (who.clone(), 1..20_000_u64).prop_map(|(who, millis)| Step::Freeze(who, millis)),
        1 => who.clone().prop_map(Step::Kill),
        3 => (1..3_000_u64).prop_map(Step::Pass),
        1 => who.clone().prop_map(Step::StoreFails),
        1 => who.prop_map(Step::MintFails),
    ]
}

impl Process {
    fn new() -> Self {
        Self { held: None, seen: None, newest: Sequence::default(), flight: None, frozen_until: 0 }
    }

    fn begin(&mut self, reason: MintReason, now: Moment) {
        if self.flight.is_some() || (reason == MintReason::Forced && self.held.is_none()) {
            return;
        }
        let wish = Wish {
            reason,
            held: self.held.as_ref().map(|(token, _)| Arc::clone(token)),
            held_sequence: self.held.as_ref().and_then(|(_, sequence)| *sequence),
            seen: self.seen,
            newest: self.newest,
        };
        self.flight = Some(Flight::begin(wish, PATIENCE, now));
    }

    fn follow_up(&mut self, event: Event, now: Moment) {
        let Some((flight, action)) = &mut self.flight else { return };
        *action = flight.on(event, now);
        let Action::Finish(end) = action else { return };
        let rejected = flight.wish.rejects();
        match end.clone() {
            End::Adopted { shared, version } => {
                assert!(!shared.token.left(now).is_zero(), "an expired token was adopted");
                assert_ne!(Some(shared.token.id()), rejected, "the rejected token was adopted");
                let held = self.held.as_ref().and_then(|(_, sequence)| *sequence);
                assert!(held.is_none_or(|held| held < shared.sequence), "an older token was adopted");
                (self.held, self.seen) = (Some((shared.token, Some(shared.sequence))), version);
                self.newest = shared.sequence;
            }
            End::Minted { token, published } => {
                let (sequence, version) = published.unzip();
                self.held = Some((token, sequence));
                self.seen = version.or(self.seen);
                self.newest = sequence.unwrap_or(self.newest);
            }
            End::Failed | End::Paused { .. } => {}
        }
        self.newest = self.newest.max(flight.newest());
        self.flight = None;
    }
}

fn run(steps: &[Step]) -> World {
    let mut world = World::default();
    let mut processes: Vec<Process> = (0..4).map(|_| Process::new()).collect();
    for step in steps {
        let millis = world.millis;
        match *step {
            Step::Pass(more) => world.millis += more,
            Step::Freeze(who, more) => processes[who].frozen_until = millis + more,
            Step::Kill(who) => processes[who] = Process::new(),
            Step::Begin(who, reason) => processes[who].begin(reason, world.now()),
            Step::Go(who) | Step::StoreFails(who) | Step::MintFails(who) => {
                let process = &mut processes[who];
                if process.frozen_until > millis {
                    continue;
                }
                let Some((_, action)) = &process.flight else { continue };
                let (store_fails, mint_fails) =
                    (matches!(step, Step::StoreFails(_)), matches!(step, Step::MintFails(_)));
                let event = match action {
                    Action::Mint => world.perform(action, mint_fails),
                    // What fails may have been written all the same.
                    _ if store_fails => {
                        let _lost = world.perform(action, false);
                        Event::StoreFailed
                    }
                    _ => world.perform(action, false),
                };
                process.follow_up(event, world.now());
            }
        }
    }
    // Nothing fails any more, and everybody has its turn: every flight ends.
    let began = world.millis;
    while processes.iter().any(|process| process.flight.is_some()) {
        for process in &mut processes {
            let Some((_, action)) = &process.flight else { continue };
            let event = world.perform(&action.clone(), false);
            process.follow_up(event, world.now());
        }
        world.millis += 10;
        assert!(world.millis - began <= 8_500, "a flight goes on for ever");
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_no_token_comes_back_and_every_flight_ends(steps in prop::collection::vec(step(), 0..120)) {
        run(&steps);
    }

    #[test]
    fn while_nothing_fails_one_process_mints(order in prop::collection::vec(0..4_usize, 0..80)) {
        let mut steps: Vec<Step> = (0..4).map(|who| Step::Begin(who, MintReason::Needed)).collect();
        steps.extend(order.into_iter().map(Step::Go));
        prop_assert_eq!(run(&steps).mints, 1);
    }

    #[test]
    fn a_token_that_all_reject_is_replaced_once(order in prop::collection::vec(0..4_usize, 0..80)) {
        let mut steps: Vec<Step> = (0..4).map(|who| Step::Begin(who, MintReason::Needed)).collect();
        // Everybody has the first token after so many turns of each.
        steps.extend((0..4).flat_map(|who| std::iter::repeat_n(Step::Go(who), 6)));
        steps.extend((0..4).map(|who| Step::Begin(who, MintReason::Forced)));
        steps.extend(order.into_iter().map(Step::Go));
        prop_assert_eq!(run(&steps).mints, 2);
    }
}
