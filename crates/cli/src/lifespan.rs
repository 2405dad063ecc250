//! Spans of time as people write them: `90s`, `1h`, `1h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A span of time written as one or more whole numbers, each with its unit: `ms`, `s`, `m`, `h` or `d` (24 hours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifespan(pub(crate) Duration);

impl FromStr for Lifespan {
    type Err = InvalidLifespan;

    fn from_str(text: &str) -> Result<Self, InvalidLifespan> {
        let mut rest = text;
        let mut total_ms = 0_u64;
        while !rest.is_empty() {
            let (digits, behind) = split_at_first(rest, |c| !c.is_ascii_digit());
            let (unit, behind) = split_at_first(behind, |c| c.is_ascii_digit());
            let number: u64 = digits.parse().map_err(|_| InvalidLifespan)?;
            let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidLifespan)?;
            let part_ms = number.checked_mul(*unit_ms).ok_or(InvalidLifespan)?;
            total_ms = total_ms.checked_add(part_ms).ok_or(InvalidLifespan)?;
            rest = behind;
        }
        if text.is_empty() {
            return Err(InvalidLifespan);
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

fn split_at_first(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(wanted).unwrap_or(text.len()))
}

/// The two largest units that it has, which is as much as a reader wants.
impl fmt::Display for Lifespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let mut written = 0;
        for (name, unit_ms) in UNITS.iter().rev() {
            let number = rest_ms / unit_ms;
            rest_ms %= unit_ms;
            // Milliseconds beside seconds and more are noise.
            let noise = written > 0 && *name == "ms";
            if number > 0 && written < 2 && !noise {
                write!(f, "{}{number}{name}", if written > 0 { " " } else { "" })?;
                written += 1;
            }
        }
        if written == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

/// A text that is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a span of time is written with its unit (ms, s, m, h or d), such as 90s, 1h or 1h30m")]
pub(crate) struct InvalidLifespan;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        for (text, expected_ms) in [
            ("90s", 90_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("30d", 2_592_000_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<Lifespan>().unwrap().0.as_millis(), expected_ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "90",
            "s",
            "-1s",
            "1.5h",
            "1 h",
            "1H",
            "1w",
            "99999999999999999999s",
            "18446744073709551615d",
            "1é",
        ] {
            assert_eq!(text.parse::<Lifespan>(), Err(InvalidLifespan), "{text}");
        }
    }

    #[test]
    fn spans_are_told_by_their_two_largest_units() {
        for (ms, expected) in [
            (0, "0s"),
            (12, "12ms"),
            (1500, "1s"),
            (90_000, "1m 30s"),
            (3_600_000, "1h"),
            (90_061_000, "1d 1h"),
        ] {
            assert_eq!(Lifespan(Duration::from_millis(ms)).to_string(), expected);
        }
    }
}
