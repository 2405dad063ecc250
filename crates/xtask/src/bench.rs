//! The benchmarks: each prints its figure beside its limit, taken in the same run.

use std::path::Path;

use crate::step::{Failure, Step};

struct Benchmark {
    name: &'static str,
    package: &'static str,
    /// Words for cargo that it takes besides.
    features: &'static [&'static str],
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark { name: "hit_path", package: "jeton", features: &[] },
    Benchmark { name: "sign", package: "jeton-proto", features: &[] },
    Benchmark { name: "token_endpoint", package: "jeton-server", features: &[] },
    Benchmark { name: "cached_token", package: "jeton-cli", features: &[] },
    Benchmark { name: "shared_read", package: "jeton", features: &["--features", "redis"] },
];

/// Runs every benchmark, one after the other.
pub(crate) fn all(root: &Path, passed: &[&str]) -> Result<(), Failure> {
    BENCHMARKS.iter().try_for_each(|benchmark| benchmark.step(root, passed).run())
}

/// Runs the benchmark called `name`.
pub(crate) fn one(root: &Path, name: &str, passed: &[&str]) -> Result<(), Failure> {
    let benchmark = BENCHMARKS.iter().find(|benchmark| benchmark.name == name).ok_or_else(|| {
        let names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        Failure::new(format!("there is no benchmark `{name}`"))
            .hint(format!("there are: {}", names.join(", ")))
    })?;
    benchmark.step(root, passed).run()
}

impl Benchmark {
    fn step(&self, root: &Path, passed: &[&str]) -> Step {
        let step = Step::cargo(self.name, root, "bench")
            .arguments(&["-p", self.package, "--bench", self.name])
            .arguments(self.features);
        if passed.is_empty() { step } else { step.argument("--").arguments(passed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_the_cargo_command_one_would_type() {
        let shown = |passed: &[&str]| BENCHMARKS[0].step(Path::new("."), passed).to_string();
        assert_eq!(shown(&[]), "cargo bench -p jeton --bench hit_path");
        assert_eq!(shown(&["--seconds", "1"]), "cargo bench -p jeton --bench hit_path -- --seconds 1");
    }

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let failure = one(Path::new("."), "no_such", &[]).unwrap_err().to_string();
        assert!(
            failure.contains("`no_such`") && failure.contains("hit_path, sign, token_endpoint"),
            "{failure}"
        );
    }
}
