//! The runs of several steps: `test`, and `ci` which begins with it.

use std::{env, path::Path, time::Instant};

use crate::{
    foreign, loom,
    step::{Failure, Step, say},
    tidy, tools,
};

/// Installs what the tests need and runs all of them; `passed` goes to `cargo nextest run`.
///
/// The documentation tests are left out when a person picks tests by hand.
pub(crate) fn test(root: &Path, passed: &[&str]) -> Result<(), Failure> {
    foreign::setup(root)?;
    nextest(root, passed).run()?;
    if passed.is_empty() {
        doc_tests(root).run()?;
    }
    Ok(())
}

/// Everything that must hold before a change lands.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    test(root, &[])?;
    tools::deny(root)?;
    for step in checks(root) {
        step.run()?;
    }
    loom::run(root, &[])?;
    say("\n== tidy");
    tidy::run(root)?;
    say(&format!("\nall checks passed in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

fn nextest(root: &Path, passed: &[&str]) -> Step {
    let profile = if env::var_os("CI").is_some() { "--profile ci" } else { "" };
    // Next to `--workspace`, cargo would not listen to `-p`.
    let picked = passed.iter().any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let packages = if picked { "" } else { "--workspace" };
    Step::cargo("tests", root, "nextest run").words(packages).words(profile).arguments(passed)
}

fn doc_tests(root: &Path) -> Step {
    Step::cargo("documentation tests", root, "test --quiet --doc --workspace")
}

/// The checks behind the tests. `cargo deny check advisories` is not among them: it fetches a database, and a
/// machine without a way to it would fail for no fault of the change.
///
/// The command line and the client library are both called `jeton` and would write to one folder of documentation
/// at the same time: they are documented one after the other, the library last.
fn checks(root: &Path) -> [Step; 12] {
    let doc = |name, words| Step::cargo(name, root, words).environment("RUSTDOCFLAGS", "-D warnings");
    [
        Step::cargo("fmt", root, "fmt --all --check").hint("`cargo fmt --all` mends it"),
        Step::cargo("clippy", root, "clippy --workspace --all-targets -- -D warnings"),
        // What the tests of the workspace are built with has every feature.
        Step::cargo("jeton by default", root, "check -p jeton"),
        Step::cargo("jeton without features", root, "check -p jeton --no-default-features"),
        Step::cargo("jeton with redis alone", root, "check -p jeton --no-default-features --features redis"),
        Step::cargo("jeton with vault alone", root, "check -p jeton --no-default-features --features vault"),
        Step::cargo("jeton with aws alone", root, "check -p jeton --no-default-features --features aws"),
        Step::cargo(
            "jeton with keyring alone",
            root,
            "check -p jeton --no-default-features --features keyring",
        ),
        Step::cargo("jeton-guard without features", root, "check -p jeton-guard --no-default-features"),
        Step::cargo("deny", root, "deny check bans licenses sources")
            .hint("deny.toml says what is allowed and why"),
        doc("doc of the command line", "doc --no-deps -p jeton-cli"),
        doc(
            "doc",
            "doc --no-deps --workspace --exclude jeton-cli \
             --features jeton/aws,jeton/keyring,jeton/redis,jeton/vault",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_tests_are_passed_to_nextest() {
        let shown =
            |passed: &[&str]| nextest(Path::new("."), passed).to_string().replace(" --profile ci", "");
        assert_eq!(shown(&[]), "cargo nextest run --workspace");
        assert_eq!(shown(&["hit path"]), "cargo nextest run --workspace 'hit path'");
        assert_eq!(shown(&["-p", "jeton"]), "cargo nextest run -p jeton");
    }
}
