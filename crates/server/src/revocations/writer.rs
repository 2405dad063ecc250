//! Revocations on their way into the store. One thread writes them, all that wait together in one commit, and nobody is
//! told that a token is revoked before the store has it for good.

use super::{Body, Revocations};
use crate::issuer::ClockHandle;
use crate::store::{CommitError, Expect, Kind, Store, Write};
use crate::workers::{Worker, Workers};
use jeton_proto::revocation::{ChangeMark, MAX_PAGE_ENTRIES, RevokedId, remembered_until};
use jeton_proto::time::{Clock, Timestamp};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most revocations that wait to be written.
const MAX_QUEUED_ITEMS: usize = 4096;
/// The most that go into one commit. A change of the store must fit into one page of the feed.
const MAX_COMMIT: usize = 1000;
/// The longest that a caller waits. Afterwards the token may be revoked all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a caller is to come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

const _: () = assert!(MAX_COMMIT <= MAX_PAGE_ENTRIES);

/// The thread that writes revocations. Dropping this writes what is waiting and ends it.
#[derive(Debug)]
pub(crate) struct RevocationWriter {
    /// It is closed when this is dropped, which is how the thread knows.
    queue: SyncSender<Job>,
}

/// A token to be revoked, and whoever waits for it.
#[derive(Debug)]
struct Job {
    jwt_id: String,
    expires_at: Timestamp,
    /// Who asked, whose share it counts to.
    client_id: String,
    done: oneshot::Sender<Result<(), Unavailable>>,
}

/// The revocation was not acknowledged by the store, and may have happened or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// There is no place in the queue.
    #[error("too many revocations wait to be written")]
    QueueFull,
    /// It took too long.
    #[error("the registry did not take the revocation in time")]
    TimedOut,
    /// The store failed or is full: the log has said how.
    #[error("the registry could not take the revocation")]
    Store,
}

impl Unavailable {
    /// When to come again.
    pub(crate) const fn retry_after(self) -> Duration {
        match self {
            Self::QueueFull | Self::TimedOut | Self::Store => RETRY_AFTER,
        }
    }
}

impl RevocationWriter {
    /// Starts the thread over a connection of its own.
    pub(crate) fn start(
        store: Box<dyn Store>,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
        workers: &Workers,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(MAX_QUEUED_ITEMS);
        let mut writing = Writing { store, revocations, clock: ClockHandle(clock) };
        // Whoever waits when it panics is told that the token may be good still. What a commit had begun, the store undoes.
        workers.start(Worker::Revocations, move |_| write_all(&mut writing, &jobs))?;
        Ok(Self { queue })
    }

    /// Revokes the token with this `jti`, which expires at `expires_at`, and returns when the store has it for good.
    pub(crate) async fn revoke(
        &self,
        jwt_id: &str,
        expires_at: Timestamp,
        client_id: &str,
    ) -> Result<(), Unavailable> {
        let (done, written) = oneshot::channel();
        let job = Job { jwt_id: jwt_id.to_owned(), expires_at, client_id: client_id.to_owned(), done };
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => Unavailable::QueueFull,
            TrySendError::Disconnected(_) => Unavailable::Store,
        })?;
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Unavailable::Store),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }
}

struct Writing {
    store: Box<dyn Store>,
    revocations: Arc<Revocations>,
    clock: ClockHandle,
}

fn write_all(writing: &mut Writing, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut together = vec![first];
        together.extend(jobs.try_iter().take(MAX_COMMIT - 1));
        let outcome = writing.commit(&together);
        for job in together {
            // Whoever waits no longer has been told something else.
            let _told = job.done.send(outcome);
        }
    }
}

impl Writing {
    fn commit(&mut self, jobs: &[Job]) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let mark = random_mark();
        let writes: Vec<_> = jobs.iter().map(|job| write(job, mark.as_deref(), now)).collect();
        let mut committed = self.store.commit(&writes, now);
        if let Err(CommitError::Full(_)) = committed {
            // Those of tokens that have expired meanwhile make room.
            committed =
                self.store.purge(now).map_err(Into::into).and_then(|()| self.store.commit(&writes, now));
        }
        match committed {
            Ok(change) => {
                let revoked =
                    jobs.iter().map(|job| (RevokedId::of(&job.jwt_id), until(job), job.client_id.as_str()));
                self.revocations.committed(revoked, change);
                Ok(())
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, revocations = jobs.len(), "tokens cannot be revoked");
                Err(Unavailable::Store)
            }
        }
    }
}

fn until(job: &Job) -> Timestamp {
    remembered_until(job.expires_at)
}

/// Without a random source a token is revoked all the same: no guard goes on from this change, and each reads more.
fn random_mark() -> Option<String> {
    let mut random = [0; ChangeMark::BYTES];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(ChangeMark::from_bytes(random).to_string())
}

fn write(job: &Job, mark: Option<&str>, now: Timestamp) -> Write {
    let body = Body {
        by: Some(job.client_id.as_str().into()),
        mark: mark.map(Into::into),
        revoked_at_ms: now.as_unix_millis(),
    };
    let body = serde_json::json!(body);
    Write {
        kind: Kind::Revocation,
        id: job.jwt_id.clone(),
        body: Some(body.to_string()),
        expires_at: Some(until(job)),
        expect: Expect::Anything,
    }
}
