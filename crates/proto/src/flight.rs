//! One refresh across processes and machines, as a machine without input or output.
//!
//! Processes that share a store keep one record for each key there: a token, a lease, and a version that changes with
//! every write. Who writes names the version that it saw, and the store refuses when another stands there. That is all
//! the store has to do; the rest is decided here:
//!
//! - **lease**: who writes the lease in fetches the token, the others **follow** until they are told of a change, the
//!   lease is over, or their patience is;
//! - **adopt**: a token that another process fetched is taken, unless it was rejected, is older than the one in hand, or
//!   ends before it;
//! - **publish**: the token goes in and the lease out in one write. The version that the lease was written with is the
//!   **fence**: a holder that was held still for longer than its lease finds another version, and overwrites nothing;
//!   a store that does not take the token is to have the lease back;
//! - **without the store**: a store that fails, and a lease that nobody ends, cost no caller its token. The flight then
//!   fetches one alone.
//!
//! A [`Flight`] is told what happened and says what to do next, until it says [`Action::Finish`]:
//!
//! ```
//! use jeton_proto::flight::{Action, Event, Flight, Wish};
//! use jeton_proto::lifecycle::MintReason;
//! use jeton_proto::time::{Moment, Timestamp};
//! use std::time::Duration;
//!
//! let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
//! let (mut flight, first) = Flight::begin(Wish::new(MintReason::Needed), Duration::from_secs(5), now);
//! assert!(matches!(first, Action::TakeLease { expected: None, .. }), "as long as nothing is known, nothing is expected");
//! // The store is down: the token is fetched all the same.
//! assert!(matches!(flight.on(Event::StoreFailed, now), Action::Mint));
//! ```

use crate::lifecycle::{CachedToken, MintReason, TokenId};
use crate::time::Moment;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often a flight asks for a lease that another took before it, until it does without.
const MOST_ROUNDS: u32 = 16;
/// How long a follower waits to be told before it looks by itself.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A lease that claims to last longer is not believed: the store may be written by others.
pub const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// Which write a record is of. Never used twice, so that a version which is seen again means that nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// The version with these random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Version(")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The order of the tokens of one key. It grows with every published token, and with the store's clock, so that it goes
/// on growing when the store lost everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The one with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// One that is larger than this one, and no smaller than the store's clock in milliseconds.
    #[must_use]
    pub fn next(self, store_millis: u64) -> Self {
        Self(self.0.saturating_add(1).max(store_millis))
    }
}

/// A token with its place among the tokens of its key.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The token.
    pub token: Arc<CachedToken>,
    /// Its place.
    pub sequence: Sequence,
}

/// What the store holds for a key.
#[derive(Clone, Debug)]
pub struct Found {
    /// Of which write it is.
    pub version: Version,
    /// The token, if there is one that could be opened and has not expired.
    pub token: Option<Shared>,
    /// The token that an API refused, when that is why the lease was taken.
    pub rejected: Option<TokenId>,
    /// How long another process holds the lease; `None` when it is free.
    pub lease_left: Option<Duration>,
    /// For how long the server is to be left alone, as another process was told.
    pub pause_left: Option<Duration>,
}

impl Found {
    /// Its version, as long as nobody holds the lease and the server may be asked: what a later flight may expect. Who expects
    /// the version of a lease that is not its own takes that lease without a look, and so with a pause.
    #[must_use]
    pub fn free_version(&self) -> Option<Version> {
        (self.lease_left.is_none() && self.pause_left.is_none()).then_some(self.version)
    }
}

/// What a flight is for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Why a token is wanted.
    pub reason: MintReason,
    /// The token in hand, good or not.
    pub held: Option<Arc<CachedToken>>,
    /// Its place, where the store gave it one.
    pub held_sequence: Option<Sequence>,
    /// The version that the store is believed to hold.
    pub seen: Option<Version>,
    /// The place of the newest token that was seen in the store, in hand or not: what has none above it is older than the token
    /// in hand.
    pub newest: Sequence,
}

impl Wish {
    /// One of which nothing is known but the reason.
    #[must_use]
    pub const fn new(reason: MintReason) -> Self {
        Self { reason, held: None, held_sequence: None, seen: None, newest: Sequence::new(0) }
    }

    fn floor(&self) -> Sequence {
        self.newest.max(self.held_sequence.unwrap_or_default())
    }

    /// The token that was found, where it serves the wish: it is not the rejected one, newer than the one in hand, and lives
    /// longer. The one in hand itself serves where a later request brought it again: the server has no other.
    #[must_use]
    pub fn adopts<'a>(&self, found: &'a Found, now: Moment) -> Option<&'a Shared> {
        let shared = found.token.as_ref()?;
        let (token, left) = (&shared.token, shared.token.left(now));
        if left.is_zero() || found.rejected == Some(token.id()) {
            return None;
        }
        let Some(held) = &self.held else {
            return Some(shared);
        };
        let is_newer = self.floor() < shared.sequence;
        let serves = match (self.reason, token.id() == held.id()) {
            (MintReason::Forced, is_held) => !is_held,
            (MintReason::Early | MintReason::Needed, true) => self.held_sequence.is_some(),
            (MintReason::Early | MintReason::Needed, false) => {
                // A clock that stands before the token in hand was asked for tells nothing of what is left of that.
                now.since(held.obtained()).is_none() || held.left(now) < left
            }
        };
        (is_newer && serves).then_some(shared)
    }

    fn rejects(&self) -> Option<TokenId> {
        match self.reason {
            MintReason::Forced => self.held.as_ref().map(|held| held.id()),
            MintReason::Early | MintReason::Needed => None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The lease was written, under this version, when the store's clock showed this.
    Leased {
        /// The fence.
        version: Version,
        /// Milliseconds since the Unix epoch by the store's clock.
        store_millis: u64,
    },
    /// Something else than what was expected is there: nothing was written.
    Conflict(Option<Found>),
    /// What is there now.
    Loaded(Option<Found>),
    /// The store told of a change, or the wait is over.
    Woken,
    /// The store could not be asked, or did not answer in time. Whether it wrote anything is not known.
    StoreFailed,
    /// The server granted a token.
    Minted(Arc<CachedToken>),
    /// It did not. A pause that it asked for concerns every process.
    MintFailed {
        /// The pause.
        pause: Option<Duration>,
    },
    /// The record was written.
    Written(Version),
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write the lease in, where the store holds `expected`. The token there stays, unless one is rejected: then it goes, so that
    /// nobody adopts it any more.
    TakeLease {
        /// The version to be there; `None` for no record at all.
        expected: Option<Version>,
        /// The token that an API refused.
        rejecting: Option<TokenId>,
    },
    /// Read the record.
    Load,
    /// Wait to be told of a change, and no longer than this.
    Follow {
        /// The longest wait.
        at_most: Duration,
    },
    /// Ask the server for a token.
    Mint,
    /// Write the token in and the lease out, where the store holds `expected`; then tell the followers.
    Publish {
        /// The fence, or what was there when there is no lease.
        expected: Option<Version>,
        /// What to write.
        shared: Shared,
    },
    /// Write the lease out, where the store holds `expected`; then tell the followers.
    Release {
        /// The fence.
        expected: Version,
        /// For how long every process is to leave the server alone.
        pause: Option<Duration>,
    },
    /// The flight is over.
    Finish(End),
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub enum End {
    /// Another process had fetched this token.
    Adopted {
        /// The token.
        shared: Shared,
        /// The version that it came with; `None` beside a lease or a pause ([`Found::free_version`]).
        version: Option<Version>,
    },
    /// This flight fetched it.
    Minted {
        /// The token.
        token: Arc<CachedToken>,
        /// Its place and version in the store; `None` when it could not be shared.
        published: Option<(Sequence, Version)>,
    },
    /// The server granted none.
    Failed,
    /// Another process was told to leave the server alone.
    Paused {
        /// For how long.
        retry_after: Duration,
    },
}

/// A refresh, from the wish to its end.
#[derive(Clone, Debug)]
pub struct Flight {
    wish: Wish,
    stage: Stage,
    /// When following ends.
    patience: Duration,
    begun: Moment,
    rounds: u32,
    newest: Sequence,
    /// Whether the lease was seen that another took because the same token was rejected.
    saw_rejection: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    Asking,
    Following,
    Looking,
    /// The token request is under way, with the lease that `fence` was written with.
    Minting {
        fence: Option<Version>,
        store_millis: u64,
    },
    Publishing {
        shared: Shared,
        fence: Option<Version>,
    },
    /// The store did not take the token; it is to have the lease back all the same.
    Returning(Arc<CachedToken>),
    Releasing,
    Over,
}

impl Flight {
    /// Begins a flight. For as long as `patience` it lets another process go first.
    #[must_use]
    pub fn begin(wish: Wish, patience: Duration, now: Moment) -> (Self, Action) {
        let newest = wish.floor();
        let first = Action::TakeLease { expected: wish.seen, rejecting: wish.rejects() };
        (
            Self {
                wish,
                stage: Stage::Asking,
                patience,
                begun: now,
                rounds: 0,
                newest,
                saw_rejection: false,
            },
            first,
        )
    }

    /// What to do after `event`. One that cannot follow the last action is taken for a failure of the store.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Moment) -> Action {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        match (stage, event) {
            (Stage::Asking, Event::Leased { version, store_millis }) => {
                self.stage = Stage::Minting { fence: Some(version), store_millis };
                Action::Mint
            }
            (Stage::Asking | Stage::Looking, Event::Conflict(found) | Event::Loaded(found)) => {
                self.examine(found, now)
            }
            (Stage::Following, Event::Woken) => {
                self.stage = Stage::Looking;
                Action::Load
            }
            (Stage::Minting { fence, store_millis }, Event::Minted(token)) => {
                let shared = Shared { token, sequence: self.newest.next(store_millis) };
                self.stage = Stage::Publishing { shared: shared.clone(), fence };
                Action::Publish { expected: fence.or(self.wish.seen), shared }
            }
            (Stage::Minting { fence: Some(expected), .. }, Event::MintFailed { pause }) => {
                self.stage = Stage::Releasing;
                Action::Release { expected, pause }
            }
            (Stage::Minting { .. } | Stage::Releasing | Stage::Over, _) => Action::Finish(End::Failed),
            (Stage::Publishing { shared, .. }, Event::Written(version)) => Action::Finish(End::Minted {
                token: shared.token,
                published: Some((shared.sequence, version)),
            }),
            (Stage::Publishing { shared, .. }, Event::Conflict(found)) => {
                self.overtaken(shared, found.as_ref(), now)
            }
            // A store that is full, or that the token is too long for, may have room for this.
            (Stage::Publishing { shared, fence: Some(expected) }, _) => {
                self.stage = Stage::Returning(shared.token);
                Action::Release { expected, pause: None }
            }
            (
                Stage::Publishing { shared: Shared { token, .. }, fence: None } | Stage::Returning(token),
                _,
            ) => Action::Finish(End::Minted { token, published: None }),
            (Stage::Asking | Stage::Following | Stage::Looking, _) => self.alone(),
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// The place of the newest token that was seen in the store up to now, for [`Wish::newest`] of the next flight.
    #[must_use]
    pub const fn newest(&self) -> Sequence {
        self.newest
    }

    /// The version that the lease was written with, while it is to be prolonged.
    #[must_use]
    pub fn fence(&self) -> Option<Version> {
        match self.stage {
            Stage::Minting { fence, .. } => fence,
            Stage::Asking
            | Stage::Following
            | Stage::Looking
            | Stage::Publishing { .. }
            | Stage::Returning(_)
            | Stage::Releasing
            | Stage::Over => None,
        }
    }

    /// Notes that the lease was prolonged, which changed its version.
    pub fn prolonged(&mut self, version: Version) {
        if let Stage::Minting { fence: Some(fence), .. } = &mut self.stage {
            *fence = version;
        }
    }

    fn alone(&mut self) -> Action {
        self.stage = Stage::Minting { fence: None, store_millis: 0 };
        Action::Mint
    }

    fn examine(&mut self, found: Option<Found>, now: Moment) -> Action {
        self.note(found.as_ref());
        if let Some(found) = &found
            && let Some(shared) = self.wish.adopts(found, now).or_else(|| self.reissued(found, now))
        {
            return Action::Finish(End::Adopted { shared: shared.clone(), version: found.free_version() });
        }
        if let (Some(found), Some(rejected)) = (&found, self.wish.rejects()) {
            self.saw_rejection |= found.rejected == Some(rejected);
        }
        let pause = found.as_ref().and_then(|found| found.pause_left);
        let Some(patience) = now.left_of(self.patience, self.begun) else {
            // Who holds the lease waits out what the server asked for, and so do the others.
            return match pause {
                Some(retry_after) => Action::Finish(End::Paused { retry_after }),
                None => self.alone(),
            };
        };
        let followed = found.as_ref().filter(|found| self.serves(found)).and_then(|found| found.lease_left);
        if let Some(left) = followed {
            self.stage = Stage::Following;
            return Action::Follow { at_most: left.min(LOOK_AGAIN_AFTER).min(patience) };
        }
        if let Some(retry_after) = pause {
            return Action::Finish(End::Paused { retry_after });
        }
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            return self.alone();
        }
        self.stage = Stage::Asking;
        Action::TakeLease { expected: found.map(|found| found.version), rejecting: self.wish.rejects() }
    }

    fn note(&mut self, found: Option<&Found>) {
        if let Some(shared) = found.and_then(|found| found.token.as_ref()) {
            self.newest = self.newest.max(shared.sequence);
        }
    }

    /// The rejected token, where the request that another made for the rejection brought it again: the server has no other,
    /// and need not tell each process so.
    fn reissued<'a>(&self, found: &'a Found, now: Moment) -> Option<&'a Shared> {
        let shared = found.token.as_ref().filter(|shared| !shared.token.left(now).is_zero())?;
        let is_rejected = self.wish.rejects() == Some(shared.token.id());
        // An older record that somebody put back has it too, in the place that it had.
        let is_newer = self.wish.floor() < shared.sequence;
        (self.saw_rejection && is_rejected && is_newer && found.rejected.is_none()).then_some(shared)
    }

    /// Another process published in the meantime, or took the lease that had run out: what is there is not overwritten.
    fn overtaken(&mut self, mine: Shared, found: Option<&Found>, now: Moment) -> Action {
        self.note(found);
        if let Some(found) = found
            && let Some(theirs) = self.wish.adopts(found, now)
            && theirs.token.id() != mine.token.id()
        {
            return Action::Finish(End::Adopted { shared: theirs.clone(), version: found.free_version() });
        }
        Action::Finish(End::Minted { token: mine.token, published: None })
    }

    /// Whether the flight of whoever holds the lease serves this wish too. One that was begun before the rejection may
    /// bring a token from before it (trap T9): its lease is taken over, and its late token finds another version.
    fn serves(&self, found: &Found) -> bool {
        self.wish.rejects().is_none_or(|rejected| found.rejected == Some(rejected))
    }
}

#[cfg(test)]
mod tests;
