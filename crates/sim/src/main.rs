//! `sim`: drives the machines alone, runs worlds and plays scenarios, and says what held. `cargo xtask sim` builds it for
//! release and calls it.

use sim::fleet;
use sim::journal::Trace;
use sim::machines;
use sim::processes;
use sim::scenario;
use sim::seeds::{Seeds, run, run_one};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: sim [--seeds N] [--seed S] [--hours H] [--steps N] [--fleets N] [--trace]
       sim --scenario FILE
       sim --fleet S
       sim processes [--full] [--seed S] [--store file|redis] [TRIAL...]

Without --seed, the scenarios of testdata/scenarios are played too.

  --seeds N   how many worlds, 1 to 1000000; 200 unless --seed names one
  --seed S    the first seed; 0 unless given
  --hours H   how many hours each world lasts, 1 to 1000; 12 unless given
  --steps N   how many steps the machines alone make first, 0 to 10000000000; 20000000 unless given
  --fleets N  how many fleets of processes with one store, 0 to 1000000; 40 unless given
  --trace     prints everything that happens in the world of --seed
  --scenario FILE   plays one scenario and prints everything that happens in it
  --fleet S       runs the fleet of this seed and prints everything that happens in it";

enum Task {
    Seeds { seeds: Seeds, steps: u64, fleets: u64 },
    SeedsAndScenarios { seeds: Seeds, steps: u64, fleets: u64 },
    Trace(Seeds),
    Scenario(PathBuf),
    Fleet(u64),
}

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some(code) = processes::command::carry_out(&words) {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    match parse(&arguments) {
        Ok(Task::Seeds { seeds, steps, fleets }) => {
            let machines_held = machines_alone(seeds.first, steps);
            let worlds_held = worlds(seeds);
            succeeded(fleets_of_processes(seeds.first, fleets) && worlds_held && machines_held)
        }
        Ok(Task::SeedsAndScenarios { seeds, steps, fleets }) => {
            let machines_held = machines_alone(seeds.first, steps);
            let worlds_held = worlds(seeds);
            let fleets_held = fleets_of_processes(seeds.first, fleets);
            succeeded(scenarios() && worlds_held && fleets_held && machines_held)
        }
        Ok(Task::Fleet(seed)) => one_fleet(seed),
        Ok(Task::Trace(seeds)) => trace(seeds),
        Ok(Task::Scenario(path)) => succeeded(one_scenario(&path)),
        Err(what) => {
            complain(&format!("sim: {what}\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn succeeded(everything_held: bool) -> ExitCode {
    if everything_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn machines_alone(first: u64, steps: u64) -> bool {
    if steps == 0 {
        return true;
    }
    let begun = Instant::now();
    let report = machines::runs::run(first, steps);
    say(&format!("the machines alone\n{report}took              {:>12.1} s", begun.elapsed().as_secs_f64()));
    let (begun, fleet) = (Instant::now(), machines::fleet::runs::run(first, steps));
    say(&format!(
        "\nprocesses and one store\n{fleet}took              {:>12.1} s",
        begun.elapsed().as_secs_f64()
    ));
    report.is_clean() && fleet.is_clean()
}

fn worlds(seeds: Seeds) -> bool {
    let begun = Instant::now();
    let report = run(seeds);
    say(&format!("\nwhole worlds\n{report}took              {:>12.1} s", begun.elapsed().as_secs_f64()));
    report.is_clean()
}

fn fleets_of_processes(first: u64, count: u64) -> bool {
    if count == 0 {
        return true;
    }
    let begun = Instant::now();
    let report = fleet::runs::run(first, count);
    say(&format!(
        "\nfleets of processes\n{report}took              {:>12.1} s",
        begun.elapsed().as_secs_f64()
    ));
    report.is_clean()
}

fn one_fleet(seed: u64) -> ExitCode {
    match fleet::runs::run_one(seed, true) {
        Ok(outcome) => {
            outcome.lines.iter().for_each(|line| say(line));
            outcome.violations.iter().for_each(|violation| say(&format!("!! {violation}")));
            say(&format!("{} violations, trace hash {:016x}", outcome.violations.len(), outcome.trace_hash));
            succeeded(outcome.violations.is_empty())
        }
        Err(error) => {
            complain(&format!("sim: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn scenarios() -> bool {
    let (begun, folder) = (Instant::now(), scenario::folder());
    let paths = match scenario::files_in(&folder) {
        Ok(paths) => paths,
        Err(error) => {
            complain(&format!("sim: the scenarios in {} cannot be read: {error}", folder.display()));
            return false;
        }
    };
    let outcomes = scenario::play_files(&paths);
    let faults: Vec<String> = outcomes.iter().flat_map(scenario::Outcome::faults).collect();
    for fault in &faults {
        say(fault);
    }
    let took = begun.elapsed().as_secs_f64();
    say(&format!(
        "\nscenarios         {:>12}\nfaults in them    {:>12}\ntook              {took:>12.1} s",
        paths.len(),
        faults.len()
    ));
    faults.is_empty() && !paths.is_empty()
}

fn one_scenario(path: &Path) -> bool {
    match scenario::play_file(path) {
        Ok(played) => {
            say(played.title());
            played.timeline().iter().for_each(|line| say(line));
            played.unmet.iter().for_each(|unmet| say(&unmet.to_string()));
            say(&format!("{} expectations are not met", played.unmet.len()));
            played.unmet.is_empty()
        }
        Err(error) => {
            complain(&format!("sim: {error}"));
            false
        }
    }
}

fn trace(seeds: Seeds) -> ExitCode {
    match run_one(seeds.first, seeds.lasts, Trace::Kept) {
        Ok(summary) => {
            for line in &summary.lines {
                say(line);
            }
            say(&format!("{} violations, trace hash {:016x}", summary.violations.len(), summary.trace_hash));
            if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain(&format!("sim: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Result<Task, String> {
    if let [word, path] = words
        && word == "--scenario"
    {
        return Ok(Task::Scenario(PathBuf::from(path)));
    }
    if let [word, seed] = words
        && word == "--fleet"
    {
        let seed = seed.parse().map_err(|_| "--fleet takes a number".to_owned())?;
        return Ok(Task::Fleet(seed));
    }
    let (mut count, mut first, mut hours, mut steps, mut trace) = (None, None, 12, 20_000_000, false);
    let mut fleets = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = |bounds: std::ops::RangeInclusive<u64>| {
            let value =
                words.next().and_then(|value| value.parse().ok()).filter(|value| bounds.contains(value));
            value.ok_or_else(|| format!("{word} takes a number from {} to {}", bounds.start(), bounds.end()))
        };
        match word.as_str() {
            "--seeds" => count = Some(number(1..=1_000_000)?),
            "--seed" => first = Some(number(0..=u64::MAX)?),
            "--hours" => hours = number(1..=1_000)?,
            "--steps" => steps = number(0..=10_000_000_000)?,
            "--fleets" => fleets = Some(number(0..=1_000_000)?),
            "--trace" => trace = true,
            "--scenario" => return Err("--scenario takes a file, and nothing stands beside it".to_owned()),
            "--fleet" => return Err("--fleet takes a seed, and nothing stands beside it".to_owned()),
            other => return Err(format!("{other} is not an option")),
        }
    }
    let count = count.unwrap_or(if first.is_some() { 1 } else { 200 });
    let seeds = Seeds { first: first.unwrap_or(0), count, lasts: Duration::from_hours(hours) };
    // Who names a seed wants that one.
    let fleets = fleets.unwrap_or(if first.is_some() { 1 } else { 40 });
    Ok(match (trace, first) {
        (true, _) => Task::Trace(seeds),
        (false, Some(_)) => Task::Seeds { seeds, steps, fleets },
        (false, None) => Task::SeedsAndScenarios { seeds, steps, fleets },
    })
}

/// A closed pipe is the reader's choice and no failure of ours.
fn say(line: &str) {
    let _said = writeln!(io::stdout().lock(), "{line}");
}

fn complain(text: &str) {
    let _said = writeln!(io::stderr().lock(), "{text}");
}
