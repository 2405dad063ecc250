//! The one thread on which everything goes that talks to the database.

use super::connector::Connector;
use super::fault::Fault;
use super::settings::{InvalidDatabase, PostgresSettings};
use crate::store::StoreError;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A database that instances share, with a thread of its own to talk to it.
///
/// Callers wait on their own threads, so that this can be used on any: the library's blocking face cannot be used on one that
/// drives tasks, and it has no bound for an answer that does not come.
pub(crate) struct Database {
    connector: Arc<Connector>,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl Database {
    /// Nothing is connected yet.
    pub(crate) fn new(settings: &PostgresSettings) -> Result<Self, DatabaseError> {
        let connector = Arc::new(Connector::new(settings)?);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("jeton-postgres")
            .enable_all()
            .build()
            .map_err(DatabaseError::Thread)?;
        Ok(Self { connector, runtime: Some(runtime) })
    }

    pub(super) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// For messages.
    pub(super) fn error(&self, fault: Fault) -> StoreError {
        fault.error(self.connector.place())
    }

    /// Waits for `work`, which bounds its own time.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = sync_channel(1);
        self.spawn(async move {
            let _nobody_waits = done.send(work.await);
        })?;
        result.recv().ok()
    }

    /// Lets `work` go on beside others, until it is aborted or this is dropped.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // This may be a thread that must not wait.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("connector", &self.connector).finish_non_exhaustive()
    }
}

/// Why a database cannot be talked to at all.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] InvalidDatabase),
    /// The thread cannot be started.
    #[error("the thread that talks to the database cannot be started")]
    Thread(#[source] io::Error),
}
