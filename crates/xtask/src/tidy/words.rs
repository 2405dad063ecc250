//! Marks of unfinished work and paths of one machine have no place in the repository.

use super::Finding;

/// In two halves, so that this file does not find itself.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// First folders of paths that are there on one machine and not on the next.
const HOMES: &[&str] = &["home", "root", "work", "Users"];

/// Finds unfinished marks and machine paths, line by line.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let finding = |line: usize, what: String, remedy| Finding { path: path.to_owned(), line, what, remedy };
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if let Some(mark) = MARKS.iter().find(|mark| has_word(content, mark)) {
            findings.push(finding(line, format!("`{mark}` marks unfinished work"), "finish it or remove it"));
        }
        if let Some(home) = HOMES.iter().find(|home| has_path(content, home)) {
            let what = format!("a path under /{home} is of one machine");
            findings.push(finding(line, what, "write it relative to the repository"));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, after) =
            (line.get(..at).unwrap_or_default(), line.get(at + word.len()..).unwrap_or_default());
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

/// Whether the line has `/folder/name` at the beginning of a path: `docs/folder/name` is none. One letter for a
/// name stands for any, as in an example, and is fine.
fn has_path(line: &str, folder: &str) -> bool {
    let start = format!("/{folder}/");
    line.match_indices(&start).any(|(at, _)| {
        let (before, after) =
            (line.get(..at).unwrap_or_default(), line.get(at + start.len()..).unwrap_or_default());
        let begins_here = !before.ends_with(|c: char| is_word(c) || "./-*}>)".contains(c));
        begins_here && after.chars().take(2).filter(|&c| is_word(c)).count() == 2
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check("a.md", text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_mark_of_unfinished_work_is_found() {
        for mark in MARKS {
            assert_eq!(lines(&format!("fine\n// {mark}: later\n")), [2], "{mark}");
            assert!(lines(&format!("{mark}S and a{mark}")).is_empty(), "{mark} as part of a word");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for home in HOMES {
            assert_eq!(lines(&format!("see `/{home}/someone/x`")), [1], "{home}");
            assert_eq!(lines(&format!("\n/{home}/me")), [2], "{home}");
            assert!(
                lines(&format!("docs/{home}/me, https://api.example/{home}/me, /{home}/u/x")).is_empty(),
                "{home}"
            );
        }
    }
}
