//! What every trial has: an endpoint, a store, and a program to start workers with.

use super::Broken;
use super::crew::{Crew, PATIENCE, Told};
use super::depot::{Depot, Kind};
use super::endpoint::{Endpoint, Terms};
use super::findings::Findings;
use super::line::{Ahead, Health, Order, Part, Report};
use super::monotonic::Monotonic;
use super::search::Needles;
use super::secrets;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How many tokens are searched for word by word.
const SEARCHED_TOKENS: usize = 100;

/// The scene of one trial.
#[derive(Debug)]
pub struct Bench {
    /// What workers are started from.
    pub program: PathBuf,
    /// The token endpoint.
    pub endpoint: Endpoint,
    /// The store.
    pub depot: Depot,
    store_key: String,
}

impl Bench {
    /// Sets the scene.
    pub async fn set_up(program: &Path, kind: Kind, terms: Terms) -> Result<Self, Broken> {
        Ok(Self {
            program: program.to_owned(),
            endpoint: Endpoint::start(terms).await?,
            depot: Depot::open(program, kind).await?,
            store_key: secrets::store_key()?,
        })
    }

    /// A worker's part in a lane, with `keys` scopes of its own, and the settings that a manager has by default.
    pub fn part(&self, lane: usize, keys: usize, ahead: Ahead) -> Part {
        Part {
            token_url: self.endpoint.url(),
            store: self.depot.store(lane),
            store_key: self.store_key.clone(),
            scopes: (0..keys).map(|key| lane_scope(lane, key)).collect(),
            lease: None,
            ahead,
            dawdle: Duration::ZERO,
        }
    }

    /// Searches what the store holds, and notes requests that were nobody's.
    pub async fn search(&self, findings: &mut Findings) -> Result<(), Broken> {
        let tokens = self.endpoint.tokens();
        let last = tokens.iter().rev().take(SEARCHED_TOKENS).map(String::as_str);
        if self.depot.kind() != Kind::None {
            Needles::with_tokens(last).look_through(&self.depot.dump().await?, findings);
        }
        findings.expect(self.endpoint.refused() == 0, || "the endpoint refused requests".to_owned());
        Ok(())
    }
}

/// The scope of a lane's key.
pub fn lane_scope(lane: usize, key: usize) -> String {
    secrets::scope(lane * 100 + key)
}

/// What a burst brought, as the workers tell it one by one.
#[derive(Clone, Debug, Default)]
pub struct Gathering {
    burst: u64,
    waiting: BTreeSet<usize>,
    /// What each worker was given.
    pub given: Vec<Share>,
    /// Failed calls, with the worker.
    pub failed: Vec<String>,
    /// Who asked the server, in order.
    pub flying: Vec<usize>,
    /// What the log said of the store.
    pub ill: Vec<String>,
}

/// What one worker was given in a burst.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The worker.
    pub worker: usize,
    /// The number of the token.
    pub serial: u64,
    /// To so many of its tasks.
    pub tasks: usize,
    /// When the first of them had it.
    pub first: Monotonic,
    /// How long a task waited at most.
    pub longest: Duration,
}

impl Gathering {
    /// Has all of `crew` ask for `key` once, with `tasks` tasks each, at the instant `at`.
    pub async fn begin(crew: &mut Crew, key: usize, tasks: usize, at: Monotonic) -> Result<Self, Broken> {
        let burst = crew.next_burst();
        crew.order_all(Order::Burst { burst, key, tasks, at }).await?;
        Ok(Self { burst, waiting: (0..crew.count()).collect(), ..Self::default() })
    }

    /// Takes note of what a worker told; an end that nobody caused is an error.
    pub fn note(&mut self, told: Told) -> Result<(), Broken> {
        let worker = told.worker;
        match told.report {
            None if self.waiting.contains(&worker) => return Err(Broken::Ended(worker)),
            Some(Report::Flying { .. }) => self.flying.push(worker),
            Some(Report::Given { burst, serial, tasks, first, longest }) if burst == self.burst => {
                self.given.push(Share { worker, serial, tasks, first, longest });
            }
            Some(Report::Failed { waited, error }) => {
                self.failed.push(format!("worker {worker} after {waited:?}: {error}"));
            }
            Some(Report::Done { burst }) if burst == self.burst => {
                self.waiting.remove(&worker);
            }
            Some(Report::StoreIs { health: Health::Ill, why, .. }) => {
                self.ill.push(format!("worker {worker}: {why}"));
            }
            None
            | Some(
                Report::Ready
                | Report::Renewed
                | Report::Rejected
                | Report::Given { .. }
                | Report::Done { .. }
                | Report::Got { .. }
                | Report::Resting { .. }
                | Report::StoreIs { health: Health::Well, .. },
            ) => {}
        }
        Ok(())
    }

    /// Nobody waits for this worker any more.
    pub fn forgo(&mut self, worker: usize) {
        self.waiting.remove(&worker);
    }

    /// Whether `worker` has still to answer.
    pub fn waits_for(&self, worker: usize) -> bool {
        self.waiting.contains(&worker)
    }

    /// Goes on until all but `but` have answered.
    pub async fn finish(&mut self, crew: &mut Crew, but: Option<usize>) -> Result<(), Broken> {
        let until = Instant::now() + PATIENCE;
        while self.waiting.iter().any(|worker| Some(*worker) != but) {
            let late = || Broken::Late { what: format!("burst {}: {self:?}", self.burst), limit: PATIENCE };
            let told = crew.next(until).await.ok_or_else(late)?;
            self.note(told)?;
        }
        Ok(())
    }

    /// Goes on until somebody asks the server.
    pub async fn until_somebody_flies(&mut self, crew: &mut Crew) -> Result<usize, Broken> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(&worker) = self.flying.first() {
                return Ok(worker);
            }
            let late = || Broken::Late { what: "a token request".to_owned(), limit: PATIENCE };
            let told = crew.next(until).await.ok_or_else(late)?;
            self.note(told)?;
        }
    }

    /// How many tasks were given a token.
    pub fn answered(&self) -> usize {
        self.given.iter().map(|share| share.tasks).sum()
    }

    /// Who was given what, in short.
    pub fn shares(&self) -> String {
        let shares = self.given.iter().map(|share| {
            format!(
                "worker {}: token {} for {} after {:?}",
                share.worker, share.serial, share.tasks, share.longest
            )
        });
        shares.collect::<Vec<_>>().join(", ")
    }

    /// The numbers of the tokens that were given.
    pub fn serials(&self) -> BTreeSet<u64> {
        self.given.iter().map(|share| share.serial).collect()
    }
}
