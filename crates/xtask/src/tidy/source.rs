//! One parsed file of Rust, with the parts of it that are tests.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{Attribute, Item, spanned::Spanned as _, visit::Visit};

use super::Finding;

/// A file of Rust and what the rules ask about it.
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) file: syn::File,
    tokens: TokenStream,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A word or a sign of the source, without comments, and where it stands.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl<'a> Source<'a> {
    /// Parses `text`, or gives the finding that it does not parse.
    pub(super) fn parse(path: &'a str, text: &str) -> Result<Self, Finding> {
        let unparsable = |error: syn::Error| Finding {
            path: path.to_owned(),
            line: error.span().start().line.max(1),
            what: format!("it does not parse: {error}"),
            remedy: "mend it, or keep it out of the crates",
        };
        let file = syn::parse_file(text).map_err(unparsable)?;
        let tokens = text.parse::<TokenStream>().map_err(|error| unparsable(error.into()))?;
        let mut tests = TestModules::default();
        tests.visit_file(&file);
        Ok(Self { path, file, tokens, test_lines: tests.lines })
    }

    /// Whether a line belongs to the tests: to a file of tests or benchmarks, or to a module under `cfg(test)`.
    pub(super) fn is_test(&self, line: usize) -> bool {
        let folders = ["/tests/", "/benches/", "/examples/", "fuzz/"];
        folders.iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
            || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Every token of the file in order, brackets left out.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let mut flat = Vec::new();
        flatten(self.tokens.clone(), &mut flat);
        flat
    }

    /// A finding at `span`.
    pub(super) fn finding(&self, span: Span, what: String, remedy: &'static str) -> Finding {
        Finding { path: self.path.to_owned(), line: span.start().line, what, remedy }
    }
}

/// Whether one of the attributes is `#[test]` in any of its forms, `#[tokio::test]` for one.
pub(super) fn is_test_function(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().segments.last().is_some_and(|segment| segment.ident == "test"))
}

#[derive(Default)]
struct TestModules {
    lines: Vec<RangeInclusive<usize>>,
}

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = attributes_of(item);
        if is_test_function(attributes) || attributes.iter().any(is_cfg_test) {
            self.lines.push(item.span().start().line..=item.span().end().line);
        }
        syn::visit::visit_item(self, item);
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        // `syn::Item` is open for kinds to come; what is left has no code of ours in it.
        _ => &[],
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

fn flatten(tokens: TokenStream, flat: &mut Vec<Token>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                flat.push(Token { text: "[".to_owned(), line: group.span().start().line });
                flatten(group.stream(), flat);
            }
            TokenTree::Group(group) => flatten(group.stream(), flat),
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                flat.push(Token { text: tree.to_string(), line: tree.span().start().line });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(path: &'a str, text: &str) -> Source<'a> {
        Source::parse(path, text).unwrap()
    }

    #[test]
    fn tests_are_known_by_their_place() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[tokio::test]\nasync fn c() {\n}\nfn d() {}\n";
        let source = parse("crates/x/src/a.rs", text);
        let tests: Vec<usize> = (1..=9).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 6, 7, 8]);
        assert!(parse("crates/x/tests/a.rs", text).is_test(1));
        assert!(parse("crates/x/src/a/tests.rs", text).is_test(1));
    }

    #[test]
    fn tokens_come_without_comments() {
        let source = parse("a.rs", "// std::fs\nfn f() {\n  g!(std::fs) }\n");
        let tokens = source.tokens();
        let places: Vec<usize> =
            tokens.iter().filter(|token| token.text == "fs").map(|token| token.line).collect();
        assert_eq!(places, [3]);
    }
}
