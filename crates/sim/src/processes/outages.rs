//! A store that is taken away while tokens are in use: nobody notices, and it is used again when it is back.

mod trouble;

pub use trouble::Trouble;

use super::Broken;
use super::bench::{Bench, lane_scope};
use super::crew::{Crew, PATIENCE};
use super::endpoint::Terms;
use super::findings::Findings;
use super::line::{Ahead, Health, Order, Report};
use super::monotonic::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// The life of a token: so short that every process needs another one while the store is away.
const LIFE: Duration = Duration::from_secs(2);
/// The least time between two requests of one process: a token is renewed when 0.6 of its life is over.
const RENEWED_AFTER: Duration = Duration::from_millis(1150);
/// For how long it is watched that all share again: longer than a store that works again goes unnoticed.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How many renewals that has room for.
const MOST_AFTERWARDS: u32 = 3;
const LATENCY: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(10);
/// How soon a store that is back is used again: it is looked at every two seconds, then a token has to be needed, and got round.
const USED_AGAIN_WITHIN: Duration = Duration::from_secs(8);
/// How long a call may take at most: a store that does not answer costs its time-out once, and the machine is busy.
const LONGEST_CALL: Duration = Duration::from_secs(3);

/// How large the trial is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many processes.
    pub processes: usize,
    /// How many tasks in each.
    pub tasks: usize,
    /// For how long the store is away.
    pub away: Duration,
}

/// Takes the store away once.
pub async fn play(program: &Path, trouble: Trouble, size: Size) -> Result<Findings, Broken> {
    let Size { processes, tasks, away } = size;
    let mut findings =
        Findings::new(format!("{trouble} for {away:?}, {processes} processes of {tasks} tasks"));
    let terms = Terms { life_seconds: LIFE.as_secs(), latency: LATENCY };
    let mut bench = Bench::set_up(program, trouble.kind(), terms).await?;
    let prepared = trouble.prepare(&mut bench.depot).await?;
    let mut crew = Crew::of(program);
    crew.start_all(processes, &bench.part(0, 1, Ahead::WhileUsed)).await?;
    crew.order_all(Order::Ask { tasks, pause: PAUSE }).await?;
    let mut seen = Seen::default();
    seen.until_all_share(&mut crew, &bench, Monotonic::default()).await?;
    seen.watch(&mut crew, LIFE / 2).await?;
    seen.judge_calm(&mut findings, "before");

    let mut outage = Seen::default();
    let begun = Monotonic::now();
    let ending = trouble.begin(&mut bench.depot).await?;
    outage.watch(&mut crew, away).await?;
    trouble.end(&mut bench.depot, ending).await?;
    let ended = Monotonic::now();
    let shared_at = outage.until_all_share(&mut crew, &bench, ended).await?;
    let mut after = Seen::default();
    after.watch(&mut crew, AFTERWARDS).await?;
    // Who only reads finds out last, and may not have needed the store until now.
    outage.well.extend(&after.well);
    outage.judge(&mut findings, &Away { begun, ended, shared_at, trouble, processes });
    after.judge_calm(&mut findings, "after");
    rest(&mut crew, &mut findings).await?;
    bench.search(&mut findings).await?;
    crew.dismiss().await?;
    drop(prepared);
    Ok(findings)
}

/// When it was away.
struct Away {
    begun: Monotonic,
    ended: Monotonic,
    shared_at: Monotonic,
    trouble: Trouble,
    processes: usize,
}

/// What the workers told.
#[derive(Default)]
struct Seen {
    failed: Vec<String>,
    /// Token requests by process.
    flights: BTreeMap<usize, u32>,
    ill: BTreeSet<usize>,
    warnings: usize,
    words: Option<String>,
    well: BTreeMap<usize, Monotonic>,
    /// Which processes had a token.
    had: BTreeMap<u64, BTreeSet<usize>>,
}

impl Seen {
    async fn watch(&mut self, crew: &mut Crew, span: Duration) -> Result<(), Broken> {
        let until = Instant::now() + span;
        while let Some(told) = crew.next(until).await {
            self.note(told.worker, told.report)?;
        }
        Ok(())
    }

    /// Until all have one token that was asked for after `since`; tells when that was.
    async fn until_all_share(
        &mut self,
        crew: &mut Crew,
        bench: &Bench,
        since: Monotonic,
    ) -> Result<Monotonic, Broken> {
        let until = Instant::now() + PATIENCE;
        loop {
            let late =
                || Broken::Late { what: "a token that all processes share".to_owned(), limit: PATIENCE };
            let told = crew.next(until).await.ok_or_else(late)?;
            self.note(told.worker, told.report)?;
            let books = bench.endpoint.books(&lane_scope(0, 0));
            let is_new = |serial: u64| {
                books.requests.iter().any(|granted| granted.serial == serial && granted.asked > since)
            };
            if self.had.iter().any(|(serial, had)| had.len() == crew.count() && is_new(*serial)) {
                return Ok(Monotonic::now());
            }
        }
    }

    fn note(&mut self, worker: usize, report: Option<Report>) -> Result<(), Broken> {
        match report {
            None => return Err(Broken::Ended(worker)),
            Some(Report::Failed { waited, error }) => {
                self.failed.push(format!("worker {worker}: a call failed after {waited:?}: {error}"));
            }
            Some(Report::Flying { .. }) => *self.flights.entry(worker).or_default() += 1,
            Some(Report::Got { serial, .. }) => {
                self.had.entry(serial).or_default().insert(worker);
            }
            Some(Report::StoreIs { health: Health::Ill, why, .. }) => {
                self.ill.insert(worker);
                self.warnings += 1;
                self.words = Some(why);
            }
            Some(Report::StoreIs { health: Health::Well, at, .. }) => {
                self.well.insert(worker, at);
            }
            Some(
                Report::Ready
                | Report::Renewed
                | Report::Rejected
                | Report::Given { .. }
                | Report::Done { .. }
                | Report::Resting { .. },
            ) => {}
        }
        Ok(())
    }

    fn requests(&self) -> u32 {
        self.flights.values().sum()
    }

    /// While nothing is wrong, one process asks for all.
    fn judge_calm(&self, findings: &mut Findings, when: &str) {
        self.failed.iter().for_each(|failure| findings.fault(format!("{when}: {failure}")));
        if when == "after" {
            let requests = self.requests();
            findings.figure(format!("token requests in {AFTERWARDS:?} afterwards"), requests);
            findings.expect(requests <= MOST_AFTERWARDS, || format!("{when}: {requests} token requests"));
        }
    }

    fn judge(&self, findings: &mut Findings, away: &Away) {
        let Away { begun, ended, shared_at, trouble, processes } = *away;
        self.failed.iter().for_each(|failure| findings.fault(failure.as_str()));
        findings.figure("failed calls", self.failed.len());
        findings.figure("token requests until all share again", self.requests());
        findings.figure("processes that warned", format!("{} of {processes}", self.ill.len()));
        findings.figure("warnings", self.warnings);
        findings.figure("warning", self.words.as_deref().unwrap_or("none"));
        let alone = shared_at.since(begun);
        let lives = alone.as_millis() / RENEWED_AFTER.as_millis() + 1;
        for (worker, flights) in &self.flights {
            findings.expect(u128::from(*flights) <= lives, || {
                format!("worker {worker} asked {flights} times in {alone:?}")
            });
        }
        let again = shared_at.since(ended);
        findings.figure("all on one new token again after", format!("{:.2} s", again.as_secs_f64()));
        findings.expect(again <= USED_AGAIN_WITHIN, || format!("it was used again after {again:?}"));
        let well = self.well.values().map(|at| at.since(ended)).max().unwrap_or_default();
        findings.figure("last process that said that it works again", format!("{:.2} s", well.as_secs_f64()));
        if trouble.is_told() {
            findings.expect(!self.ill.is_empty(), || "nobody noticed".to_owned());
            for worker in self.ill.iter().filter(|worker| !self.well.contains_key(worker)) {
                findings.fault(format!("worker {worker} never said that the store works again"));
            }
        }
    }
}

async fn rest(crew: &mut Crew, findings: &mut Findings) -> Result<(), Broken> {
    crew.order_all(Order::Rest).await?;
    let until = Instant::now() + PATIENCE;
    let (mut resting, mut total, mut longest_of_all) = (0, 0, Duration::ZERO);
    while resting < crew.count() {
        let late = || Broken::Late { what: "the tasks' end".to_owned(), limit: PATIENCE };
        let told = crew.next(until).await.ok_or_else(late)?;
        match told.report {
            Some(Report::Resting { calls, longest }) => {
                resting += 1;
                total += calls;
                longest_of_all = longest_of_all.max(longest);
            }
            Some(Report::Failed { error, .. }) => {
                findings.fault(format!("a call failed at the end: {error}"));
            }
            None => return Err(Broken::Ended(told.worker)),
            Some(_) => {}
        }
    }
    findings.figure("calls", total);
    findings.figure("longest call", format!("{:.0} ms", longest_of_all.as_secs_f64() * 1000.0));
    findings.expect(total > 0, || "nobody asked for a token".to_owned());
    findings.expect(longest_of_all <= LONGEST_CALL, || format!("a call took {longest_of_all:?}"));
    Ok(())
}
