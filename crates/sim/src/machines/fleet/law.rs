//! What must hold of flights across processes, whatever happens around them.

/// One invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FleetLaw {
    /// No token is asked for while another process asks, or the store has one that serves; unless something went wrong with
    /// the flight that asks.
    OneMint,
    /// Every token that is granted is shared, but for one for each process that was killed or held still and for each flight
    /// that something went wrong with.
    OneMorePerKill,
    /// A rejected token is replaced once, by whoever is first.
    OneForcedMint,
    /// No flight takes longer than its patience and one token request.
    Patience,
    /// A token is never overwritten by an older one.
    NewestStays,
    /// A rejected token is not adopted by who rejected it, and by nobody once it was taken out of the store.
    RejectedStaysAway,
    /// An adopted token is never believed to live beyond its true end.
    NeverLonger,
    /// An adopted token was granted for the key that it is adopted for.
    RightKey,
    /// Every flight ends.
    Ends,
    /// A flight that is over leaves no lease, and nobody follows a lease beyond its time.
    LeaseEnds,
    /// While one process was told to leave the server alone, nobody asks it.
    SharedPause,
    /// Once nothing fails any more, all processes have a token that was shared.
    SharedAgain,
    /// No decision panics.
    NoPanic,
}

impl FleetLaw {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::OneMint,
        Self::OneMorePerKill,
        Self::OneForcedMint,
        Self::Patience,
        Self::NewestStays,
        Self::RejectedStaysAway,
        Self::NeverLonger,
        Self::RightKey,
        Self::Ends,
        Self::LeaseEnds,
        Self::SharedPause,
        Self::SharedAgain,
        Self::NoPanic,
    ];
}
