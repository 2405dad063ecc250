//! The end of the troubles, and what has to be well some time after it.

use super::{MINT_MS, Season, World};
use crate::machines::fleet::engine::FleetEngine;

/// How many steps the troubles last.
const STORM_STEPS: u64 = 3000;
/// Within so many lives of a token everybody shares again.
const CALM_LIVES: u64 = 3;

impl<E: FleetEngine> World<E> {
    pub(super) fn turn_of_season(&mut self) {
        let longest_ms = self.setting.patience_ms + 2 * MINT_MS + 6 * self.setting.store_timeout_ms;
        match self.season {
            Season::Storm if self.books.steps() >= STORM_STEPS => {
                self.end_troubles();
                let until_ms = self.now_ms + longest_ms + self.setting.lease_ms;
                self.begin_season(Season::Aftermath { until_ms });
            }
            Season::Aftermath { until_ms } if self.now_ms >= until_ms => {
                let until_ms = self.now_ms + CALM_LIVES * self.setting.life_ms;
                self.begin_season(Season::Calm { until_ms });
            }
            Season::Calm { until_ms } if self.now_ms >= until_ms => {
                self.begin_season(Season::Evening { until_ms: self.now_ms + longest_ms });
                self.in_ms(longest_ms, super::Event::Trouble);
            }
            Season::Evening { until_ms } if self.now_ms >= until_ms => {
                self.look();
                self.season = Season::Over;
            }
            Season::Storm
            | Season::Aftermath { .. }
            | Season::Calm { .. }
            | Season::Evening { .. }
            | Season::Over => {}
        }
    }

    fn begin_season(&mut self, season: Season) {
        self.season = season;
        self.round += 1;
        self.everybody_asks();
    }

    /// Nobody is held still or cut off any more, and all clocks are set right.
    fn end_troubles(&mut self) {
        let now_ms = self.now_ms;
        self.revoked.clear();
        self.books.clock_stepped(now_ms);
        for process in &mut self.processes {
            process.reading(now_ms);
            process.cut_off_until_ms = 0;
            process.frozen_until_ms = 0;
            match process.off_ms {
                ahead @ 1.. => process.clocks.step_back(ahead.unsigned_abs()),
                behind => process.clocks.step_forward(behind.unsigned_abs()),
            }
            process.off_ms = 0;
        }
        for flying in self.flights.values_mut() {
            flying.luck = crate::machines::fleet::hand::Luck::Disturbed;
        }
    }

    fn look(&mut self) {
        self.books.left(self.flights.len());
        self.books.tallied();
        for (number, process) in self.processes.iter().enumerate() {
            for (key, hand) in process.hands.iter().enumerate() {
                self.books.recovered(number, key, hand.slot.token().map(|token| token.id()));
            }
        }
    }
}
