//! The end of the troubles, and what has to be well some time after it.

use super::{Asker, Event, Season, World};
use crate::machines::engine::Engine;
use crate::machines::server::TIMEOUT_MS;

/// How many steps the troubles last.
const STORM_STEPS: u64 = 3000;
/// Within this what is under way when the troubles end has come to its end.
const AFTERMATH_MS: u64 = 2 * TIMEOUT_MS;
/// How often callers ask within a span of the calm.
const ASKS_IN_CALM: u64 = 40;

impl<E: Engine> World<E> {
    pub(super) fn turn_of_season(&mut self) {
        let now_ms = self.clocks.true_ms();
        match self.season {
            Season::Storm if self.books.steps() >= STORM_STEPS => {
                self.server.recover();
                self.begin_season(AFTERMATH_MS, |until_ms| Season::Aftermath { until_ms });
            }
            Season::Aftermath { until_ms } if now_ms >= until_ms => {
                let span_ms = self.bound_of_recovery_ms();
                self.begin_season(span_ms, |until_ms| Season::Waiting { until_ms });
            }
            Season::Waiting { until_ms } if now_ms >= until_ms => {
                self.begin_season(self.span_of_harvest_ms(), |until_ms| Season::Harvest { until_ms });
            }
            Season::Harvest { until_ms } if now_ms >= until_ms => {
                if self.clocks.run() {
                    for (key, recovered) in self.harvested.iter().enumerate() {
                        self.books.recovered(key, *recovered);
                    }
                }
                self.season = Season::Over;
            }
            Season::Storm
            | Season::Aftermath { .. }
            | Season::Waiting { .. }
            | Season::Harvest { .. }
            | Season::Over => {}
        }
    }

    fn begin_season(&mut self, span_ms: u64, season: impl FnOnce(u64) -> Season) {
        self.season = season(self.clocks.true_ms().saturating_add(span_ms));
        self.asks_every_ms = span_ms / ASKS_IN_CALM + 1;
        self.round += 1;
        for key in 0..self.setting.keys {
            self.in_ms(0, Event::Ask { key, asker: Asker::Regular { round: self.round } });
        }
    }

    /// Within this every key has its turn in the quota, were all of them without a token.
    fn span_of_harvest_ms(&self) -> u64 {
        let turns_ms = self.setting.numbers.interval_ms.saturating_mul(2 * self.setting.keys as u64);
        turns_ms.saturating_add(TIMEOUT_MS)
    }

    /// After this all pauses are over, one probe has gone, and the quota is whole.
    fn bound_of_recovery_ms(&self) -> u64 {
        let cause_ms = self.books.longest_cause_ms(self.client.generation(), self.clocks.reading());
        let numbers = &self.setting.numbers;
        let quota_ms = numbers.interval_ms.saturating_mul(u64::from(numbers.burst));
        cause_ms.saturating_add(quota_ms).saturating_add(numbers.longest_window_ms + TIMEOUT_MS)
    }
}
