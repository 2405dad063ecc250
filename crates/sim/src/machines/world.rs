//! One world: what happens, in the order of its time, around one client.

mod calm;
mod storm;

use super::books::{Books, Heard, Landing, Recovered, Sent};
use super::client::{Client, Departure, Flight, Grant, Taken};
use super::clocks::{Clocks, Reading};
use super::engine::Engine;
use super::law::Violation;
use super::queue::Queue;
use super::server::{Granted, Reply, Server, TIMEOUT_MS};
use super::setting::Setting;
use super::trouble::{Trouble, Troubles};
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::Verdict;
use jeton_proto::lifecycle::{MintReason, TokenId};
use jeton_proto::wire::token_response::ExpiresIn;
use std::time::Duration;

/// No world makes more, whatever happens in it.
const MOST_STEPS: u64 = 8000;

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Asker {
    /// Somebody who will ask again, until another season begins.
    Regular { round: u32 },
    /// Somebody who asks once, at an instant at which something ends.
    AtAnEdge,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask { key: usize, asker: Asker },
    Depart { key: usize, flight: Flight },
    Arrive { request: usize },
    Answer { request: usize },
    GiveUp { request: usize },
    Judge { key: usize, id: TokenId },
    Reject { key: usize, id: TokenId },
    Weather,
    Clock,
    NewCredential,
}

/// A request that is on its way.
#[derive(Clone, Debug)]
struct Request {
    key: usize,
    flight: Flight,
    departure: Departure,
    sent: Sent,
    asked: Reading,
    asked_true_ms: u64,
    reply: Option<Reply>,
}

/// What a world does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    /// Everything goes wrong.
    Storm,
    /// Nothing does; what did comes to its end.
    Aftermath {
        until_ms: u64,
    },
    /// All pauses come to their end.
    Waiting {
        until_ms: u64,
    },
    /// Every key is to have a token.
    Harvest {
        until_ms: u64,
    },
    Over,
}

/// What came of a world.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Steps.
    pub steps: u64,
    /// Token requests.
    pub requests: u64,
    /// Tokens that were given out to callers.
    pub given: u64,
    /// The true time that passed.
    pub lasted_ms: u64,
    /// What went wrong around the machines.
    pub troubles: Troubles,
    /// What the machines did wrong: the first of each law.
    pub violations: Vec<Violation>,
}

/// The world of one seed.
#[derive(Debug)]
pub struct World<E> {
    setting: Setting,
    client: Client<E>,
    server: Server,
    books: Books,
    clocks: Clocks,
    queue: Queue<Event>,
    requests: Vec<Option<Request>>,
    rng: fastrand::Rng,
    season: Season,
    asks_every_ms: u64,
    /// Counts the seasons: who asks regularly may sleep through one, so somebody else begins in each.
    round: u32,
    harvested: Vec<Recovered>,
    outcome: Outcome,
}

impl<E: Engine> World<E> {
    /// A world that is yet to begin.
    ///
    /// # Errors
    /// When the setting has a policy out of its bounds.
    pub fn new(setting: Setting, engine: E, seed: u64) -> Result<Self, String> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut queue = Queue::default();
        for key in 0..setting.keys {
            queue.at(rng.u64(0..1000), Event::Ask { key, asker: Asker::Regular { round: 0 } });
        }
        for event in [Event::Weather, Event::Clock, Event::NewCredential] {
            queue.at(rng.u64(0..setting.life_ms * 2), event);
        }
        Ok(Self {
            client: Client::new(engine, setting.numbers.policies()?, setting.keys, rng.u64(..)),
            server: Server::new(setting.life_ms),
            books: Books::new(setting.numbers, setting.keys),
            clocks: Clocks::new(setting.clocks),
            queue,
            requests: Vec::new(),
            rng,
            season: Season::Storm,
            asks_every_ms: 0,
            round: 0,
            harvested: vec![Recovered::WithoutToken; setting.keys],
            outcome: Outcome::default(),
            setting,
        })
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        while self.season != Season::Over && self.books.steps() < MOST_STEPS {
            let Some((at_ms, event)) = self.queue.take() else { break };
            self.clocks.go_on_to(at_ms.max(self.clocks.true_ms()));
            self.books.step(self.clocks.true_ms());
            self.happen(event);
            self.turn_of_season();
        }
        self.outcome.steps = self.books.steps();
        self.outcome.lasted_ms = self.clocks.true_ms();
        self.outcome.violations = self.books.into_violations();
        self.outcome
    }

    fn in_ms(&mut self, span_ms: u64, event: Event) {
        self.queue.at(self.clocks.true_ms().saturating_add(span_ms), event);
    }

    fn is_stormy(&self) -> bool {
        self.season == Season::Storm
    }

    /// Once in so many times, and only in the storm.
    fn by_chance(&mut self, once_in: u32) -> bool {
        self.is_stormy() && self.rng.u32(0..once_in) == 0
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask { key, asker } => {
                self.ask(key);
                match asker {
                    Asker::Regular { round } if round == self.round => {
                        let pause_ms = self.pause_of_a_caller();
                        self.in_ms(pause_ms, event);
                    }
                    Asker::Regular { .. } | Asker::AtAnEdge => {}
                }
            }
            Event::Depart { key, flight } => self.depart(key, flight),
            Event::Arrive { request } => self.arrive(request),
            Event::Answer { request } => self.answer(request),
            Event::GiveUp { request } => self.give_up(request),
            Event::Judge { key, id } => self.judge(key, id),
            Event::Reject { key, id } => self.reject(key, id),
            Event::Weather => self.weather(),
            Event::Clock => self.clock(),
            Event::NewCredential => self.new_credential(),
        }
    }

    fn pause_of_a_caller(&mut self) -> u64 {
        if !self.is_stormy() {
            return self.asks_every_ms;
        }
        match self.rng.u32(0..8) {
            0 | 1 => 0,
            2..=4 => self.rng.u64(0..500),
            5 | 6 => self.rng.u64(0..10_000),
            _ => self.rng.u64(0..=self.setting.life_ms / 8),
        }
    }

    fn ask(&mut self, key: usize) {
        let now = self.clocks.reading();
        let with = self.client.generation();
        let answer = self.client.ask(key, now.moment());
        self.books.asked(key, with, answer, &self.clocks);
        if self.rng.u32(0..16) == 0 {
            let again = self.client.ask(key, now.moment());
            self.books.asked_again(answer, again);
        }
        if let Some(id) = answer.token {
            self.outcome.given += 1;
            self.given(key, id);
        }
        if let Some(reason) = answer.wants {
            self.begin(key, reason);
        }
    }

    fn given(&mut self, key: usize, id: TokenId) {
        if let (Season::Harvest { .. }, Some(harvest)) = (self.season, self.harvested.get_mut(key)) {
            *harvest = Recovered::WithToken;
        }
        if self.rng.u32(0..8) == 0 {
            let way_ms = self.rng.u64(0..200);
            self.in_ms(way_ms, Event::Judge { key, id });
        }
    }

    fn begin(&mut self, key: usize, reason: MintReason) {
        let now = self.clocks.reading();
        let patience = Duration::from_millis(TIMEOUT_MS / 2);
        let before = self.client.under_way(key);
        match self.client.begin(key, reason, patience, now.moment()) {
            Ok(Some((flight, wait))) => {
                if before.is_some() {
                    self.outcome.troubles.add(Trouble::Superseded);
                }
                self.books.turn(Ok(wait), patience, now);
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.in_ms(wait_ms, Event::Depart { key, flight });
            }
            Ok(None) => {}
            Err(exhausted) => {
                self.books.turn(Err(exhausted), patience, now);
                self.outcome.troubles.add(Trouble::QuotaUsedUp);
            }
        }
    }

    fn depart(&mut self, key: usize, flight: Flight) {
        let asked = self.clocks.reading();
        let Some(departure) = self.client.depart(key, flight.serial, asked.moment()) else { return };
        self.outcome.requests += 1;
        let sent = self.books.sent(departure.with, asked);
        let asked_true_ms = self.clocks.true_ms();
        let request = Request { key, flight, departure, sent, asked, asked_true_ms, reply: None };
        let request = self.put(request);
        if self.by_chance(40) {
            let patience_ms = self.rng.u64(0..TIMEOUT_MS);
            return self.in_ms(patience_ms, Event::GiveUp { request });
        }
        let way_ms = self.latency_ms();
        self.in_ms(way_ms, Event::Arrive { request });
    }

    fn put(&mut self, request: Request) -> usize {
        let free = self.requests.iter().position(Option::is_none).unwrap_or(self.requests.len());
        match self.requests.get_mut(free) {
            Some(place) => *place = Some(request),
            None => self.requests.push(Some(request)),
        }
        free
    }

    fn take(&mut self, request: usize) -> Option<Request> {
        self.requests.get_mut(request).and_then(Option::take)
    }

    fn latency_ms(&mut self) -> u64 {
        match self.rng.u32(0..8) {
            0 if self.is_stormy() => self.rng.u64(0..TIMEOUT_MS / 2),
            1..=3 if self.is_stormy() => self.rng.u64(0..500),
            _ => self.rng.u64(0..20),
        }
    }

    fn arrive(&mut self, request: usize) {
        let now_ms = self.clocks.true_ms();
        let way_ms = self.latency_ms();
        let answers = self.server.answers(&mut self.rng);
        let Some(waiting) = self.requests.get_mut(request).and_then(Option::as_mut) else { return };
        if !answers {
            self.outcome.troubles.add(Trouble::TimedOut);
            let failure = Failure { class: FailureClass::Transient, retry_after: None };
            waiting.reply = Some(Reply::Failed(failure, Verdict::Faulted));
            return self.in_ms(TIMEOUT_MS, Event::Answer { request });
        }
        let (rng, troubles) = (&mut self.rng, &mut self.outcome.troubles);
        let reply = self.server.answer(waiting.key, waiting.departure.with, now_ms, rng, troubles);
        waiting.reply = Some(reply);
        self.in_ms(way_ms, Event::Answer { request });
    }

    fn answer(&mut self, request: usize) {
        let Some(mut request) = self.take(request) else { return };
        match request.reply.take() {
            Some(Reply::Granted(granted)) => self.granted(&request, granted),
            Some(Reply::Failed(failure, verdict)) => self.failed(&request, failure, verdict),
            None => {}
        }
    }

    fn granted(&mut self, request: &Request, granted: Granted) {
        let now = self.clocks.reading();
        let Request { key, flight, departure, sent, .. } = *request;
        let id = TokenId::of(&granted.text);
        let told = granted
            .told_ms
            .map_or(ExpiresIn::NotStated, |told_ms| ExpiresIn::Stated(Duration::from_millis(told_ms)));
        let grant = Grant { text: granted.text, expires_in: told, sent: request.asked.moment() };
        match self.client.granted(key, flight, departure, grant, now.moment()) {
            Taken::In { life } => {
                self.books.granted(sent, departure.with, now);
                let landing = Landing {
                    id,
                    reason: flight.reason,
                    asked: request.asked,
                    asked_true_ms: request.asked_true_ms,
                    told_ms: granted.told_ms,
                    dies_at_ms: granted.dies_at_ms,
                    believed: life,
                };
                self.books.landed(key, &landing, now);
                self.ask_at_the_edges(key, u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
            }
            Taken::Superseded => self.books.granted(sent, departure.with, now),
            Taken::Expired { slot_saw } => {
                self.outcome.troubles.add(Trouble::ExpiredOnArrival);
                let failure = Failure { class: FailureClass::Transient, retry_after: None };
                let heard = Heard { sent, with: departure.with, failure, verdict: Verdict::Answered };
                self.books.failed(&heard, now);
                if slot_saw {
                    self.books.slot_failed(key, &heard, now);
                }
            }
        }
    }

    /// Somebody asks at the very instants at which a life has its limits.
    fn ask_at_the_edges(&mut self, key: usize, life_ms: u64) {
        if self.rng.u32(0..4) > 0 {
            return;
        }
        for edge_ms in [life_ms / 2, life_ms, life_ms.saturating_add(self.rng.u64(1..1000))] {
            let asker = Asker::AtAnEdge;
            self.in_ms(edge_ms.saturating_sub(1), Event::Ask { key, asker });
            self.in_ms(edge_ms, Event::Ask { key, asker });
        }
    }

    fn failed(&mut self, request: &Request, failure: Failure, verdict: Verdict) {
        let now = self.clocks.reading();
        let Request { key, flight, departure, sent, .. } = *request;
        let slot_saw = self.client.failed(key, flight.serial, departure, failure, verdict, now.moment());
        let heard = Heard { sent, with: departure.with, failure, verdict };
        self.books.failed(&heard, now);
        if slot_saw {
            self.books.slot_failed(key, &heard, now);
        }
        self.in_ms(0, Event::Ask { key, asker: Asker::AtAnEdge });
    }

    fn give_up(&mut self, request: usize) {
        let Some(request) = self.take(request) else { return };
        self.outcome.troubles.add(Trouble::GivenUp);
        let now = self.clocks.reading();
        self.client.abandoned(request.key, request.flight.serial, request.departure, now.moment());
        self.books.given_up(request.sent, request.departure.with, now);
    }

    /// An API looks at a token that was given out.
    fn judge(&mut self, key: usize, id: TokenId) {
        let is_good = self.server.takes(id, self.clocks.true_ms());
        if is_good && !self.by_chance(6) {
            self.client.accepted(key, id);
            return self.books.accepted(key, id);
        }
        if is_good {
            self.outcome.troubles.add(Trouble::GoodTokenRefused);
        }
        if self.by_chance(3) {
            self.outcome.troubles.add(Trouble::LateRefusal);
            let late_ms = self.rng.u64(0..=self.setting.life_ms);
            self.in_ms(late_ms, Event::Reject { key, id });
        }
        self.reject(key, id);
    }

    fn reject(&mut self, key: usize, id: TokenId) {
        let now = self.clocks.reading();
        self.client.rejected(key, id, now.moment());
        self.books.rejected(key, id, now);
        let answer = self.client.ask(key, now.moment());
        self.books.asked(key, self.client.generation(), answer, &self.clocks);
        let replay = self.client.replay(id, answer.token);
        self.books.replayed(id, answer.token, replay);
        if let Some(reason) = answer.wants {
            self.begin(key, reason);
        }
    }
}
