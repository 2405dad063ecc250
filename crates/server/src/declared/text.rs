//! A text with its lines.

use std::ops::Range;

/// Tells on which line something stands.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// The lines of `text`.
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of the first byte of `span`, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|end| *end < span.start) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("a\nbc\n\nd");
        let at = [0, 1, 2, 3, 4, 5, 6, 99].map(|start| lines.line(&(start..start)));
        assert_eq!(at, [1, 1, 2, 2, 2, 3, 4, 4]);
    }
}
