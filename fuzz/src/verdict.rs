//! What an oracle says of one input.

use crate::input::CANARY;
use std::fmt::{Debug, Display};

/// Nothing, or the promise that was broken.
pub type Verdict = Result<(), Broken>;

/// A promise that a parser did not keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Broken {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// The longest text that any error of a parser may have, in bytes: what an operator reads in one log line.
const MAX_ERROR_BYTES: usize = 512;

/// Holds that something is so.
pub(crate) fn holds(condition: bool, what: impl FnOnce() -> String) -> Verdict {
    if condition { Ok(()) } else { Err(Broken(what())) }
}

/// Holds that two values are the same.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, left: &T, right: &T) -> Verdict {
    holds(left == right, || format!("{what}: {left:?} is not {right:?}"))
}

/// Holds an error to the rules for messages: short, one line, printable ASCII, and nothing secret of the input.
pub(crate) fn fit_for_a_log<E: Display + Debug>(error: &E) -> Verdict {
    let text = error.to_string();
    holds(text.len() <= MAX_ERROR_BYTES, || format!("the error has {} bytes: {text}", text.len()))?;
    printable(&text)?;
    silent(&text)?;
    silent(&format!("{error:?}"))
}

/// Holds that a text is one line of printable ASCII.
pub(crate) fn printable(text: &str) -> Verdict {
    holds(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), || format!("not printable: {text:?}"))
}

/// Holds that a text has nothing of what was secret in the input.
pub(crate) fn silent(text: &str) -> Verdict {
    holds(!text.contains(CANARY), || format!("a secret of the input is told: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_long_strange_or_talkative_is_caught() {
        assert!(fit_for_a_log(&"the scope is empty").is_ok());
        for bad in ["x".repeat(513), "a\nb".to_owned(), "é".to_owned(), format!("no {CANARY} here")] {
            assert!(fit_for_a_log(&bad).is_err(), "{bad}");
        }
    }
}
