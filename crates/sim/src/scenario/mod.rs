//! Scenarios: what is given, what happens when, and what is expected, as data.
//!
//! `testdata/scenarios/README.md` has the format, for readers who know no Rust. A scenario is played to the real client
//! under virtual time, against a token endpoint in memory; `cargo xtask sim` plays all of them, and
//! `cargo run -p sim -- --scenario FILE` plays one and prints what happened.

mod call;
mod duration;
mod expectation;
mod file;
mod log;
mod play;
mod server;
mod shared;
mod step;
mod timeline;

pub use expectation::Unmet;
pub use file::{InvalidScenario, Scenario};
pub use log::Log;
pub use play::{Played, Unplayable, play};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where the scenarios of the repository are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/scenarios")
}

/// The scenario files in `folder`, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths: io::Result<Vec<_>> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

/// Reads the scenario in `path` and plays it.
///
/// # Errors
/// [`Unplayable`] when there is no scenario to play; expectations that are not met are in [`Played`].
pub fn play_file(path: &Path) -> Result<Played, Unplayable> {
    play(&Scenario::read(path)?)
}

/// How a file was played.
#[derive(Debug)]
pub struct Outcome {
    /// The file.
    pub path: PathBuf,
    /// What came of it.
    pub played: Result<Played, Unplayable>,
    /// How long it took, in true time.
    pub took: Duration,
}

impl Outcome {
    /// What is wrong, if anything, line by line.
    pub fn faults(&self) -> Vec<String> {
        match &self.played {
            Ok(played) => played.unmet.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

/// Plays the scenarios in `paths`, as many at a time as the machine has processors; the outcomes have their order.
pub fn play_files(paths: &[PathBuf]) -> Vec<Outcome> {
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(paths.len());
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begun = Instant::now();
            let played = play_file(path);
            let outcome = Outcome { path: path.clone(), played, took: begun.elapsed() };
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by(|first, second| first.path.cmp(&second.path));
    outcomes
}
