//! The store in a `PostgreSQL` database that several instances share.

mod connector;
mod database;
mod fault;
mod listening;
mod pause;
mod plan;
mod schema;
mod settings;
mod spending;
mod statements;
mod tls;

pub(crate) use database::Database;
pub use database::DatabaseError;
pub use settings::{DatabasePassword, InvalidDatabase, PasswordFuture, PostgresSettings};
pub(crate) use spending::PostgresSpending;

use super::watch::Nudge;
use super::{ChangeNumber, Changes, CommitError, Kind, Listening, Record, Store, StoreError, Write};
use connector::{Session, within_time};
use fault::Fault;
use jeton_proto::time::Timestamp;
use pause::{Pause, jitter};
use statements::{Failed, Incarnation, Taking};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The longest that a look takes which finds nothing new, or one record.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that it takes to read everything.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a commit takes, with its turn at the counter.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Rows that one step of a purge removes, during which nobody commits, and the most steps of one purge.
const PURGED_AT_ONCE: i64 = 5_000;
const PURGE_STEPS: usize = 200;

/// A connection to the database.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    database: Arc<Database>,
    session: Option<Session>,
    pause: Pause,
    /// What was read last: another one may have been put in its place.
    incarnation: Option<Incarnation>,
}

/// What a piece of work brings.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'a>>;

impl PostgresStore {
    /// Connects, makes the schema where there is none, and brings it up to date.
    pub(crate) fn open(database: &Arc<Database>) -> Result<Self, StoreError> {
        let connector = Arc::clone(database.connector());
        let session = database.wait(async move { connector.first_session().await });
        let session = session.unwrap_or_else(|| Err(ended())).map_err(|fault| database.error(fault))?;
        let (database, pause) = (Arc::clone(database), Pause::default());
        Ok(Self { database, session: Some(session), pause, incarnation: None })
    }

    /// Does `work` over the connection, or over a new one when that is gone.
    fn call<T: Send + 'static>(
        &mut self,
        limit: Duration,
        work: impl for<'a> FnOnce(&'a mut Client) -> Answer<'a, T> + Send + 'static,
    ) -> Result<T, CommitError> {
        if self.session.is_none()
            && let Some(fault) = self.pause.holds(Instant::now())
        {
            return Err(self.database.error(fault.clone()).into());
        }
        let (connector, before) = (Arc::clone(self.database.connector()), self.session.take());
        let (session, result) = self
            .database
            .wait(async move {
                match connector.renewed(before).await {
                    Err(fault) => (None, Err(Failed::Fault(fault))),
                    Ok(mut session) => {
                        let work = work(&mut session.client);
                        let result = tokio::time::timeout(limit, work).await;
                        let result = result.unwrap_or_else(|_elapsed| Err(Fault::silent().into()));
                        let is_silent = matches!(&result, Err(Failed::Fault(fault)) if fault.is_silent());
                        if matches!(&result, Err(Failed::Fault(fault)) if fault.is_read_only()) {
                            session.found_read_only();
                        }
                        (if is_silent { None } else { session.used() }, result)
                    }
                }
            })
            .unwrap_or_else(|| (None, Err(Failed::Fault(ended()))));
        match &result {
            Err(Failed::Fault(fault)) if session.is_none() => {
                self.pause.failed(fault.clone(), jitter(), Instant::now());
            }
            Ok(_) | Err(Failed::Fault(_) | Failed::Refused(_)) => self.pause.over(),
        }
        self.session = session;
        result.map_err(|failed| match failed {
            Failed::Refused(refused) => refused,
            Failed::Fault(fault) => self.database.error(fault).into(),
        })
    }

    /// Does what cannot be refused.
    fn ask<T: Send + 'static>(
        &mut self,
        limit: Duration,
        work: impl for<'a> FnOnce(&'a mut Client) -> Answer<'a, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(limit, work).map_err(|error| match error {
            CommitError::Store(error) => error,
            CommitError::Conflict { .. } | CommitError::Full(_) => self.database.error(ended()),
        })
    }
}

/// The thread that talks to the database has ended, which it does with the process.
fn ended() -> Fault {
    Fault::unreachable(&"the thread that talks to it has ended")
}

impl Store for PostgresStore {
    fn changes(&mut self, after: ChangeNumber) -> Result<Changes, StoreError> {
        let known = self.incarnation;
        let (counter, changes) = self.ask(READ_TIMEOUT, move |client| {
            Box::pin(async move {
                let counter = within_time(LOOK_TIMEOUT, statements::counter(client)).await?;
                // Another database in its place has numbers of its own.
                let after = if known.is_none_or(|known| known == counter.incarnation) {
                    after
                } else {
                    ChangeNumber(0)
                };
                if let Some(nothing) = counter.nothing_since(after) {
                    return Ok((counter, nothing));
                }
                Ok(statements::changes(client, after, counter.incarnation).await?)
            })
        })?;
        self.incarnation = Some(counter.incarnation);
        if let Some(session) = &mut self.session {
            match counter.taking {
                Taking::Changes => session.found_writable(),
                Taking::Nothing => session.found_read_only(),
            }
        }
        Ok(changes)
    }

    fn record(&mut self, kind: Kind, id: &str) -> Result<Option<Record>, StoreError> {
        let id = id.to_owned();
        self.ask(LOOK_TIMEOUT, move |client| {
            Box::pin(async move { Ok(statements::record(client, kind, &id).await?) })
        })
    }

    fn page(&mut self, kind: Kind, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        let after = after.to_owned();
        self.ask(LOOK_TIMEOUT, move |client| {
            Box::pin(async move { Ok(statements::page(client, kind, &after, limit).await?) })
        })
    }

    fn commit(&mut self, writes: &[Write], now: Timestamp) -> Result<ChangeNumber, CommitError> {
        let writes = writes.to_vec();
        self.call(COMMIT_TIMEOUT, move |client| {
            Box::pin(async move { statements::commit(client, &writes, now).await })
        })
    }

    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..PURGE_STEPS {
            let purged = self.ask(COMMIT_TIMEOUT, move |client| {
                Box::pin(async move { Ok(statements::purge(client, now, PURGED_AT_ONCE).await?) })
            })?;
            if purged < PURGED_AT_ONCE {
                break;
            }
        }
        Ok(())
    }

    fn setting(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.ask(COMMIT_TIMEOUT, move |client| {
            Box::pin(async move { Ok(statements::setting(client, &name, &value).await?) })
        })
    }

    fn listen(&self, nudge: Nudge) -> Option<Listening> {
        listening::start(&self.database, nudge)
    }

    #[cfg(test)]
    fn limit_pages(&mut self, pages: u32) {
        assert_eq!(pages, u32::MAX, "only a file has pages");
    }
}

#[cfg(test)]
mod tests;
