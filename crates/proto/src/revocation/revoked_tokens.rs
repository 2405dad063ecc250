//! What a follower of the list of revoked tokens knows.

use super::{FeedPosition, MAX_REVOKED_TOKENS, More, RevokedId, VerifiedPage};
use crate::hindsight::Hindsight;
use crate::time::{Moment, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most revoked tokens that a follower remembers: twice as many as a server does, which may have gone back to a backup and
/// have filled its list with others.
pub const MAX_FOLLOWED_TOKENS: usize = 2 * MAX_REVOKED_TOKENS;

/// The revoked tokens that are known, and up to where.
///
/// Nothing but the time takes one out again: an old page that somebody plays back, or a server that was set up from a
/// backup, makes no revoked token good.
#[derive(Debug, Default)]
pub struct RevokedTokens {
    until: BTreeMap<RevokedId, Timestamp>,
    position: FeedPosition,
    hindsight: Hindsight,
}

impl RevokedTokens {
    /// Whether the token with this `jti` was revoked.
    #[must_use]
    pub fn contains(&self, jwt_id: &str) -> bool {
        !self.until.is_empty() && self.until.contains_key(&RevokedId::of(jwt_id))
    }

    #[cfg(test)]
    pub(super) fn contains_id(&self, id: &RevokedId) -> bool {
        self.until.contains_key(id)
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// From where the next page is to be asked.
    #[must_use]
    pub const fn position(&self) -> FeedPosition {
        self.position
    }

    /// Lets the next page be asked from the beginning. What is known stays.
    pub const fn start_over(&mut self) {
        self.position = FeedPosition { through: 0, mark: None };
    }

    /// Takes a page in, at `since_boot` by the boot clock of this machine, where it has one.
    ///
    /// What is over is forgotten by the clock of the issuer, and only when it has shown so for 10 min ([`Hindsight`]): neither a
    /// clock of this machine nor one of the issuer that runs ahead for a while must make revoked tokens good.
    ///
    /// # Errors
    /// A [`FeedFault`]; what was known stays.
    pub fn take_in(
        &mut self,
        verified: &VerifiedPage,
        since_boot: Option<Duration>,
    ) -> Result<Progress, FeedFault> {
        let VerifiedPage { page, issued_at } = verified;
        if page.since > self.position.through {
            return Err(FeedFault::Gap);
        }
        let goes_on = match page.more {
            More::Follows => page.through > page.since,
            More::None => page.through >= page.since,
        };
        if !goes_on {
            return Err(FeedFault::NoProgress);
        }
        if let Some(over_at) = self.hindsight.look(Moment::new(*issued_at, since_boot)) {
            self.forget(over_at);
        }
        // What is over by that clock is taken in all the same, and forgotten as everything else is.
        for entry in &page.entries {
            if self.until.len() >= MAX_FOLLOWED_TOKENS && !self.until.contains_key(&entry.id) {
                // One look has to do where there is no room for more.
                self.forget(*issued_at);
                if self.until.len() >= MAX_FOLLOWED_TOKENS {
                    return Err(FeedFault::TooMany);
                }
            }
            let until = self.until.entry(entry.id).or_insert(entry.until);
            *until = entry.until.max(*until);
        }
        self.position = FeedPosition { through: page.through, mark: page.mark };
        Ok(match page.more {
            More::Follows => Progress::MoreFollows,
            More::None => Progress::UpToDate,
        })
    }

    fn forget(&mut self, over_at: Timestamp) {
        self.until.retain(|_, until| over_at < *until);
    }
}

/// Where a follower stands after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is a next page to be asked for at once.
    MoreFollows,
    /// Everything is known.
    UpToDate,
}

/// Why a page with a good signature cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    /// It begins after what is known, so some would be missing.
    #[error("the list of revoked tokens leaves some out")]
    Gap,
    /// It says that there is more, and leads nowhere.
    #[error("the list of revoked tokens does not go on")]
    NoProgress,
    /// More than [`MAX_FOLLOWED_TOKENS`].
    #[error("the list of revoked tokens has more than {MAX_FOLLOWED_TOKENS}")]
    TooMany,
}
