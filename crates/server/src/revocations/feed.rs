//! The signed pages of the feed. A page is signed once for all who ask for it, and anew when it has changed or is getting
//! old: its signature says that it is the newest, and that must be true.
//!
//! Anybody may ask, from anywhere in the list, and a signature costs up to a millisecond. So there are few pages
//! ([`PagePlace`](jeton_proto::revocation::PagePlace)), each is signed twice a second at most, and those near the end, of which there can be
//! one for each change, so many times together. Who comes beyond that gets a page that all have in common, in which there
//! is more than was asked for. Nobody is refused.

use super::Revocations;
use bytes::Bytes;
use jeton_proto::jose::jwk::{KeyError, SigningKey};
use jeton_proto::revocation::{Ahead, FeedPosition, ListVersion, ListedPage, More};
use jeton_proto::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a signed page is used.
const SIGNED_ANEW_AFTER: Duration = Duration::from_secs(30);
/// How long a page is used after more was revoked: a cache may keep it for longer.
const FOLLOWS_AFTER: Duration = Duration::from_millis(500);
/// How long a page may be believed: longer than it is used, plus whatever a cache keeps it.
const PAGE_LIFETIME: Duration = Duration::from_mins(2);
/// How many pages near the end of the list are signed in one second.
const NEAR_PAGES_A_SECOND: u32 = 32;
/// The most signed pages that are kept: more than there can be in half a minute. All of a list together are as long as it
/// is, up to 40 MB when a million tokens are revoked.
const MAX_KEPT: usize = 4096;

/// Signs and keeps the pages of [`Revocations`].
#[derive(Debug, Default)]
pub(crate) struct Feed {
    // Held while a page is signed, so that it is signed once for all who ask at the same time.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By where they begin.
    pages: HashMap<u64, KeptPage>,
    /// A second, and how many pages near the end were signed in it.
    near: (u64, u32),
    #[cfg(test)]
    signatures: usize,
}

#[derive(Debug)]
struct KeptPage {
    version: ListVersion,
    more: More,
    signed_at: Timestamp,
    page: SignedPage,
}

/// A page as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct SignedPage {
    /// A compact JWS.
    pub(crate) jwt: Bytes,
    /// What names exactly this signature, without quotes.
    pub(crate) tag: String,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum NoPage {
    /// The number that was asked for was not seen yet.
    Ahead,
    /// It cannot be signed.
    Unsigned(KeyError),
}

impl Feed {
    /// The page for a follower at this position.
    pub(crate) fn page(
        &self,
        revocations: &Revocations,
        position: FeedPosition,
        key: &SigningKey,
        issuer: &str,
        now: Timestamp,
    ) -> Result<SignedPage, NoPage> {
        let (place, version) = revocations.place(position).map_err(|Ahead| NoPage::Ahead)?;
        let mut kept = self.kept();
        if let Some(page) = kept.good(place.nearest, version, now) {
            return Ok(page);
        }
        let is_common = place.nearest == place.common;
        let begin = if is_common || kept.has_near_page_left(now) { place.nearest } else { place.common };
        if let Some(page) = kept.good(begin, version, now) {
            return Ok(page);
        }
        let ListedPage { page, version } = revocations.page(begin);
        let jwt = page.sign(key, issuer, now, now.saturating_add(PAGE_LIFETIME)).map_err(NoPage::Unsigned)?;
        let mark = page.mark.map(|mark| mark.to_string()).unwrap_or_default();
        let tag = format!("{}-{}-{mark}-{}", page.since, page.through, now.as_unix_millis());
        let signed = SignedPage { jwt: jwt.into(), tag };
        kept.keep(begin, KeptPage { version, more: page.more, signed_at: now, page: signed.clone() });
        Ok(signed)
    }

    /// How many pages were signed.
    #[cfg(test)]
    pub(super) fn signatures(&self) -> usize {
        self.kept().signatures
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn good(&self, begin: u64, version: ListVersion, now: Timestamp) -> Option<SignedPage> {
        self.pages.get(&begin).filter(|kept| kept.is_good(version, now)).map(|kept| kept.page.clone())
    }

    fn has_near_page_left(&mut self, now: Timestamp) -> bool {
        let second = now.as_unix_seconds();
        if self.near.0 != second {
            self.near = (second, 0);
        }
        self.near.1 = self.near.1.saturating_add(1);
        self.near.1 <= NEAR_PAGES_A_SECOND
    }

    fn keep(&mut self, begin: u64, page: KeptPage) {
        let (generation, now) = (page.version.generation, page.signed_at);
        self.pages
            .retain(|_, kept| kept.version.generation == generation && kept.is_new(SIGNED_ANEW_AFTER, now));
        if self.pages.len() >= MAX_KEPT {
            self.pages.clear();
        }
        self.pages.insert(begin, page);
        #[cfg(test)]
        {
            self.signatures += 1;
        }
    }
}

impl KeptPage {
    fn is_good(&self, version: ListVersion, now: Timestamp) -> bool {
        let is_last = match self.more {
            More::Follows => true,
            More::None => self.version.tip == version.tip || self.is_new(FOLLOWS_AFTER, now),
        };
        self.version.generation == version.generation && is_last && self.is_new(SIGNED_ANEW_AFTER, now)
    }

    fn is_new(&self, within: Duration, now: Timestamp) -> bool {
        self.signed_at <= now && now < self.signed_at.saturating_add(within)
    }
}
