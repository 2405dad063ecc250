//! The list of revoked tokens as a server has it: what counts, and the pages that followers are told.

use super::share::Shares;
use super::{
    ChangeMark, FeedPosition, MAX_PAGE_ENTRIES, More, RevocationEntry, RevocationPage, RevokedId, ShareUsed,
    decide_share,
};
use crate::hindsight::Hindsight;
use crate::time::{Moment, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Who stands at one of the last changes gets a page that begins there; who is further behind gets one of those that all
/// have in common, so that there are few pages to be signed.
const RECENT_CHANGES: usize = 16;

/// Every revoked token that is not over yet, in the order of the changes of a store in which they were revoked.
///
/// The store bounds their number.
#[derive(Debug, Default)]
pub struct RevocationList {
    live: HashMap<RevokedId, Live>,
    /// What each change of the store has revoked, up to `seen`. One that was committed here and not read again is not in
    /// here yet: another instance may have been faster, and whoever has seen a number has seen all before it.
    order: BTreeMap<u64, Change>,
    /// After which changes a page begins, beside 0.
    begins: BTreeSet<u64>,
    /// How many entries there are after the last of them.
    open: usize,
    seen: u64,
    generation: u64,
    /// The last change that counts, as it was in this second.
    tip: Option<(u64, u64)>,
    hindsight: Hindsight,
    shares: Shares,
}

#[derive(Debug)]
struct Live {
    until: Timestamp,
    change: u64,
    by: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Change {
    mark: Option<ChangeMark>,
    ids: Vec<RevokedId>,
}

/// A revocation as the store has it.
#[derive(Clone, Copy, Debug)]
pub struct Revocation<'a> {
    /// Which token.
    pub id: RevokedId,
    /// Until when it is to be remembered.
    pub until: Timestamp,
    /// The number of the change that has written it.
    pub change: u64,
    /// The mark of that change; `None` when it has none: nobody can go on from there.
    pub mark: Option<ChangeMark>,
    /// The client that wanted it, whose share it counts to.
    pub by: Option<&'a str>,
}

/// Where a page begins that a follower is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePlace {
    /// After this change, which may be of few followers alone.
    pub nearest: u64,
    /// After this one, as for all who are far behind: in place of the other where there are too many of those.
    pub common: u64,
}

/// A page, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPage {
    /// The page.
    pub page: RevocationPage,
    /// As of when. A page with [`More::Follows`] is the same for the next version.
    pub version: ListVersion,
}

/// As long as this is the same, so are all pages, but for entries that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListVersion {
    /// Rises when everything was read anew.
    pub generation: u64,
    /// The last change that counts.
    pub tip: u64,
}

/// Somebody has seen a change that was not seen here: another instance made it, or the store was set up from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead;

impl RevocationList {
    /// Whether the token was revoked.
    #[must_use]
    pub fn contains(&self, id: &RevokedId) -> bool {
        self.live.contains_key(id)
    }

    /// Whether this client may revoke one more token.
    ///
    /// # Errors
    /// [`ShareUsed`].
    pub fn has_room_for(&self, client_id: &str) -> Result<(), ShareUsed> {
        decide_share(self.shares.of(client_id), self.live.len())
    }

    /// Takes note of what was committed here, before the store is read again.
    pub fn committed(&mut self, revocation: &Revocation<'_>) {
        self.put(revocation);
    }

    /// All that the store has is going to be told, up to the change `through`.
    pub fn begin_anew(&mut self, through: u64) {
        self.order.clear();
        self.begins.clear();
        self.open = 0;
        self.tip = None;
        self.generation = self.generation.wrapping_add(1);
        // What was committed after this look began is still to come, and was acknowledged.
        self.keep(|live| live.change > through);
    }

    /// Takes over one that the store has. They come in the order of their changes.
    pub fn take(&mut self, revocation: &Revocation<'_>) {
        self.put(revocation);
        let change = revocation.change;
        let place = self.order.entry(change).or_default();
        place.mark = revocation.mark.or(place.mark);
        place.ids.push(revocation.id);
        let of_change = place.ids.len();
        self.counted(change, 1, of_change);
        self.tip = None;
    }

    /// The store has it no more.
    pub fn remove(&mut self, id: &RevokedId) {
        if let Some(Live { by: Some(by), .. }) = self.live.remove(id) {
            self.shares.left(&by);
        }
        self.tip = None;
    }

    /// The store was read up to this change.
    pub const fn saw(&mut self, through: u64) {
        self.seen = through;
    }

    /// Forgets what is over, by more than one look at the clock ([`Hindsight`]): one that jumps ahead and is set right brings no
    /// token back.
    pub fn sweep(&mut self, now: Moment) {
        let Some(over_at) = self.hindsight.look(now) else { return };
        self.keep(|live| over_at < live.until);
        let live = &self.live;
        self.order.retain(|change, of_change| {
            of_change.ids.retain(|id| live.get(id).is_some_and(|live| live.change == *change));
            !of_change.ids.is_empty()
        });
        self.begins.clear();
        self.open = 0;
        self.tip = None;
        let sizes: Vec<_> = self.order.iter().map(|(change, of)| (*change, of.ids.len())).collect();
        for (change, size) in sizes {
            self.counted(change, size, size);
        }
    }

    /// Where the page of a follower at this position begins: after what it knows, and at the beginning when it knows another
    /// history than this one, or one that is not remembered any more.
    ///
    /// # Errors
    /// [`Ahead`].
    pub fn place(&mut self, position: FeedPosition, now: Timestamp) -> Result<PagePlace, Ahead> {
        let FeedPosition { through, mark } = position;
        if through > self.seen {
            return Err(Ahead);
        }
        let is_of_here = mark.is_none() || self.order.get(&through).is_some_and(|change| change.mark == mark);
        if !is_of_here {
            return Ok(PagePlace { nearest: 0, common: 0 });
        }
        let tip = self.tip(now);
        self.settle(through, now);
        let common = self.begins.range(..=through.min(tip)).next_back().copied().unwrap_or_default();
        let nearest = if through >= tip {
            tip
        } else if self.order.keys().rev().take(RECENT_CHANGES).any(|recent| *recent == through) {
            through
        } else {
            common
        };
        Ok(PagePlace { nearest, common })
    }

    /// The page that begins after the change `begin`, which is of a [`PagePlace`].
    pub fn page(&mut self, begin: u64, now: Timestamp) -> ListedPage {
        // To the millisecond: a tip that is over would be a next page with nothing in it.
        self.tip = None;
        let version = self.version(now);
        let begin = begin.min(version.tip);
        let mark = self.order.get(&begin).and_then(|change| change.mark);
        let mut page =
            RevocationPage { since: begin, through: begin, mark, more: More::None, entries: Vec::new() };
        let mut end = self.end_of_page(begin);
        // Only a change of which something counts is the end of a page: all instances know such a one.
        for (change, of_change) in self.order.range((Bound::Excluded(begin), Bound::Unbounded)) {
            let entries: Vec<_> = self.counting(*change, of_change, now).collect();
            if entries.is_empty() {
                continue;
            }
            if page.entries.is_empty() && *change > end {
                end = self.end_of_page(change.saturating_sub(1));
            }
            // A change goes into one page: the next one is asked for by its number.
            let is_full = page.entries.len() + entries.len() > MAX_PAGE_ENTRIES || *change > end;
            if is_full && !page.entries.is_empty() {
                break;
            }
            page.entries.extend(entries);
            (page.through, page.mark) = (*change, of_change.mark);
        }
        // What is over by this one look at the clock and no more, as far as there is room: a clock that is ahead for a while is to leave
        // none out.
        let told = self.order.range((Bound::Excluded(begin), Bound::Included(page.through.max(begin))));
        let over = told.flat_map(|(change, of)| self.entries(*change, of)).filter(|entry| entry.until <= now);
        page.entries.extend(over.take(MAX_PAGE_ENTRIES.saturating_sub(page.entries.len())));
        if page.through < version.tip {
            page.more = More::Follows;
        }
        ListedPage { page, version }
    }

    /// As of when pages are now.
    pub fn version(&mut self, now: Timestamp) -> ListVersion {
        ListVersion { generation: self.generation, tip: self.tip(now) }
    }

    /// The last change of which something counts.
    fn tip(&mut self, now: Timestamp) -> u64 {
        let second = now.as_unix_seconds();
        match self.tip {
            Some((of, tip)) if of == second => tip,
            Some(_) | None => {
                let counts = |(change, of): &(&u64, &Change)| self.counts(**change, of, now);
                let tip = self.order.iter().rev().find(counts).map_or(0, |(change, _)| *change);
                self.tip = Some((second, tip));
                tip
            }
        }
    }

    /// Whether something of this change is not over by one look at the clock.
    fn counts(&self, change: u64, of_change: &Change, now: Timestamp) -> bool {
        self.counting(change, of_change, now).next().is_some()
    }

    fn counting<'l>(
        &'l self,
        change: u64,
        of_change: &'l Change,
        now: Timestamp,
    ) -> impl Iterator<Item = RevocationEntry> + 'l {
        self.entries(change, of_change).filter(move |entry| now < entry.until)
    }

    fn entries<'l>(
        &'l self,
        change: u64,
        of_change: &'l Change,
    ) -> impl Iterator<Item = RevocationEntry> + 'l {
        of_change.ids.iter().filter_map(move |id| {
            let live = self.live.get(id).filter(|live| live.change == change)?;
            Some(RevocationEntry { id: *id, until: live.until })
        })
    }

    /// Lets the common page for who stands at `through` end with a change that counts, and so lead further.
    fn settle(&mut self, through: u64, now: Timestamp) {
        while let Some(end) = self.begins.range((Bound::Excluded(through), Bound::Unbounded)).next().copied()
        {
            let begin = self.begins.range(..=through).next_back().copied().unwrap_or_default();
            let range = (Bound::Excluded(begin), Bound::Included(end));
            let counts = |(change, of): &(&u64, &Change)| self.counts(**change, of, now);
            let last = self.order.range(range).rev().find(counts).map(|(change, _)| *change);
            if last == Some(end) {
                break;
            }
            self.begins.remove(&end);
            self.begins.extend(last);
        }
    }

    /// The last change of the common page that begins after `begin` or before it.
    fn end_of_page(&self, begin: u64) -> u64 {
        self.begins.range((Bound::Excluded(begin), Bound::Unbounded)).next().copied().unwrap_or(u64::MAX)
    }

    /// There are `more` entries of this change, the last one of the order, and `of_change` in all.
    fn counted(&mut self, change: u64, more: usize, of_change: usize) {
        self.open += more;
        if self.open > MAX_PAGE_ENTRIES {
            let begins = self.begins.last().copied().unwrap_or_default();
            if let Some((before, _)) = self.order.range(..change).next_back()
                && *before > begins
            {
                self.begins.insert(*before);
                self.open = of_change;
            }
        }
    }

    fn put(&mut self, revocation: &Revocation<'_>) {
        let by = revocation.by.map(|by| self.shares.came(by));
        let live = Live { until: revocation.until, change: revocation.change, by };
        if let Some(Live { by: Some(by), .. }) = self.live.insert(revocation.id, live) {
            self.shares.left(&by);
        }
    }

    fn keep(&mut self, stays: impl Fn(&Live) -> bool) {
        let shares = &mut self.shares;
        self.live.retain(|_, live| {
            let stays = stays(live);
            if let (false, Some(by)) = (stays, &live.by) {
                shares.left(by);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests;
