//! The rules of the house that a program can check. `cargo xtask tidy` runs them, and so does an ordinary test.
//!
//! Each rule is a function from a source to findings, in a module named after what it looks at.

mod conformance;
mod direction;
mod ignored;
mod length;
mod module_names;
mod purity;
mod source;
mod units;
mod words;

use std::{collections::BTreeSet, fmt, fs, path::Path};

use crate::step::{Failure, say};
use source::Source;

/// Folders that are not ours to judge.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules"];

/// Files of text that the rules about words hold for, by the end of their name.
const TEXT_ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".py", ".mjs", ".sh", ".txt", ".ci/run"];

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.what, self.remedy)
    }
}

/// Checks the repository at `root`, prints every finding and fails when there is one.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let (files, findings) = check(root)?;
    for finding in &findings {
        say(&finding.to_string());
    }
    if findings.is_empty() {
        say(&format!("tidy: {files} files, nothing to mend"));
        return Ok(());
    }
    Err(Failure::new(format!("tidy found {} in {files} files", counted(findings.len())))
        .hint("run it alone: cargo xtask tidy"))
}

/// How many files were read, and what was found in them.
fn check(root: &Path) -> Result<(usize, Vec<Finding>), Failure> {
    let mut texts = Vec::new();
    collect(root, root, &mut texts)?;
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for (path, text) in &texts {
        findings.extend(words::check(path, text));
        findings.extend(length::file(path, text));
        if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
            findings.extend(check_source(path, text));
            named.extend(Source::parse(path, text).iter().flat_map(conformance::tests));
        }
    }
    match texts.iter().find(|(path, _)| path == conformance::LEDGER) {
        Some((_, ledger)) => findings.extend(conformance::check(ledger, &named)),
        None => return Err(Failure::new(format!("{} is missing", conformance::LEDGER))),
    }
    let manifests: Vec<(&str, &str)> = texts
        .iter()
        .filter(|(path, _)| {
            path == "fuzz/Cargo.toml" || path.starts_with("crates/") && path.ends_with("/Cargo.toml")
        })
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    findings.extend(direction::check(&manifests));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok((texts.len(), findings))
}

fn check_source(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Source::parse(path, text) {
        Ok(source) => {
            findings.extend(length::functions(&source));
            findings.extend(module_names::check(&source));
            findings.extend(units::check(&source));
            findings.extend(ignored::check(&source));
            findings.extend(purity::check(&source));
        }
        Err(finding) => findings.push(finding),
    }
    findings
}

/// Every text file below `folder`, as its path from `root` with forward slashes, and its content.
fn collect(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::file("list", folder, &e))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| Failure::file("look at", &path, &e))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if kind.is_dir() && !SKIPPED_FOLDERS.contains(&entry.file_name().to_string_lossy().as_ref()) {
            collect(root, &path, texts)?;
        } else if kind.is_file() && TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
            texts.push((name, text));
        }
    }
    Ok(())
}

fn counted(findings: usize) -> String {
    if findings == 1 { "1 thing".to_owned() } else { format!("{findings} things") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let (files, findings) = check(root).unwrap();
        let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "tidy found {}:\n{}", counted(findings.len()), list.join("\n"));
        assert!(files > 20, "only {files} files were read: the walk lost its way");
    }

    #[test]
    fn every_rule_is_asked_about_a_source() {
        let dirt = format!(
            "use std::fs;\nmod utils;\nconst POLL_INTERVAL: u64 = 5;\n#[test]\n#[ignore]\nfn idle() {{}}\nfn long() {{{}}}\n",
            "\n".repeat(100)
        );
        let found: Vec<String> =
            check_source("crates/proto/src/sample.rs", &dirt).iter().map(ToString::to_string).collect();
        for expected in ["std::fs", "`utils`", "POLL_INTERVAL", "ignored", "`long`"] {
            assert!(found.iter().any(|finding| finding.contains(expected)), "{expected} not in {found:#?}");
        }
    }

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let finding =
            Finding { path: "a/b.rs".into(), line: 7, what: "it is long".into(), remedy: "split it" };
        assert_eq!(finding.to_string(), "a/b.rs:7: it is long: split it");
    }

    #[test]
    fn a_source_that_does_not_parse_is_a_finding() {
        let found = check_source("crates/x/src/broken.rs", "fn (");
        assert!(found[0].to_string().starts_with("crates/x/src/broken.rs:1: it does not parse"), "{found:?}");
    }
}
