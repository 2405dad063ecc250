//! What a process makes of a flight that is over, and of what its APIs say to the token.

use super::{Event, World, whole_ms};
use crate::machines::fleet::engine::FleetEngine;
use crate::machines::fleet::hand::Flying;
use crate::machines::fleet::trouble::FleetTrouble;
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::flight::End;
use jeton_proto::lifecycle::TokenId;
use std::sync::Arc;

impl<E: FleetEngine> World<E> {
    pub(super) fn finish(&mut self, serial: u64, end: &End) {
        let Some(flying) = self.flights.remove(&serial) else { return };
        let now = self.reading(flying.process);
        let store_ms = self.store.clock_ms(self.now_ms);
        let there = self.store.record(flying.key, self.now_ms);
        self.books.ended(&flying, end, there, self.now_ms, store_ms);
        if let End::Adopted { shared, .. } = end {
            self.outcome.adopted += 1;
            let (id, left) = (shared.token.id(), whole_ms(shared.token.left(now.moment())));
            let sound_since_ms = self.sound_since_ms(&flying);
            self.books.adopted(&flying, id, left, self.now_ms, sound_since_ms);
        }
        let jitter = self.rng.f64();
        let Some(hand) =
            self.processes.get_mut(flying.process).and_then(|process| process.hands.get_mut(flying.key))
        else {
            return;
        };
        if hand.flight.is_none_or(|(current, _)| current != serial) {
            return;
        }
        hand.flight = None;
        hand.newest = hand.newest.max(flying.flight.newest()).max(flying.place.unwrap_or_default());
        let now = now.moment();
        let failure = |retry_after| Failure { class: FailureClass::Transient, retry_after };
        match end {
            End::Adopted { shared, version } => {
                let token = Arc::clone(&shared.token);
                hand.slot = hand.slot.granted(token, flying.reason, &self.refresh, jitter, now);
                hand.seen = *version;
                hand.newest = shared.sequence;
                if hand.slot.token().is_some_and(|held| held.id() == shared.token.id()) {
                    hand.sequence = Some(shared.sequence);
                }
            }
            End::Minted { token, published } => {
                let token = Arc::clone(token);
                hand.slot = hand.slot.granted(token, flying.reason, &self.refresh, jitter, now);
                if let Some((sequence, version)) = published {
                    (hand.sequence, hand.seen) = (Some(*sequence), Some(*version));
                    hand.newest = *sequence;
                } else {
                    hand.sequence = None;
                }
            }
            End::Failed => hand.slot = hand.slot.failed(failure(None), &self.backoff, jitter, now),
            End::Paused { retry_after } => {
                hand.slot = hand.slot.failed(failure(Some(*retry_after)), &self.backoff, jitter, now);
            }
        }
    }

    /// Since when the clocks have gone on soundly that an adopted token is judged by.
    fn sound_since_ms(&self, flying: &Flying) -> u64 {
        let process = self.processes.get(flying.process);
        let own_ms = process.map_or(0, |process| process.clocks.sound_since_ms());
        own_ms.max(self.store_stepped_ms.map_or(0, |stepped_ms| stepped_ms + 1))
    }

    /// An API looks at a token.
    pub(super) fn judge(&mut self, process: usize, incarnation: u32, key: usize, id: TokenId) {
        let left_ms = self.processes.get(process).map_or(0, |process| process.frozen_until_ms);
        if let Some(left_ms) = left_ms.checked_sub(self.now_ms).filter(|left_ms| *left_ms > 0) {
            return self.in_ms(left_ms, Event::Judge { process, incarnation, key, id });
        }
        let is_bad = self.revoked.contains(&id);
        if !is_bad && self.rng.u32(0..200) > 0 {
            return;
        }
        let now = self.reading(process).moment();
        let Some(there) = self.processes.get_mut(process).filter(|there| there.incarnation == incarnation)
        else {
            return;
        };
        let Some(hand) = there.hands.get_mut(key) else { return };
        if !is_bad {
            self.outcome.troubles.add(FleetTrouble::GoodTokenRefused);
            self.revoked.push(id);
        }
        hand.slot = hand.slot.rejected(id, now);
        let answer = hand.ask(now);
        if answer.token == Some(id) {
            return;
        }
        if hand.slot.token().is_some_and(|held| held.id() == id) {
            self.books.rejected(process, incarnation, id);
        }
        if let Some(reason) = answer.wants {
            self.begin(process, key, reason);
        }
    }
}
