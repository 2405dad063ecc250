//! Pages of the list, fetched and checked.

use super::Shared;
use crate::keys::KeysUnavailable;
use crate::keys::source::{FetchError, Unchanged};
use http::header::ETAG;
use jeton::Timestamp;
use jeton::http::{EndpointUrl, InvalidUrl};
use jeton_proto::jose::jws::MAX_JWS_BYTES;
use jeton_proto::revocation::{FeedFault, InvalidFeed, Progress, RevocationPage, VerifiedPage};
use jeton_proto::verification::Rejection;
use std::sync::PoisonError;
use std::time::Duration;

/// The most pages of one poll: a list of the greatest length has not half as many.
const MAX_PAGES: usize = 4000;

/// Why the list of revoked tokens could not be read. Nothing of a body is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Neither the metadata nor the list could be fetched.
    #[error(transparent)]
    Fetch(FetchError),
    /// The metadata names no list.
    #[error(
        "the metadata of the issuer has no \"jeton_revocation_feed_uri\", so revoked tokens cannot be known"
    )]
    NotOffered,
    /// The metadata names a list that may not be fetched.
    #[error("the \"jeton_revocation_feed_uri\" of the issuer cannot be used: {0}")]
    Url(InvalidUrl),
    /// There are no keys to check the list with.
    #[error(transparent)]
    Keys(KeysUnavailable),
    /// The list is not signed by the issuer, or malformed.
    #[error(transparent)]
    Invalid(InvalidFeed),
    /// The pages do not fit together.
    #[error(transparent)]
    Fault(FeedFault),
    /// The list has no end.
    #[error("the list of revoked tokens has more than {MAX_PAGES} pages")]
    Endless,
    /// The poll ended in a panic: the exchange has a fault.
    #[error("the poll of the revoked tokens ended in a panic, see its message")]
    Panicked,
}

impl FeedError {
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            Self::NotOffered
            | Self::Url(_)
            | Self::Keys(_)
            | Self::Invalid(_)
            | Self::Fault(_)
            | Self::Endless
            | Self::Panicked => None,
        }
    }
}

impl Shared {
    /// Reads the list from where it was left to its end.
    pub(super) async fn poll(&self) -> Result<(), FeedError> {
        let begun = self.clock.now();
        let place = self.place(begun).await?;
        if self.known().position().mark.is_none() {
            // A number alone may be that of another change by now.
            self.known.write().unwrap_or_else(PoisonError::into_inner).start_over();
        }
        for _ in 0..MAX_PAGES {
            match self.page(&place).await? {
                Progress::MoreFollows => {}
                Progress::UpToDate => {
                    self.state().confirmed_at = Some(begun);
                    return Ok(());
                }
            }
        }
        Err(FeedError::Endless)
    }

    /// Where the list is. It is looked up again after a failure, as it may have moved.
    async fn place(&self, now: Timestamp) -> Result<EndpointUrl, FeedError> {
        if let Some(set) = &self.settings.url {
            return Ok(set.clone());
        }
        let known = {
            let state = self.state();
            state.place.clone().filter(|_| state.failures == 0)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let source = self.keys.source();
        let metadata = source.discover(now).await.map_err(FeedError::Fetch)?;
        let named = metadata.jeton_revocation_feed_uri.ok_or(FeedError::NotOffered)?;
        let place = EndpointUrl::parse(&named, &source.plain_http).map_err(FeedError::Url)?;
        self.state().place = Some(place.clone());
        Ok(place)
    }

    async fn page(&self, place: &EndpointUrl) -> Result<Progress, FeedError> {
        let position = self.known().position();
        let tag = self.state().tag.clone().filter(|(of, _)| *of == position).map(|(_, tag)| tag);
        let separator = if place.as_str().contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}{}", place.as_str(), position.query());
        let url = EndpointUrl::parse(&url, &self.keys.source().plain_http).map_err(FeedError::Url)?;
        let now = self.clock.now();
        let unchanged = tag.as_deref().map_or(Unchanged::Impossible, Unchanged::Since);
        let answer = self.keys.source().ask(&url, MAX_JWS_BYTES, unchanged, now).await;
        let answer = answer.map_err(FeedError::Fetch)?;
        if answer.status() == http::StatusCode::NOT_MODIFIED {
            return Ok(Progress::UpToDate);
        }
        // Bytes that are no text are no JWS either.
        let compact = std::str::from_utf8(answer.body()).unwrap_or_default();
        let page = self.verified(compact.trim_ascii_end()).await?;
        let progress = self.take_in(&page)?;
        let tag = answer.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // Only of a page that leaves everything as it is can a later answer say that it is the same.
        let repeats = progress == Progress::UpToDate && self.known().position() == position;
        self.state().tag = tag.filter(|_| repeats).map(|tag| (position, tag));
        Ok(progress)
    }

    fn take_in(&self, page: &VerifiedPage) -> Result<Progress, FeedError> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.take_in(page, self.clock.since_boot()).map_err(|fault| {
            match fault {
                // Wherever the numbers have led to, the next poll finds its way from the beginning.
                FeedFault::Gap | FeedFault::NoProgress => known.start_over(),
                FeedFault::TooMany => {}
            }
            FeedError::Fault(fault)
        })
    }

    /// The page, by the keys at hand, or by newer ones when none of them fits.
    async fn verified(&self, compact: &str) -> Result<VerifiedPage, FeedError> {
        let keys = self.keys.usable().await.map_err(FeedError::Keys)?;
        let verify =
            |set: &_| RevocationPage::verify(compact, set, &self.keys.source().issuer, self.clock.now());
        match verify(&keys.set) {
            Err(InvalidFeed::Signature(Rejection::UnknownKey { key_id })) => {
                let newer = self.keys.newer_than(&keys).await;
                let unknown = InvalidFeed::Signature(Rejection::UnknownKey { key_id });
                newer.map_or(Err(unknown), |newer| verify(&newer.set))
            }
            verified => verified,
        }
        .map_err(FeedError::Invalid)
    }
}
