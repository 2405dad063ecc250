//! One flight of a slot at a time: who joins it, who takes its place, and whose landing counts.

use crate::sync::{Mutex, MutexGuard, lock};
use jeton_proto::lifecycle::MintReason;
use std::time::Duration;

/// The place of the flight that is under way. Its lock is held while the slot is decided on and while a flight lands, so
/// that nobody begins a flight in between.
pub(crate) struct Runway<L> {
    place: Mutex<Place<L>>,
}

struct Place<L> {
    flight: Option<Flight<L>>,
    /// Counts the flights, so that a late one is told from the one that is under way.
    flights: u64,
}

/// A flight that is under way; `landing` is where its outcome will be seen.
struct Flight<L> {
    serial: u64,
    reason: MintReason,
    landing: L,
    /// When its place is given to another, on the clock that the caller counts by.
    overdue_at: Duration,
}

/// The runway, held.
pub(crate) struct Held<'a, L>(MutexGuard<'a, Place<L>>);

impl<L: Clone> Runway<L> {
    pub(crate) fn new() -> Self {
        Self { place: Mutex::new(Place { flight: None, flights: 0 }) }
    }

    pub(crate) fn hold(&self) -> Held<'_, L> {
        Held(lock(&self.place))
    }
}

impl<L: Clone> Held<'_, L> {
    /// The flight under way, where it serves `reason` too and is not overdue at `now`. A forced one never joins an unforced one:
    /// that one may bring a token from before the rejection (trap T9). Nobody joins one that is overdue: its task is on a
    /// runtime that nobody drives.
    pub(crate) fn joined(&self, reason: MintReason, now: Duration) -> Option<L> {
        let serves = |flight: &&Flight<L>| {
            let strong_enough = match reason {
                MintReason::Early | MintReason::Needed => true,
                MintReason::Forced => flight.reason == MintReason::Forced,
            };
            strong_enough && now < flight.overdue_at
        };
        self.0.flight.as_ref().filter(serves).map(|flight| flight.landing.clone())
    }

    /// Begins a flight, which takes the place of whatever was under way. Gives its serial.
    pub(crate) fn begin(&mut self, reason: MintReason, landing: L, overdue_at: Duration) -> u64 {
        self.0.flights = self.0.flights.wrapping_add(1);
        let serial = self.0.flights;
        self.0.flight = Some(Flight { serial, reason, landing, overdue_at });
        serial
    }

    /// Whether the flight `serial` is the one under way: only then does its landing count.
    pub(crate) fn is_current(&self, serial: u64) -> bool {
        self.0.flight.as_ref().is_some_and(|flight| flight.serial == serial)
    }

    /// Frees the place of the flight `serial`, unless another has taken it.
    pub(crate) fn clear(&mut self, serial: u64) {
        if self.is_current(serial) {
            self.0.flight = None;
        }
    }
}

#[cfg(test)]
#[cfg(not(jeton_loom))]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_secs(20);

    #[test]
    fn t9_a_forced_flight_joins_no_unforced_one_and_takes_its_place() {
        let runway = Runway::new();
        let mut held = runway.hold();
        assert_eq!(held.joined(MintReason::Early, NOW), None);
        let early = held.begin(MintReason::Early, 'e', LATER);
        assert_eq!(held.joined(MintReason::Needed, NOW), Some('e'));
        assert_eq!(held.joined(MintReason::Forced, NOW), None);
        let forced = held.begin(MintReason::Forced, 'f', LATER);
        for reason in [MintReason::Early, MintReason::Needed, MintReason::Forced] {
            assert_eq!(held.joined(reason, NOW), Some('f'));
        }
        assert!(!held.is_current(early) && held.is_current(forced));
        held.clear(early);
        assert!(held.is_current(forced), "a late one frees no other's place");
        held.clear(forced);
        assert_eq!(held.joined(MintReason::Early, NOW), None);
    }

    #[test]
    fn t12_nobody_joins_a_flight_that_is_overdue() {
        let runway = Runway::new();
        let mut held = runway.hold();
        held.begin(MintReason::Forced, 'a', NOW);
        assert_eq!(held.joined(MintReason::Needed, NOW), None);
    }
}
