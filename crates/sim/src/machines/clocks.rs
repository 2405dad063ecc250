//! The clocks of the client's machine, and the true time that nobody can read.

use jeton_proto::time::{Moment, Timestamp};
use std::time::Duration;

/// What the clocks show at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall_ms: u64,
    /// The boot clock, where there is one.
    pub boot_ms: Option<u64>,
}

impl Reading {
    /// As the machines take it.
    pub fn moment(self) -> Moment {
        Moment::new(Timestamp::from_unix_millis(self.wall_ms), self.boot_ms.map(Duration::from_millis))
    }

    /// What has passed since `earlier` for all that this machine can tell; `None` when its only clock stands before that.
    pub fn passed_since(self, earlier: Self) -> Option<u64> {
        match (self.boot_ms, earlier.boot_ms) {
            (Some(now), Some(then)) => now.checked_sub(then),
            (Some(_) | None, Some(_) | None) => self.wall_since(earlier),
        }
    }

    /// What has passed by the wall clock alone.
    pub fn wall_since(self, earlier: Self) -> Option<u64> {
        self.wall_ms.checked_sub(earlier.wall_ms)
    }

    /// How much is left of a span that began at `begun`: nothing once it is over, or when the clock cannot be right.
    pub fn left_of(self, span_ms: u64, begun: Self) -> u64 {
        self.passed_since(begun).map_or(0, |passed| span_ms.saturating_sub(passed))
    }

    /// In how long a span that began at `begun` is over for good. A wall clock that stands before its beginning will come by
    /// there once more, and then the span goes on.
    pub fn over_within(self, span_ms: u64, begun: Self) -> u64 {
        match self.passed_since(begun) {
            Some(_) => self.left_of(span_ms, begun),
            None => begun.wall_ms.saturating_sub(self.wall_ms).saturating_add(span_ms),
        }
    }
}

/// How what is left of a span is reckoned: [`Reading::left_of`] or [`Reading::over_within`].
pub type Left = fn(Reading, u64, Reading) -> u64;

/// The clocks as they run.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    true_ms: u64,
    reading: Reading,
    sound_since_ms: u64,
}

impl Clocks {
    /// Clocks that show `reading` when the true time begins.
    pub fn new(reading: Reading) -> Self {
        Self { true_ms: 0, reading, sound_since_ms: 0 }
    }

    /// What they show.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// The true time, which only the server and the books know.
    pub fn true_ms(&self) -> u64 {
        self.true_ms
    }

    /// Since when no clock that the client goes by has lost time. What began before may be believed for too long.
    pub fn sound_since_ms(&self) -> u64 {
        self.sound_since_ms
    }

    /// Whether they can tell any time at all: a wall clock at its end stands still.
    pub fn run(&self) -> bool {
        self.reading.boot_ms.is_some() || self.reading.wall_ms < u64::MAX / 2
    }

    /// Lets the true time go on to `true_ms`, and the clocks with it.
    pub fn go_on_to(&mut self, true_ms: u64) {
        let span_ms = true_ms.saturating_sub(self.true_ms);
        self.true_ms = self.true_ms.saturating_add(span_ms);
        self.reading.boot_ms = self.reading.boot_ms.map(|boot| boot.saturating_add(span_ms));
        let wall = self.reading.wall_ms.saturating_add(span_ms);
        if wall == u64::MAX {
            self.lost_time();
        }
        self.reading.wall_ms = wall;
    }

    /// Sets the wall clock forward.
    pub fn step_forward(&mut self, span_ms: u64) {
        self.reading.wall_ms = self.reading.wall_ms.saturating_add(span_ms);
    }

    /// Sets the wall clock back.
    pub fn step_back(&mut self, span_ms: u64) {
        self.reading.wall_ms = self.reading.wall_ms.saturating_sub(span_ms);
        self.lost_time();
    }

    fn lost_time(&mut self) {
        if self.reading.boot_ms.is_none() {
            self.sound_since_ms = self.true_ms.saturating_add(1);
        }
    }
}
