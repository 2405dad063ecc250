//! How many requests about tokens were answered, and how.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of answered requests about tokens since the server began. Cheap to read at any time.
#[derive(Debug, Default)]
pub struct InquiryCounters {
    introspected_active: AtomicU64,
    introspected_inactive: AtomicU64,
    introspection_refused: AtomicU64,
    revoked: AtomicU64,
    revoked_nothing: AtomicU64,
    revocation_refused: AtomicU64,
    revocation_unavailable: AtomicU64,
    revocation_share_used: AtomicU64,
    feed_sent: AtomicU64,
    feed_unchanged: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InquiryCounterValues {
    /// Introspections answered with an active token.
    pub introspected_active: u64,
    /// Introspections answered with `{"active":false}`.
    pub introspected_inactive: u64,
    /// Introspections answered with an error.
    pub introspection_refused: u64,
    /// Tokens revoked, and stored as such.
    pub revoked: u64,
    /// Revocations of what was no token that counts, or was revoked before.
    pub revoked_nothing: u64,
    /// Revocations answered with an error other than 503.
    pub revocation_refused: u64,
    /// Revocations answered with 503: they were not stored, or it is not known.
    pub revocation_unavailable: u64,
    /// Revocations answered with 503 because the client has used its share of the list.
    pub revocation_share_used: u64,
    /// Pages of the feed that were sent.
    pub feed_sent: u64,
    /// Requests for the feed answered with 304.
    pub feed_unchanged: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inquired {
    Active,
    Inactive,
    IntrospectionRefused,
    Revoked,
    RevokedNothing,
    RevocationRefused,
    RevocationUnavailable,
    RevocationShareUsed,
    FeedSent,
    FeedUnchanged,
}

impl InquiryCounters {
    /// The counts now. They are read one after the other, so requests in between may be in some and not in others.
    pub fn values(&self) -> InquiryCounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InquiryCounterValues {
            introspected_active: read(&self.introspected_active),
            introspected_inactive: read(&self.introspected_inactive),
            introspection_refused: read(&self.introspection_refused),
            revoked: read(&self.revoked),
            revoked_nothing: read(&self.revoked_nothing),
            revocation_refused: read(&self.revocation_refused),
            revocation_unavailable: read(&self.revocation_unavailable),
            revocation_share_used: read(&self.revocation_share_used),
            feed_sent: read(&self.feed_sent),
            feed_unchanged: read(&self.feed_unchanged),
        }
    }

    pub(crate) fn count(&self, inquired: Inquired) {
        let counter = match inquired {
            Inquired::Active => &self.introspected_active,
            Inquired::Inactive => &self.introspected_inactive,
            Inquired::IntrospectionRefused => &self.introspection_refused,
            Inquired::Revoked => &self.revoked,
            Inquired::RevokedNothing => &self.revoked_nothing,
            Inquired::RevocationRefused => &self.revocation_refused,
            Inquired::RevocationUnavailable => &self.revocation_unavailable,
            Inquired::RevocationShareUsed => &self.revocation_share_used,
            Inquired::FeedSent => &self.feed_sent,
            Inquired::FeedUnchanged => &self.feed_unchanged,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
