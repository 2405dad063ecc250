//! Holders of the lease that are killed, or held still, at random instants of their flight.

use super::Broken;
use super::bench::{Bench, Gathering, Share, lane_scope};
use super::crew::{Crew, PATIENCE};
use super::depot::Kind;
use super::endpoint::Terms;
use super::findings::{Findings, Spread};
use super::line::{Ahead, Order, Part, Report};
use super::monotonic::Monotonic;
use rustix::process::Signal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_millis(300);
/// How long a request is under way to the server, and how long that takes to answer.
const DAWDLE: Duration = Duration::from_millis(10);
const LATENCY: Duration = Duration::from_millis(30);
/// How long after its request was sent a holder still has something to do: publish, and tell.
const AFTERMATH: Duration = Duration::from_millis(15);
const WORKERS: usize = 4;
const TASKS: usize = 5;
/// How much longer than lease and flight a survivor may wait on a machine whose processors are all busy.
const SLACK: Duration = Duration::from_secs(2);
/// How long after a process went on again what it had begun is over.
const SETTLED: Duration = Duration::from_millis(150);

/// What happens to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// SIGKILL; a new process takes its place.
    Killed,
    /// SIGSTOP for longer than its lease, then SIGCONT.
    HeldStill,
}

/// How large the trial is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// So many groups of processes beside each other, each with a key of its own.
    pub lanes: usize,
    /// How many holders in all.
    pub rounds: usize,
    /// What the instants are drawn from.
    pub seed: u64,
}

/// Why all ask for a token at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// There is none.
    Cold,
    /// An API refused the one that all have.
    Rejected,
}

/// Plays the rounds.
pub async fn play(program: &Path, kind: Kind, fate: Fate, size: Size) -> Result<Findings, Broken> {
    let Size { lanes, rounds, seed } = size;
    let title =
        format!("{rounds} holders {fate:?} in {lanes} lanes of {WORKERS} processes, {kind}, seed {seed}");
    let mut findings = Findings::new(title);
    let terms = Terms { life_seconds: 3600, latency: LATENCY };
    let bench = Arc::new(Bench::set_up(program, kind, terms).await?);
    let mut playing = JoinSet::new();
    for number in 0..lanes {
        let share = rounds / lanes + usize::from(number < rounds % lanes);
        let mut lane = Lane::start(Arc::clone(&bench), number, fate, seed).await?;
        playing.spawn(async move {
            for _ in 0..share {
                lane.round().await?;
            }
            let Lane { crew, toll, .. } = lane;
            crew.dismiss().await?;
            Ok::<_, Broken>(toll)
        });
    }
    let mut toll = Toll::default();
    while let Some(lane) = playing.join_next().await {
        toll.take(lane.map_err(|error| Broken::Nonsense(error.to_string()))??);
    }
    toll.show(fate, &mut findings);
    bench.search(&mut findings).await?;
    Ok(findings)
}

/// What the rounds of one lane came to.
#[derive(Debug, Default)]
struct Toll {
    findings: Findings,
    rounds: usize,
    /// How many rounds had so many requests: none, one, two, more.
    requests: [usize; 4],
    unanswered: usize,
    waits: Spread,
    late: usize,
    kept_own: usize,
}

impl Toll {
    fn take(&mut self, other: Self) {
        self.findings.take_faults(other.findings);
        self.rounds += other.rounds;
        self.unanswered += other.unanswered;
        self.late += other.late;
        self.kept_own += other.kept_own;
        self.waits.extend(&other.waits);
        self.requests.iter_mut().zip(other.requests).for_each(|(mine, theirs)| *mine += theirs);
    }

    fn show(self, fate: Fate, findings: &mut Findings) {
        findings.figure("rounds", self.rounds);
        let [none, one, two, more] = self.requests;
        findings.figure("rounds with 0, 1, 2, more token requests", format!("{none}, {one}, {two}, {more}"));
        findings.figure("hit before the server had answered", self.unanswered);
        findings.figure("hit after all had their token", self.late);
        findings.figure("longest wait of each survivor", &self.waits);
        if fate == Fate::HeldStill {
            findings.figure("holders that kept their own late token", self.kept_own);
            let few = self.kept_own * 10 <= self.rounds;
            findings.expect(few, || "most holders kept their own late token".to_owned());
            findings.expect(self.late < self.rounds, || "no holder was held still in time".to_owned());
        }
        findings.expect(two + more > 0 && one > 0, || {
            "the holders were not hit both before and after they had published".to_owned()
        });
        findings.take_faults(self.findings);
    }
}

/// One group of processes that share one key.
struct Lane {
    bench: Arc<Bench>,
    crew: Crew,
    number: usize,
    fate: Fate,
    rng: fastrand::Rng,
    toll: Toll,
    cause: Cause,
    before: usize,
}

impl Lane {
    async fn start(bench: Arc<Bench>, number: usize, fate: Fate, seed: u64) -> Result<Self, Broken> {
        let part = Part { lease: Some(LEASE), dawdle: DAWDLE, ..bench.part(number, 1, Ahead::OnDemand) };
        let mut crew = Crew::of(&bench.program);
        crew.start_all(WORKERS, &part).await?;
        let lane_seed = seed.wrapping_mul(1000).wrapping_add(u64::try_from(number).unwrap_or_default());
        let rng = fastrand::Rng::with_seed(lane_seed);
        Ok(Self { bench, crew, number, fate, rng, toll: Toll::default(), cause: Cause::Cold, before: 0 })
    }

    fn scope(&self) -> String {
        lane_scope(self.number, 0)
    }

    fn span(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    fn fault(&mut self, what: &str) {
        let (number, round, cause) = (self.number, self.toll.rounds, self.cause);
        self.toll.findings.fault(format!("lane {number}, round {round} ({cause:?}): {what}"));
    }

    async fn round(&mut self) -> Result<(), Broken> {
        self.cause = if self.rng.u8(..4) == 0 { Cause::Rejected } else { Cause::Cold };
        self.prepare(self.cause).await?;
        self.before = self.bench.endpoint.requests(&self.scope());
        let mut gathering = Gathering::begin(&mut self.crew, 0, TASKS, Monotonic::default()).await?;
        let holder = gathering.until_somebody_flies(&mut self.crew).await?;
        sleep(self.span(DAWDLE + LATENCY + AFTERMATH)).await;
        match self.fate {
            Fate::Killed => self.kill(holder, &mut gathering).await?,
            Fate::HeldStill => self.hold_still(holder, &mut gathering).await?,
        }
        self.toll.rounds += 1;
        Ok(())
    }

    async fn prepare(&mut self, cause: Cause) -> Result<(), Broken> {
        self.crew.order_all(Order::Renew).await?;
        self.crew.each_tells("new managers", |report| matches!(report, Report::Renewed)).await?;
        self.bench.depot.flush(self.number).await?;
        if cause == Cause::Rejected {
            let mut first = Gathering::begin(&mut self.crew, 0, 1, Monotonic::default()).await?;
            first.finish(&mut self.crew, None).await?;
            self.crew.order_all(Order::Reject { key: 0 }).await?;
            self.crew.each_tells("rejections", |report| matches!(report, Report::Rejected)).await?;
        }
        Ok(())
    }

    async fn kill(&mut self, holder: usize, gathering: &mut Gathering) -> Result<(), Broken> {
        self.note_instant(holder, gathering);
        self.crew.kill(holder).await?;
        gathering.forgo(holder);
        gathering.finish(&mut self.crew, None).await?;
        self.judge(holder, gathering);
        self.look_for_leases().await?;
        self.crew.replace(holder).await?;
        self.until_ready(holder).await
    }

    async fn hold_still(&mut self, holder: usize, gathering: &mut Gathering) -> Result<(), Broken> {
        self.note_instant(holder, gathering);
        self.crew.signal(holder, Signal::STOP);
        let until = Instant::now() + LEASE + Duration::from_millis(150) + self.span(LEASE * 2);
        gathering.finish(&mut self.crew, Some(holder)).await?;
        tokio::time::sleep_until(until).await;
        let written = self.bench.depot.records(self.number).await?;
        self.look_for_leases().await?;
        let published =
            gathering.given.iter().filter(|share| share.worker != holder).map(|share| share.serial);
        let newest = published.max().unwrap_or_default();
        self.crew.signal(holder, Signal::CONT);
        gathering.finish(&mut self.crew, None).await?;
        sleep(SETTLED).await;
        let now = self.bench.depot.records(self.number).await?;
        let versions = |records: &[jeton::store::Record]| -> Vec<_> {
            records.iter().map(|record| record.version).collect()
        };
        if versions(&written) != versions(&now) {
            self.fault("what was published while the holder was held still was overwritten");
        }
        self.judge(holder, gathering);
        // From now on all are on the newest token.
        let requests = self.bench.endpoint.requests(&self.scope());
        let mut after = Gathering::begin(&mut self.crew, 0, TASKS, Monotonic::default()).await?;
        after.finish(&mut self.crew, None).await?;
        // Of the token in the store it cannot tell what passed while it was held still in the middle of reading, counts all
        // of that as its age, and may keep its own late one for the longer life.
        let own =
            |serial| gathering.given.iter().any(|share| share.worker == holder && share.serial == serial);
        let is_right = |share: &Share| share.serial == newest || share.worker == holder && own(share.serial);
        if !after.given.iter().all(is_right) {
            let (during, now) = (gathering.shares(), after.shares());
            self.fault(&format!("{newest} is the newest; holder {holder}; given {during}; afterwards {now}"));
        }
        self.toll.kept_own += usize::from(after.given.iter().any(|share| share.serial != newest));
        if self.bench.endpoint.requests(&self.scope()) != requests {
            self.fault("somebody asked the server again afterwards");
        }
        Ok(())
    }

    fn note_instant(&mut self, holder: usize, gathering: &Gathering) {
        let books = self.bench.endpoint.books(&self.scope());
        let is_answered = books.requests.get(self.before).is_some_and(|granted| granted.answered.is_some());
        self.toll.unanswered += usize::from(!is_answered);
        self.toll.late += usize::from(!gathering.waits_for(holder));
    }

    fn judge(&mut self, holder: usize, gathering: &Gathering) {
        let requests = self.bench.endpoint.requests(&self.scope()).saturating_sub(self.before);
        if let Some(count) = self.toll.requests.get_mut(requests.min(3)) {
            *count += 1;
        }
        if requests > 2 {
            self.fault(&format!("{requests} token requests"));
        }
        let limit = LEASE + DAWDLE + LATENCY + SLACK;
        let lives = |worker: &usize| *worker != holder || self.fate == Fate::HeldStill;
        for worker in (0..WORKERS).filter(lives).collect::<Vec<_>>() {
            let shares = gathering.given.iter().filter(|share| share.worker == worker);
            let answered: usize = shares.clone().map(|share| share.tasks).sum();
            if answered != TASKS {
                self.fault(&format!("worker {worker}: {answered} of {TASKS} tasks have a token"));
            }
            if worker == holder {
                continue;
            }
            let longest = shares.map(|share| share.longest).max().unwrap_or_default();
            self.toll.waits.add(longest);
            if longest > limit {
                self.fault(&format!("worker {worker} waited for {longest:?}"));
            }
        }
        for failure in gathering.failed.iter().chain(&gathering.ill) {
            self.fault(failure);
        }
    }

    /// Whoever has a token has it from the store or has put it in: no lease is left by then, or it ends in time.
    async fn look_for_leases(&mut self) -> Result<(), Broken> {
        let records = self.bench.depot.records(self.number).await?;
        for left in records.iter().filter_map(|record| record.lease_left) {
            if left > LEASE {
                self.fault(&format!("a lease is left for {left:?}"));
                continue;
            }
            sleep(left + Duration::from_millis(20)).await;
            let records = self.bench.depot.records(self.number).await?;
            if records.iter().any(|record| record.lease_left.is_some()) {
                self.fault("a lease is left past its time");
            }
        }
        Ok(())
    }

    async fn until_ready(&mut self, worker: usize) -> Result<(), Broken> {
        let until = Instant::now() + PATIENCE;
        loop {
            let late = || Broken::Late { what: "the start of a worker".to_owned(), limit: PATIENCE };
            let told = self.crew.next(until).await.ok_or_else(late)?;
            match told.report {
                Some(Report::Ready) if told.worker == worker => return Ok(()),
                None if told.worker == worker => return Err(Broken::Ended(worker)),
                Some(_) | None => {}
            }
        }
    }
}
