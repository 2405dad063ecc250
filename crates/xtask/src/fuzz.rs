//! The fuzz targets under libFuzzer: built with coverage, run for a bounded time, two at once, and told as a table.
//!
//! docs/decisions/0010-fuzzing.md says why libFuzzer is driven from here.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use crate::{
    step::{Failure, Step, say},
    tools,
};

/// How long each target runs unless said otherwise.
const DEFAULT_SECONDS: u64 = 20;
/// A day: who wants more starts it again, and the corpus is still there.
const MOST_SECONDS: u64 = 24 * 3600;
/// Targets that run at the same time.
const AT_ONCE: usize = 2;
/// The longest input, in bytes. The limits of the parsers beyond it are reached by inputs that the targets repeat.
const MOST_INPUT_BYTES: usize = 4096;

/// What makes rustc write down which edges are taken and what is compared. All of it is known to stable compilers.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What `cargo xtask fuzz` was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    seconds: u64,
    target: Option<&'a str>,
}

/// What became of one target.
#[derive(Debug, Default)]
struct Outcome {
    target: String,
    executions: u64,
    executions_per_second: u64,
    corpus_files: usize,
    findings: Vec<PathBuf>,
    /// That the driver did not end as libFuzzer does, and left no finding either.
    fault: Option<String>,
}

/// Runs every target, or the one named, and fails when there is a finding.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<(), Failure> {
    let plan = plan(words)?;
    let targets = targets(root)?;
    let chosen: Vec<String> = match plan.target {
        None => targets,
        Some(name) if targets.iter().any(|target| target == name) => vec![name.to_owned()],
        Some(name) => {
            return Err(Failure::new(format!("there is no fuzz target `{name}`"))
                .hint(format!("there are: {}", targets.join(", "))));
        }
    };
    let driver = build(root)?;
    let rounds = chosen.len().div_ceil(AT_ONCE);
    say(&format!(
        "\n== fuzz: {} for {} s each, {AT_ONCE} at once: about {} s",
        counted(chosen.len(), "target"),
        plan.seconds,
        plan.seconds.saturating_mul(rounds as u64)
    ));
    let begun = Instant::now();
    let outcomes = run_all(root, &driver, &chosen, plan.seconds);
    say(&format!("\n{}", table(&outcomes)));
    say(&format!("== fuzz: done in {:.0} s", begun.elapsed().as_secs_f64()));
    judge(root, &outcomes)
}

fn plan<'a>(words: &[&'a str]) -> Result<Plan<'a>, Failure> {
    let usage = || Failure::new("the words of `cargo xtask fuzz` are [--seconds N] [TARGET]");
    let (seconds, rest) = match words {
        ["--seconds", seconds, rest @ ..] => (*seconds, rest),
        [target, "--seconds", seconds] if !target.starts_with('-') => {
            (*seconds, words.get(..1).unwrap_or_default())
        }
        _ => ("", words),
    };
    let seconds = match seconds {
        "" => DEFAULT_SECONDS,
        text => {
            text.parse().ok().filter(|seconds| (1..=MOST_SECONDS).contains(seconds)).ok_or_else(|| {
                usage().hint(format!("N is a number of seconds from 1 to {MOST_SECONDS}, not `{text}`"))
            })?
        }
    };
    match rest {
        [] => Ok(Plan { seconds, target: None }),
        [target] if !target.starts_with('-') => Ok(Plan { seconds, target: Some(target) }),
        _ => Err(usage()),
    }
}

/// The targets are the folders of the seeds; a test of the fuzz crate holds each to have some.
fn targets(root: &Path) -> Result<Vec<String>, Failure> {
    let seeds = root.join("fuzz/seeds");
    let entries = fs::read_dir(&seeds).map_err(|error| Failure::file("list", &seeds, &error))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Builds the driver apart from everything else, since its flags would have all else built anew; for a named platform,
/// so that build scripts and macros are built without coverage.
fn build(root: &Path) -> Result<PathBuf, Failure> {
    tools::cpp(root)?;
    let about = Step::new("probe", "rustc", root).words("-vV").ask().unwrap_or_default();
    let platform = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or_else(|| {
        Failure::new("`rustc -vV` does not tell the platform").hint("see that rustc can be started")
    })?;
    Step::cargo(
        "fuzz driver",
        root,
        "build --profile fuzz --package fuzz --bin fuzz --target-dir target/fuzz/build",
    )
    .arguments(&["--target", platform])
    .environment("RUSTFLAGS", COVERAGE)
    .run()?;
    Ok(root.join("target/fuzz/build").join(platform).join("fuzz/fuzz"))
}

fn run_all(root: &Path, driver: &Path, targets: &[String], seconds: u64) -> Vec<Outcome> {
    let waiting: Mutex<VecDeque<&String>> = Mutex::new(targets.iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(target) = next() {
            let outcome = run_one(root, driver, target, seconds);
            say(&format!(
                "{target}: {} executions, {}",
                outcome.executions,
                counted(outcome.findings.len(), "finding")
            ));
            outcomes.push(outcome);
        }
        outcomes
    };
    let mut outcomes: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    outcomes
}

/// Runs one target in a folder of its own below `target/fuzz`; what cannot be done there is the fault of its outcome.
fn run_one(root: &Path, driver: &Path, target: &str, seconds: u64) -> Outcome {
    let mut outcome = Outcome { target: target.to_owned(), ..Outcome::default() };
    let folder = root.join("target/fuzz/run").join(target);
    let (corpus, findings, log) = (folder.join("corpus"), folder.join("findings"), folder.join("log"));
    let ended = prepare(&[&corpus, &findings], &log)
        .and_then(|log| command(root, driver, target, &corpus, &findings, seconds).stderr(log).status());
    let log = fs::read(&log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    outcome.executions = statistic(&log, "stat::number_of_executed_units:");
    outcome.executions_per_second = statistic(&log, "stat::average_exec_per_sec:");
    outcome.corpus_files = files(&corpus).len();
    outcome.findings = written(&log);
    outcome.fault = match ended {
        Ok(status) if status.success() || !outcome.findings.is_empty() => None,
        Ok(status) => Some(format!("{status}; its last words: {}", log.lines().last().unwrap_or("none"))),
        Err(error) => Some(error.to_string()),
    };
    outcome
}

fn prepare(folders: &[&Path], log: &Path) -> std::io::Result<File> {
    folders.iter().try_for_each(fs::create_dir_all)?;
    File::create(log)
}

fn command(
    root: &Path,
    driver: &Path,
    target: &str,
    corpus: &Path,
    findings: &Path,
    seconds: u64,
) -> Command {
    let mut command = Command::new(driver);
    command
        .env("JETON_FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MOST_INPUT_BYTES}"))
        .arg(format!("-dict={}", root.join("fuzz/dictionaries").join(target).display()))
        // The prefix of a folder ends with the separator.
        .arg(format!("-artifact_prefix={}/", findings.display()))
        // Wide enough for a busy machine; what a parser takes is measured in microseconds.
        .args(["-timeout=25", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-print_final_stats=1"])
        .arg(corpus)
        .arg(root.join("fuzz/seeds").join(target))
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let past = root.join("fuzz/findings").join(target);
    if past.is_dir() {
        command.arg(past);
    }
    command
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The files that this run wrote. One that an earlier run left is told again when it is found again.
fn written(log: &str) -> Vec<PathBuf> {
    log.lines()
        .filter_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path.into())
        .collect()
}

fn statistic(log: &str, name: &str) -> u64 {
    let value = log.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![format!(
        "{:<16} {:>12} {:>8} {:>7} {:>9}",
        "target", "executions", "per s", "corpus", "findings"
    )];
    lines.extend(outcomes.iter().map(|outcome| {
        let Outcome { target, executions, executions_per_second, corpus_files, findings, fault: _ } = outcome;
        format!(
            "{target:<16} {executions:>12} {executions_per_second:>8} {corpus_files:>7} {:>9}",
            findings.len()
        )
    }));
    lines.join("\n")
}

fn judge(root: &Path, outcomes: &[Outcome]) -> Result<(), Failure> {
    let findings: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
    let faults = outcomes.iter().filter(|outcome| outcome.fault.is_some()).count();
    if findings + faults == 0 {
        return Ok(());
    }
    let what = format!(
        "{}, and {} that did not run to the end",
        counted(findings, "finding"),
        counted(faults, "target")
    );
    let mut failure = Failure::new(what);
    for outcome in outcomes {
        for file in &outcome.findings {
            let shown = file.strip_prefix(root).unwrap_or(file).display();
            failure = failure.hint(format!("repeat it: cargo run -p fuzz -- {} {shown}", outcome.target));
        }
        if let Some(fault) = &outcome.fault {
            failure = failure.hint(format!("{}: {fault}", outcome.target));
        }
    }
    let committed = Path::new("fuzz/findings").join(OsStr::new("TARGET"));
    Err(failure.hint(format!("when it is mended, its file goes to {} for good", committed.display())))
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
    }

    #[test]
    fn the_words_are_a_time_and_a_target_in_either_order() {
        assert_eq!(plan(&[]).unwrap(), Plan { seconds: DEFAULT_SECONDS, target: None });
        let both = Plan { seconds: 600, target: Some("jws") };
        assert_eq!(plan(&["--seconds", "600", "jws"]).unwrap(), both);
        assert_eq!(plan(&["jws", "--seconds", "600"]).unwrap(), both);
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["--seconds", "x"], &["a", "b"], &["--fast"]] {
            assert!(plan(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_has_a_dictionary_and_an_unknown_one_is_answered_with_the_known_ones() {
        for target in targets(root()).unwrap() {
            assert!(root().join("fuzz/dictionaries").join(&target).is_file(), "{target}");
        }
        let failure = run(root(), &["no_such_target"]).unwrap_err().to_string();
        assert!(failure.contains("`no_such_target`") && failure.contains("retry_after"), "{failure}");
    }

    /// A driver that is a shell script: it is given the words of libFuzzer and leaves what libFuzzer would.
    fn outcome_of(name: &str, script: &str) -> Outcome {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = root().join("target/fuzz/run").join(name);
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        let driver = folder.join("driver");
        let head =
            "#!/bin/sh\nfor word; do case $word in -artifact_prefix=*) prefix=${word#*=};; esac; done\n";
        fs::write(&driver, format!("{head}{script}")).unwrap();
        fs::set_permissions(&driver, fs::Permissions::from_mode(0o700)).unwrap();
        run_one(root(), &driver, name, 1)
    }

    #[test]
    fn a_driver_that_leaves_a_finding_fails_the_run_and_the_file_is_named() {
        let script = "echo 'stat::number_of_executed_units: 42' >&2\necho 'stat::average_exec_per_sec:     21' >&2\n\
            echo \"artifact_prefix='$prefix'; Test unit written to ${prefix}crash-1\" >&2\nexit 77\n";
        let outcome = outcome_of("sample-finding", script);
        assert_eq!((outcome.executions, outcome.executions_per_second, outcome.findings.len()), (42, 21, 1));
        let failure = judge(root(), &[outcome]).unwrap_err().to_string();
        let repeat = "cargo run -p fuzz -- sample-finding target/fuzz/run/sample-finding/findings/crash-1";
        assert!(failure.contains("1 finding") && failure.contains(repeat), "{failure}");
    }

    #[test]
    fn a_driver_that_breaks_without_a_finding_fails_the_run_too() {
        let broken = outcome_of("sample-broken", "echo 'no dictionary' >&2\nexit 1\n");
        assert!(judge(root(), &[broken]).unwrap_err().to_string().contains("its last words: no dictionary"));
        assert!(judge(root(), &[outcome_of("sample-good", "exit 0\n")]).is_ok());
    }
}
