//! The ledger of what the server claims of the RFCs: each clause has a test, and the test is there.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::{
    Finding,
    source::{Source, is_test_function},
};

/// The file of the ledger.
pub(super) const LEDGER: &str = "docs/conformance.md";

/// The names of the tests of a source, those inside macros such as `proptest!` included.
pub(super) fn tests(source: &Source<'_>) -> BTreeSet<String> {
    let mut found = Tests(BTreeSet::new());
    found.visit_file(&source.file);
    let tokens = source.tokens();
    for window in tokens.windows(5) {
        if let [hash, open, test, function, name] = window
            && [&hash.text, &open.text, &test.text, &function.text].map(String::as_str)
                == ["#", "[", "test", "fn"]
        {
            found.0.insert(name.text.clone());
        }
    }
    found.0
}

struct Tests(BTreeSet<String>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_test_function(&function.attrs) {
            self.0.insert(function.sig.ident.to_string());
        }
        visit::visit_item_fn(self, function);
    }
}

/// Checks the ledger against the names of all tests.
///
/// A row of a table is a claim when its first cell begins with `RFC` or `§`; its last cell has the names of tests in backticks.
pub(super) fn check(ledger: &str, tests: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(ledger.lines()) {
        let Some(cells) = cells(text) else { continue };
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else { continue };
        if !first.starts_with("RFC") && !first.starts_with('§') {
            continue;
        }
        let finding = |what: String| Finding {
            path: LEDGER.to_owned(),
            line,
            what,
            remedy: "name a test that is there, or claim nothing",
        };
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            findings.push(finding(format!("{first} has no test")));
        }
        for name in named.into_iter().filter(|name| !tests.contains(*name)) {
            findings.push(finding(format!("there is no test {name}")));
        }
    }
    findings
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod checks {
    use super::*;

    fn names(text: &str) -> BTreeSet<String> {
        tests(&Source::parse("crates/x/src/lib.rs", text).unwrap_or_else(|finding| panic!("{finding}")))
    }

    #[test]
    fn tests_of_every_kind_are_found_and_other_functions_are_not() {
        let text = "#[test] fn one() {} fn two() {} mod tests { #[tokio::test] async fn three() {} }
            proptest! { #[test] fn four(a in 0..1) {} }";
        let expected = ["four", "one", "three"].map(str::to_owned);
        assert_eq!(names(text), expected.into());
    }

    #[test]
    fn a_claim_without_a_test_is_found() {
        let ledger = "| clause | claim | test |\n|---|---|---|\n| RFC 1 §2 | a | `one` |\n| §3 | b | `two`, `one` |\n| RFC 4 | c | |\n";
        let found = check(ledger, &["one".to_owned()].into());
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].starts_with("docs/conformance.md:4: there is no test two"), "{lines:#?}");
        assert!(lines[1].starts_with("docs/conformance.md:5: RFC 4 has no test"), "{lines:#?}");
    }
}
