//! What goes wrong around flights across processes, and how often it did.

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetTrouble {
    /// The store was not reached.
    StoreDown,
    /// The store did what it was asked for, and its answer was lost.
    AnswerLost,
    /// The store answered after its time.
    StoreSlow,
    /// A process was cut off from the store, and the others were not.
    CutOff,
    /// A replica that is behind was read.
    StaleRead,
    /// Nobody was told of a change.
    NotificationLost,
    /// The store lost its last writes.
    Failover,
    /// The store lost a record.
    Flushed,
    /// Somebody put an older record back.
    PutBack,
    /// Somebody put a record in the place of another.
    Swapped,
    /// The store's clock stepped.
    StoreClock,
    /// A process was killed.
    Kill,
    /// A process was held still.
    Freeze,
    /// A lease was prolonged late.
    LateProlonging,
    /// A token request failed.
    MintFailed,
    /// A token request failed with a pause to keep.
    MintPaused,
    /// A token request took long.
    SlowMint,
    /// The server revoked its tokens.
    Revoked,
    /// An API refused a good token.
    GoodTokenRefused,
    /// A process' wall clock stepped.
    ClockStep,
    /// A forced flight took the place of another of its process.
    Superseded,
}

impl FleetTrouble {
    /// Every kind with its name in reports.
    pub const ALL: [(Self, &'static str); 21] = [
        (Self::StoreDown, "store not reached"),
        (Self::AnswerLost, "store's answer lost"),
        (Self::StoreSlow, "store past its time-out"),
        (Self::CutOff, "one process cut off"),
        (Self::StaleRead, "stale read"),
        (Self::NotificationLost, "notification lost"),
        (Self::Failover, "failover, writes lost"),
        (Self::Flushed, "record lost"),
        (Self::PutBack, "older record put back"),
        (Self::Swapped, "records swapped"),
        (Self::StoreClock, "store's clock stepped"),
        (Self::Kill, "process killed"),
        (Self::Freeze, "process held still"),
        (Self::LateProlonging, "lease prolonged late"),
        (Self::MintFailed, "token request failed"),
        (Self::MintPaused, "token request told to wait"),
        (Self::SlowMint, "slow token request"),
        (Self::Revoked, "token revoked"),
        (Self::GoodTokenRefused, "good token refused"),
        (Self::ClockStep, "wall clock stepped"),
        (Self::Superseded, "flight superseded"),
    ];
}

/// How often each kind took effect.
#[derive(Clone, Debug, Default)]
pub struct FleetTroubles([u64; FleetTrouble::ALL.len()]);

impl FleetTroubles {
    /// Counts one.
    pub fn add(&mut self, trouble: FleetTrouble) {
        if let Some(count) = self.0.get_mut(trouble as usize) {
            *count += 1;
        }
    }

    /// Adds those of another world.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// The name and the count of each kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FleetTrouble::ALL.iter().map(|(_, name)| *name).zip(self.0.iter().copied())
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
