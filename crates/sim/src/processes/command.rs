//! `sim processes`: the trials at full size, or at the size of the tests.

use super::depot::Kind;
use super::findings::Findings;
use super::kills::{self, Fate};
use super::outages::{self, Trouble};
use super::{Broken, leash, rounds, worker};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The name of the command.
pub const COMMAND: &str = "processes";

/// What can be asked of it.
pub const USAGE: &str = "\
usage: sim processes [--full] [--seed S] [--store file|redis] [TRIAL...]

Starts real processes, a token endpoint and redis-server, all on loopback; ends them all. Without TRIAL, all of them:

  cold       8 processes of 50 tasks: cold, and at expiry
  rounds     many rounds of many processes
  hand-over  how soon the other processes have the token
  kill       holders of the lease are killed with SIGKILL
  stop       holders of the lease are held still with SIGSTOP
  outages    redis-server is stopped, killed, flushed, and more
  disk       the file store's disk is full

  --full     as many rounds as the figures in docs want: 100, and 1,000 kills; 15 minutes
  --seed S   what instants are drawn from; 0 unless given
  --store    with this store alone";

/// Carries out what `words`, the program's, ask for, if that is a matter of processes: the trials, a worker, a leash.
pub fn carry_out(words: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = words.split_first()?;
    match first.to_str()? {
        worker::COMMAND => Some(worker::run()),
        leash::COMMAND => Some(failed(&leash::become_leashed(rest))),
        COMMAND => {
            let words: Vec<String> = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            match Options::parse(&words) {
                Ok(options) => Some(options.run()),
                Err(what) => {
                    let _said = writeln!(io::stderr().lock(), "sim: {what}\n\n{USAGE}");
                    Some(ExitCode::from(2))
                }
            }
        }
        _ => None,
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let _said = writeln!(io::stderr().lock(), "sim: {error}");
    ExitCode::FAILURE
}

/// A trial by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// 8 × 50.
    Cold,
    /// Many rounds.
    Rounds,
    /// How soon.
    HandOver,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// What happens to Redis.
    Outages,
    /// A full disk.
    Disk,
}

const TRIALS: [(&str, Trial); 7] = [
    ("cold", Trial::Cold),
    ("rounds", Trial::Rounds),
    ("hand-over", Trial::HandOver),
    ("kill", Trial::Kill),
    ("stop", Trial::Stop),
    ("outages", Trial::Outages),
    ("disk", Trial::Disk),
];

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Short,
    Full,
}

/// What is to be done.
#[derive(Debug)]
pub struct Options {
    trials: Vec<Trial>,
    kinds: Vec<Kind>,
    seed: u64,
    extent: Extent,
}

impl Options {
    /// Reads the words behind the name of the command.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let (mut trials, mut kinds, mut seed, mut extent) = (Vec::new(), None, 0, Extent::Short);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--full" => extent = Extent::Full,
                "--seed" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    seed = number.ok_or("--seed takes a number")?;
                }
                "--store" => {
                    kinds = Some(match words.next().map(String::as_str) {
                        Some("file") => vec![Kind::File],
                        Some("redis") => vec![Kind::Redis],
                        Some(_) | None => return Err("--store takes file or redis".to_owned()),
                    });
                }
                word => {
                    let named = TRIALS.iter().find(|(name, _)| *name == word);
                    trials.push(named.ok_or_else(|| format!("{word} is no trial"))?.1);
                }
            }
        }
        if trials.is_empty() {
            trials = TRIALS.iter().map(|(_, trial)| *trial).collect();
        }
        Ok(Self { trials, kinds: kinds.unwrap_or_else(|| vec![Kind::File, Kind::Redis]), seed, extent })
    }

    fn run(&self) -> ExitCode {
        let carried_out =
            env::current_exe().map_err(Broken::system("looking for this program")).and_then(|program| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(Broken::system("starting a runtime"))?;
                // A closed pipe is the reader's choice and no failure of ours.
                runtime.block_on(self.carry_out(&program, |text| {
                    let _said = writeln!(io::stdout().lock(), "{text}");
                }))
            });
        match carried_out {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => failed(&error),
        }
    }

    /// Does it, tells each trial's findings when it is over, and whether everything held.
    pub async fn carry_out(&self, program: &Path, tell: impl Fn(&str)) -> Result<bool, Broken> {
        let mut is_clean = true;
        for trial in &self.trials {
            for kind in &self.kinds {
                let begun = Instant::now();
                for findings in self.try_out(program, *trial, *kind).await? {
                    tell(&format!("{findings}  took {:.1} s\n", begun.elapsed().as_secs_f64()));
                    is_clean &= findings.is_clean();
                }
            }
        }
        Ok(is_clean)
    }

    async fn try_out(&self, program: &Path, trial: Trial, kind: Kind) -> Result<Vec<Findings>, Broken> {
        let pick = |short: usize, full: usize| match self.extent {
            Extent::Short => short,
            Extent::Full => full,
        };
        let kill_size = |rounds| kills::Size { lanes: 4, rounds, seed: self.seed };
        Ok(vec![match trial {
            Trial::Cold => {
                let size = rounds::Size { processes: 8, tasks: 50, rounds: pick(3, 20), expiry_every: 2 };
                rounds::rounds(program, kind, size).await?
            }
            Trial::Rounds => {
                let rounds = pick(8, 100);
                let size = rounds::Size { processes: pick(16, 40), tasks: 25, rounds, expiry_every: 5 };
                rounds::rounds(program, kind, size).await?
            }
            Trial::HandOver => rounds::hand_over(program, kind, pick(30, 200)).await?.0,
            Trial::Kill => kills::play(program, kind, Fate::Killed, kill_size(pick(40, 1000))).await?,
            Trial::Stop => kills::play(program, kind, Fate::HeldStill, kill_size(pick(16, 200))).await?,
            Trial::Outages => return self.outages(program, kind, &Trouble::OF_REDIS).await,
            Trial::Disk => return self.outages(program, kind, &[Trouble::DiskFull]).await,
        }])
    }

    /// Those of `troubles` that happen to this kind of store.
    async fn outages(
        &self,
        program: &Path,
        kind: Kind,
        troubles: &[Trouble],
    ) -> Result<Vec<Findings>, Broken> {
        let size = match self.extent {
            Extent::Short => outages::Size { processes: 4, tasks: 6, away: Duration::from_secs(2) },
            Extent::Full => outages::Size { processes: 8, tasks: 50, away: Duration::from_secs(6) },
        };
        let mut found = Vec::new();
        for trouble in troubles.iter().filter(|trouble| trouble.kind() == kind) {
            found.push(outages::play(program, *trouble, size).await?);
        }
        Ok(found)
    }
}
