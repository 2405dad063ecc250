//! The signed pages of the feed. A page is signed once for all who ask for it, and anew when it has changed or is getting
//! old: its signature says that it is the newest, and that must be true.

use super::{Ahead, Revocations};
use bytes::Bytes;
use jeton_proto::jose::jwk::{KeyError, SigningKey};
use jeton_proto::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a signed page is used.
const SIGNED_ANEW_AFTER: Duration = Duration::from_secs(30);
/// How long a page may be believed: longer than it is used, plus whatever a cache keeps it.
const PAGE_LIFETIME: Duration = Duration::from_mins(2);
/// The most signed pages that are kept, each under 64 KiB.
const MAX_KEPT: usize = 64;

/// Signs and keeps the pages of [`Revocations`].
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// By where they begin.
    kept: Mutex<HashMap<u64, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The last change of all, not of the page.
    last: u64,
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
    /// The page after the change `since`.
    pub(crate) fn page(
        &self,
        revocations: &Revocations,
        since: u64,
        key: &SigningKey,
        issuer: &str,
        now: Timestamp,
    ) -> Result<SignedPage, NoPage> {
        let (begins, last) = revocations.place(since).map_err(|Ahead| NoPage::Ahead)?;
        if let Some(kept) = self.kept().get(&begins)
            && kept.last == last
            && kept.signed_at <= now
            && now < kept.signed_at.saturating_add(SIGNED_ANEW_AFTER)
        {
            return Ok(kept.page.clone());
        }
        let page = revocations.page(since).map_err(|Ahead| NoPage::Ahead)?;
        let jwt = page.sign(key, issuer, now, now.saturating_add(PAGE_LIFETIME)).map_err(NoPage::Unsigned)?;
        let tag = format!("{}-{}-{}", page.since, page.through, now.as_unix_millis());
        let signed = SignedPage { jwt: jwt.into(), tag };
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(begins, Kept { last, signed_at: now, page: signed.clone() });
        Ok(signed)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
