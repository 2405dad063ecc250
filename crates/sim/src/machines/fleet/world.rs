//! One world of several processes: what happens, in the order of its time.

mod calm;
mod landing;
mod minting;
mod passage;
mod storm;

use super::books::Books;
use super::engine::FleetEngine;
use super::hand::{Flying, Luck, Process, Question};
use super::law::FleetLaw;
use super::setting::{Setting, Storm};
use super::store::{Record, Store};
use super::trouble::{FleetTrouble, FleetTroubles};
use crate::machines::clocks::{Clocks, Reading};
use crate::machines::law::Violation;
use crate::machines::queue::Queue;
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::flight::{self, Action};
use jeton_proto::lifecycle::{MintReason, RefreshPolicy, TokenId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No world makes more, whatever happens in it.
const MOST_STEPS: u64 = 60_000;
/// How long a token request may take until it has failed.
const MINT_MS: u64 = 10_000;
/// Some day of the year 2023, as the processes' clocks have it.
const WALL_MS: u64 = 1_700_000_000_000;

/// What became of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that were made.
    pub steps: u64,
    /// Flights that began.
    pub flights: u64,
    /// Tokens that were adopted.
    pub adopted: u64,
    /// Token requests.
    pub requests: u64,
    /// How long it lasted in true time.
    pub lasted_ms: u64,
    /// What went wrong around the machines.
    pub troubles: FleetTroubles,
    /// What the machines did wrong: the first of each law.
    pub violations: Vec<Violation<FleetLaw>>,
}

/// What happens next.
#[derive(Debug)]
enum Event {
    Ask { process: usize, incarnation: u32, key: usize, round: u32 },
    AtStore(Box<Call>),
    FromStore(Box<Call>),
    AtServer { serial: u64 },
    FromServer { serial: u64, reply: Reply },
    Wake { serial: u64, waits: u32 },
    Prolong { serial: u64 },
    Judge { process: usize, incarnation: u32, key: usize, id: TokenId },
    Trouble,
}

/// A question to the store on its way, and its answer on the way back.
#[derive(Debug)]
struct Call {
    serial: u64,
    question: Question,
    fate: Fate,
    down_ms: u64,
    asked: Reading,
    answer: Answer,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    NotReached,
    AnswerLost,
    Stale { behind: usize },
}

#[derive(Debug)]
enum Answer {
    Failed,
    Written { version: flight::Version, store_ms: u64 },
    Conflict { record: Option<Record>, store_ms: u64 },
    Loaded { record: Option<Record>, store_ms: u64 },
}

/// What the server says.
#[derive(Clone, Debug)]
enum Reply {
    Granted(Arc<str>),
    Failed { pause_ms: Option<u64> },
}

/// What a world does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    Storm,
    /// What was under way comes to its end.
    Aftermath {
        until_ms: u64,
    },
    Calm {
        until_ms: u64,
    },
    /// Nobody begins anything any more.
    Evening {
        until_ms: u64,
    },
    Over,
}

/// The world of one seed.
#[derive(Debug)]
pub struct World<E> {
    setting: Setting,
    engine: E,
    processes: Vec<Process>,
    store: Store,
    flights: BTreeMap<u64, Flying>,
    /// Flights of processes that were killed, for what they had sent.
    ghosts: BTreeMap<u64, Flying>,
    serials: u64,
    books: Books,
    queue: Queue<Event>,
    now_ms: u64,
    rng: fastrand::Rng,
    season: Season,
    round: u32,
    refresh: RefreshPolicy,
    backoff: BackoffPolicy,
    /// When anything last went wrong with each key.
    troubled_ms: Vec<u64>,
    /// When the store's clock last stepped.
    store_stepped_ms: Option<u64>,
    /// Until when somebody may have to wait for a lease that the store counts wrongly.
    overlong_until_ms: u64,
    /// How likely a question to the store meets a fault, in hundredths; and a token request.
    store_faults: u32,
    mint_faults: u32,
    revoked: Vec<TokenId>,
    minted: u64,
    outcome: Outcome,
}

impl<E: FleetEngine> World<E> {
    /// A world that is yet to begin.
    ///
    /// # Errors
    /// When a policy is out of its bounds.
    pub fn new(setting: Setting, engine: E, seed: u64) -> Result<Self, String> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut processes = Vec::new();
        for _ in 0..setting.processes {
            let boot_ms = (rng.u32(0..3) > 0).then(|| rng.u64(0..100_000_000));
            let off_ms = i64::from(rng.u32(0..400)) - 200;
            let wall_ms = WALL_MS.saturating_add_signed(off_ms);
            let mut process = Process::new(Clocks::new(Reading { wall_ms, boot_ms }), setting.keys);
            process.off_ms = off_ms;
            processes.push(process);
        }
        let backoff =
            BackoffPolicy::new(Duration::from_millis(500), Duration::from_secs(30), Duration::from_secs(30));
        let longest_ms = setting.patience_ms + MINT_MS + 4 * setting.store_timeout_ms + 600;
        let mut world = Self {
            setting,
            engine,
            processes,
            store: Store::new(setting.keys),
            flights: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            serials: 0,
            books: Books::new(setting.keys, longest_ms),
            queue: Queue::default(),
            now_ms: 0,
            rng,
            season: Season::Storm,
            round: 0,
            refresh: RefreshPolicy::default(),
            backoff: backoff.map_err(|error| error.to_string())?,
            troubled_ms: vec![0; setting.keys],
            store_stepped_ms: None,
            overlong_until_ms: 0,
            store_faults: 0,
            mint_faults: 0,
            revoked: Vec::new(),
            minted: 0,
            outcome: Outcome::default(),
        };
        world.everybody_asks();
        world.in_ms(setting.life_ms / 4, Event::Trouble);
        Ok(world)
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        while self.season != Season::Over && self.books.steps() < MOST_STEPS {
            let Some((at_ms, event)) = self.queue.take() else { break };
            self.now_ms = at_ms.max(self.now_ms);
            self.books.step(self.now_ms);
            self.happen(event);
            self.turn_of_season();
        }
        self.outcome.steps = self.books.steps();
        self.outcome.lasted_ms = self.now_ms;
        self.outcome.violations = self.books.into_violations();
        self.outcome
    }

    fn in_ms(&mut self, span_ms: u64, event: Event) {
        self.queue.at(self.now_ms.saturating_add(span_ms), event);
    }

    fn everybody_asks(&mut self) {
        for process in 0..self.setting.processes {
            self.asks_from_now_on(process);
        }
    }

    fn asks_from_now_on(&mut self, process: usize) {
        let incarnation = self.processes.get(process).map_or(0, |process| process.incarnation);
        for key in 0..self.setting.keys {
            // Whole fleets begin at once as often as not.
            let after_ms = if self.rng.bool() { 0 } else { self.rng.u64(0..500) };
            self.in_ms(after_ms, Event::Ask { process, incarnation, key, round: self.round });
        }
    }

    fn is_stormy(&self) -> bool {
        self.season == Season::Storm && self.setting.storm == Storm::Everything
    }

    /// Something went wrong that concerns this key.
    fn troubled(&mut self, key: usize, trouble: FleetTrouble) {
        self.outcome.troubles.add(trouble);
        if let Some(at_ms) = self.troubled_ms.get_mut(key) {
            *at_ms = self.now_ms;
        }
    }

    /// What the clocks of a process show, unless it is another by now.
    fn reading(&mut self, process: usize) -> Reading {
        let now_ms = self.now_ms;
        let reading = self.processes.get_mut(process).map(|process| process.reading(now_ms));
        reading.unwrap_or(Reading { wall_ms: WALL_MS, boot_ms: None })
    }

    /// Whether the process of a flight may go on now; if it is held still, for how long.
    fn held_still_for(&self, serial: u64) -> Option<u64> {
        let flying = self.flights.get(&serial)?;
        let until_ms = self.processes.get(flying.process)?.frozen_until_ms;
        until_ms.checked_sub(self.now_ms).filter(|left_ms| *left_ms > 0)
    }

    fn happen(&mut self, event: Event) {
        let serial = match &event {
            Event::FromStore(call) => Some(call.serial),
            Event::FromServer { serial, .. } | Event::Wake { serial, .. } | Event::Prolong { serial } => {
                Some(*serial)
            }
            Event::Ask { .. }
            | Event::AtStore(_)
            | Event::AtServer { .. }
            | Event::Judge { .. }
            | Event::Trouble => None,
        };
        if let Some(left_ms) = serial.and_then(|serial| self.held_still_for(serial)) {
            return self.in_ms(left_ms, event);
        }
        match event {
            Event::Ask { process, incarnation, key, round } => self.asks(process, incarnation, key, round),
            Event::AtStore(call) => self.at_store(call),
            Event::FromStore(call) => self.back_from_store(*call),
            Event::AtServer { serial } => self.at_server(serial),
            Event::FromServer { serial, reply } => self.back_from_server(serial, reply),
            Event::Wake { serial, waits } => self.wakes(serial, waits),
            Event::Prolong { serial } => self.prolongs(serial),
            Event::Judge { process, incarnation, key, id } => self.judge(process, incarnation, key, id),
            Event::Trouble => self.trouble(),
        }
    }

    fn asks(&mut self, process: usize, incarnation: u32, key: usize, round: u32) {
        let Some(there) = self.processes.get(process) else { return };
        let is_another = there.incarnation != incarnation || round != self.round;
        if is_another || matches!(self.season, Season::Evening { .. } | Season::Over) {
            return;
        }
        let left_ms = there.frozen_until_ms.saturating_sub(self.now_ms);
        let again = Event::Ask { process, incarnation, key, round };
        if left_ms > 0 {
            return self.in_ms(left_ms, again);
        }
        let pause_ms = self.pause_of_a_caller();
        self.in_ms(pause_ms, again);
        self.ask(process, key);
    }

    fn pause_of_a_caller(&mut self) -> u64 {
        match self.rng.u32(0..6) {
            0 if self.season == Season::Storm => self.rng.u64(0..100),
            1 if self.season == Season::Storm => self.rng.u64(0..3000),
            _ => self.setting.life_ms / 32 + self.rng.u64(0..=self.setting.life_ms / 16),
        }
    }

    fn ask(&mut self, process: usize, key: usize) {
        let now = self.reading(process).moment();
        let Some(there) = self.processes.get(process) else { return };
        let Some(hand) = there.hands.get(key) else { return };
        let answer = hand.ask(now);
        if let Some(id) = answer.token
            && self.rng.u32(0..6) == 0
        {
            let incarnation = there.incarnation;
            let way_ms = self.rng.u64(0..100);
            self.in_ms(way_ms, Event::Judge { process, incarnation, key, id });
        }
        if let Some(reason) = answer.wants {
            self.begin(process, key, reason);
        }
    }

    fn begin(&mut self, process: usize, key: usize, reason: MintReason) {
        let now = self.reading(process);
        let (off_ms, most_off_ms) = (self.widest_clocks_ms(), self.setting.life_ms / 16);
        let Some(there) = self.processes.get_mut(process) else { return };
        let incarnation = there.incarnation;
        let Some(hand) = there.hands.get_mut(key) else { return };
        if hand.is_served(reason) {
            return;
        }
        if hand.flight.is_some() {
            self.outcome.troubles.add(FleetTrouble::Superseded);
        }
        self.serials += 1;
        hand.flight = Some((self.serials, reason));
        let wish = hand.wish(reason);
        let newest = wish.newest.max(wish.held_sequence.unwrap_or_default());
        let rejects = wish.held.as_ref().map(|held| held.id()).filter(|_| Books::takes_out(reason));
        let patience = Duration::from_millis(self.setting.patience_ms);
        // Processes that do not agree what time it is do not agree what is over.
        let doubted = wish.held.as_ref().is_some_and(|held| self.books.is_in_doubt(held.id()));
        let is_disturbed = off_ms > most_off_ms || doubted || self.now_ms < self.overlong_until_ms;
        let luck = if is_disturbed { Luck::Disturbed } else { Luck::Undisturbed };
        let (flight, action) = self.engine.begin(wish, patience, now.moment());
        let flying = Flying {
            process,
            incarnation,
            key,
            reason,
            rejects,
            newest,
            flight,
            begun_ms: self.now_ms,
            frozen_ms: 0,
            luck,
            waits: 0,
            follows: None,
            asked: None,
            leased_by_store_ms: None,
            place: None,
            lease: None,
            prolonging: false,
            held_back: None,
            told_left_ms: None,
        };
        self.outcome.flights += 1;
        self.flights.insert(self.serials, flying);
        self.act(self.serials, action);
    }

    /// How far the clocks of two processes are apart.
    fn widest_clocks_ms(&self) -> u64 {
        let off = || self.processes.iter().map(|process| process.off_ms);
        off().max().unwrap_or_default().abs_diff(off().min().unwrap_or_default())
    }

    /// Something happened to a flight: does what its machine says.
    fn drive(&mut self, serial: u64, event: flight::Event) {
        let Some(flying) = self.flights.get(&serial) else { return };
        let now = self.reading(flying.process).moment();
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        let action = self.engine.on(&mut flying.flight, event, now);
        self.books.patience(flying, self.now_ms);
        self.act(serial, action);
    }

    fn act(&mut self, serial: u64, action: Action) {
        if let (Action::Publish { shared, .. }, Some(flying)) = (&action, self.flights.get_mut(&serial)) {
            flying.place = Some(shared.sequence);
        }
        match action {
            Action::TakeLease { .. } | Action::Load | Action::Publish { .. } | Action::Release { .. } => {
                self.ask_store(serial, Question::Said(action));
            }
            Action::Follow { at_most } => {
                let Some(flying) = self.flights.get_mut(&serial) else { return };
                flying.waits += 1;
                flying.follows = Some(flying.waits);
                let (waits, at_most_ms) = (flying.waits, whole_ms(at_most));
                self.books.follows(flying, at_most_ms);
                self.in_ms(at_most_ms.max(1), Event::Wake { serial, waits });
            }
            Action::Mint => self.mint(serial),
            Action::Finish(end) => self.finish(serial, &end),
        }
    }

    fn wakes(&mut self, serial: u64, waits: u32) {
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        if flying.follows == Some(waits) {
            flying.follows = None;
            self.drive(serial, flight::Event::Woken);
        }
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
