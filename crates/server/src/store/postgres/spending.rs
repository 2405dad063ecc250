//! The assertions that were used at any instance: each is good once, wherever it comes (RFC 7523 §3, `jti`).
//!
//! One task spends for all callers of an instance: those that come while a statement is on its way are the next one, so many
//! share one write to the disk. While the database is away every call is told so at once, and what the instance has spent
//! alone by then is written up when the database is back (decision 0020).

use super::connector::{Connector, Session, within_time};
use super::fault::Fault;
use super::pause::{Pause, jitter};
use super::statements::EARLIER_NOW_MS;
use super::{Database, ended};
use crate::spent_assertions::{SharedSpend, SharedSpending, SpentKey};
use crate::store::{Listening, StoreError};
use crate::workers::{Worker, Workers};
use jeton_proto::time::{Clock, Timestamp};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// The longest that a caller waits.
const DEADLINE: Duration = Duration::from_secs(1);
/// The longest that a statement takes; its callers have gone by then.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The most callers that wait, and the most that share a statement.
const MOST_WAITING: usize = 8192;
const MOST_AT_ONCE: usize = 512;
/// The most that are kept to be written up: more than a minute of a thousand a second.
const MOST_KEPT: usize = 1 << 16;
/// The most time between two looks at the connection.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Between two removals of what nobody takes any more, and for how long that is kept, since the clocks of instances differ.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Rows that one step of a purge removes: callers wait for it.
const PURGED_AT_ONCE: i64 = 2000;

/// What stands for an assertion.
pub(crate) type Key = [u8; 16];

/// What came of spending an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// Nobody had used it.
    First,
    /// Somebody had.
    Again,
}

/// The database cannot tell now whether an assertion was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database that the instances share cannot tell now whether the assertion was used")]
pub(crate) struct SpendingUnavailable;

/// Spends assertions for one instance. Dropping this ends the task.
pub(crate) struct PostgresSpending {
    queue: mpsc::Sender<Asked>,
    shared: Arc<Shared>,
    /// Keeps the thread of the task.
    _database: Arc<Database>,
    _task: Listening,
}

struct Asked {
    key: Key,
    usable_until: Timestamp,
    answer: oneshot::Sender<Spent>,
}

#[derive(Default)]
struct Shared {
    /// What was spent here and is not known to the others.
    to_write_up: Mutex<VecDeque<(Key, Timestamp)>>,
    unavailable: AtomicU64,
}

impl Shared {
    fn to_write_up(&self) -> MutexGuard<'_, VecDeque<(Key, Timestamp)>> {
        // The queue is whole after each statement.
        self.to_write_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresSpending {
    /// Connects, and begins.
    pub(crate) fn start(
        database: &Arc<Database>,
        clock: Arc<dyn Clock>,
        workers: Workers,
    ) -> Result<Self, StoreError> {
        let connector = Arc::clone(database.connector());
        let session = database.wait(async move { connector.first_session().await });
        let session = session.unwrap_or_else(|| Err(ended())).map_err(|fault| database.error(fault))?;
        let (queue, asked) = mpsc::channel(MOST_WAITING);
        let shared = Arc::<Shared>::default();
        let front = Front {
            connector: Arc::clone(database.connector()),
            link: Link::Ready(session),
            shared: Arc::clone(&shared),
            clock,
            workers,
            pause: Pause::default(),
            taking: Taking::Yes,
            purge_at: Instant::now(),
        };
        let task = database.spawn(front.serve(asked)).ok_or_else(|| database.error(ended()))?;
        let task = Listening(task.abort_handle());
        Ok(Self { queue, shared, _database: Arc::clone(database), _task: task })
    }

    /// Spends an assertion, which is refused everywhere for its age from `usable_until` on. Of all who spend one key, at whatever
    /// instance, one is told [`Spent::First`].
    ///
    /// # Errors
    /// When the database does not answer within a second. It may have been spent all the same, and is written up later in any case.
    pub(crate) async fn spend(
        &self,
        key: Key,
        usable_until: Timestamp,
    ) -> Result<Spent, SpendingUnavailable> {
        let (answer, answered) = oneshot::channel();
        let asked = self.queue.try_send(Asked { key, usable_until, answer });
        if asked.is_ok()
            && let Ok(Ok(spent)) = timeout(DEADLINE, answered).await
        {
            return Ok(spent);
        }
        self.shared.unavailable.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.shared.to_write_up();
        if kept.len() >= MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back((key, usable_until));
        Err(SpendingUnavailable)
    }
}

impl SharedSpending for PostgresSpending {
    /// While the database cannot tell, the memory of the instance alone decides (decision 0020).
    fn spend<'a>(
        &'a self,
        key: SpentKey,
        usable_until: Timestamp,
    ) -> Pin<Box<dyn Future<Output = SharedSpend> + Send + 'a>> {
        Box::pin(async move {
            match self.spend(*key.as_bytes(), usable_until).await {
                Ok(Spent::First) | Err(SpendingUnavailable) => SharedSpend::First,
                Ok(Spent::Again) => SharedSpend::Again,
            }
        })
    }

    fn unavailable(&self) -> u64 {
        self.shared.unavailable.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for PostgresSpending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSpending").field("unavailable", &self.unavailable()).finish_non_exhaustive()
    }
}

/// The task.
struct Front {
    connector: Arc<Connector>,
    link: Link,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    workers: Workers,
    pause: Pause,
    taking: Taking,
    purge_at: Instant,
}

/// Whether the database takes what was spent. One that is reached may refuse it all the same: its disk is full, or read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Yes,
    /// That was told, and pauses grow until something is written.
    No,
}

/// The way to the database.
enum Link {
    Ready(Session),
    /// Callers need not wait for it.
    Connecting(JoinHandle<Result<Session, Fault>>),
    Away,
}

impl Link {
    /// The session that is to come; for ever nothing when none is.
    async fn connected(&mut self) -> Result<Session, Fault> {
        match self {
            Self::Connecting(connecting) => connecting.await.unwrap_or_else(|_cut_off| Err(ended())),
            Self::Ready(_) | Self::Away => std::future::pending().await,
        }
    }
}

impl Front {
    async fn serve(mut self, mut queue: mpsc::Receiver<Asked>) {
        let workers = self.workers.clone();
        loop {
            match workers.catch(Worker::Assertions, self.step(&mut queue)).await {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return,
                // Whoever waited is told that nobody knows, and the pause is that of a database that is away.
                None => self.lost(Fault::unreachable(&"a fault of this program ended what was under way")),
            }
        }
    }

    async fn step(&mut self, queue: &mut mpsc::Receiver<Asked>) -> ControlFlow<()> {
        let mut batch = Vec::new();
        let wait = self.until_upkeep(Instant::now());
        tokio::select! {
            connected = self.link.connected() => self.connected(connected),
            taken = queue.recv_many(&mut batch, MOST_AT_ONCE) => {
                if taken == 0 {
                    return ControlFlow::Break(());
                }
                self.spend(batch).await;
            }
            () = tokio::time::sleep(wait) => self.upkeep().await,
        }
        ControlFlow::Continue(())
    }

    /// One statement for all of `batch`. Without an answer its callers are told, by that their channel is closed.
    async fn spend(&mut self, batch: Vec<Asked>) {
        let Link::Ready(session) = &self.link else { return };
        // In the order of the keys: two instances that wait for one another would wait for ever.
        let rows: BTreeMap<Key, Timestamp> =
            batch.iter().map(|asked| (asked.key, asked.usable_until)).collect();
        match within_time(STATEMENT_TIMEOUT, insert(&session.client, &rows)).await {
            Ok(mut first) => {
                self.written();
                for asked in batch {
                    // Of several here with one key the first one.
                    let spent = if first.remove(&asked.key) { Spent::First } else { Spent::Again };
                    let _gone = asked.answer.send(spent);
                }
            }
            Err(fault) => self.lost(fault),
        }
    }

    fn connected(&mut self, connected: Result<Session, Fault>) {
        match connected {
            Ok(session) => self.link = Link::Ready(session),
            Err(fault) => self.failed(fault),
        }
    }

    /// The database has taken something, or there is nothing for it to take.
    fn written(&mut self) {
        if self.taking == Taking::No {
            self.taking = Taking::Yes;
            self.pause.over();
            let alone = self.shared.to_write_up().len();
            tracing::info!(
                alone,
                "the database of used assertions is back; what was used here alone is written up"
            );
        }
    }

    /// The database was there before.
    fn lost(&mut self, fault: Fault) {
        if self.taking == Taking::Yes {
            self.taking = Taking::No;
            tracing::warn!(
                %fault,
                "used assertions are kept by this instance alone until the database is back: each is good once here"
            );
        }
        self.failed(fault);
    }

    fn failed(&mut self, fault: Fault) {
        self.pause.failed(fault, jitter(), Instant::now());
        self.link = Link::Away;
    }

    fn until_upkeep(&self, now: Instant) -> Duration {
        match &self.link {
            Link::Ready(_) if !self.shared.to_write_up().is_empty() => Duration::ZERO,
            Link::Ready(_) => self.purge_at.saturating_duration_since(now).min(LOOK_INTERVAL),
            Link::Connecting(_) => LOOK_INTERVAL,
            Link::Away => self.pause.left(now),
        }
    }

    /// What is done beside the callers: one short step of it.
    async fn upkeep(&mut self) {
        let session = match &self.link {
            Link::Connecting(_) => return,
            Link::Away => {
                let connector = Arc::clone(&self.connector);
                self.link = Link::Connecting(tokio::spawn(async move { connector.session().await }));
                return;
            }
            Link::Ready(session) => session,
        };
        if session.client.is_closed() {
            self.lost(Fault::unreachable(&"the connection was closed"));
        } else if let Err(fault) = self.upkeep_over(&session.client).await {
            self.lost(fault);
        } else if Instant::now() >= self.purge_at {
            let purged = within_time(STATEMENT_TIMEOUT, purge(&session.client, self.clock.now())).await;
            match purged {
                Ok(purged) if purged >= PURGED_AT_ONCE => {}
                Ok(_) => self.purge_at = Instant::now() + PURGE_INTERVAL.mul_f64(0.5 + jitter()),
                Err(fault) => self.lost(fault),
            }
        } else {
            self.written();
        }
    }

    /// Writes up a part of what was spent here alone.
    async fn upkeep_over(&self, client: &Client) -> Result<(), Fault> {
        let now = self.clock.now();
        let part: Vec<(Key, Timestamp)> = {
            let mut kept = self.shared.to_write_up();
            let most = kept.len().min(MOST_AT_ONCE);
            kept.drain(..most).collect()
        };
        let rows: BTreeMap<Key, Timestamp> = part.iter().copied().filter(|(_, until)| *until > now).collect();
        if rows.is_empty() {
            return Ok(());
        }
        match within_time(STATEMENT_TIMEOUT, insert(client, &rows)).await {
            Ok(first) => {
                let known = rows.len() - first.len();
                if known > 0 {
                    tracing::warn!(
                        known,
                        "assertions that were used here alone are known to the database: others may have used them too"
                    );
                }
                Ok(())
            }
            Err(fault) => {
                let mut kept = self.shared.to_write_up();
                kept.extend(part);
                let too_many = kept.len().saturating_sub(MOST_KEPT);
                kept.drain(..too_many);
                Err(fault)
            }
        }
    }
}

/// Those of `rows` that were not there.
async fn insert(client: &Client, rows: &BTreeMap<Key, Timestamp>) -> Result<HashSet<Key>, Fault> {
    let keys: Vec<&[u8]> = rows.keys().map(Key::as_slice).collect();
    let ends: Vec<i64> =
        rows.values().map(|end| i64::try_from(end.as_unix_millis()).unwrap_or(i64::MAX)).collect();
    let statement = "INSERT INTO jeton.spent_assertion (key, usable_until_ms) SELECT * FROM unnest($1, $2)
                     ON CONFLICT DO NOTHING RETURNING key";
    let parameters = [(&keys as _, Type::BYTEA_ARRAY), (&ends as _, Type::INT8_ARRAY)];
    let mut first = HashSet::with_capacity(rows.len());
    for row in client.query_typed(statement, &parameters).await? {
        first.extend(Key::try_from(row.try_get::<_, &[u8]>(0)?).ok());
    }
    Ok(first)
}

/// Removes what is refused for its age everywhere, by the clock of the instance and by that of the database. Rows that another instance removes are left to it.
async fn purge(client: &Client, now: Timestamp) -> Result<i64, Fault> {
    let now = i64::try_from(now.as_unix_millis()).unwrap_or(i64::MAX);
    let earlier = format!("SELECT {EARLIER_NOW_MS}");
    let now: i64 = client.query_typed_one(&earlier, &[(&now, Type::INT8)]).await?.try_get(0)?;
    let end = now.saturating_sub(i64::try_from(KEPT_FOR.as_millis()).unwrap_or_default());
    let statement = "WITH gone AS (
             DELETE FROM jeton.spent_assertion WHERE key IN (
                 SELECT key FROM jeton.spent_assertion WHERE usable_until_ms <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
             ) RETURNING 1
         )
         SELECT count(*) FROM gone";
    let parameters = [(&end as _, Type::INT8), (&PURGED_AT_ONCE as _, Type::INT8)];
    Ok(client.query_typed_one(statement, &parameters).await?.try_get(0)?)
}

#[cfg(test)]
mod tests;
