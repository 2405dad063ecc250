//! `Retry-After` (RFC 9110 §10.2.3): seconds or a date.

use crate::time::Timestamp;
use std::time::{Duration, SystemTime};

/// The longest pause that is taken from a server; longer ones are cut to it.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Reads the pause that `value` asks for, seen from `now`. A date in the past is no pause; what is neither a number
/// of seconds nor an HTTP date is `None`.
///
/// ```
/// use jeton_proto::time::Timestamp;
/// use jeton_proto::wire::retry_after::parse_retry_after;
/// use std::time::Duration;
///
/// let now = Timestamp::from_unix_seconds(784_111_777);
/// assert_eq!(parse_retry_after("3", now), Some(Duration::from_secs(3)));
/// assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:40 GMT", now), Some(Duration::from_secs(3)));
/// ```
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let pause = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // All digits and still no number: too large to be told, so the longest pause.
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        let since_epoch = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Timestamp::EPOCH.saturating_add(since_epoch).saturating_since(now)
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t18_seconds_dates_and_garbage() {
        let now = Timestamp::from_unix_seconds(784_111_777);
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(parse_retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sunday, 06-Nov-94 08:50:37 GMT", Some(60));
        check("Sun Nov  6 08:50:37 1994", Some(60));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("99999999999999999999999", Some(86_400));
        check("604800", Some(86_400));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400));
        for garbage in ["", "soon", "-1", "1.5", "1s", "Sun, 99 Nov 1994 08:50:37 GMT"] {
            check(garbage, None);
        }
    }
}
