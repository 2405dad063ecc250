//! What goes wrong around the client: the server's moods, the clocks, the credential.

use super::{Event, World};
use crate::machines::engine::Engine;
use crate::machines::server::{Issuing, Mood};
use crate::machines::trouble::Trouble;

impl<E: Engine> World<E> {
    pub(super) fn weather(&mut self) {
        if !self.is_stormy() {
            return;
        }
        let moods = self.rng.u32(0..12);
        self.server.mood = match moods {
            0..=3 => Mood::Up,
            4 | 5 => Mood::Down,
            6 | 7 => Mood::Flaky,
            8 | 9 => Mood::Throttling { retry_after_ms: self.retry_after_ms() },
            10 => Mood::RefusingClient { takes: self.client.generation().next() },
            _ => Mood::RefusingScope { key: self.rng.usize(0..self.setting.keys) },
        };
        self.server.issuing = match self.rng.u32(0..4) {
            0 | 1 => Issuing::Fresh,
            2 => Issuing::SameUntilItDies,
            _ => Issuing::Odd,
        };
        if self.by_chance(8) {
            self.outcome.troubles.add(Trouble::Revoked);
            self.server.revoke_all();
        }
        let lasts_ms = match self.rng.u32(0..3) {
            0 => self.rng.u64(0..20_000),
            1 => self.rng.u64(0..300_000),
            _ => self.rng.u64(0..self.setting.life_ms * 2),
        };
        self.in_ms(lasts_ms, Event::Weather);
    }

    fn retry_after_ms(&mut self) -> u64 {
        match self.rng.u32(0..8) {
            0 => 0,
            1..=4 => self.rng.u64(1..30) * 1000,
            5 | 6 => self.rng.u64(1..20) * 60_000,
            _ => self.rng.u64(1..=24) * 3_600_000,
        }
    }

    pub(super) fn clock(&mut self) {
        if !self.is_stormy() {
            return;
        }
        let span_ms = match self.rng.u32(0..4) {
            0 => self.rng.u64(0..2000),
            1 => self.rng.u64(0..600_000),
            2 => self.rng.u64(0..self.setting.life_ms * 2),
            _ => self.rng.u64(0..30 * 86_400_000),
        };
        let trouble = match self.rng.u32(0..4) {
            0 => {
                self.clocks.step_forward(span_ms);
                Trouble::StepForward
            }
            1 => {
                self.clocks.step_back(span_ms);
                Trouble::StepBack
            }
            _ => {
                // Everything that was to happen meanwhile happens when the machine wakes.
                self.clocks.go_on_to(self.clocks.true_ms().saturating_add(span_ms.min(7 * 86_400_000)));
                Trouble::Suspend
            }
        };
        self.outcome.troubles.add(trouble);
        let next_ms = self.rng.u64(0..60_000 + self.setting.life_ms * 2);
        self.in_ms(next_ms, Event::Clock);
    }

    pub(super) fn new_credential(&mut self) {
        if !self.is_stormy() {
            return;
        }
        self.outcome.troubles.add(Trouble::CredentialReplaced);
        self.client.replace_credential();
        let next_ms = self.rng.u64(0..600_000 + self.setting.life_ms * 3);
        self.in_ms(next_ms, Event::NewCredential);
    }
}
