//! `sim`: runs worlds and says what held. `cargo xtask sim` builds it for release and calls it.

use sim::journal::Trace;
use sim::machines;
use sim::seeds::{Seeds, run, run_one};
use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: sim [--seeds N] [--seed S] [--hours H] [--steps N] [--trace]

  --seeds N   how many worlds, 1 to 1000000; 200 unless --seed names one
  --seed S    the first seed; 0 unless given
  --hours H   how many hours each world lasts, 1 to 1000; 12 unless given
  --steps N   how many steps the machines alone make first, 0 to 10000000000; 20000000 unless given
  --trace     prints everything that happens in the world of --seed";

struct Arguments {
    seeds: Seeds,
    steps: u64,
    trace: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match parse(&arguments) {
        Ok(arguments) if arguments.trace => trace(arguments.seeds),
        Ok(arguments) => all(&arguments),
        Err(what) => {
            complain(&format!("sim: {what}\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn all(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let alone = (arguments.steps > 0).then(|| machines::runs::run(arguments.seeds.first, arguments.steps));
    if let Some(report) = &alone {
        say(&format!(
            "the machines alone\n{report}took              {:>12.1} s",
            begun.elapsed().as_secs_f64()
        ));
    }
    let begun = Instant::now();
    let report = run(arguments.seeds);
    say(&format!("\nwhole worlds\n{report}took              {:>12.1} s", begun.elapsed().as_secs_f64()));
    let is_clean = report.is_clean() && alone.is_none_or(|report| report.is_clean());
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

fn parse(words: &[String]) -> Result<Arguments, String> {
    let (mut count, mut first, mut hours, mut steps, mut trace) = (None, None, 12, 20_000_000, false);
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
            "--trace" => trace = true,
            other => return Err(format!("{other} is not an option")),
        }
    }
    let count = count.unwrap_or(if first.is_some() { 1 } else { 200 });
    let seeds = Seeds { first: first.unwrap_or(0), count, lasts: Duration::from_hours(hours) };
    Ok(Arguments { seeds, steps, trace })
}

/// A closed pipe is the reader's choice and no failure of ours.
fn say(line: &str) {
    let _said = writeln!(io::stdout().lock(), "{line}");
}

fn complain(text: &str) {
    let _said = writeln!(io::stderr().lock(), "{text}");
}
