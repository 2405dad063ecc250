//! What a seed makes of a fleet.

use crate::clock::BootClock;
use fastrand::Rng;
use std::time::Duration;

/// The lives of tokens that fleets have, in seconds.
const LIVES_SECONDS: &[u64] = &[20, 20, 30, 30, 45];

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storms {
    /// Nothing but that tokens are rejected.
    None,
    /// Processes are killed, besides.
    Kills,
    /// Everything that may befall the store and the processes, but the server is well.
    Store,
    /// Everything.
    All,
}

/// The set-up of one fleet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// How long it lasts.
    pub lasts: Duration,
    /// How many processes there are.
    pub processes: usize,
    /// How many keys their callers ask for.
    pub keys: u8,
    /// How long tokens live.
    pub life: Duration,
    /// Whether processes can tell the time since boot.
    pub boot: BootClock,
    /// The mean time between two calls of one caller; each process has one for each key.
    pub mean_gap: Duration,
    /// What may go wrong.
    pub storms: Storms,
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64, lasts: Duration) -> Self {
        let mut random = stream(seed, 1);
        let life = LIVES_SECONDS.get(random.usize(0..LIVES_SECONDS.len())).copied().unwrap_or(60);
        Self {
            seed,
            lasts,
            processes: random.usize(2..6),
            keys: random.u8(1..4),
            life: Duration::from_secs(life),
            boot: if random.u8(0..4) == 0 { BootClock::Absent } else { BootClock::Present },
            mean_gap: Duration::from_millis(random.u64(1_000..5_000)),
            storms: match random.u8(0..8) {
                0 => Storms::None,
                1 => Storms::Kills,
                2..=4 => Storms::Store,
                _ => Storms::All,
            },
        }
    }

    /// The random numbers of this fleet for one purpose.
    pub fn stream(&self, salt: u64) -> Rng {
        stream(self.seed, salt)
    }
}

fn stream(seed: u64, salt: u64) -> Rng {
    // Seeds next to each other must not make fleets that are like each other (splitmix64).
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Rng::with_seed(mixed ^ (mixed >> 31))
}
