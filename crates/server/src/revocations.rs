//! The tokens that were revoked, in memory: those that this instance acknowledged at once, and those of all instances
//! in the order of the store, as guards are told of them.

mod feed;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use feed::{Feed, NoPage, SignedPage};
pub(crate) use writer::{RevocationWriter, Unavailable};

use crate::issuer::ClockHandle;
use crate::store::{ChangeNumber, Changes, Extent, Follower, Kind, Record};
use jeton_proto::hindsight::Hindsight;
use jeton_proto::introspection::Standing;
use jeton_proto::revocation::{MAX_PAGE_ENTRIES, More, RevocationEntry, RevocationPage, RevokedId};
use jeton_proto::time::{Clock, Moment, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every revoked token that is not over yet. The store bounds their number ([`Kind::most`]).
#[derive(Debug)]
pub(crate) struct Revocations {
    clock: ClockHandle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: HashMap<RevokedId, Live>,
    /// What each change of the store has revoked, up to `seen`. One that this instance has committed and not read again
    /// is not in here yet: another instance may have been faster, and whoever has seen a number has seen all before it.
    order: BTreeMap<u64, Vec<RevokedId>>,
    seen: ChangeNumber,
    /// The last number that was ever in the order.
    through: u64,
    hindsight: Hindsight,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    until: Timestamp,
    change: ChangeNumber,
}

impl Revocations {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock: ClockHandle(clock), state: Mutex::default() }
    }

    /// How it stands with the token of this `jti`.
    pub(crate) fn standing(&self, jwt_id: &str) -> Standing {
        let known = self.state().live.contains_key(&RevokedId::of(jwt_id));
        if known { Standing::Revoked } else { Standing::Standing }
    }

    /// Takes note of what was committed as `change`, before the store is read again.
    fn committed(&self, revoked: impl IntoIterator<Item = (RevokedId, Timestamp)>, change: ChangeNumber) {
        let mut state = self.state();
        for (id, until) in revoked {
            state.live.insert(id, Live { until, change });
        }
    }

    /// What was revoked after the change `since`, or from the beginning when that is too long ago; [`Ahead`] when no such
    /// change was seen yet.
    fn page(&self, since: u64) -> Result<RevocationPage, Ahead> {
        let now = self.clock.moment();
        let mut state = self.state();
        state.sweep(now);
        if since > state.seen.0 {
            return Err(Ahead);
        }
        let since = state.place_of(since);
        let mut page = RevocationPage { since, through: since, more: More::None, entries: Vec::new() };
        for (change, ids) in state.order.range((Bound::Excluded(since), Bound::Unbounded)) {
            let entries = ids.iter().filter_map(|id| {
                // What is over by one look at the clock is told too: a clock that is ahead for a while must leave none out.
                let live = state.live.get(id).filter(|live| live.change.0 == *change)?;
                Some(RevocationEntry { id: *id, until: live.until })
            });
            let entries: Vec<_> = entries.collect();
            // A change goes into one page: the next one is asked for by its number.
            if !page.entries.is_empty() && page.entries.len() + entries.len() > MAX_PAGE_ENTRIES {
                page.more = More::Follows;
                return Ok(page);
            }
            page.entries.extend(entries);
            page.through = *change;
        }
        page.through = state.through.max(page.through);
        Ok(page)
    }

    /// From where a page after `since` would begin, and the last change that there is. As long as both are the same, so is
    /// the page.
    fn place(&self, since: u64) -> Result<(u64, u64), Ahead> {
        let state = self.state();
        if since > state.seen.0 { Err(Ahead) } else { Ok((state.place_of(since), state.through)) }
    }

    /// A panic while the lock was held leaves at worst an entry that is over.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody has seen a change that this instance has not: another one made it, or the store was set up from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead;

impl Follower for Revocations {
    fn follow(&self, changes: &Changes) {
        let now = self.clock.moment();
        let mut state = self.state();
        match changes.extent {
            Extent::Everything => {
                state.order.clear();
                state.through = 0;
                // What was committed after this look began is still to come, and was acknowledged.
                state.live.retain(|_, live| live.change > changes.through);
            }
            Extent::Since => {}
        }
        for record in changes.records.iter().filter(|record| record.kind == Kind::Revocation) {
            state.take(record);
        }
        state.seen = changes.through;
        state.sweep(now);
    }
}

impl State {
    /// Whatever a record says in its body, it revokes: a newer instance that wrote more into it meant no less.
    fn take(&mut self, record: &Record) {
        let id = RevokedId::of(&record.id);
        if record.body.is_none() {
            self.live.remove(&id);
            return;
        }
        let until = record.expires_at.unwrap_or(Timestamp::MAX);
        self.live.insert(id, Live { until, change: record.change });
        self.order.entry(record.change.0).or_default().push(id);
        self.through = self.through.max(record.change.0);
    }

    /// The last change with revocations at or before `since`, so that everyone who missed the same gets the same page.
    fn place_of(&self, since: u64) -> u64 {
        self.order.range(..=since).next_back().map_or(0, |(change, _)| *change)
    }

    /// Forgets what is over, by more than one look at the clock: one that jumps ahead and is set right brings no token back.
    fn sweep(&mut self, now: Moment) {
        let Some(over_at) = self.hindsight.look(now) else { return };
        self.live.retain(|_, live| over_at < live.until);
        let live = &self.live;
        self.order.retain(|change, ids| {
            ids.retain(|id| live.get(id).is_some_and(|live| live.change.0 == *change));
            !ids.is_empty()
        });
    }
}
