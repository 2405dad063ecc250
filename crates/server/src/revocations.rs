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
use jeton_proto::introspection::Standing;
use jeton_proto::revocation::{
    Ahead, ChangeMark, FeedPosition, ListVersion, ListedPage, PagePlace, Revocation, RevocationList,
    RevokedId, ShareUsed,
};
use jeton_proto::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every revoked token that is not over yet. The store bounds their number ([`Kind::most`]).
#[derive(Debug)]
pub(crate) struct Revocations {
    clock: ClockHandle,
    list: Mutex<RevocationList>,
}

/// What a record of the store says of a revocation. Whatever else it says, it revokes: a newer instance that wrote more
/// into it meant no less.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Body<'a> {
    /// The client that wanted it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
    /// The mark of the commit ([`ChangeMark`]).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    mark: Option<Cow<'a, str>>,
    #[serde(default)]
    revoked_at_ms: u64,
}

impl Revocations {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock: ClockHandle(clock), list: Mutex::default() }
    }

    /// How it stands with the token of this `jti`.
    pub(crate) fn standing(&self, jwt_id: &str) -> Standing {
        let known = self.list().contains(&RevokedId::of(jwt_id));
        if known { Standing::Revoked } else { Standing::Standing }
    }

    /// Whether this client may revoke one more.
    pub(crate) fn has_room_for(&self, client_id: &str) -> Result<(), ShareUsed> {
        self.list().has_room_for(client_id)
    }

    /// Takes note of what was committed as `change`, before the store is read again.
    fn committed<'a>(
        &self,
        revoked: impl IntoIterator<Item = (RevokedId, Timestamp, &'a str)>,
        ChangeNumber(change): ChangeNumber,
    ) {
        let mut list = self.list();
        for (id, until, by) in revoked {
            list.committed(&Revocation { id, until, change, mark: None, by: Some(by) });
        }
    }

    /// Where the page of a follower begins, and as of when it would be; [`Ahead`] when its change was not seen yet.
    fn place(&self, position: FeedPosition) -> Result<(PagePlace, ListVersion), Ahead> {
        let moment = self.clock.moment();
        let now = moment.wall();
        let mut list = self.list();
        list.sweep(moment);
        Ok((list.place(position, now)?, list.version(now)))
    }

    /// The page that begins after the change `begin`.
    fn page(&self, begin: u64) -> ListedPage {
        self.list().page(begin, self.clock.now())
    }

    /// As if this client had revoked so many.
    #[cfg(test)]
    pub(crate) fn fill(&self, by: &str, tokens: usize) {
        let names = (0..tokens).map(|at| RevokedId::of(&format!("{by}-{at}")));
        self.committed(names.map(|id| (id, Timestamp::MAX, by)), ChangeNumber(1));
    }

    /// A panic while the lock was held leaves at worst an entry that is over.
    fn list(&self) -> MutexGuard<'_, RevocationList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Revocations {
    fn follow(&self, changes: &Changes) {
        let now = self.clock.moment();
        let mut list = self.list();
        match changes.extent {
            Extent::Everything => list.begin_anew(changes.through.0),
            Extent::Since => {}
        }
        for record in changes.records.iter().filter(|record| record.kind == Kind::Revocation) {
            take(&mut list, record);
        }
        list.saw(changes.through.0);
        list.sweep(now);
    }
}

fn take(list: &mut RevocationList, record: &Record) {
    let id = RevokedId::of(&record.id);
    let Some(body) = &record.body else {
        list.remove(&id);
        return;
    };
    let body: Body<'_> = serde_json::from_str(body).unwrap_or_default();
    list.take(&Revocation {
        id,
        until: record.expires_at.unwrap_or(Timestamp::MAX),
        change: record.change.0,
        mark: body.mark.as_deref().and_then(ChangeMark::parse),
        by: body.by.as_deref(),
    });
}
