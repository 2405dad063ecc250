//! The contract of [`SharedStore`], as a suite that any store can be held to.
//!
//! It is public so that whoever brings a store of his own can run it. It takes real time, about three seconds, so the
//! clock of the runtime must not be paused; a runtime of several threads finds more. The records it leaves are gone
//! after twenty seconds.
//!
//! ```
//! use jeton::store::conformance::{self, Stage};
//! use jeton::store::{MemoryStore, SharedStore, StoreFuture};
//! use std::sync::Arc;
//!
//! struct InMemory(MemoryStore);
//!
//! impl Stage for InMemory {
//!     fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
//!         let store: Arc<dyn SharedStore> = Arc::new(self.0.clone());
//!         Box::pin(async move { Ok(store) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! assert_eq!(conformance::check(&InMemory(MemoryStore::new())).await, Ok(()));
//! # }
//! ```

mod compare;
mod ends;
mod play;
mod tell;
mod whole;

use super::{SharedStore, StoreFuture};
use play::Play;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one rule may take, so that a store that hangs is a breach and not a suite that hangs.
const LONGEST_CHECK: Duration = Duration::from_secs(10);

/// Where the suite finds the store that it is to check.
pub trait Stage: Send + Sync {
    /// A handle of its own onto the store, as another process would open it. All of them are onto one store.
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>>;

    /// How many subscriptions are kept for all the handles that were opened, where that can be told.
    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        Box::pin(async { Ok(None) })
    }
}

/// One line of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// What was never written is not there.
    AbsentIsNone,
    /// Where nothing is, no version is the expected one, and nothing is written.
    AbsentHasNoVersion,
    /// Where a record is, "none" is not what is expected, nor is a version from before.
    PresentWantsItsVersion,
    /// A version that differs in one bit is another one.
    VersionsAreComparedWhole,
    /// Who finds another version is told what is there: version, lease, note and body.
    ConflictTellsWhatIsThere,
    /// Who finds another version has changed nothing.
    ConflictChangesNothing,
    /// Of several with the same expectation one succeeds, and the others are told of it.
    OneOfManySucceeds,
    /// What one handle wrote, the others read.
    OthersSeeIt,
    /// A lease is there until it is over by the store's clock, and not longer.
    LeaseEnds,
    /// The rest of a lease that is told shrinks as time passes.
    LeaseShrinks,
    /// A change replaces the lease: by another one, or by none.
    LeaseIsReplaced,
    /// Prolonging a lease changes the version like every other change.
    ProlongingIsAChange,
    /// A body is gone with its life, though the record goes on.
    BodyEnds,
    /// A body that is kept stays as it is.
    BodyIsKept,
    /// A body that is kept keeps the life that it had.
    BodyKeepsItsLife,
    /// A body that is dropped is gone.
    BodyIsDropped,
    /// A body that is put takes the place of the one before, and so does its life.
    BodyIsReplaced,
    /// A record is gone once its lease, its body's life and what it is kept for are over; then none is expected.
    RecordEnds,
    /// A record is there until the last of these is over, with its version.
    RecordLives,
    /// A change that leaves neither lease nor body nor time to be kept leaves no record.
    NothingLeftIsNoRecord,
    /// The longest times are taken as they are.
    LongestTimes,
    /// The shortest and the longest notes and bodies come back byte for byte.
    Sizes,
    /// Every value that a byte can have comes back.
    EveryByte,
    /// Records whose names differ in one bit are two.
    NamesAreApart,
    /// Every answer tells the store's clock, which is one for all and goes on.
    ClockIsTold,
    /// No reader sees a part of a change.
    ChangesAreWhole,
    /// A subscriber is told of what another handle publishes.
    SubscriberIsTold,
    /// A change just after the subscription is not lost, though nobody waits yet.
    NothingIsLost,
    /// A subscriber is told again, of every later change.
    ToldEveryTime,
    /// A lease that is given back is told too.
    ReleaseIsTold,
    /// A subscription that ends takes no other with it.
    SubscribersAreApart,
    /// A subscription that was dropped leaves nothing behind.
    DroppedLeavesNothing,
    /// The store is called by one lower-case word.
    KindIsOneWord,
}

impl Rule {
    /// Every line, in the order in which they are checked.
    pub const ALL: [Self; 33] = [
        Self::KindIsOneWord,
        Self::AbsentIsNone,
        Self::AbsentHasNoVersion,
        Self::PresentWantsItsVersion,
        Self::VersionsAreComparedWhole,
        Self::ConflictTellsWhatIsThere,
        Self::ConflictChangesNothing,
        Self::OneOfManySucceeds,
        Self::OthersSeeIt,
        Self::LeaseEnds,
        Self::LeaseShrinks,
        Self::LeaseIsReplaced,
        Self::ProlongingIsAChange,
        Self::BodyEnds,
        Self::BodyIsKept,
        Self::BodyKeepsItsLife,
        Self::BodyIsDropped,
        Self::BodyIsReplaced,
        Self::RecordEnds,
        Self::RecordLives,
        Self::NothingLeftIsNoRecord,
        Self::LongestTimes,
        Self::Sizes,
        Self::EveryByte,
        Self::NamesAreApart,
        Self::ClockIsTold,
        Self::ChangesAreWhole,
        Self::SubscriberIsTold,
        Self::NothingIsLost,
        Self::ToldEveryTime,
        Self::ReleaseIsTold,
        Self::SubscribersAreApart,
        Self::DroppedLeavesNothing,
    ];

    async fn hold(self, play: &Play<'_>) -> Checked {
        match self {
            Self::KindIsOneWord => whole::kind_is_one_word(play),
            Self::AbsentIsNone => compare::absent_is_none(play).await,
            Self::AbsentHasNoVersion => compare::absent_has_no_version(play).await,
            Self::PresentWantsItsVersion => compare::present_wants_its_version(play).await,
            Self::VersionsAreComparedWhole => compare::versions_are_compared_whole(play).await,
            Self::ConflictTellsWhatIsThere => compare::conflict_tells_what_is_there(play).await,
            Self::ConflictChangesNothing => compare::conflict_changes_nothing(play).await,
            Self::OneOfManySucceeds => compare::one_of_many_succeeds(play).await,
            Self::OthersSeeIt => compare::others_see_it(play).await,
            Self::ProlongingIsAChange => compare::prolonging_is_a_change(play).await,
            Self::LeaseEnds => ends::lease_ends(play).await,
            Self::LeaseShrinks => ends::lease_shrinks(play).await,
            Self::LeaseIsReplaced => ends::lease_is_replaced(play).await,
            Self::BodyEnds => ends::body_ends(play).await,
            Self::BodyIsKept => ends::body_is_kept(play).await,
            Self::BodyKeepsItsLife => ends::body_keeps_its_life(play).await,
            Self::BodyIsDropped => ends::body_is_dropped(play).await,
            Self::BodyIsReplaced => ends::body_is_replaced(play).await,
            Self::RecordEnds => ends::record_ends(play).await,
            Self::RecordLives => ends::record_lives(play).await,
            Self::NothingLeftIsNoRecord => ends::nothing_left_is_no_record(play).await,
            Self::LongestTimes => ends::longest_times(play).await,
            Self::Sizes => whole::sizes(play).await,
            Self::EveryByte => whole::every_byte(play).await,
            Self::NamesAreApart => whole::names_are_apart(play).await,
            Self::ClockIsTold => whole::clock_is_told(play).await,
            Self::ChangesAreWhole => whole::changes_are_whole(play).await,
            Self::SubscriberIsTold => tell::subscriber_is_told(play).await,
            Self::NothingIsLost => tell::nothing_is_lost(play).await,
            Self::ToldEveryTime => tell::told_every_time(play).await,
            Self::ReleaseIsTold => tell::release_is_told(play).await,
            Self::SubscribersAreApart => tell::subscribers_are_apart(play).await,
            Self::DroppedLeavesNothing => tell::dropped_leaves_nothing(play).await,
        }
    }
}

/// A line of the contract that the store does not keep, and what it did instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?}: {what}")]
pub struct Breach {
    rule: Rule,
    what: String,
}

impl Breach {
    /// Which line it is.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// What the store did.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

/// All that a store does not keep; at least one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaches(Vec<Breach>);

impl Breaches {
    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Breach> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Breaches {
    type Item = &'a Breach;
    type IntoIter = std::slice::Iter<'a, Breach>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Breaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, breach) in self.iter().enumerate() {
            let before = if index == 0 { "" } else { "\n" };
            write!(f, "{before}{breach}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Breaches {}

/// What was found wrong, in words.
type Checked<T = ()> = Result<T, String>;

/// Holds the store to the whole contract.
///
/// # Errors
/// Every line that it does not keep. A fault that the store tells, and an answer that takes more than two seconds,
/// break the line that is being checked.
pub async fn check(stage: &dyn Stage) -> Result<(), Breaches> {
    let mut breaches = Vec::new();
    match Play::open(stage).await {
        Ok(play) => {
            for rule in Rule::ALL {
                breaches.extend(hold(&play, rule).await.err());
            }
        }
        Err(what) => breaches.push(unopened(Rule::AbsentIsNone, &what)),
    }
    if breaches.is_empty() { Ok(()) } else { Err(Breaches(breaches)) }
}

/// Holds the store to one line of the contract.
///
/// # Errors
/// When it does not keep it, as [`check`].
pub async fn check_rule(stage: &dyn Stage, rule: Rule) -> Result<(), Breach> {
    let play = Play::open(stage).await.map_err(|what| unopened(rule, &what))?;
    hold(&play, rule).await
}

fn unopened(rule: Rule, what: &str) -> Breach {
    Breach { rule, what: format!("no handle: {what}") }
}

async fn hold(play: &Play<'_>, rule: Rule) -> Result<(), Breach> {
    // The futures of all the lines together are large.
    let what = match timeout(LONGEST_CHECK, Box::pin(rule.hold(play))).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(what)) => what,
        Err(_) => format!("it took more than {LONGEST_CHECK:?}"),
    };
    Err(Breach { rule, what })
}
