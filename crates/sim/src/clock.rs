//! The three clocks of a world: timers, which stop in a suspend; the boot-time clock, which does not; the wall clock of
//! the client, which also steps.

use jeton::{Clock, Timestamp};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// When every world begins, in milliseconds since the Unix epoch.
const BEGINNING_MS: u64 = 1_790_000_000_000;

/// One instant, as the three clocks of the client tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Milliseconds of virtual time since the world began; what timers and deadlines are made of.
    pub timers_ms: u64,
    /// The same with every suspend: what truly went by.
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch, as the client's wall clock has it.
    pub wall_ms: u64,
}

/// Whether the client has a clock that goes on in a suspend and never steps.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum BootClock {
    /// As on Linux.
    #[default]
    Present,
    /// As where the system has none: the wall clock is all there is.
    Absent,
}

/// The time of one world. It must be asked on the runtime of that world.
#[derive(Debug)]
pub struct WorldClock {
    begun: Instant,
    suspended_ms: AtomicU64,
    stepped_ms: AtomicI64,
}

impl WorldClock {
    /// A clock that begins now.
    pub fn starting_now() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            suspended_ms: AtomicU64::new(0),
            stepped_ms: AtomicI64::new(0),
        })
    }

    /// What the client's clocks say now.
    pub fn moment(&self) -> Moment {
        let timers_ms = millis(self.begun.elapsed());
        let boot_ms = timers_ms.saturating_add(self.suspended_ms.load(Ordering::Relaxed));
        let true_ms = BEGINNING_MS.saturating_add(boot_ms);
        let wall_ms = true_ms.saturating_add_signed(self.stepped_ms.load(Ordering::Relaxed));
        Moment { timers_ms, boot_ms, wall_ms }
    }

    /// Sets the client's wall clock forward, or back.
    pub fn step(&self, by_ms: i64) {
        self.stepped_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Suspends the client's machine: everybody else's time goes on, its timers do not.
    pub fn suspend(&self, for_ms: u64) {
        self.suspended_ms.fetch_add(for_ms, Ordering::Relaxed);
    }
}

/// The clock of the client's machine.
#[derive(Clone, Debug)]
pub struct ClientClock {
    world: Arc<WorldClock>,
    boot: BootClock,
}

impl ClientClock {
    /// The client's view of `world`.
    pub fn new(world: Arc<WorldClock>, boot: BootClock) -> Self {
        Self { world, boot }
    }
}

impl Clock for ClientClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.world.moment().wall_ms)
    }

    fn since_boot(&self) -> Option<Duration> {
        match self.boot {
            BootClock::Present => Some(Duration::from_millis(self.world.moment().boot_ms)),
            BootClock::Absent => None,
        }
    }
}

/// The clock of the servers: it is right.
#[derive(Clone, Debug)]
pub struct ServerClock(pub Arc<WorldClock>);

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(BEGINNING_MS.saturating_add(self.0.moment().boot_ms))
    }
}

/// `span` in whole milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
