//! What a seed makes of a world: how it is set up, and the streams of random numbers for what happens in it.

use crate::authority::Reissue;
use crate::checker::{BreakerRule, QuotaRule};
use crate::clock::BootClock;
use fastrand::Rng;
use std::time::Duration;

/// The lives of tokens that worlds have, in seconds.
const LIVES_SECONDS: &[u64] = &[20, 60, 120, 300, 300, 600, 900, 1800, 3600, 28_800];

/// The set-up of one world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// How long it lasts.
    pub lasts: Duration,
    /// How many keys its callers ask for.
    pub keys: u8,
    /// How long its tokens live.
    pub token_lifetime: Duration,
    /// Whether its server gives tokens out again.
    pub reissue: Reissue,
    /// Whether its client can tell the time since boot.
    pub boot: BootClock,
    /// How many callers come one after the other, each on its own.
    pub callers: u8,
    /// The mean time between two calls of one of them.
    pub mean_gap: Duration,
    /// How likely a request meets a fault when it storms.
    pub storm_chance: f64,
    /// How many token requests its client may make.
    pub quota: QuotaRule,
    /// When its client takes the server for down.
    pub breaker: BreakerRule,
    /// So many of its keys, from the first, are prefetched.
    pub prefetched: u8,
    /// How its client learns a new secret.
    pub secret_from: SecretFrom,
    /// How its client ends.
    pub exit: Exit,
}

/// How a client learns a new secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretFrom {
    /// It is told, or built anew.
    Telling,
    /// It reads a source, which has another one.
    Source,
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Its last handle is dropped.
    Dropped,
    /// It is closed, and may drain for so long; its handles live on.
    Closed {
        /// In milliseconds.
        within_ms: u64,
    },
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64, lasts: Duration) -> Self {
        let mut random = stream(seed, Stream::Plan);
        let life = LIVES_SECONDS.get(random.usize(0..LIVES_SECONDS.len())).copied().unwrap_or(300);
        let keys = random.u8(2..6);
        Self {
            seed,
            lasts,
            keys,
            token_lifetime: Duration::from_secs(life),
            reissue: if random.u8(0..6) == 0 { Reissue::Same } else { Reissue::New },
            boot: if random.u8(0..3) == 0 { BootClock::Absent } else { BootClock::Present },
            callers: random.u8(2..5),
            mean_gap: Duration::from_secs(random.u64(30..120)),
            storm_chance: 0.2 + 0.5 * random.f64(),
            quota: if random.u8(0..3) == 0 {
                QuotaRule { interval_ms: 500, burst: 4 }
            } else {
                QuotaRule { interval_ms: 100, burst: 100 }
            },
            breaker: if random.u8(0..3) == 0 {
                BreakerRule { opens_after: 3, first_window_ms: 1_000, longest_window_ms: 20_000 }
            } else {
                BreakerRule { opens_after: 5, first_window_ms: 5_000, longest_window_ms: 60_000 }
            },
            prefetched: if random.bool() { random.u8(1..=keys) } else { 0 },
            secret_from: if random.u8(0..3) == 0 { SecretFrom::Source } else { SecretFrom::Telling },
            exit: if random.bool() {
                Exit::Dropped
            } else {
                Exit::Closed { within_ms: random.u64(0..5_000) }
            },
        }
    }

    /// The random numbers of this world for `of`.
    pub fn stream(&self, of: Stream) -> Rng {
        stream(self.seed, of)
    }
}

/// What random numbers are drawn for. Each has its own stream, so that one more draw here changes nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The set-up.
    Plan,
    /// What happens when.
    Schedule,
    /// What happens to a request.
    Network,
    /// What the API does.
    Api,
    /// What the client draws.
    Client,
    /// What the source of its secret does.
    Vault,
    /// One of the callers.
    Caller(u8),
}

fn stream(seed: u64, of: Stream) -> Rng {
    let salt = match of {
        Stream::Plan => 1,
        Stream::Schedule => 2,
        Stream::Network => 3,
        Stream::Api => 4,
        Stream::Client => 5,
        Stream::Vault => 6,
        Stream::Caller(number) => 100 + u64::from(number),
    };
    // Seeds next to each other must not make worlds that are like each other (splitmix64).
    let mut mixed =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Rng::with_seed(mixed ^ (mixed >> 31))
}

/// A time that passes between two events which have nothing to do with each other, on average `mean`; at most ten times
/// that.
pub fn exponential(random: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64((-(1.0 - random.f64()).ln()).min(10.0))
}
