//! The workers as the coordinator has them.

use super::line::{Order, Part, Report, from_line, to_line};
use super::{Broken, worker};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long a worker may take for what takes a moment on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// How many reports may wait to be read.
const MOST_REPORTS: usize = 4096;

/// Several workers, and what they tell.
#[derive(Debug)]
pub struct Crew {
    program: PathBuf,
    wrapper: Vec<String>,
    workers: Vec<Worker>,
    reports: mpsc::Receiver<Told>,
    sender: mpsc::Sender<Told>,
    bursts: u64,
}

/// What one worker told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which worker.
    pub worker: usize,
    /// Which of those that had its place, one after the other.
    pub incarnation: u64,
    /// What; `None` at its end.
    pub report: Option<Report>,
}

#[derive(Debug)]
struct Worker {
    part: Part,
    incarnation: u64,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Crew {
    /// Nobody yet; `program` is the one that this is part of.
    pub fn of(program: &Path) -> Self {
        let (sender, reports) = mpsc::channel(MOST_REPORTS);
        Self {
            program: program.to_owned(),
            wrapper: Vec::new(),
            workers: Vec::new(),
            reports,
            sender,
            bursts: 0,
        }
    }

    /// Starts workers through another program, which becomes the worker in the end.
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Starts another worker, without waiting until it is ready.
    pub async fn start(&mut self, part: Part) -> Result<(), Broken> {
        let index = self.workers.len();
        let worker = self.spawn(index, 0, part).await?;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts so many workers with the same part, and waits until all are ready.
    pub async fn start_all(&mut self, count: usize, part: &Part) -> Result<(), Broken> {
        for _ in 0..count {
            self.start(part.clone()).await?;
        }
        self.each_tells("starting", |report| matches!(report, Report::Ready)).await
    }

    async fn spawn(&self, index: usize, incarnation: u64, part: Part) -> Result<Worker, Broken> {
        let mut words = self.wrapper.iter().map(AsRef::as_ref).chain([self.program.as_os_str()]);
        let first = words.next().unwrap_or_default();
        let mut child = Command::new(first)
            .args(words)
            .arg(worker::COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Broken::system("starting a worker"))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Broken::Ended(index));
        };
        tokio::spawn(read(stdout, index, incarnation, self.sender.clone()));
        let line = to_line(&part).map_err(|error| Broken::Nonsense(error.to_string()))?;
        stdin.write_all(line.as_bytes()).await.map_err(Broken::system("telling a worker its part"))?;
        Ok(Worker { part, incarnation, child, stdin: Some(stdin) })
    }

    /// Tells one worker what to do. One that is dead by now does not mind.
    pub async fn order(&mut self, index: usize, order: Order) -> Result<(), Broken> {
        let line = to_line(&order).map_err(|error| Broken::Nonsense(error.to_string()))?;
        let Some(stdin) = self.workers.get_mut(index).and_then(|worker| worker.stdin.as_mut()) else {
            return Err(Broken::Ended(index));
        };
        let _broken_pipe = stdin.write_all(line.as_bytes()).await;
        Ok(())
    }

    /// Tells all.
    pub async fn order_all(&mut self, order: Order) -> Result<(), Broken> {
        for index in 0..self.count() {
            self.order(index, order).await?;
        }
        Ok(())
    }

    /// A number for the next burst.
    pub fn next_burst(&mut self) -> u64 {
        self.bursts += 1;
        self.bursts
    }

    /// The next report of those who are now in their places.
    pub async fn next(&mut self, until: Instant) -> Option<Told> {
        loop {
            let told = timeout_at(until, self.reports.recv()).await.ok()??;
            if self.workers.get(told.worker).is_some_and(|worker| worker.incarnation == told.incarnation) {
                return Some(told);
            }
        }
    }

    /// Waits until each has told what is waited for; whatever else is told is passed over.
    pub async fn each_tells(&mut self, what: &str, awaited: impl Fn(&Report) -> bool) -> Result<(), Broken> {
        let mut missing: Vec<bool> = self.workers.iter().map(|_| true).collect();
        let until = Instant::now() + PATIENCE;
        while missing.contains(&true) {
            let late =
                || Broken::Late { what: format!("{what}, of {} workers", missing.len()), limit: PATIENCE };
            let told = self.next(until).await.ok_or_else(late)?;
            match told.report {
                None => return Err(Broken::Ended(told.worker)),
                Some(report) if awaited(&report) => {
                    missing.get_mut(told.worker).into_iter().for_each(|place| *place = false);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Sends a signal to one worker, if it lives.
    pub fn signal(&self, index: usize, signal: Signal) {
        let child = self.workers.get(index).and_then(|worker| worker.child.id());
        let pid = child.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // A child that ended and was not waited for yet is still there to be signalled.
            let _sent = kill_process(pid, signal);
        }
    }

    /// Kills one worker with SIGKILL, and waits for its end.
    pub async fn kill(&mut self, index: usize) -> Result<(), Broken> {
        self.signal(index, Signal::KILL);
        if let Some(worker) = self.workers.get_mut(index) {
            worker.stdin = None;
            worker.child.wait().await.map_err(Broken::system("waiting for a killed worker"))?;
        }
        Ok(())
    }

    /// Puts a new process in the place of one that was killed, and does not wait until it is ready.
    pub async fn replace(&mut self, index: usize) -> Result<(), Broken> {
        let Some(worker) = self.workers.get(index) else { return Err(Broken::Ended(index)) };
        let (part, incarnation) = (worker.part.clone(), worker.incarnation + 1);
        let worker = self.spawn(index, incarnation, part).await?;
        if let Some(place) = self.workers.get_mut(index) {
            *place = worker;
        }
        Ok(())
    }

    /// Ends all, by closing their standard input, and waits until they have ended.
    pub async fn dismiss(mut self) -> Result<(), Broken> {
        for worker in &mut self.workers {
            worker.stdin = None;
        }
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let ended = tokio::time::timeout(PATIENCE, worker.child.wait()).await;
            let late = |_| Broken::Late { what: format!("the end of worker {index}"), limit: PATIENCE };
            ended.map_err(late)?.map_err(Broken::system("waiting for a worker"))?;
        }
        Ok(())
    }
}

async fn read(stdout: ChildStdout, worker: usize, incarnation: u64, sender: mpsc::Sender<Told>) {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = lines.next_line().await.ok().flatten();
        // A line that was cut off by a SIGKILL is no report.
        let report = line.as_deref().map(from_line::<Report>);
        let told = match report {
            Some(Err(_)) => continue,
            Some(Ok(report)) => Told { worker, incarnation, report: Some(report) },
            None => Told { worker, incarnation, report: None },
        };
        let is_over = told.report.is_none();
        if sender.send(told).await.is_err() || is_over {
            return;
        }
    }
}
