//! Spans of time as people write them: `"8h"`, `"1m30s"`, `"20ms"`.

use serde::Deserialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest first, as they are written one after the other.
const UNITS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// No scenario lasts longer, so that no sum of two spans overflows.
const LONGEST_MS: u64 = 400 * 86_400_000;

/// A span of time in a file.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

/// A step of a clock in a file, `"+1h"` or `"-1d"`, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(super) struct ClockStep(pub(super) i64);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        millis(&text).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(|| {
            format!("\"{text}\" is no span of time; write whole numbers with the units d, h, m, s and ms, as \"1m30s\"")
        })
    }
}

impl TryFrom<String> for ClockStep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let signed = |digits: &str, sign: i64| {
            millis(digits).and_then(|millis| i64::try_from(millis).ok()).map(|millis| millis * sign)
        };
        let step = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(digits), _) => signed(digits, 1),
            (None, Some(digits)) => signed(digits, -1),
            (None, None) => None,
        };
        let what =
            || format!("\"{text}\" is no step of a clock; write a sign and a span, as \"-1h\" or \"+1d\"");
        step.map(Self).ok_or_else(what)
    }
}

fn millis(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut largest) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() || largest == u64::MAX {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, unit_ms) = *UNITS_MS.iter().find(|(name, _)| *name == unit)?;
        if unit_ms >= largest {
            return None;
        }
        total = number.parse::<u64>().ok()?.checked_mul(unit_ms)?.checked_add(total)?;
        (rest, largest) = (tail, unit_ms);
    }
    (total <= LONGEST_MS).then_some(total)
}

/// `millis` as a file would have it.
pub(super) fn shown(millis: u64) -> String {
    let (mut text, mut rest) = (String::new(), millis);
    for (name, unit_ms) in UNITS_MS {
        if rest >= unit_ms {
            let _written = write!(text, "{}{name}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_alike() {
        for (text, millis) in [
            ("8h", 28_800_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("20ms", 20),
            ("7s300ms", 7_300),
            ("90s", 90_000),
        ] {
            let Span(read) = Span::try_from(text.to_owned()).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(Span::try_from(shown(millis)).unwrap().0, read, "{text}");
        }
        assert_eq!((shown(0), shown(90_000)), ("0s".to_owned(), "1m30s".to_owned()));
        assert_eq!(ClockStep::try_from("-1m".to_owned()).unwrap(), ClockStep(-60_000));
        assert_eq!(ClockStep::try_from("+1ms".to_owned()).unwrap(), ClockStep(1));
    }

    #[test]
    fn what_is_no_span_is_told_with_an_example() {
        for text in ["", "8", "h", "8 h", "-1h", "1.5h", "1s1h", "1h1h", "1w", "9999999999d", "500d", "8h "] {
            let told = Span::try_from(text.to_owned()).unwrap_err();
            assert!(told.contains("as \"1m30s\""), "{text}: {told}");
        }
        for text in ["1h", "+", "-", "+-1h", ""] {
            assert!(ClockStep::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
