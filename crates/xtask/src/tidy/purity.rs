//! The crate of decisions stays pure: what it needs to know comes in as a value.

use std::collections::BTreeSet;

use syn::{
    ItemUse, UseTree,
    visit::{self, Visit},
};

use super::{
    Finding,
    source::{Source, Token},
};

const PURE_FOLDER: &str = "crates/proto/src/";

/// What reaches outside, as the ends of paths.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["SystemTime", "now"],
    &["Instant", "now"],
];

/// Finds files, sockets, processes, threads, the environment and clocks in the pure crate. Its tests are free.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(PURE_FOLDER) {
        return Vec::new();
    }
    let mut places = in_tokens(&source.tokens());
    let mut imports = Imports::default();
    imports.visit_file(&source.file);
    places.extend(imports.places);
    places
        .into_iter()
        .filter(|(line, _)| !source.is_test(*line))
        .map(|(line, name)| Finding {
            path: source.path.to_owned(),
            line,
            what: format!("the pure crate names `{name}`"),
            remedy: "take the value as an argument and let a driver crate fetch it",
        })
        .collect()
}

/// Paths as they are written out, in macros too.
fn in_tokens(tokens: &[Token]) -> BTreeSet<(usize, String)> {
    let mut places = BTreeSet::new();
    for window in tokens.windows(4) {
        let [first, colon, second_colon, last] = window else {
            continue;
        };
        if colon.text == ":" && second_colon.text == ":" && is_impure(&first.text, &last.text) {
            places.insert((last.line, format!("{}::{}", first.text, last.text)));
        }
    }
    places
}

/// Paths that imports put together from a tree.
#[derive(Default)]
struct Imports {
    places: BTreeSet<(usize, String)>,
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.walk("", &item.tree);
        visit::visit_item_use(self, item);
    }
}

impl Imports {
    fn walk(&mut self, parent: &str, tree: &UseTree) {
        let ident = match tree {
            UseTree::Path(path) => {
                self.walk(&path.ident.to_string(), &path.tree);
                &path.ident
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.walk(parent, tree)),
            UseTree::Name(name) => &name.ident,
            UseTree::Rename(rename) => &rename.ident,
            UseTree::Glob(_) => return,
        };
        if is_impure(parent, &ident.to_string()) {
            self.places.insert((ident.span().start().line, format!("{parent}::{ident}")));
        }
    }
}

fn is_impure(parent: &str, name: &str) -> bool {
    IMPURE.iter().any(|path| *path == [parent, name])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::parse(path, text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whatever_reaches_outside_is_found_once() {
        for (text, name) in [
            ("\nuse std::fs;", "std::fs"),
            ("\nuse std::{io, fs::File};", "std::fs"),
            ("\nuse std::{net as n};", "std::net"),
            ("\nfn a() { std::env::var(\"A\").ok(); }", "std::env"),
            ("\nfn a() { let t = std::time::SystemTime::now(); }", "SystemTime::now"),
            ("\nfn a() { b!(Instant::now()); }", "Instant::now"),
            ("\nfn a() { std::process::exit(1) }", "std::process"),
            ("\nuse std::thread::{self};", "std::thread"),
        ] {
            let findings = found("crates/proto/src/a.rs", text);
            assert_eq!(findings.len(), 1, "{text}: {findings:?}");
            assert!(findings[0].starts_with("crates/proto/src/a.rs:2: "), "{findings:?}");
            assert!(findings[0].contains(&format!("`{name}`")), "{findings:?}");
        }
    }

    #[test]
    fn comments_tests_and_other_crates_are_free() {
        assert!(found("crates/proto/src/a.rs", "// std::fs and Instant::now\nuse std::fmt;").is_empty());
        assert!(found("crates/proto/src/a.rs", "#[cfg(test)]\nmod tests {\n use std::fs;\n}").is_empty());
        assert!(found("crates/proto/tests/a.rs", "use std::fs;").is_empty());
        assert!(found("crates/client/src/a.rs", "use std::fs;").is_empty());
    }
}
