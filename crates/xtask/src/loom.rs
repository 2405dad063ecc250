//! The models of what several threads do at once, under loom: every order in which they may meet.
//!
//! docs/decisions/0013-loom.md says why loom, and why they are built like this.

use std::path::Path;

use crate::step::{Failure, Step};

/// Looks through the models, builds them, and runs all of them, or those that `passed` picks for the test harness.
pub(crate) fn run(root: &Path, passed: &[&str]) -> Result<(), Failure> {
    for step in [lints(root), build(root)] {
        step.run()?;
    }
    models(root, &program(root)?, passed).run()
}

/// Clippy does not see the models otherwise.
fn lints(root: &Path) -> Step {
    let words = "clippy --package jeton --lib --profile test -- --cfg jeton_loom -D warnings";
    Step::cargo("clippy of the models", root, words)
}

/// The flag goes to this one crate: in `RUSTFLAGS` it would have every dependency built anew.
fn build(root: &Path) -> Step {
    Step::cargo("models", root, "rustc --package jeton --lib --profile test").words("-- --cfg jeton_loom")
}

/// The program that was built, as cargo tells it.
fn program(root: &Path) -> Result<String, Failure> {
    let words =
        "rustc --quiet --package jeton --lib --profile test --message-format json -- --cfg jeton_loom";
    let told = Step::cargo("program of the models", root, words).ask().unwrap_or_default();
    executable(&told).ok_or_else(|| {
        Failure::new("cargo does not tell which program it built of the models")
            .hint(format!("run it alone: cargo {words}"))
    })
}

fn executable(told: &str) -> Option<String> {
    let message = |line| serde_json::from_str::<serde_json::Value>(line).ok();
    let path = |message: serde_json::Value| message.get("executable")?.as_str().map(str::to_owned);
    told.lines().filter_map(message).filter_map(path).next_back()
}

/// `--show-output` tells how many orders each model has, and how long they took.
fn models(root: &Path, program: &str, passed: &[&str]) -> Step {
    let picked = if passed.is_empty() { &["models::"] } else { passed };
    Step::new("loom", program, root)
        .words("--show-output")
        .arguments(picked)
        // Half of the models are to panic.
        .environment("RUST_BACKTRACE", "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_cargo_tells_last() {
        let told = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/target/debug/deps/jeton-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(told).as_deref(), Some("/target/debug/deps/jeton-1"));
        assert_eq!(executable("{\"executable\":null}\nnonsense\n"), None);
    }

    #[test]
    fn all_models_run_unless_some_are_picked() {
        let shown = |passed: &[&str]| models(Path::new("."), "jeton-1", passed).to_string();
        assert_eq!(shown(&[]), "RUST_BACKTRACE=0 jeton-1 --show-output models::");
        assert_eq!(shown(&["breaker"]), "RUST_BACKTRACE=0 jeton-1 --show-output breaker");
    }
}
