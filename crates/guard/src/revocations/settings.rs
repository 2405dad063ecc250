//! How the list of revoked tokens is followed.

use jeton::http::{EndpointUrl, InvalidUrl, PlainHttp};
use jeton::{BackoffPolicy, Timestamp};
use std::time::Duration;

const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
const MAX_POLL_INTERVAL: Duration = Duration::from_mins(10);
const MAX_STALENESS: Duration = Duration::from_hours(24);
/// The longest pause after failures, whatever the issuer asks for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A clock that stands further before the last confirmation than this has stepped back.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// The list of revoked tokens of an issuer, to be followed by a guard. See
/// [`GuardBuilder::follow_revocations`](crate::GuardBuilder::follow_revocations).
///
/// ```
/// use jeton_guard::{RevocationFeed, WhenStale};
/// use std::time::Duration;
///
/// let feed = RevocationFeed::of_metadata()
///     .poll_interval(Duration::from_secs(2))
///     .when_stale(WhenStale::RefuseAfter(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RevocationFeed {
    url: Option<String>,
    poll_interval: Duration,
    when_stale: WhenStale,
}

/// What becomes of tokens when it is not known which were revoked lately, because the issuer is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// They pass, unless they are known to be revoked. An outage of the issuer is none of the service. The default.
    Allow,
    /// They pass until the list was not confirmed for so long, from the poll interval to 24 h; then everyone gets 503 with
    /// `Retry-After`. With 60 s, an issuer that goes down at 12:00:00 stops the service at 12:01:00.
    RefuseAfter(Duration),
}

impl RevocationFeed {
    /// The list that the metadata of the issuer names in `jeton_revocation_feed_uri`.
    pub fn of_metadata() -> Self {
        Self { url: None, poll_interval: DEFAULT_POLL_INTERVAL, when_stale: WhenStale::Allow }
    }

    /// The list at this URL, such as a cache before the issuer. It must be signed by the issuer all the same.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::of_metadata() }
    }

    /// The time between two polls: 1 s to 10 min, 5 s by default. A revoked token is refused at the latest so long after its
    /// revocation, and a tenth, and the two seconds that a cache may keep the list.
    pub fn poll_interval(self, poll_interval: Duration) -> Self {
        Self { poll_interval, ..self }
    }

    /// What becomes of tokens when the list could not be read for a while; [`WhenStale::Allow`] by default.
    pub fn when_stale(self, when_stale: WhenStale) -> Self {
        Self { when_stale, ..self }
    }

    pub(crate) fn checked(self, plain_http: &PlainHttp) -> Result<Checked, InvalidFeedSettings> {
        if !(MIN_POLL_INTERVAL..=MAX_POLL_INTERVAL).contains(&self.poll_interval) {
            return Err(InvalidFeedSettings::Bounds(
                "the time between two polls of the revoked tokens must be from 1 s to 10 min",
            ));
        }
        match self.when_stale {
            WhenStale::RefuseAfter(limit) if !(self.poll_interval..=MAX_STALENESS).contains(&limit) => {
                return Err(InvalidFeedSettings::Bounds(
                    "the limit on stale revoked tokens must be from the time between two polls to 24 h",
                ));
            }
            WhenStale::Allow | WhenStale::RefuseAfter(_) => {}
        }
        let url = self.url.map(|url| EndpointUrl::parse(&url, plain_http));
        Ok(Checked {
            url: url.transpose().map_err(InvalidFeedSettings::Url)?,
            poll_interval: self.poll_interval,
            when_stale: self.when_stale,
        })
    }
}

/// Settings that hold together.
pub(crate) struct Checked {
    pub(super) url: Option<EndpointUrl>,
    pub(super) poll_interval: Duration,
    pub(super) when_stale: WhenStale,
}

pub(crate) enum InvalidFeedSettings {
    Bounds(&'static str),
    Url(InvalidUrl),
}

impl Checked {
    /// The pause before the next poll. `jitter`, from 0 to 1, spreads a fleet over a tenth of the interval.
    pub(super) fn pause(&self, failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let regular = self.poll_interval.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
        if failures == 0 {
            return regular;
        }
        let backoff = BackoffPolicy::default().transient_pause(failures, jitter);
        let longest = MAX_PAUSE.max(regular);
        regular.max(backoff).max(retry_after.unwrap_or_default()).min(longest)
    }
}

/// How long ago `since` was. A clock that has stepped back is no reason to believe for ever what was known before.
pub(super) fn staleness(since: Timestamp, now: Timestamp) -> Duration {
    if now.saturating_add(CLOCK_TOLERANCE) < since { Duration::MAX } else { now.saturating_since(since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(feed: RevocationFeed) -> Result<Checked, String> {
        feed.checked(&PlainHttp::to_loopback()).map_err(|invalid| match invalid {
            InvalidFeedSettings::Bounds(text) => text.to_owned(),
            InvalidFeedSettings::Url(error) => error.to_string(),
        })
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let feed = RevocationFeed::of_metadata;
        let second = Duration::from_secs(1);
        assert!(checked(feed()).is_ok());
        assert!(checked(RevocationFeed::at("https://cache.example/list")).is_ok());
        for bad in [
            feed().poll_interval(Duration::from_millis(999)),
            feed().poll_interval(Duration::from_secs(601)),
            feed().when_stale(WhenStale::RefuseAfter(4 * second)),
            feed().when_stale(WhenStale::RefuseAfter(MAX_STALENESS + second)),
            RevocationFeed::at("http://cache.example/list"),
            RevocationFeed::at("list"),
        ] {
            assert!(checked(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn failures_make_the_pauses_longer_up_to_a_bound() {
        let Ok(checked) = checked(RevocationFeed::of_metadata()) else { panic!("the defaults are good") };
        let pause = |failures, retry_after| checked.pause(failures, retry_after, 1.0);
        let regular = Duration::from_millis(5500);
        assert_eq!(checked.pause(0, None, 0.0), Duration::from_secs(5));
        assert_eq!((pause(0, None), pause(1, None)), (regular, regular));
        assert!(pause(8, None) > regular);
        assert_eq!(pause(u32::MAX, None), MAX_PAUSE);
        assert_eq!(pause(1, Some(Duration::from_secs(20))), Duration::from_secs(20));
        assert_eq!(pause(1, Some(Duration::from_hours(20))), MAX_PAUSE);
    }

    #[test]
    fn t5_a_clock_that_steps_back_makes_the_list_stale() {
        let at = Timestamp::from_unix_seconds;
        assert_eq!(staleness(at(100), at(107)), Duration::from_secs(7));
        assert_eq!(staleness(at(100), at(99)), Duration::ZERO);
        assert_eq!(staleness(at(100), at(10)), Duration::MAX);
    }
}
