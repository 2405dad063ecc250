//! What goes wrong around the flights: processes, clocks, the store as a whole.

use super::Season;
use super::{Event, World};
use crate::machines::fleet::engine::FleetEngine;
use crate::machines::fleet::hand::Luck;
use crate::machines::fleet::setting::Storm;
use crate::machines::fleet::trouble::FleetTrouble;

impl<E: FleetEngine> World<E> {
    /// One trouble, and the next after a while.
    pub(super) fn trouble(&mut self) {
        if self.season != Season::Storm {
            return;
        }
        let next_ms = match self.rng.u32(0..3) {
            0 => self.rng.u64(0..200),
            1 => self.rng.u64(0..5000),
            _ => self.rng.u64(0..=self.setting.life_ms / 2),
        };
        self.in_ms(next_ms, Event::Trouble);
        match self.setting.storm {
            Storm::Quiet => self.revocation(),
            Storm::Kills if self.rng.bool() => self.revocation(),
            Storm::Kills => self.kill(),
            Storm::Everything => match self.rng.u32(0..13) {
                0 => self.revocation(),
                1 | 2 => self.kill(),
                3 => self.freeze(),
                4 => self.cut_off(),
                5 => self.wall_clock(),
                6 => self.weather(),
                7 => self.server_weather(),
                8 => self.store_changes(FleetTrouble::Failover),
                9 => self.store_changes(FleetTrouble::Flushed),
                10 => self.store_changes(FleetTrouble::PutBack),
                11 => self.store_changes(FleetTrouble::Swapped),
                _ => self.store_clock(),
            },
        }
    }

    /// The newest token of a key is revoked, now and then.
    fn revocation(&mut self) {
        if self.rng.u32(0..4) > 0 {
            return;
        }
        let key = self.rng.usize(0..self.setting.keys);
        if let Some(body) = self.store.record(key, self.now_ms).and_then(|record| record.body.as_ref()) {
            self.revoked.push(body.id);
            self.outcome.troubles.add(FleetTrouble::Revoked);
        }
    }

    /// A process is killed: mostly one that has something under way.
    fn kill(&mut self) {
        let busy: Vec<usize> = self.flights.values().map(|flying| flying.process).collect();
        let process = match self.rng.u32(0..4) {
            0 => self.rng.usize(0..self.setting.processes),
            _ if busy.is_empty() => return,
            _ => busy.get(self.rng.usize(0..busy.len())).copied().unwrap_or_default(),
        };
        let Some(there) = self.processes.get_mut(process) else { return };
        there.restart();
        let killed: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flying)| flying.process == process)
            .map(|(serial, _)| *serial)
            .collect();
        self.outcome.troubles.add(FleetTrouble::Kill);
        for serial in killed {
            let Some(flying) = self.flights.remove(&serial) else { continue };
            if let Some(at_ms) = self.troubled_ms.get_mut(flying.key) {
                *at_ms = self.now_ms;
            }
            if flying.asked.is_some() {
                self.books.excuse(flying.key);
            }
            // What it sent to the store arrives there all the same.
            self.ghosts.insert(serial, flying);
        }
        self.asks_from_now_on(process);
    }

    fn freeze(&mut self) {
        let process = self.rng.usize(0..self.setting.processes);
        let most_ms = if self.rng.bool() { 3 * self.setting.lease_ms } else { 2 * self.setting.life_ms };
        let span_ms = self.rng.u64(1..most_ms);
        let until_ms = self.now_ms + span_ms;
        let Some(there) = self.processes.get_mut(process) else { return };
        there.frozen_until_ms = there.frozen_until_ms.max(until_ms);
        let mut keys = Vec::new();
        for flying in self.flights.values_mut().filter(|flying| flying.process == process) {
            flying.luck = Luck::Disturbed;
            flying.frozen_ms += span_ms;
            keys.push(flying.key);
        }
        self.outcome.troubles.add(FleetTrouble::Freeze);
        for key in keys {
            // Others may wait for it until it goes on.
            if let Some(at_ms) = self.troubled_ms.get_mut(key) {
                *at_ms = until_ms;
            }
        }
    }

    fn cut_off(&mut self) {
        let process = self.rng.usize(0..self.setting.processes);
        let most_ms = if self.rng.bool() { 60_000 } else { 3 * self.setting.life_ms };
        let until_ms = self.now_ms + self.rng.u64(100..most_ms);
        if let Some(there) = self.processes.get_mut(process) {
            there.cut_off_until_ms = until_ms;
        }
    }

    fn wall_clock(&mut self) {
        let process = self.rng.usize(0..self.setting.processes);
        let most_ms = if self.rng.bool() { 1000 } else { 2 * self.setting.life_ms };
        let step_ms = self.rng.u64(1..most_ms);
        let ahead = self.rng.bool();
        self.reading(process);
        let Some(there) = self.processes.get_mut(process) else { return };
        if ahead {
            there.clocks.step_forward(step_ms);
            there.off_ms = there.off_ms.saturating_add_unsigned(step_ms);
        } else {
            there.clocks.step_back(step_ms);
            there.off_ms = there.off_ms.saturating_sub_unsigned(step_ms);
        }
        self.outcome.troubles.add(FleetTrouble::ClockStep);
        self.books.clock_stepped(self.now_ms);
        for flying in self.flights.values_mut() {
            flying.luck = Luck::Disturbed;
            if flying.process == process {
                // By a wall clock alone, nobody knows how long it has waited.
                flying.frozen_ms += step_ms;
            }
        }
    }

    fn weather(&mut self) {
        self.store_faults = match self.rng.u32(0..4) {
            0 | 1 => 0,
            2 => self.rng.u32(1..40),
            _ => 100,
        };
    }

    fn server_weather(&mut self) {
        self.mint_faults = if self.rng.bool() { 0 } else { self.rng.u32(1..80) };
    }

    /// The store loses something, or somebody changes what is in it.
    fn store_changes(&mut self, trouble: FleetTrouble) {
        let (key, other) = (self.rng.usize(0..self.setting.keys), self.rng.usize(0..self.setting.keys));
        match trouble {
            FleetTrouble::Failover => self.store.fail_over(self.rng.usize(1..4)),
            FleetTrouble::PutBack => self.store.put_back(key, self.rng.usize(0..6)),
            FleetTrouble::Swapped if key != other => self.store.exchange(key, other),
            _ => self.store.lose(key),
        }
        self.lost_in_store(trouble);
    }

    fn store_clock(&mut self) {
        let most_ms = if self.rng.bool() { 2000 } else { self.setting.life_ms };
        let step_ms = i64::try_from(self.rng.u64(1..most_ms)).unwrap_or_default();
        self.store.step_clock(if self.rng.bool() { step_ms } else { -step_ms });
        self.store_stepped_ms = Some(self.now_ms);
        self.books.clock_stepped(self.now_ms);
        self.lost_in_store(FleetTrouble::StoreClock);
    }

    fn lost_in_store(&mut self, trouble: FleetTrouble) {
        for key in 0..self.setting.keys {
            self.books.lost(key);
            // A clock that stepped back leaves leases that outlast every patience.
            let left_ms = self
                .store
                .record(key, self.now_ms)
                .map_or(0, |record| record.lease_end_ms.saturating_sub(self.store.clock_ms(self.now_ms)));
            self.overlong_until_ms = self.overlong_until_ms.max(self.now_ms + left_ms);
            if let Some(at_ms) = self.troubled_ms.get_mut(key) {
                *at_ms = self.now_ms;
            }
        }
        for flying in self.flights.values_mut() {
            flying.luck = Luck::Disturbed;
        }
        self.outcome.troubles.add(trouble);
    }
}
