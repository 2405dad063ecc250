//! Which crate may depend on which: the table of ARCHITECTURE.md.

use toml::{Table, Value};

use super::Finding;

/// A crate of the workspace and the crates of the workspace that it may depend on.
struct Member {
    package: &'static str,
    may_use: &'static [&'static str],
}

/// Dependencies of tests are free; they are not in here.
const MEMBERS: &[Member] = &[
    Member { package: "jeton-proto", may_use: &[] },
    Member { package: "jeton", may_use: &["jeton-proto"] },
    Member { package: "jeton-guard", may_use: &["jeton-proto", "jeton"] },
    Member { package: "jeton-server", may_use: &["jeton-proto"] },
    Member { package: "jeton-agent", may_use: &["jeton-proto", "jeton", "jeton-server"] },
    Member { package: "jeton-check", may_use: &["jeton-proto", "jeton", "jeton-server", "jeton-guard"] },
    Member { package: "jeton-cli", may_use: PUBLISHED },
    Member { package: "sim", may_use: PUBLISHED },
    Member { package: "fuzz", may_use: PUBLISHED },
    Member { package: "xtask", may_use: PUBLISHED },
];

const PUBLISHED: &[&str] =
    &["jeton-proto", "jeton", "jeton-guard", "jeton-server", "jeton-agent", "jeton-check", "jeton-cli"];

/// Outside crates that reach for a network, files, a clock or randomness, or need a runtime.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "tokio-rustls",
    "hyper",
    "hyper-util",
    "reqwest",
    "axum",
    "tower",
    "rustls",
    "rusqlite",
    "redis",
    "rustix",
    "libc",
    "tempfile",
    "fastrand",
    "rand",
    "getrandom",
    "uuid",
    "tracing-subscriber",
];

/// Checks every manifest, given as path and text.
pub(super) fn check(manifests: &[(&str, &str)]) -> Vec<Finding> {
    manifests.iter().flat_map(|(path, text)| manifest(path, text)).collect()
}

fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let finding = |line: usize, what: String, remedy: &'static str| {
        vec![Finding { path: path.to_owned(), line, what, remedy }]
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return finding(1, format!("it does not parse: {error}"), "mend it"),
    };
    let package = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let package = package.unwrap_or_default();
    let Some(member) = MEMBERS.iter().find(|member| member.package == package) else {
        let remedy = "a new crate wants a decision record and a row in the table of crates/xtask/src/tidy/direction.rs";
        return finding(1, format!("the crate `{package}` has no direction"), remedy);
    };
    let mut findings = Vec::new();
    for (key, dependency) in dependencies(&table) {
        let line = line_of(text, &key);
        if MEMBERS.iter().any(|other| other.package == dependency)
            && !member.may_use.contains(&dependency.as_str())
        {
            let what = format!("`{package}` depends on `{dependency}`, against the direction of the crates");
            findings.extend(finding(line, what, "move what both need to a crate that both may use"));
        }
        if package == "jeton-proto" && IMPURE.contains(&dependency.as_str()) {
            let what = format!("the pure crate depends on `{dependency}`");
            findings.extend(finding(
                line,
                what,
                "take the value as an argument and let a driver crate fetch it",
            ));
        }
    }
    let is_private =
        table.get("package").and_then(|package| package.get("publish")) == Some(&Value::Boolean(false));
    if is_private == PUBLISHED.contains(&package) {
        let what = format!("`{package}` {} published", if is_private { "is not" } else { "would be" });
        findings.extend(finding(
            line_of(text, "publish"),
            what,
            "`publish = false` is for sim, fuzz and xtask alone",
        ));
    }
    findings
}

/// Keys and package names of all dependencies but those of tests, of all targets.
fn dependencies(table: &Table) -> Vec<(String, String)> {
    let targets = table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let sections = targets.filter_map(Value::as_table).chain([table]).flat_map(|of| {
        ["dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|name| of.get(name).and_then(Value::as_table))
    });
    sections
        .flatten()
        .map(|(key, value)| {
            let renamed = value.get("package").and_then(Value::as_str);
            (key.clone(), renamed.unwrap_or(key).to_owned())
        })
        .collect()
}

/// The line of `key` outside the dependencies of tests, or the first line when it is written in another way.
fn line_of(text: &str, key: &str) -> usize {
    let mut in_tests = false;
    for (line, content) in (1..).zip(text.lines()) {
        if content.starts_with('[') {
            in_tests = content.contains("dev-dependencies");
        }
        let rest = content.strip_prefix(key).unwrap_or_default();
        if !in_tests && rest.starts_with([' ', '.', '=']) {
            return line;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n{rest}");
        check(&[("crates/x/Cargo.toml", &text)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        for (package, dependency) in [
            ("jeton-proto", "jeton"),
            ("jeton", "jeton-guard"),
            ("jeton", "jeton-server"),
            ("jeton-server", "jeton"),
            ("jeton-server", "jeton-guard"),
            ("jeton-guard", "jeton-server"),
            ("jeton-cli", "xtask"),
        ] {
            let findings = found(package, &format!("[dependencies]\n{dependency}.workspace = true\n"));
            assert_eq!(findings.len(), 1, "{package} on {dependency}: {findings:?}");
            assert!(findings[0].starts_with("crates/x/Cargo.toml:4: "), "{findings:?}");
            assert!(findings[0].contains(&format!("depends on `{dependency}`")), "{findings:?}");
        }
    }

    #[test]
    fn renamed_target_and_build_dependencies_count() {
        for section in ["dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let findings =
                found("jeton-server", &format!("[{section}]\nmanager = {{ package = \"jeton\" }}\n"));
            assert_eq!(findings.len(), 1, "{section}: {findings:?}");
        }
    }

    #[test]
    fn tests_may_depend_on_anything_and_the_direction_itself_is_fine() {
        assert!(
            found("jeton-proto", "[dev-dependencies]\njeton-server.workspace = true\ntokio = \"1\"\n")
                .is_empty()
        );
        assert!(
            found("jeton-guard", "[dependencies]\njeton = \"1\"\njeton-proto = \"1\"\nhttp = \"1\"\n")
                .is_empty()
        );
    }

    #[test]
    fn the_pure_crate_takes_nothing_that_reaches_outside() {
        for dependency in IMPURE {
            let findings = found("jeton-proto", &format!("[dependencies]\n{dependency} = \"1\"\n"));
            assert_eq!(findings.len(), 1, "{dependency}: {findings:?}");
        }
        assert!(found("jeton", "[dependencies]\ntokio = \"1\"\n").is_empty());
    }

    #[test]
    fn a_crate_without_a_row_and_wrong_publishing_are_found() {
        assert!(found("jeton-extra", "")[0].contains("`jeton-extra` has no direction"));
        assert!(found("xtask", "")[0].contains("`xtask` would be published"));
        assert!(found("jeton", "publish = false\n")[0].contains("Cargo.toml:3: `jeton` is not published"));
        assert!(found("xtask", "publish = false\n").is_empty());
    }
}
