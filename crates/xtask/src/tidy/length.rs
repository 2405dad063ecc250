//! Files and functions that a person can read in one sitting.

use syn::{
    Attribute, Block, ImplItemFn, ItemFn, Signature, TraitItemFn,
    visit::{self, Visit},
};

use super::{
    Finding,
    source::{Source, is_test_function},
};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
/// A test tells one story from its beginning to its end, and may take longer.
const MAX_TEST_FUNCTION_LINES: usize = 120;

const CODE_ENDINGS: &[&str] = &[".rs", ".py", ".mjs", ".sh", ".ci/run"];

/// Finds a file of code with more than [`MAX_FILE_LINES`] lines.
pub(super) fn file(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let too_long = lines > MAX_FILE_LINES && CODE_ENDINGS.iter().any(|ending| path.ends_with(ending));
    too_long.then(|| Finding {
        path: path.to_owned(),
        line: MAX_FILE_LINES + 1,
        what: format!("the file has {lines} lines, more than {MAX_FILE_LINES}"),
        remedy: "split it by the nouns in it, and move its tests to a sibling tests.rs",
    })
}

/// Finds functions with more lines than their kind may have, from `fn` to the closing brace.
pub(super) fn functions(source: &Source) -> Vec<Finding> {
    let mut functions = Functions { source, findings: Vec::new() };
    functions.visit_file(&source.file);
    functions.findings
}

struct Functions<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        let start = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line.saturating_sub(start) + 1;
        let is_test = self.source.is_test(start) || is_test_function(attributes);
        let limit = if is_test { MAX_TEST_FUNCTION_LINES } else { MAX_FUNCTION_LINES };
        if lines > limit {
            let what = format!("the function `{}` has {lines} lines, more than {limit}", signature.ident);
            let remedy = "keep the branches here and move the straight work to functions below";
            self.findings.push(self.source.finding(signature.ident.span(), what, remedy));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.judge(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.judge(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.judge(&item.attrs, &item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::parse("crates/x/src/a.rs", text).unwrap();
        functions(&source).iter().map(ToString::to_string).collect()
    }

    /// A function body that makes `fn NAME() BODY` exactly `lines` long.
    fn body(lines: usize) -> String {
        format!("{{{}}}", "\n".repeat(lines - 1))
    }

    #[test]
    fn a_file_may_be_full_but_not_longer() {
        assert_eq!(file("a.rs", &"x\n".repeat(500)), None);
        let finding = file("a.rs", &"x\n".repeat(501)).unwrap().to_string();
        assert!(finding.starts_with("a.rs:501: the file has 501 lines"), "{finding}");
        assert_eq!(file("CHANGELOG.md", &"x\n".repeat(501)), None, "a changelog grows");
    }

    #[test]
    fn a_function_may_be_full_but_not_longer() {
        assert!(found(&format!("fn a() {}", body(70))).is_empty());
        let findings = found(&format!("\nfn a() {}", body(71)));
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("crates/x/src/a.rs:2: the function `a` has 71 lines"),
            "{findings:?}"
        );
    }

    #[test]
    fn methods_and_defaults_of_traits_and_inner_functions_count() {
        let long = body(71);
        assert_eq!(found(&format!("struct S; impl S {{ fn a() {long} }}")).len(), 1);
        assert_eq!(found(&format!("trait T {{ fn a() {long} fn b(); }}")).len(), 1);
        assert_eq!(found(&format!("mod m {{ fn a() {{ fn b() {long} }} }}")).len(), 2);
    }

    #[test]
    fn a_test_may_be_longer_up_to_its_own_limit() {
        assert!(found(&format!("#[test] fn a() {}", body(120))).is_empty());
        assert_eq!(found(&format!("#[test] fn a() {}", body(121))).len(), 1);
        assert!(found(&format!("#[cfg(test)] mod tests {{ fn a() {} }}", body(120))).is_empty());
    }
}
