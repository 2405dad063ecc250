//! Cold starts, expiries and losses of everything: one token request each, and how soon all others have the token.

use super::Broken;
use super::bench::{Bench, Gathering, lane_scope};
use super::crew::Crew;
use super::depot::Kind;
use super::endpoint::Terms;
use super::findings::{Findings, Spread};
use super::line::{Ahead, Order, Report};
use super::monotonic::Monotonic;
use std::path::Path;
use std::time::Duration;

const LONG_LIFE_SECONDS: u64 = 3600;
/// The life of a token whose end is waited for.
const SHORT_LIFE_SECONDS: u64 = 4;
/// By how much tasks begin later than they are told to, so that all have been told.
const AHEAD: Duration = Duration::from_millis(20);

/// How large the trial is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many processes.
    pub processes: usize,
    /// How many tasks in each.
    pub tasks: usize,
    /// How many rounds; the first begins with the processes themselves.
    pub rounds: usize,
    /// Every so many rounds a token is left to expire; in the others everything is lost.
    pub expiry_every: usize,
}

/// How a round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// The processes start, each as soon as it can.
    Start,
    /// The store loses everything, and the managers are new.
    Loss,
    /// The token expires.
    Expiry,
}

/// Plays the rounds.
pub async fn rounds(program: &Path, kind: Kind, size: Size) -> Result<Findings, Broken> {
    let Size { processes, tasks, rounds, .. } = size;
    let mut findings =
        Findings::new(format!("{processes} processes of {tasks} tasks, {rounds} rounds, {kind}"));
    let terms = Terms { life_seconds: LONG_LIFE_SECONDS, latency: Duration::from_millis(20) };
    let bench = Bench::set_up(program, kind, terms).await?;
    let mut trial = Trial { crew: Crew::of(program), bench, size, before: 0, hand_overs: Spread::default() };
    let mut longest = Spread::default();
    for round in 0..rounds {
        let beginning = match round {
            0 => Beginning::Start,
            round if round.is_multiple_of(size.expiry_every) => Beginning::Expiry,
            _ => Beginning::Loss,
        };
        let next_expires = (round + 1).is_multiple_of(size.expiry_every);
        let life_seconds = if next_expires { SHORT_LIFE_SECONDS } else { LONG_LIFE_SECONDS };
        trial.bench.endpoint.set(&lane_scope(0, 0), Terms { life_seconds, ..terms });
        let gathered = trial.round(beginning).await?;
        gathered.given.iter().for_each(|share| longest.add(share.longest));
        trial.judge(round, beginning, &gathered, &mut findings);
    }
    let books = trial.bench.endpoint.books(&lane_scope(0, 0));
    findings.figure("token requests", books.requests.len());
    findings.figure("most at once", books.most_at_once);
    findings.figure("answer of the server to each other process", &trial.hand_overs);
    findings.figure("longest wait of each process in each round", &longest);
    trial.bench.search(&mut findings).await?;
    trial.crew.dismiss().await?;
    Ok(findings)
}

/// What a hand-over takes, with as little as possible going on beside it.
pub async fn hand_over(program: &Path, kind: Kind, rounds: usize) -> Result<(Findings, Spread), Broken> {
    let size = Size { processes: 8, tasks: 1, rounds, expiry_every: usize::MAX };
    let mut findings = Findings::new(format!("hand-over among 8 processes, {rounds} rounds, {kind}"));
    let terms = Terms { life_seconds: LONG_LIFE_SECONDS, latency: Duration::from_millis(40) };
    let bench = Bench::set_up(program, kind, terms).await?;
    let mut trial = Trial { crew: Crew::of(program), bench, size, before: 0, hand_overs: Spread::default() };
    for round in 0..rounds {
        let beginning = if round == 0 { Beginning::Start } else { Beginning::Loss };
        let gathered = trial.round(beginning).await?;
        trial.judge(round, beginning, &gathered, &mut findings);
        if round == 0 {
            // The processes were still starting.
            trial.hand_overs = Spread::default();
        }
    }
    findings.figure("answer of the server to each other process", &trial.hand_overs);
    let spread = trial.hand_overs.clone();
    trial.crew.dismiss().await?;
    Ok((findings, spread))
}

struct Trial {
    crew: Crew,
    bench: Bench,
    size: Size,
    /// How many requests there had been before the round.
    before: usize,
    hand_overs: Spread,
}

impl Trial {
    async fn round(&mut self, beginning: Beginning) -> Result<Gathering, Broken> {
        let scope = lane_scope(0, 0);
        self.before = self.bench.endpoint.requests(&scope);
        let at = match beginning {
            Beginning::Start => {
                let part = self.bench.part(0, 1, Ahead::OnDemand);
                for _ in 0..self.size.processes {
                    self.crew.start(part.clone()).await?;
                }
                Monotonic::default()
            }
            Beginning::Loss => {
                self.crew.order_all(Order::Renew).await?;
                self.crew.each_tells("new managers", |report| matches!(report, Report::Renewed)).await?;
                self.bench.depot.flush(0).await?;
                Monotonic::now().plus(AHEAD)
            }
            Beginning::Expiry => {
                let books = self.bench.endpoint.books(&scope);
                let asked = books.requests.last().map(|granted| granted.asked).unwrap_or_default();
                asked.plus(Duration::from_secs(SHORT_LIFE_SECONDS) + AHEAD)
            }
        };
        let mut gathering = Gathering::begin(&mut self.crew, 0, self.size.tasks, at).await?;
        gathering.finish(&mut self.crew, None).await?;
        Ok(gathering)
    }

    fn judge(&mut self, round: usize, beginning: Beginning, gathered: &Gathering, findings: &mut Findings) {
        let Size { processes, tasks, .. } = self.size;
        let books = self.bench.endpoint.books(&lane_scope(0, 0));
        let requests = books.requests.len().saturating_sub(self.before);
        let round = format!("round {round} ({beginning:?})");
        findings.expect(requests == 1, || format!("{round}: {requests} token requests"));
        findings.expect(gathered.answered() == processes * tasks, || {
            format!("{round}: {} of {} tasks have a token", gathered.answered(), processes * tasks)
        });
        findings.expect(gathered.serials().len() == 1, || {
            format!("{round}: tokens {:?} were given", gathered.serials())
        });
        gathered.failed.iter().for_each(|failure| findings.fault(format!("{round}: {failure}")));
        gathered.ill.iter().for_each(|ill| findings.fault(format!("{round}: {ill}")));
        let answered = books.requests.last().and_then(|granted| granted.answered);
        if let (Some(answered), [winner]) = (answered, gathered.flying.as_slice()) {
            let others = gathered.given.iter().filter(|share| share.worker != *winner);
            others.for_each(|share| self.hand_overs.add(share.first.since(answered)));
        }
    }
}
