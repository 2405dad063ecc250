//! What passes between flights and the store.

use super::{Answer, Call, Event, Fate, World, whole_ms};
use crate::machines::fleet::engine::FleetEngine;
use crate::machines::fleet::hand::{Luck, Question};
use crate::machines::fleet::store::{Change, Record, Sealed, opened};
use crate::machines::fleet::trouble::FleetTrouble;
use jeton_proto::flight::{self, Action, Shared, Version};

impl<E: FleetEngine> World<E> {
    pub(super) fn ask_store(&mut self, serial: u64, question: Question) {
        let Some(flying) = self.flights.get(&serial) else { return };
        let (process, key) = (flying.process, flying.key);
        let asked = self.reading(process);
        let (fate, slow_ms) = self.fate(process, key);
        let (up_ms, mut down_ms) = (self.rng.u64(0..3), self.rng.u64(0..3) + slow_ms);
        if matches!(fate, Fate::NotReached | Fate::AnswerLost) {
            // Some faults are told at once, and some by the time-out.
            down_ms = if self.rng.bool() { 0 } else { self.setting.store_timeout_ms };
        }
        let call = Call { serial, question, fate, down_ms, asked, answer: Answer::Failed };
        self.in_ms(up_ms, Event::AtStore(Box::new(call)));
    }

    fn fate(&mut self, process: usize, key: usize) -> (Fate, u64) {
        if !self.is_stormy() {
            return (Fate::Answered, 0);
        }
        let cut_off = self.processes.get(process).is_some_and(|there| self.now_ms < there.cut_off_until_ms);
        if cut_off && self.rng.u32(0..4) > 0 {
            self.troubled(key, FleetTrouble::CutOff);
            return (Fate::NotReached, 0);
        }
        if self.rng.u32(0..100) >= self.store_faults {
            let behind = self.rng.usize(0..64);
            let stale = (1..4).contains(&behind);
            return (if stale { Fate::Stale { behind } } else { Fate::Answered }, 0);
        }
        let timeout_ms = self.setting.store_timeout_ms;
        match self.rng.u32(0..5) {
            0 => {
                self.troubled(key, FleetTrouble::StoreDown);
                (Fate::NotReached, 0)
            }
            1 => {
                self.troubled(key, FleetTrouble::AnswerLost);
                (Fate::AnswerLost, 0)
            }
            2 => {
                self.troubled(key, FleetTrouble::StoreSlow);
                (Fate::AnswerLost, 0)
            }
            3 => (Fate::Answered, self.rng.u64(0..timeout_ms)),
            _ => (Fate::Stale { behind: self.rng.usize(1..4) }, 0),
        }
    }

    /// A question arrives at the store.
    pub(super) fn at_store(&mut self, mut call: Box<Call>) {
        if call.fate != Fate::NotReached {
            let answer = self.answered(&call);
            call.answer = match call.fate {
                Fate::Answered | Fate::Stale { .. } => answer,
                Fate::NotReached | Fate::AnswerLost => Answer::Failed,
            };
        }
        self.in_ms(call.down_ms, Event::FromStore(call));
    }

    fn answered(&mut self, call: &Call) -> Answer {
        // Who was killed meanwhile has sent it all the same.
        let Some(flying) = self.flights.get(&call.serial).or_else(|| self.ghosts.get(&call.serial)) else {
            return Answer::Failed;
        };
        let (key, now_ms) = (flying.key, self.now_ms);
        let store_ms = self.store.clock_ms(now_ms);
        let lease_ms = self.setting.lease_ms;
        match &call.question {
            Question::Prolong(fence) => {
                self.write(call.serial, Some(*fence), Change::Prolong { for_ms: lease_ms })
            }
            Question::Said(Action::TakeLease { expected, rejecting }) => {
                let change = Change::Lease { for_ms: lease_ms, rejecting: *rejecting };
                self.write(call.serial, *expected, change)
            }
            Question::Said(Action::Load) => {
                let behind = match call.fate {
                    Fate::Stale { behind } => behind,
                    Fate::Answered | Fate::NotReached | Fate::AnswerLost => 0,
                };
                if behind > 0 {
                    self.troubled(key, FleetTrouble::StaleRead);
                    if let Some(flying) = self.flights.get_mut(&call.serial) {
                        flying.luck = Luck::Disturbed;
                    }
                }
                Answer::Loaded { record: self.store.replica(key, behind, now_ms), store_ms }
            }
            Question::Said(Action::Publish { expected, shared }) => {
                let (expected, Some(change)) = (*expected, self.sealed(call.serial, shared, store_ms)) else {
                    return Answer::Failed;
                };
                self.write(call.serial, expected, change)
            }
            Question::Said(Action::Release { expected, pause }) => {
                let change = Change::Nothing { pause_ms: pause.map(whole_ms).unwrap_or_default() };
                self.write(call.serial, Some(*expected), change)
            }
            Question::Said(Action::Follow { .. } | Action::Mint | Action::Finish(_)) => Answer::Failed,
        }
    }

    fn sealed(&self, serial: u64, shared: &Shared, store_ms: u64) -> Option<Change> {
        let flying = self.flights.get(&serial).or_else(|| self.ghosts.get(&serial))?;
        let (asked, asked_ms) = flying.asked?;
        // Who has no lease asks for the store's time first, and reckons back.
        let by_store_ms = store_ms.saturating_sub(self.now_ms - asked_ms);
        let obtained_by_store_ms =
            flying.leased_by_store_ms.map_or(by_store_ms, |leased_ms| leased_ms.min(by_store_ms));
        let life_ms = self.setting.life_ms;
        let body = Sealed {
            text: shared.token.access_token().into(),
            id: shared.token.id(),
            place: flying.key,
            sequence: shared.sequence,
            obtained_wall_ms: asked.wall_ms,
            obtained_by_store_ms,
            life_ms,
        };
        Some(Change::Token { body, for_ms: life_ms.saturating_sub(self.now_ms - asked_ms).max(1) })
    }

    fn write(&mut self, serial: u64, expected: Option<Version>, change: Change) -> Answer {
        let now_ms = self.now_ms;
        let store_ms = self.store.clock_ms(now_ms);
        let change = self.engine.writes(change);
        let Some(flying) = self.flights.get(&serial).or_else(|| self.ghosts.get(&serial)) else {
            return Answer::Failed;
        };
        let key = flying.key;
        let before = self.store.record(key, now_ms).cloned();
        let written = self.store.swap(key, expected, change.clone(), now_ms);
        let (version, store_ms) = match written {
            Ok(written) => written,
            Err(record) => return Answer::Conflict { record: *record, store_ms },
        };
        let is_free = match change {
            Change::Lease { .. } => {
                self.books.leased(flying, before.as_ref(), now_ms, store_ms);
                self.taken_over(before.as_ref(), store_ms);
                false
            }
            Change::Prolong { .. } => false,
            Change::Token { body, .. } => {
                self.books.shared(flying, &body, before.as_ref(), store_ms);
                true
            }
            Change::Nothing { .. } => true,
        };
        let there = self.store.record(key, now_ms);
        self.books.not_replaced(key, there);
        if is_free {
            self.tell(key);
        } else if let Some(flying) = self.flights.get_mut(&serial) {
            flying.lease = Some(version);
        }
        Answer::Written { version, store_ms }
    }

    /// Whoever had the lease finds another version, however well all went.
    fn taken_over(&mut self, before: Option<&Record>, store_ms: u64) {
        let lease = before.filter(|record| record.is_leased(store_ms)).map(|record| record.version);
        if lease.is_some() {
            for flying in self.flights.values_mut().filter(|flying| flying.lease == lease) {
                flying.luck = Luck::Disturbed;
            }
        }
    }

    /// Those who follow are told of a change.
    fn tell(&mut self, key: usize) {
        let of_key = self.flights.iter().filter(|(_, flying)| flying.key == key);
        let told: Vec<(u64, u32)> =
            of_key.filter_map(|(serial, flying)| Some((*serial, flying.follows?))).collect();
        for (serial, waits) in told {
            if self.is_stormy() && self.rng.u32(0..4) == 0 {
                self.outcome.troubles.add(FleetTrouble::NotificationLost);
            } else {
                let way_ms = self.rng.u64(0..3);
                self.in_ms(way_ms, Event::Wake { serial, waits });
            }
        }
    }

    /// An answer arrives at the flight.
    pub(super) fn back_from_store(&mut self, call: Call) {
        let Call { serial, question, asked, answer, .. } = call;
        let Some(process) = self.flights.get(&serial).map(|flying| flying.process) else { return };
        let answered = self.reading(process);
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        let key = flying.key;
        if matches!(answer, Answer::Failed) {
            flying.luck = Luck::Disturbed;
        }
        if let Question::Prolong(_) = question {
            return self.prolonged(serial, &answer);
        }
        let asked = self.engine.counts_from(asked, answered);
        let mut found = |record: Option<Record>, store_ms| {
            record.map(|record| opened(&mut self.engine, &record, key, store_ms, asked))
        };
        let event = match answer {
            Answer::Failed => flight::Event::StoreFailed,
            Answer::Written { version, store_ms } => match question {
                Question::Said(Action::TakeLease { .. }) => {
                    flying.leased_by_store_ms = Some(store_ms);
                    flight::Event::Leased { version, store_millis: store_ms }
                }
                Question::Said(_) | Question::Prolong(_) => flight::Event::Written(version),
            },
            Answer::Conflict { record, store_ms } => flight::Event::Conflict(found(record, store_ms)),
            Answer::Loaded { record, store_ms } => flight::Event::Loaded(found(record, store_ms)),
        };
        if let flight::Event::Conflict(found) | flight::Event::Loaded(found) = &event {
            flying.told_left_ms = found.as_ref().and_then(|found| found.lease_left).map(whole_ms);
        }
        self.drive(serial, event);
    }

    /// It is time to prolong the lease, if it is still needed.
    pub(super) fn prolongs(&mut self, serial: u64) {
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        if let Some(fence) = flying.flight.fence() {
            flying.prolonging = true;
            self.ask_store(serial, Question::Prolong(fence));
        }
    }

    fn prolonged(&mut self, serial: u64, answer: &Answer) {
        let again_ms = self.setting.lease_ms / 3;
        let version = match answer {
            Answer::Written { version, .. } => Some(*version),
            Answer::Failed | Answer::Conflict { .. } | Answer::Loaded { .. } => None,
        };
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        flying.prolonging = false;
        if version.is_none() {
            flying.luck = Luck::Disturbed;
        }
        self.engine.prolonged(&mut flying.flight, version);
        match flying.held_back.take() {
            Some(event) => self.drive(serial, event),
            None => self.in_ms(again_ms, Event::Prolong { serial }),
        }
    }
}
