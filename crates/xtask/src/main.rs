//! Commands for working on jeton: `cargo xtask setup|test|ci|tidy|loom|bench|fuzz`.

mod bench;
mod ci;
mod foreign;
mod fuzz;
mod loom;
mod sim;
mod step;
mod tidy;
mod tools;

use std::{env, path::Path, process::ExitCode};

use step::{Failure, complain, say};

const HELP: &str = "\
commands for working on jeton

usage: cargo xtask COMMAND

  setup                    install what the tests need: tools, and the programs of others under target/foreign
  test [-- ARGS]           setup, then every test of the workspace; ARGS go to `cargo nextest run`
  ci                       test, then fmt, clippy, feature checks, deny, doc, loom and tidy
  tidy                     the rules of the house that a program can check
  loom [-- ARGS]           the models of what threads do at once, in every order; ARGS go to the test harness
  bench [NAME] [-- ARGS]   all benchmarks, or the one named; ARGS go to the benchmark
  fuzz [--seconds N] [TARGET]
                           all fuzz targets, or the one named, for N seconds each (20), two at once
  sim [OPTIONS]            the machines alone, worlds and scenarios in virtual time: --seeds N, --seed S, --hours H, --steps N,
                           --trace, --scenario FILE; or `sim processes`, real ones that share a store: --full, --seed S, --store NAME
  help                     this text

Each step prints its name and its time. The first failure ends the run and says which command to run alone.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or_else(|| {
        Failure::new("the workspace has no root: crates/xtask is not two folders below one")
    })?;
    let (own, passed) = split(arguments);
    match (own, passed) {
        ([] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"], []) => {
            say(HELP);
            Ok(())
        }
        (["setup"], []) => foreign::setup(root),
        (["test"], passed) => ci::test(root, passed),
        (["ci"], []) => ci::run(root),
        (["tidy"], []) => tidy::run(root),
        (["loom"], passed) => loom::run(root, passed),
        (["fuzz", words @ ..], []) => fuzz::run(root, words),
        (["sim", options @ ..], []) => sim::run(root, options),
        (["bench"], passed) => bench::all(root, passed),
        (["bench", name], passed) => bench::one(root, name, passed),
        _ => Err(Failure::new(format!("`cargo xtask {}` is not a command", arguments.join(" ")))
            .hint("see `cargo xtask --help`")),
    }
}

/// The words before the first `--`, and those behind it.
fn split<'a>(arguments: &'a [&'a str]) -> (&'a [&'a str], &'a [&'a str]) {
    let mut halves = arguments.splitn(2, |word| *word == "--");
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_behind_the_dashes_are_passed_on() {
        assert_eq!(split(&["test", "--", "-p", "jeton", "--", "x"]).0, ["test"]);
        assert_eq!(split(&["test", "--", "-p", "jeton", "--", "x"]).1, ["-p", "jeton", "--", "x"]);
        assert_eq!(split(&["ci"]), (&["ci"][..], &[][..]));
        assert_eq!(split(&[]), (&[][..], &[][..]));
    }

    #[test]
    fn an_unknown_command_is_refused_by_name() {
        let failure = run(&["tets"]).unwrap_err().to_string();
        assert!(failure.contains("`cargo xtask tets` is not a command"), "{failure}");
        assert!(run(&["tidy", "--", "x"]).is_err(), "tidy takes nothing behind the dashes");
        assert!(run(&["bench", "no_such_benchmark"]).is_err());
    }
}
