//! No test is switched off: it holds, or it goes.

use syn::{
    Attribute,
    visit::{self, Visit},
};

use super::{Finding, source::Source};

const REMEDY: &str = "mend the test or remove it; what it needs is installed by `cargo xtask setup`";

/// Finds `#[ignore]`, also behind `cfg_attr` and inside macros, and documentation examples marked `ignore`.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut conditional = ConditionalIgnores { source, findings: Vec::new() };
    conditional.visit_file(&source.file);
    let mut findings = conditional.findings;
    let tokens = source.tokens();
    for window in tokens.windows(3) {
        let [first, second, third] = window else { continue };
        let what = match (first.text.as_str(), second.text.as_str(), third.text.as_str()) {
            ("#", "[", "ignore") => "a test is ignored",
            ("doc", "=", example) if marks_an_ignored_example(example) => "an example is ignored",
            _ => continue,
        };
        findings.push(Finding {
            path: source.path.to_owned(),
            line: third.line,
            what: what.to_owned(),
            remedy: REMEDY,
        });
    }
    findings
}

struct ConditionalIgnores<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for ConditionalIgnores<'_> {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("cfg_attr")
            && let Ok(list) = attribute.meta.require_list()
            && list.tokens.clone().into_iter().any(|token| token.to_string() == "ignore")
        {
            let span = attribute.pound_token.span;
            self.findings.push(self.source.finding(span, "a test is ignored".to_owned(), REMEDY));
        }
        visit::visit_attribute(self, attribute);
    }
}

/// Whether a line of documentation, as a literal, opens an example whose marks have `ignore` among them.
fn marks_an_ignored_example(literal: &str) -> bool {
    literal.split_once("```").is_some_and(|(_, marks)| {
        let marks = marks.split(['"', '\\', '\n']).next().unwrap_or_default();
        marks.split([',', ' ']).any(|mark| mark.starts_with("ignore"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let source = Source::parse("crates/x/src/a.rs", text).unwrap();
        check(&source).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_ignored_test_is_found_in_every_form() {
        assert_eq!(lines("#[test]\n#[ignore]\nfn a() {}"), [2]);
        assert_eq!(lines("#[test]\n#[ignore = \"slow\"]\nfn a() {}"), [2]);
        assert_eq!(lines("#[test]\n#[cfg_attr(unix, ignore)]\nfn a() {}"), [2]);
        assert_eq!(lines("proptest! {\n#[test]\n#[ignore]\nfn a(x in 0..9) {} }"), [3]);
    }

    #[test]
    fn an_ignored_example_is_found() {
        assert_eq!(lines("/// Text.\n/// ```ignore\n/// f()\n/// ```\nfn a() {}"), [2]);
        assert_eq!(lines("//! ```rust,ignore\n//! ```\n"), [1]);
    }

    #[test]
    fn other_words_are_left_alone() {
        let text = "/// ```no_run\n/// f() // ignore\n/// ```\n#[test]\nfn a() { let ignore = [ignore]; }";
        assert!(lines(text).is_empty());
        assert!(lines("#[cfg_attr(test, derive(Debug))] struct A;").is_empty());
    }
}
