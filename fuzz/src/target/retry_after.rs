//! `Retry-After`. Input: the time in milliseconds, a line break, the value.

use crate::input::{first_line, text};
use crate::verdict::{Verdict, holds, same};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::retry_after::{MAX_RETRY_AFTER, parse_retry_after};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(parse_retry_after, input)
}

fn check_with(parser: impl Fn(&str, Timestamp) -> Option<Duration>, input: &[u8]) -> Verdict {
    let (now, value) = first_line(input);
    let now = Timestamp::from_unix_millis(text(now).trim().parse().unwrap_or(784_111_777_000));
    let value = text(value);
    let pause = parser(&value, now);
    holds(pause.is_none_or(|pause| pause <= MAX_RETRY_AFTER), || format!("a pause of {pause:?}"))?;
    let plain = value.trim();
    if !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = plain.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs);
        return same("the pause in seconds", &pause, &Some(seconds.min(MAX_RETRY_AFTER)));
    }
    match httpdate::parse_http_date(plain) {
        Err(_) => same("the pause of garbage", &pause, &None),
        Ok(date) => {
            let ahead = date.duration_since(UNIX_EPOCH + Duration::from_millis(now.as_unix_millis()));
            same("the pause until a date", &pause, &Some(ahead.unwrap_or_default().min(MAX_RETRY_AFTER)))?;
            written_anew(&parser, date, now, pause)
        }
    }
}

fn written_anew(
    parser: &impl Fn(&str, Timestamp) -> Option<Duration>,
    date: SystemTime,
    now: Timestamp,
    pause: Option<Duration>,
) -> Verdict {
    same(
        "the pause until the same date in its preferred form",
        &parser(&httpdate::fmt_http_date(date), now),
        &pause,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_without_a_limit_or_with_the_wrong_clock_is_caught() {
        for good in [
            "0\n3",
            "\nSun, 06 Nov 1994 08:50:37 GMT",
            "5\n99999999999999999999",
            "18446744073709551615\nSun Nov  6 08:50:37 1994",
            "\nsoon",
            "",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        assert!(
            check_with(|value, _| value.trim().parse().ok().map(Duration::from_secs), b"\n604800").is_err()
        );
        let without_clock = |value: &str, _| parse_retry_after(value, Timestamp::EPOCH);
        assert!(check_with(without_clock, b"\nSun, 06 Nov 1994 08:50:37 GMT").is_err());
    }
}
