//! What a seed settles before a world begins.

use super::clocks::Reading;
use super::engine::Policies;
use jeton_proto::backoff::BackoffPolicy;
use jeton_proto::breaker::BreakerPolicy;
use jeton_proto::lifecycle::RefreshPolicy;
use jeton_proto::quota::QuotaPolicy;
use std::time::Duration;

const DAY_MS: u64 = 86_400_000;
/// Some day of the year 2023.
const USUAL_WALL_MS: u64 = 1_700_000_000_000;

/// The policies' numbers, as the books reckon with them.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The life of a token whose server states none.
    pub assumed_ms: u64,
    /// The bound of the first pause.
    pub base_ms: u64,
    /// The bound of all pauses.
    pub cap_ms: u64,
    /// For how long a terminal failure is remembered at first.
    pub terminal_ms: u64,
    /// How many faults open the breaker.
    pub threshold: u32,
    /// The bound of its first window.
    pub first_window_ms: u64,
    /// The bound of all windows.
    pub longest_window_ms: u64,
    /// How long a request may take that others wait for.
    pub probe_ms: u64,
    /// How many requests may go at once.
    pub burst: u32,
    /// After which time one more may go.
    pub interval_ms: u64,
}

impl Numbers {
    /// As the machines take them.
    ///
    /// # Errors
    /// Which policy would not have them.
    pub fn policies(&self) -> Result<Policies, String> {
        let span = Duration::from_millis;
        let refresh = RefreshPolicy::default().with_assumed_lifetime(span(self.assumed_ms));
        let backoff = BackoffPolicy::new(span(self.base_ms), span(self.cap_ms), span(self.terminal_ms));
        let windows = (span(self.first_window_ms), span(self.longest_window_ms));
        Ok(Policies {
            refresh: refresh.map_err(|error| error.to_string())?,
            backoff: backoff.map_err(|error| error.to_string())?,
            breaker: BreakerPolicy::new(self.threshold, windows.0, windows.1)
                .map_err(|error| error.to_string())?
                .with_probe_time(span(self.probe_ms)),
            quota: QuotaPolicy::new(self.burst, span(self.interval_ms)).map_err(|error| error.to_string())?,
        })
    }
}

/// One world before it begins.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The policies.
    pub numbers: Numbers,
    /// How long a token of the well server lives, in whole seconds.
    pub life_ms: u64,
    /// How many keys there are.
    pub keys: usize,
    /// What the clocks show at first.
    pub clocks: Reading,
}

impl Setting {
    /// That of a seed. Every other world has the defaults, and one in three no boot clock.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        // As many short lives as long ones: 1 s to 30 d.
        let part = |rng: &mut fastrand::Rng, from: u64, until: u64| {
            let (low, high) = (from.max(1).ilog2(), until.ilog2());
            let scale = 1_u64 << rng.u32(low..=high);
            (scale + rng.u64(0..=scale)).clamp(from, until)
        };
        let life_ms = part(rng, 1, 2_592_000) * 1000;
        let keys = rng.usize(1..=4);
        let sustainable_ms = (life_ms / (8 * keys as u64)).max(1);
        let mut numbers = Numbers {
            assumed_ms: 300_000,
            base_ms: 500,
            cap_ms: 30_000,
            terminal_ms: 30_000,
            threshold: 5,
            first_window_ms: 5000,
            longest_window_ms: 60_000,
            probe_ms: 60_000,
            burst: 100,
            interval_ms: 100.min(sustainable_ms),
        };
        if rng.bool() {
            let base_ms = part(rng, 1, 5000);
            let first_window_ms = part(rng, 100, 20_000);
            let longest_window_ms = part(rng, first_window_ms, 300_000);
            numbers = Numbers {
                assumed_ms: part(rng, 1000, DAY_MS),
                base_ms,
                cap_ms: part(rng, base_ms, 120_000),
                terminal_ms: part(rng, 1000, 600_000),
                threshold: rng.u32(1..=6),
                first_window_ms,
                longest_window_ms,
                probe_ms: part(rng, 1000, 120_000).max(longest_window_ms),
                burst: rng.u32(1..=12),
                interval_ms: part(rng, 1, 20_000).min(sustainable_ms),
            };
        }
        let wall_ms = match rng.u32(0..24) {
            0 => rng.u64(0..5000),
            1 => u64::MAX - rng.u64(0..10 * DAY_MS),
            _ => USUAL_WALL_MS,
        };
        let boot_ms = (rng.u32(0..3) > 0).then(|| rng.u64(0..1_000_000));
        Self { numbers, life_ms, keys, clocks: Reading { wall_ms, boot_ms } }
    }
}
