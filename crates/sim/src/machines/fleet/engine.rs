//! The machine of a flight, and what its driver does around it, behind one trait: tests break one rule at a time in it.

use super::store::Change;
use crate::machines::clocks::Reading;
use jeton_proto::flight::{Action, Event, Flight, Version, Wish};
use jeton_proto::time::Moment;
use std::time::Duration;

/// The decisions of a flight. Each default is the real machine, or what a sound driver does.
pub trait FleetEngine {
    /// A flight begins.
    fn begin(&mut self, wish: Wish, patience: Duration, now: Moment) -> (Flight, Action) {
        Flight::begin(wish, patience, now)
    }

    /// Something happened.
    fn on(&mut self, flight: &mut Flight, event: Event, now: Moment) -> Action {
        flight.on(event, now)
    }

    /// The lease was prolonged, or was not.
    fn prolonged(&mut self, flight: &mut Flight, version: Option<Version>) {
        if let Some(version) = version {
            flight.prolonged(version);
        }
    }

    /// Whether what was sealed for the key `sealed_for` opens as one of the key `place`.
    fn opens(&mut self, sealed_for: usize, place: usize) -> bool {
        sealed_for == place
    }

    /// How old a token is that was found in the store: by the wall clock of who reads, and by the store's clock.
    fn age_ms(&mut self, by_wall_ms: u64, by_store_ms: u64) -> u64 {
        by_wall_ms.max(by_store_ms)
    }

    /// From when what was read counts: the store showed its clock after it was asked, and before it answered.
    fn counts_from(&mut self, asked: Reading, _answered: Reading) -> Reading {
        asked
    }

    /// What is written to the store.
    fn writes(&mut self, change: Change) -> Change {
        change
    }
}

/// The machine as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoundFleet;

impl FleetEngine for SoundFleet {}
