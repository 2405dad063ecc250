//! The simulator, built for release: worlds in virtual time, each from a seed.

use std::path::Path;

use crate::step::{Failure, Step};

/// Runs worlds; `options` are those of `cargo run -p sim -- --help`.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<(), Failure> {
    step(root, options).run()
}

fn step(root: &Path, options: &[&str]) -> Step {
    Step::cargo("sim", root, "run --release --quiet --package sim --").arguments(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_passed_on() {
        let shown = step(Path::new("."), &["--seeds", "10"]).to_string();
        assert_eq!(shown, "cargo run --release --quiet --package sim -- --seeds 10");
    }
}
