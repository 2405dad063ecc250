//! What goes to the two streams: the result, and nothing else, to stdout; everything else to stderr.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value on one line; names as in the RFCs, times in unix seconds.
    Json,
}

/// Writes a result to stdout. A reader that has gone away is no failure: the program ends quietly.
pub(crate) fn result(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(ExitCode::Done),
        _ => Failure::new(ExitCode::Other, format!("the result cannot be written: {error}")),
    })
}

/// Writes a result of one line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    result(format!("{text}\n"))
}

/// Writes a result as one line of JSON to stdout.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// One line for each label with its value, in two columns; the values may be from outside.
pub(crate) fn labelled(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (label, value) in lines {
        let _infallible = writeln!(text, "{label:<width$}  {}", harmless(value));
    }
    text
}

/// Writes a message to stderr. Where that is not possible there is nobody left to tell.
pub(crate) fn note(text: &str) {
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

/// A line on a terminal that says what takes so long, and is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shows `text` if stderr is a terminal.
    pub(crate) fn show(text: &str) -> Self {
        let mut stderr = io::stderr().lock();
        let shown = stderr.is_terminal();
        if shown {
            let _unheard = write!(stderr, "{text} ...").and_then(|()| stderr.flush());
        }
        Self { shown }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let mut stderr = io::stderr().lock();
            let _unheard = write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush());
        }
    }
}

/// Whether a stream may have colours.
pub(crate) fn colours(stream: &impl io::IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// `text` for a terminal: characters that steer terminals are written as escapes.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidirectional_control(c) {
            harmless.extend(c.escape_unicode());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

fn is_bidirectional_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{9b}é\u{202e}"), "a\\u{1b}[2Jb\\u{9b}é\\u{202e}");
    }
}
