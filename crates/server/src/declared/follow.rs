//! A server that follows a directory of clients: what changes in the files is applied while it runs.

use super::client::DeclaredClients;
use super::directory::Fingerprint;
use super::plan::PlanTerms;
use crate::audit::Audit;
use crate::registry::{ApplyError, Registry};
use crate::workers::{Worker, Workers};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// The time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The thread that looks at the files. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct ClientsDirectory {
    /// It is closed when this is dropped, which is how the thread knows.
    _end: SyncSender<()>,
}

impl ClientsDirectory {
    /// Applies the files once, as far as that can be done, and starts the thread.
    pub(crate) fn start(
        dir: PathBuf,
        terms: PlanTerms,
        registry: Registry,
        audit: Option<Audit>,
        workers: &Workers,
    ) -> io::Result<Self> {
        let mut follower = Follower { dir, terms, registry, audit, applied: None, told: None };
        follower.look();
        let (end, ended) = sync_channel(1);
        workers.start(Worker::Clients, move |_| keep_looking(&mut follower, &ended))?;
        Ok(Self { _end: end })
    }
}

fn keep_looking(follower: &mut Follower, ended: &Receiver<()>) {
    loop {
        match ended.recv_timeout(LOOK_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => follower.look(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Follower {
    dir: PathBuf,
    terms: PlanTerms,
    registry: Registry,
    audit: Option<Audit>,
    /// The files that were applied last, or refused for what is in them.
    applied: Option<Fingerprint>,
    /// The last fault that was told, so that it is told once.
    told: Option<String>,
}

impl Follower {
    /// Applies the files when they have changed. What is wrong with them leaves the clients as they are.
    fn look(&mut self) {
        let dir = self.dir.display().to_string();
        // Taken before the files are read: what changes meanwhile is seen the next time.
        let fingerprint = match Fingerprint::of(&self.dir) {
            Ok(fingerprint) => fingerprint,
            Err(error) => {
                // It counts as changed when it is there again.
                self.applied = None;
                return self.tell(&format!("the directory {dir} cannot be read: {error}"));
            }
        };
        if self.applied.as_ref() == Some(&fingerprint) {
            return;
        }
        let outcome = match DeclaredClients::read(&self.dir) {
            Ok(declared) => self.registry.apply(&declared, &self.terms),
            Err(faults) => Err(ApplyError::Files(faults)),
        };
        match outcome {
            Ok(plan) => {
                self.applied = Some(fingerprint);
                self.told = None;
                if let Some(audit) = &self.audit {
                    plan.changes
                        .iter()
                        .for_each(|change| audit.tell(&change.act("server", "applied from files")));
                }
                let (changes, kept) = (plan.changes.len(), plan.kept.len());
                tracing::info!(dir, changes, kept, "the files of clients were applied");
            }
            Err(ApplyError::Files(faults)) => {
                self.applied = Some(fingerprint);
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                self.tell(&faults.join("; "));
            }
            // The files are good: the registry may be able to take them at the next look.
            Err(ApplyError::Registry(error)) => self.tell(&error.to_string()),
        }
    }

    fn tell(&mut self, faults: &str) {
        if self.told.as_deref() != Some(faults) {
            let dir = self.dir.display().to_string();
            tracing::error!(
                dir,
                faults,
                "the files of clients cannot be applied; the clients stay as they were"
            );
            self.told = Some(faults.to_owned());
        }
    }
}
