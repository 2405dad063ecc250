//! A module is named after the noun it defines, not after the drawer it was put in.

use syn::{
    ItemMod,
    visit::{self, Visit},
};

use super::{Finding, source::Source};

const BANNED: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "types"];

const REMEDY: &str = "name it after the noun it defines, as the RFCs call it";

/// Finds files, folders and modules with a name that says nothing.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut modules = Modules { source, findings: Vec::new() };
    let stem = source.path.strip_suffix(".rs").unwrap_or(source.path);
    if let Some(name) = stem.split('/').find(|part| BANNED.contains(part)) {
        modules.findings.push(Finding {
            path: source.path.to_owned(),
            line: 1,
            what: format!("the path has `{name}` in it"),
            remedy: REMEDY,
        });
    }
    modules.visit_file(&source.file);
    modules.findings
}

struct Modules<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Modules<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if BANNED.iter().any(|name| item.ident == name) {
            let what = format!("a module is called `{}`", item.ident);
            self.findings.push(self.source.finding(item.ident.span(), what, REMEDY));
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::parse(path, text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_drawer_is_found_as_module_file_and_folder() {
        for name in BANNED {
            assert_eq!(found("crates/x/src/a.rs", &format!("\nmod {name};")).len(), 1, "{name}");
            assert_eq!(
                found("crates/x/src/a.rs", &format!("mod a {{ mod {name} {{}} }}")).len(),
                1,
                "{name}"
            );
            assert_eq!(found(&format!("crates/x/src/{name}.rs"), "").len(), 1, "{name}");
            assert_eq!(found(&format!("crates/x/tests/{name}/mod.rs"), "").len(), 1, "{name}");
        }
        let finding = found("crates/x/src/a.rs", "\nmod utils;").remove(0);
        assert!(finding.starts_with("crates/x/src/a.rs:2: a module is called `utils`"), "{finding}");
    }

    #[test]
    fn a_noun_is_left_alone() {
        assert!(found("crates/x/src/challenge.rs", "mod scope; mod common_name;").is_empty());
    }
}
