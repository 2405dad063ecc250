//! A record with its ends, and what a change makes of it: the same for every store that has to work it out by itself.

use super::{BodyChange, Change, LONGEST_KEPT, Reading, Record, Swap, Version};
use bytes::Bytes;
use std::time::Duration;

/// A record with its ends, in milliseconds of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) lease_end: u64,
    pub(super) note: Bytes,
    pub(super) note_end: u64,
    pub(super) body: Bytes,
    pub(super) body_end: u64,
}

impl Kept {
    /// What `change` makes of what is there, if the version there is the expected one.
    ///
    /// # Errors
    /// What a conflict tells, if it is not.
    pub(super) fn swapped(
        there: Option<&Self>,
        expected: Option<Version>,
        change: Change,
        now: u64,
    ) -> Result<Self, Swap> {
        let there = there.filter(|kept| kept.is_alive(now));
        if there.map(|kept| kept.version) != expected {
            return Err(Swap::Conflict(Self::reading(there, now)));
        }
        Ok(Self::after(there, change, now))
    }

    /// What `change` leaves of what is there, which may be nothing that lives.
    pub(super) fn after(there: Option<&Self>, change: Change, now: u64) -> Self {
        let end = |span: Duration| now.saturating_add(whole_millis(span.min(LONGEST_KEPT)));
        let (body, body_end) = match change.body {
            BodyChange::Keep => there
                .filter(|kept| kept.body_end > now)
                .map(|kept| (kept.body.clone(), kept.body_end))
                .unwrap_or_default(),
            BodyChange::Drop => Default::default(),
            BodyChange::Put { body, life } => (body, end(life)),
        };
        Self {
            version: change.version,
            lease_end: change.lease.map(end).unwrap_or_default(),
            note: change.note,
            note_end: end(change.keep_for),
            body,
            body_end,
        }
    }

    pub(super) fn is_alive(&self, now: u64) -> bool {
        self.lease_end.max(self.note_end).max(self.body_end) > now
    }

    pub(super) fn is_leased(&self, now: u64) -> bool {
        self.lease_end > now
    }

    /// What is told of what is there.
    pub(super) fn reading(there: Option<&Self>, now: u64) -> Reading {
        Reading { now, record: there.filter(|kept| kept.is_alive(now)).map(|kept| kept.read(now)) }
    }

    fn read(&self, now: u64) -> Record {
        // After the clock was set back a lease looks longer than any may be.
        let left = Duration::from_millis(self.lease_end.saturating_sub(now)).min(LONGEST_KEPT);
        Record {
            version: self.version,
            lease_left: (!left.is_zero()).then_some(left),
            note: self.note.clone(),
            body: (self.body_end > now).then(|| self.body.clone()),
        }
    }
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
