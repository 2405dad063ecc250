//! Flights across processes that break one rule each.

use jeton_proto::flight::{Action, End, Event, Flight, Found, Sequence, Shared, Version, Wish};
use jeton_proto::time::Moment;
use sim::machines::clocks::Reading;
use sim::machines::fleet::engine::{FleetEngine, SoundFleet};
use sim::machines::fleet::law::FleetLaw;
use sim::machines::fleet::runs::{run, run_one};
use sim::machines::fleet::store::Change;
use sim::machines::fleet::world::Outcome;
use std::time::Duration;

/// In how many worlds a broken flight has to be caught.
const WORLDS: u64 = 1000;

struct Broken {
    name: &'static str,
    law: FleetLaw,
    run: fn(u64) -> Outcome,
}

const fn broken(name: &'static str, law: FleetLaw, run: fn(u64) -> Outcome) -> Broken {
    Broken { name, law, run }
}

const BROKEN: &[Broken] = &[
    broken("nobody waits for who has the lease", FleetLaw::OneMint, |seed| run_one(seed, Impatient)),
    broken("what is in the store is not looked at", FleetLaw::OneMint, |seed| run_one(seed, Blind)),
    broken("who finds no free lease asks by itself", FleetLaw::OneMint, |seed| run_one(seed, Alone)),
    broken("a version seen beside a lease is taken for free", FleetLaw::OneMint, |seed| {
        run_one(seed, Usurper::default())
    }),
    broken("what is granted is not shared", FleetLaw::OneMorePerKill, |seed| run_one(seed, Selfish)),
    broken("a prolonged lease has its old fence", FleetLaw::OneMorePerKill, |seed| run_one(seed, Forgetful)),
    broken("a rejection takes over the lease for another's", FleetLaw::OneForcedMint, |seed| {
        run_one(seed, Jealous)
    }),
    broken("a follower waits for as long as it likes", FleetLaw::Patience, |seed| run_one(seed, Patient)),
    broken("a late token is put over a newer one", FleetLaw::NewestStays, |seed| run_one(seed, Overwriter)),
    broken("who fetched one alone counts from one", FleetLaw::NewestStays, |seed| run_one(seed, CountsAnew)),
    broken("the rejected token stays in the store", FleetLaw::RejectedStaysAway, |seed| run_one(seed, Keeps)),
    broken("a flight forgets what it was rejected for", FleetLaw::RejectedStaysAway, |seed| {
        run_one(seed, Oblivious)
    }),
    broken("a token's life begins when it is found", FleetLaw::NeverLonger, |seed| run_one(seed, Reborn)),
    broken("a token's age counts from when the answer came", FleetLaw::NeverLonger, |seed| {
        run_one(seed, CountsLate)
    }),
    broken("a record of any key opens", FleetLaw::RightKey, |seed| run_one(seed, OpensAll)),
    broken("a follower waits for ever", FleetLaw::Ends, |seed| run_one(seed, Sleeper)),
    broken("a failed request gives no lease back", FleetLaw::LeaseEnds, |seed| run_one(seed, KeepsLease)),
    broken("a lease is followed beyond its time", FleetLaw::LeaseEnds, |seed| run_one(seed, FollowsLong)),
    broken("a pause is of one process", FleetLaw::SharedPause, |seed| run_one(seed, DeafToPauses)),
    broken("a process that was alone once stays so", FleetLaw::SharedAgain, |seed| {
        run_one(seed, Hermit::default())
    }),
    broken("a conflict without a record panics", FleetLaw::NoPanic, |seed| run_one(seed, Panics)),
];

#[test]
fn every_law_holds_of_flights_across_processes_and_everything_went_wrong() {
    let report = run(0, 1_000_000);
    assert!(report.is_clean(), "{report}");
    assert!(report.requests > 10_000 && report.adopted > 15_000, "{report}");
    for (trouble, count) in report.troubles.iter() {
        assert!(count >= 40, "{trouble}: {count}\n{report}");
    }
}

#[test]
fn one_seed_is_one_world_of_processes() {
    for seed in 0..20 {
        let told = || format!("{:?}", run_one(seed, SoundFleet));
        assert_eq!(told(), told(), "seed {seed}");
    }
    assert_ne!(format!("{:?}", run_one(0, SoundFleet)), format!("{:?}", run_one(1, SoundFleet)));
}

#[test]
fn every_broken_flight_is_caught_by_the_law_that_it_breaks() {
    let mut missed = Vec::new();
    for broken in BROKEN {
        let caught = (0..WORLDS).find(|seed| {
            let outcome = (broken.run)(*seed);
            outcome.violations.iter().any(|violation| violation.law == broken.law)
        });
        match caught {
            Some(seed) => println!("{}: caught by {:?} in world {seed}", broken.name, broken.law),
            None => missed.push((broken.name, broken.law)),
        }
    }
    assert!(missed.is_empty(), "not caught in {WORLDS} worlds: {missed:?}");
}

#[test]
fn no_law_of_fleets_is_without_a_flight_that_breaks_it() {
    for law in FleetLaw::ALL {
        assert!(BROKEN.iter().any(|broken| broken.law == law), "nothing breaks {law:?}");
    }
}

/// What was found, changed.
fn finding(event: Event, change: impl Fn(Found) -> Found) -> Event {
    match event {
        Event::Conflict(found) => Event::Conflict(found.map(change)),
        Event::Loaded(found) => Event::Loaded(found.map(change)),
        event => event,
    }
}

struct Impatient;

impl FleetEngine for Impatient {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        flight.on(finding(event, |found| Found { lease_left: None, ..found }), now)
    }
}

struct Blind;

impl FleetEngine for Blind {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        flight.on(finding(event, |found| Found { token: None, ..found }), now)
    }
}

struct Alone;

impl FleetEngine for Alone {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        let is_held = matches!(&event, Event::Conflict(Some(found)) if found.lease_left.is_some());
        flight.on(if is_held && flight.fence().is_none() { Event::StoreFailed } else { event }, now)
    }
}

/// Remembers every version, as drivers did once.
#[derive(Default)]
struct Usurper(Option<Version>);

impl FleetEngine for Usurper {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        if let Event::Conflict(Some(found)) | Event::Loaded(Some(found)) = &event {
            self.0 = Some(found.version);
        }
        match flight.on(event, now) {
            Action::Finish(End::Adopted { shared, .. }) => {
                Action::Finish(End::Adopted { shared, version: self.0 })
            }
            action => action,
        }
    }
}

struct Selfish;

impl FleetEngine for Selfish {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        match flight.on(event, now) {
            Action::Publish { shared, .. } => {
                Action::Finish(End::Minted { token: shared.token, published: None })
            }
            action => action,
        }
    }
}

struct Forgetful;

impl FleetEngine for Forgetful {
    fn prolonged(&mut self, _: &mut Flight, _: Option<Version>) {}
}

struct Jealous;

impl FleetEngine for Jealous {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        flight.on(finding(event, |found| Found { rejected: None, ..found }), now)
    }
}

struct Patient;

impl FleetEngine for Patient {
    fn begin(&mut self, wish: Wish, patience: Duration, now: Moment) -> (Flight, Action) {
        Flight::begin(wish, patience * 8, now)
    }
}

struct Overwriter;

impl FleetEngine for Overwriter {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        let there = match &event {
            Event::Conflict(Some(found)) => Some(found.version),
            _ => None,
        };
        let mut before = flight.clone();
        match (flight.on(event, now), there) {
            (Action::Finish(End::Adopted { .. } | End::Minted { published: None, .. }), Some(there))
                if flight.newest() > Sequence::new(0) && is_publishing(&mut before, now) =>
            {
                let Action::Finish(End::Minted { token, .. }) = before.on(Event::StoreFailed, now) else {
                    return Action::Finish(End::Failed);
                };
                *flight = before;
                Action::Publish {
                    expected: Some(there),
                    shared: Shared { token, sequence: Sequence::new(1) },
                }
            }
            (action, _) => action,
        }
    }
}

/// Whether a flight has put its token out: then it ends with it when the store fails.
fn is_publishing(flight: &mut Flight, now: Moment) -> bool {
    matches!(flight.clone().on(Event::StoreFailed, now), Action::Finish(End::Minted { .. }))
}

struct CountsAnew;

impl FleetEngine for CountsAnew {
    fn begin(&mut self, wish: Wish, patience: Duration, now: Moment) -> (Flight, Action) {
        Flight::begin(Wish { newest: Sequence::new(0), ..wish }, patience, now)
    }
}

struct Keeps;

impl FleetEngine for Keeps {
    fn writes(&mut self, change: Change) -> Change {
        match change {
            Change::Lease { for_ms, .. } => Change::Lease { for_ms, rejecting: None },
            change => change,
        }
    }
}

struct Oblivious;

impl FleetEngine for Oblivious {
    fn begin(&mut self, wish: Wish, patience: Duration, now: Moment) -> (Flight, Action) {
        Flight::begin(Wish::new(wish.reason), patience, now)
    }
}

struct Reborn;

impl FleetEngine for Reborn {
    fn age_ms(&mut self, _: u64, _: u64) -> u64 {
        0
    }
}

struct CountsLate;

impl FleetEngine for CountsLate {
    fn counts_from(&mut self, _: Reading, answered: Reading) -> Reading {
        answered
    }
}

struct OpensAll;

impl FleetEngine for OpensAll {
    fn opens(&mut self, _: usize, _: usize) -> bool {
        true
    }
}

struct Sleeper;

impl FleetEngine for Sleeper {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        match flight.on(event, now) {
            Action::Follow { .. } => Action::Follow { at_most: Duration::from_secs(1 << 40) },
            action => action,
        }
    }
}

struct KeepsLease;

impl FleetEngine for KeepsLease {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        match flight.on(event, now) {
            Action::Release { .. } => Action::Finish(End::Failed),
            action => action,
        }
    }
}

struct FollowsLong;

impl FleetEngine for FollowsLong {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        match flight.on(event, now) {
            Action::Follow { at_most } => Action::Follow { at_most: at_most + Duration::from_secs(5) },
            action => action,
        }
    }
}

struct DeafToPauses;

impl FleetEngine for DeafToPauses {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        flight.on(finding(event, |found| Found { pause_left: None, ..found }), now)
    }
}

#[derive(Default)]
struct Hermit(bool);

impl FleetEngine for Hermit {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        self.0 |= matches!(event, Event::StoreFailed);
        flight.on(if self.0 && flight.fence().is_none() { Event::StoreFailed } else { event }, now)
    }

    fn begin(&mut self, wish: Wish, patience: Duration, now: Moment) -> (Flight, Action) {
        let (mut flight, action) = Flight::begin(wish, patience, now);
        if self.0 { (flight.clone(), flight.on(Event::StoreFailed, now)) } else { (flight, action) }
    }
}

struct Panics;

impl FleetEngine for Panics {
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        assert!(!matches!(event, Event::Conflict(None)), "nothing is there");
        flight.on(event, now)
    }
}
