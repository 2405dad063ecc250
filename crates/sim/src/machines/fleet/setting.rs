//! What a seed settles before a world of several processes begins.

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    /// Nothing but that tokens are rejected.
    Quiet,
    /// Processes are killed besides.
    Kills,
    /// Everything.
    Everything,
}

/// One world before it begins.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many processes there are.
    pub processes: usize,
    /// How many keys there are.
    pub keys: usize,
    /// How long a token lives.
    pub life_ms: u64,
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// For how long a flight lets another go first.
    pub patience_ms: u64,
    /// The time in which the store has to answer.
    pub store_timeout_ms: u64,
    /// What may go wrong.
    pub storm: Storm,
}

impl Setting {
    /// That of a seed.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let life_ms = match rng.u32(0..4) {
            0 => rng.u64(60..120),
            1 | 2 => rng.u64(120..900),
            _ => rng.u64(900..7200),
        };
        let lease_ms = rng.u64(3000..12_000);
        Self {
            processes: rng.usize(2..=6),
            keys: rng.usize(1..=3),
            life_ms: life_ms * 1000,
            lease_ms,
            patience_ms: lease_ms + rng.u64(1000..8000),
            store_timeout_ms: rng.u64(50..1000),
            storm: match rng.u32(0..6) {
                0 => Storm::Quiet,
                1 => Storm::Kills,
                _ => Storm::Everything,
            },
        }
    }
}
