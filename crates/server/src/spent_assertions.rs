//! The assertions that were used: each is good once (RFC 7523 §3, `jti`).
//!
//! Spending is the last step of an authentication: what comes here has a good signature, good claims and an enabled client,
//! so nobody can fill this memory or burn an assertion without the key of a client. What was spent is kept in memory until
//! the assertion would be refused for its age, and written to a [`journal`] that is read when the server starts again.
//! Instances that serve one issuer share it by a [`SharedSpending`] besides.

mod journal;
mod shared;
#[cfg(test)]
mod tests;

pub use shared::{SharedSpend, SharedSpending};

use aws_lc_rs::digest::{Context, SHA256};
use jeton_proto::jose::assertion_verification::VerifiedAssertion;
use jeton_proto::time::Timestamp;
use journal::Journal;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most assertions that are remembered at the same time: with a life of 60 s about ten thousand a second.
pub(crate) const MAX_SPENT: usize = 1 << 20;
const SHARDS: usize = 16;
/// The time between two looks for what may be forgotten, and the least time when the memory is full.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const LEAST_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What stands for one assertion: a digest of the client id and the `jti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpentKey([u8; 16]);

impl SpentKey {
    /// The key of the assertion `jwt_id` of a client. A `jti` of another client is another assertion.
    #[must_use]
    pub fn new(client_id: &str, jwt_id: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // With its length before it, no client id can be taken for another one with a part of the `jti`.
        context.update(&(client_id.len() as u64).to_le_bytes());
        context.update(client_id.as_bytes());
        context.update(jwt_id.as_bytes());
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(key)
    }

    /// The 16 bytes, to be stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What came of spending an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spending {
    /// It was not used before, and is now.
    First,
    /// It was used before.
    Again,
    /// Nobody can tell whether it was; the caller may come with a new one after this time.
    Unknown { why: Doubt, retry_after: Duration },
}

/// Why nobody can tell whether an assertion was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// It may have been used before the server was started, and what was used then is not known.
    #[error("the assertion is from before this server was started, and what was used then is not known")]
    BeforeStart,
    /// It may have been forgotten: the clock stood later before.
    #[error(
        "the clock of the server was set back; assertions are refused until it has caught up, or a restart"
    )]
    ClockSetBack,
    /// The memory is full of assertions that are good still.
    #[error("too many assertions are in use at the same time")]
    Full,
    /// What the instances share cannot be reached.
    #[error("the store that the instances share did not tell whether the assertion was used")]
    Shared,
}

/// The memory of used assertions.
#[derive(Debug)]
pub(crate) struct SpentAssertions {
    shards: [Mutex<Shard>; SHARDS],
    most_in_shard: usize,
    journal: Mutex<Journal>,
    /// What was used before is known of assertions that were made at this time or later.
    known_since: Timestamp,
    shared: Option<Arc<dyn SharedSpending>>,
}

#[derive(Debug, Default)]
struct Shard {
    usable_until: HashMap<SpentKey, Timestamp>,
    /// What may not be used any longer at this time has been forgotten.
    swept_at: Timestamp,
}

impl SpentAssertions {
    /// The memory of a server that keeps its journal in `data_dir`. Whatever is wrong with the journal is told in the log
    /// and ends nothing.
    pub(crate) fn open(data_dir: &Path, shared: Option<Arc<dyn SharedSpending>>, now: Timestamp) -> Self {
        let (journal, kept) = Journal::open(data_dir, now);
        let spent = Self {
            shards: Default::default(),
            most_in_shard: MAX_SPENT / SHARDS,
            known_since: kept.known_since,
            journal: Mutex::new(journal),
            shared,
        };
        for (key, usable_until) in kept.spent {
            if usable_until > now {
                spent.shard(&key).usable_until.insert(key, usable_until);
            }
        }
        spent
    }

    /// Spends an assertion of `client_id`, in memory, in the journal, and at the other instances.
    pub(crate) async fn spend(
        &self,
        client_id: &str,
        assertion: &VerifiedAssertion,
        now: Timestamp,
    ) -> Spending {
        let key = SpentKey::new(client_id, &assertion.jwt_id);
        let usable_until = assertion.usable_until();
        if assertion.made_at_earliest() < self.known_since && self.shared.is_none() {
            let retry_after = self.known_since.saturating_since(now).max(Duration::from_secs(1));
            return Spending::Unknown { why: Doubt::BeforeStart, retry_after };
        }
        match self.spend_here(key, usable_until, now) {
            Spending::First => {}
            other @ (Spending::Again | Spending::Unknown { .. }) => return other,
        }
        let Some(shared) = &self.shared else {
            return Spending::First;
        };
        match shared.spend(key, usable_until).await {
            SharedSpend::First => Spending::First,
            SharedSpend::Again => Spending::Again,
            SharedSpend::Unknown => {
                Spending::Unknown { why: Doubt::Shared, retry_after: Duration::from_secs(1) }
            }
        }
    }

    /// How many assertions are remembered, those included that would be refused for their age and are not forgotten yet.
    pub(crate) fn remembered(&self) -> u64 {
        let shards = self.shards.iter();
        let lengths = shards
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).usable_until.len() as u64);
        lengths.sum()
    }

    /// How often the other instances could not be asked; `None` where there are none.
    pub(crate) fn spent_alone(&self) -> Option<u64> {
        self.shared.as_ref().map(|shared| shared.unavailable())
    }

    fn spend_here(&self, key: SpentKey, usable_until: Timestamp, now: Timestamp) -> Spending {
        let spending = self.shard(&key).spend(key, usable_until, self.most_in_shard, now);
        if spending == Spending::First {
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.record((key, usable_until), self.known_since, now, || self.live(now));
        }
        spending
    }

    /// Everything that is remembered.
    fn live(&self, now: Timestamp) -> Vec<(SpentKey, Timestamp)> {
        let mut live = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            live.extend(shard.usable_until.iter().map(|(key, until)| (*key, *until)));
        }
        live.retain(|(_, usable_until)| *usable_until > now);
        live
    }

    fn shard(&self, key: &SpentKey) -> MutexGuard<'_, Shard> {
        let [first, ..] = key.0;
        let [default, ..] = &self.shards;
        // A shard is whole after each statement, so a panic elsewhere leaves nothing half done.
        let shard = self.shards.get(usize::from(first) % SHARDS).unwrap_or(default);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn spend(&mut self, key: SpentKey, usable_until: Timestamp, most: usize, now: Timestamp) -> Spending {
        let pause = if self.usable_until.len() < most { SWEEP_INTERVAL } else { LEAST_SWEEP_INTERVAL };
        if now >= self.swept_at.saturating_add(pause) {
            self.usable_until.retain(|_, usable_until| *usable_until > now);
            self.swept_at = now;
        }
        if usable_until <= self.swept_at {
            let retry_after = self.swept_at.saturating_since(now).max(Duration::from_secs(1));
            return Spending::Unknown { why: Doubt::ClockSetBack, retry_after };
        }
        let full = self.usable_until.len() >= most;
        match self.usable_until.entry(key) {
            Entry::Occupied(_) => Spending::Again,
            // What lives is never pushed out: whoever could do that could use an assertion again.
            Entry::Vacant(_) if full => {
                Spending::Unknown { why: Doubt::Full, retry_after: LEAST_SWEEP_INTERVAL }
            }
            Entry::Vacant(place) => {
                place.insert(usable_until);
                Spending::First
            }
        }
    }
}
