//! Times as people read them.

use crate::lifespan::Lifespan;
use jeton::Timestamp;

/// The day, in UTC, such as `2026-01-31`.
pub(crate) fn date(at: Timestamp) -> String {
    calendar(at).map_or_else(|| "-".to_owned(), |instant| instant.strftime("%Y-%m-%d").to_string())
}

/// The second, in UTC, such as `2026-01-31 12:00:00 UTC`.
pub(crate) fn second(at: Timestamp) -> String {
    let written = calendar(at).map(|instant| instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    written.unwrap_or_else(|| "beyond the calendar".to_owned())
}

/// The distance from `now`, such as `in 5m 3s` or `2h ago`.
pub(crate) fn distance(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", Lifespan(at.saturating_since(now)))
    } else {
        format!("{} ago", Lifespan(now.saturating_since(at)))
    }
}

fn calendar(at: Timestamp) -> Option<jiff::Timestamp> {
    let seconds = i64::try_from(at.as_unix_seconds()).ok()?;
    jiff::Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc_and_by_their_distance() {
        let at = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!((date(at), second(at)), ("2023-11-14".to_owned(), "2023-11-14 22:13:20 UTC".to_owned()));
        assert_eq!(distance(at, Timestamp::from_unix_seconds(1_699_999_910)), "in 1m 30s");
        assert_eq!(distance(at, Timestamp::from_unix_seconds(1_700_003_600)), "1h ago");
        assert_eq!(second(Timestamp::MAX), "beyond the calendar");
    }
}
