//! One fleet from its beginning to its end: processes that take turns, the post between them and the others, and what goes
//! wrong.

mod storm;

use super::fitting::Fitting;
use super::issuer::{CLIENT_ID, Mood, SECRET, TOKEN};
use super::judge::{Invariant, Judge, Violation};
use super::plan::Plan;
use super::post::Letter;
use super::process::{CallLog, Process, Surroundings};
use super::shelf::Shelf;
use crate::canary::PanicWatch;
use crate::clock::millis;
use crate::machines::queue::Queue;
use crate::network::key_of;
use fastrand::Rng;
use jeton::http::ExchangeError;
use jeton::store::{StoreFault, StoreFaultKind};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a turn is while there is post, and while there is none.
const SHORT_TURN_MS: u64 = 5;
const LONG_TURN_MS: u64 = 200;
/// For so long after the last letter there may be more.
const BUSY_MS: u64 = 250;
/// The end of the last storm comes so many lives of a token before the end of the world, and a while.
const LAST_CALM_LIVES: u32 = 4;
const LAST_CALM: Duration = Duration::from_secs(60);

/// How the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StoreMood {
    #[default]
    Well,
    /// It cannot be reached.
    Down,
    /// It says nothing.
    Silent,
    /// It takes so long for an answer.
    Slow { ms: u64 },
    /// So many of a hundred letters meet a fault.
    Flaky { percent: u32 },
    /// It cannot be written.
    ReadOnly,
}

/// What goes wrong, by name.
type Faults = BTreeMap<&'static str, u64>;

/// What became of a fleet.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Calls that were answered.
    pub calls: u64,
    /// Token requests.
    pub requests: u64,
    /// Letters to the store.
    pub letters: u64,
    /// What went wrong, and how often.
    pub faults: Faults,
    /// The same for the same events.
    pub trace_hash: u64,
    /// What happened, where that was wanted.
    pub lines: Vec<String>,
}

enum Post {
    Store {
        process: usize,
        letter: Letter,
    },
    Server {
        process: usize,
        key: u8,
        sent_ms: u64,
        letter: Letter,
    },
    /// An answer on its way back.
    Back {
        process: usize,
        answer: Box<dyn FnOnce()>,
    },
    /// A token request that is over, whatever became of it.
    Over {
        process: usize,
        key: u8,
    },
    Incident,
    Restart {
        process: usize,
    },
    Thaw {
        process: usize,
    },
}

struct World<'a> {
    around: Surroundings<'a>,
    processes: Vec<Option<Process>>,
    incarnations: Vec<u32>,
    frozen: Vec<bool>,
    off_ms: Vec<i64>,
    cut_off_until_ms: Vec<u64>,
    shelf: Shelf,
    mood: StoreMood,
    queue: Queue<Post>,
    judge: Judge,
    random: Rng,
    now_ms: u64,
    last_post_ms: u64,
    storm_until_ms: u64,
    stormy: bool,
    outcome: Outcome,
    keeps_lines: bool,
}

/// Runs the fleet of `plan` to its end.
///
/// # Errors
/// When the client cannot be set up.
pub fn run(plan: &Plan, fitting: &dyn Fitting, keeps_lines: bool) -> Result<Outcome, String> {
    // What the client draws comes from the generator of the thread.
    fastrand::seed(plan.stream(2).u64(..));
    let watch = PanicWatch::begin();
    let log: CallLog = Arc::default();
    let issuer = Arc::default();
    let around = Surroundings { plan, fitting, log: &log, issuer: &issuer };
    let mut world = World {
        processes: Vec::new(),
        incarnations: vec![0; plan.processes],
        frozen: vec![false; plan.processes],
        off_ms: Vec::new(),
        cut_off_until_ms: vec![0; plan.processes],
        shelf: Shelf::watching(&[SECRET, TOKEN, CLIENT_ID, "key:0"]),
        mood: StoreMood::Well,
        queue: Queue::default(),
        judge: Judge::new(plan.clone()),
        random: plan.stream(3),
        now_ms: 0,
        last_post_ms: 0,
        storm_until_ms: 0,
        stormy: false,
        outcome: Outcome::default(),
        keeps_lines,
        around,
    };
    for number in 0..plan.processes {
        let off_ms = i64::from(world.random.i32(-500..500));
        world.off_ms.push(off_ms);
        let process = Process::start(&world.around, (number, 0), 0, off_ms)?;
        world.processes.push(Some(process));
    }
    world.in_ms(0, Post::Incident);
    world.live()?;
    drop(watch);
    Ok(world.end())
}

impl World<'_> {
    fn live(&mut self) -> Result<(), String> {
        let lasts_ms = millis(self.around.plan.lasts);
        while self.now_ms < lasts_ms {
            let is_busy = self.now_ms < self.last_post_ms + BUSY_MS;
            let until_ms = self.now_ms + if is_busy { SHORT_TURN_MS } else { LONG_TURN_MS };
            for (process, frozen) in self.processes.iter().zip(&self.frozen) {
                if let Some(process) = process.as_ref().filter(|_| !*frozen) {
                    process.run_until(until_ms);
                }
            }
            self.now_ms = until_ms;
            self.collect();
            while let Some((at_ms, post)) = self.queue.take() {
                if at_ms > self.now_ms {
                    self.queue.at(at_ms, post);
                    break;
                }
                self.deliver(at_ms, post)?;
            }
            self.look();
        }
        let issuer = Arc::clone(self.around.issuer);
        self.judge.recovered(&lock(&issuer), self.now_ms);
        Ok(())
    }

    fn end(mut self) -> Outcome {
        let now_ms = self.now_ms;
        if let Some(leaked) = self.shelf.leaked().map(str::to_owned) {
            self.judge.violated(Invariant::NothingShown, now_ms, format!("the store was given {leaked}"));
        }
        self.outcome.violations = self.judge.into_violations();
        self.outcome
    }

    fn in_ms(&mut self, span_ms: u64, post: Post) {
        self.queue.at(self.now_ms.saturating_add(span_ms), post);
    }

    fn fault(&mut self, name: &'static str) {
        *self.outcome.faults.entry(name).or_default() += 1;
    }

    fn tell(&mut self, line: &dyn Fn() -> String) {
        if self.keeps_lines {
            self.outcome.lines.push(format!("{:>9} {}", self.now_ms, line()));
        }
    }

    fn noted(&mut self, event: impl std::hash::Hash) {
        let mut hasher = DefaultHasher::new();
        (self.now_ms, event).hash(&mut hasher);
        self.outcome.trace_hash = self.outcome.trace_hash.rotate_left(1) ^ hasher.finish();
    }

    /// Takes the letters of this turn.
    fn collect(&mut self) {
        let mut letters = Vec::new();
        for (number, process) in self.processes.iter().enumerate() {
            let post = process.iter().flat_map(|process| process.post.collect());
            letters.extend(post.map(|(sent_ms, letter)| (sent_ms, number, letter)));
        }
        letters.sort_by_key(|(sent_ms, number, _)| (*sent_ms, *number));
        for (sent_ms, process, letter) in letters {
            self.last_post_ms = self.now_ms;
            match letter {
                Letter::Token { body, awaited } => {
                    let key = key_of(&body);
                    self.outcome.requests += 1;
                    self.noted(("request", process, key));
                    self.tell(&|| format!("p{process} asks the server for key {key}, sent at {sent_ms}"));
                    let issuer = Arc::clone(self.around.issuer);
                    self.judge.asked(&lock(&issuer), process, key, sent_ms);
                    let at_ms = sent_ms + self.random.u64(10..100);
                    let letter = Letter::Token { body, awaited };
                    self.queue.at(at_ms, Post::Server { process, key, sent_ms, letter });
                }
                letter @ (Letter::Load { .. } | Letter::Swap { .. } | Letter::Subscribe { .. }) => {
                    self.outcome.letters += 1;
                    let at_ms = sent_ms + self.random.u64(1..4);
                    self.queue.at(at_ms, Post::Store { process, letter });
                }
            }
        }
    }

    fn deliver(&mut self, at_ms: u64, post: Post) -> Result<(), String> {
        self.last_post_ms = self.now_ms;
        match post {
            Post::Store { process, letter } => self.at_store(process, letter, at_ms),
            Post::Server { process, key, sent_ms, letter } => self.at_server(process, key, sent_ms, letter),
            Post::Back { process, answer } => {
                self.noted(("back", process));
                answer();
            }
            Post::Over { process, key } => self.judge.answered(process, key),
            Post::Incident => self.incident(),
            Post::Restart { process } => self.restart(process)?,
            Post::Thaw { process } => self.thaw(process),
        }
        Ok(())
    }

    /// A letter arrives at the store.
    fn at_store(&mut self, process: usize, letter: Letter, at_ms: u64) {
        let cut_off = self.cut_off_until_ms.get(process).is_some_and(|until_ms| self.now_ms < *until_ms);
        let (mut down_ms, mut behind) = (self.random.u64(1..4), 0);
        let mut fault = cut_off.then_some(Fault::Unreachable);
        match self.mood {
            StoreMood::Down => fault = Some(Fault::Unreachable),
            StoreMood::Silent => fault = Some(Fault::Silent),
            StoreMood::Slow { ms } => down_ms += ms,
            StoreMood::ReadOnly => fault = fault.or(Some(Fault::ReadOnly)),
            StoreMood::Flaky { percent } if self.random.u32(0..100) < percent => {
                match self.random.u32(0..5) {
                    0 => fault = Some(Fault::Unreachable),
                    1 => fault = Some(Fault::Silent),
                    2 => fault = Some(Fault::AnswerLost),
                    3 => behind = self.random.usize(1..4),
                    _ => down_ms += self.random.u64(0..900),
                }
            }
            StoreMood::Well | StoreMood::Flaky { .. } => {}
        }
        if let Some(fault) = fault {
            self.fault(fault.name());
            self.judge.troubled(self.now_ms, 0);
        } else if down_ms > 4 || behind > 0 {
            self.fault(if behind > 0 { "stale read" } else { "slow store" });
            self.judge.troubled(self.now_ms, 0);
        }
        let kept = self.answer_of_store(process, letter, fault, behind, at_ms);
        if let Some(answer) = kept {
            self.queue.at(at_ms.max(self.now_ms) + down_ms, Post::Back { process, answer });
        }
    }

    fn answer_of_store(
        &mut self,
        process: usize,
        letter: Letter,
        fault: Option<Fault>,
        behind: usize,
        at_ms: u64,
    ) -> Option<Box<dyn FnOnce()>> {
        let refused = |is_write: bool| match fault {
            Some(Fault::Unreachable) => Some(StoreFaultKind::Unreachable),
            Some(Fault::ReadOnly) if is_write => Some(StoreFaultKind::Unwritable),
            Some(Fault::ReadOnly | Fault::Silent | Fault::AnswerLost) | None => None,
        };
        let told = |kind| StoreFault::new(kind, "made on purpose");
        let silent = fault == Some(Fault::Silent);
        let lost = fault == Some(Fault::AnswerLost);
        match letter {
            Letter::Load { name, awaited } => {
                let reading = self.shelf.read(&name, behind, at_ms);
                self.tell(&|| format!("p{process} loads {name:.8}: {reading:?}, {fault:?}"));
                let answer = refused(false).map_or(Ok(reading), |kind| Err(told(kind)));
                keep(awaited, answer, silent || lost, &mut self.queue)
            }
            Letter::Swap { name, expected, change, awaited } => {
                if let Some(kind) = refused(true) {
                    return keep(awaited, Err(told(kind)), silent, &mut self.queue);
                }
                if silent {
                    return keep(awaited, Err(told(StoreFaultKind::TimedOut)), true, &mut self.queue);
                }
                let shown = format!("{:?} lease {:?}", change.version, change.lease);
                let (deaf, draw) = (self.stormy, self.random.u32(0..4));
                let swap = self.shelf.swap(&name, expected, change, at_ms, |_| !deaf || draw > 0);
                self.tell(&|| {
                    format!(
                        "p{process} swaps {name:.8}, expects {expected:?}, puts {shown}: {swap:?}, {fault:?}"
                    )
                });
                keep(awaited, Ok(swap), lost, &mut self.queue)
            }
            Letter::Subscribe { name, awaited } => {
                let subscription = self.shelf.subscribe(&name, process);
                let answer = refused(false).map_or(Ok(subscription), |kind| Err(told(kind)));
                keep(awaited, answer, silent, &mut self.queue)
            }
            Letter::Token { .. } => None,
        }
    }

    /// A letter arrives at the server.
    fn at_server(&mut self, process: usize, key: u8, sent_ms: u64, letter: Letter) {
        let Letter::Token { awaited, .. } = letter else { return };
        let issuer = Arc::clone(self.around.issuer);
        let (mood, now_ms) = (lock(&issuer).mood, self.now_ms);
        let slow = self.stormy && self.is_all() && self.random.u32(0..10) == 0;
        let way_ms = self.random.u64(10..100) + if slow { self.random.u64(0..9_000) } else { 0 };
        if slow {
            self.fault("slow token request");
            self.judge.server_troubled(now_ms, 0);
        }
        let pause_ms = match mood {
            Mood::Well => None,
            Mood::Failing | Mood::Silent => Some(0),
            Mood::Throttling { seconds } => Some(seconds * 1000),
        };
        if let Some(pause_ms) = pause_ms {
            self.fault("token request failed");
            self.judge.server_troubled(now_ms, pause_ms);
        }
        let answer = lock(&issuer).answer(key, sent_ms, now_ms, self.around.plan.life);
        let (answer, way_ms) = match answer {
            Some((answer, number)) => {
                self.tell(&|| format!("the server answers p{process} for key {key}: {number:?}"));
                (Ok(answer), way_ms)
            }
            None => (Err(ExchangeError::TimedOut), 10_000),
        };
        let back: Box<dyn FnOnce()> = Box::new(move || drop(awaited.send(answer)));
        self.in_ms(way_ms, Post::Back { process, answer: back });
        self.in_ms(way_ms, Post::Over { process, key });
    }

    /// What callers got in this turn.
    fn look(&mut self) {
        let mut calls = std::mem::take(&mut *lock(self.around.log));
        calls.sort_by_key(|call| (call.answered_ms, call.process, call.key));
        let issuer = Arc::clone(self.around.issuer);
        for call in &calls {
            self.outcome.calls += 1;
            self.noted((call.process, call.key, call.got.as_ref().ok()));
            self.tell(&|| format!("{call:?}"));
            self.judge.called(&lock(&issuer), call);
        }
        let panicked = self.processes.iter().flatten().any(Process::has_panicked);
        if panicked {
            self.judge.violated(Invariant::NoPanic, self.now_ms, "a caller panicked".to_owned());
        }
    }
}

/// What befalls a letter to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unreachable,
    Silent,
    ReadOnly,
    /// It was done, and nobody hears of it.
    AnswerLost,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "store not reached",
            Self::Silent => "store silent",
            Self::ReadOnly => "store read-only",
            Self::AnswerLost => "store's answer lost",
        }
    }
}

/// The answer, ready to be given; one that is lost is kept from its waiter for longer than that waits.
fn keep<T: 'static>(
    awaited: tokio::sync::oneshot::Sender<T>,
    answer: T,
    is_lost: bool,
    queue: &mut Queue<Post>,
) -> Option<Box<dyn FnOnce()>> {
    if is_lost {
        let never: Box<dyn FnOnce()> = Box::new(move || drop((awaited, answer)));
        queue.at(u64::MAX, Post::Back { process: 0, answer: never });
        return None;
    }
    Some(Box::new(move || drop(awaited.send(answer))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
