//! How a connection comes about: bounded in time, with the schema looked at.

use super::fault::Fault;
use super::settings::{DatabasePassword, InvalidDatabase, PostgresSettings, Target};
use super::{schema, tls::Tls};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_postgres::{Client, Connection, Socket};

/// The longest that a connection takes, with its password, TLS and the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a first connection takes, which may bring the schema up to date or wait for another one that does.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// After how much silence a connection is tried before it is used.
const TRIED_AFTER: Duration = Duration::from_secs(1);
const TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often one that can be written is looked for, beside one that cannot.
const WRITABLE_SOUGHT_EVERY: Duration = Duration::from_secs(2);

/// Bounds inside of the database, a little less than those outside of it: what is given up here is given up there.
///
/// What is acknowledged is to be on the disk, even where the database is set up otherwise.
const SESSION: &str = "
    SET statement_timeout = '8s';
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// Makes connections.
pub(super) struct Connector {
    target: Target,
    password: Option<Arc<dyn DatabasePassword>>,
}

impl Connector {
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self, InvalidDatabase> {
        Ok(Self { target: settings.check()?, password: settings.password.clone() })
    }

    /// For messages.
    pub(super) fn place(&self) -> &str {
        &self.target.place
    }

    /// A connection to a database that has the schema which is known here.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        self.session_on(Expectation::Ready, CONNECT_TIMEOUT).await
    }

    /// The first connection: the schema is made where there is none, and brought up to date.
    pub(super) async fn first_session(&self) -> Result<Session, Fault> {
        self.session_on(Expectation::Anything, MIGRATION_TIMEOUT).await
    }

    async fn session_on(&self, expected: Expectation, within: Duration) -> Result<Session, Fault> {
        let opening = Box::pin(async {
            let (mut client, connection) = within_time(CONNECT_TIMEOUT, Box::pin(self.connect())).await?;
            let _ends_with_the_client = tokio::spawn(connection);
            match expected {
                Expectation::Ready => schema::check(&client).await?,
                Expectation::Anything => schema::migrate(&mut client).await?,
            }
            client.batch_execute(SESSION).await?;
            Ok(Session { client, used_at: Instant::now(), read_only: None })
        });
        within_time(within, opening).await
    }

    /// `session`, or a new one in the place of one that is of no use any more, or that takes no changes while another one does.
    pub(super) async fn renewed(&self, session: Option<Session>) -> Result<Session, Fault> {
        let checked = match session {
            Some(session) => session.checked().await,
            None => None,
        };
        match checked {
            Some(session) if session.read_only.is_some_and(|at| at <= Instant::now()) => {
                Ok(self.session().await.unwrap_or_else(|_none| session.sought()))
            }
            Some(session) => Ok(session),
            None => self.session().await,
        }
    }

    /// A bare connection, whose other half is to be polled.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, Connection<Socket, super::tls::Secure<Socket>>), Fault> {
        let mut config = self.target.config.clone();
        if let Some(password) = &self.password {
            let password = password.read().await.map_err(|error| Fault::no_password(&error))?;
            config.password(password.expose());
        }
        Ok(config.connect(Tls::over(&self.target.transport)?).await?)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("place", &self.target.place).finish_non_exhaustive()
    }
}

/// What a connection is to find.
#[derive(Clone, Copy)]
enum Expectation {
    /// The schema.
    Ready,
    /// An empty database, or any schema that is not newer.
    Anything,
}

/// A connection that can be used.
pub(super) struct Session {
    pub(super) client: Client,
    used_at: Instant,
    /// It takes no changes, and at this time one is looked for that does.
    read_only: Option<Instant>,
}

impl Session {
    /// The session, if it can still be used. One that was silent for a while is tried: its other end may be gone without a word.
    async fn checked(self) -> Option<Self> {
        if self.client.is_closed() {
            return None;
        }
        if self.used_at.elapsed() < TRIED_AFTER {
            return Some(self);
        }
        let trial = timeout(TRIAL_TIMEOUT, self.client.check_connection()).await;
        matches!(trial, Ok(Ok(()))).then_some(self)
    }

    /// It was found to take no changes. What was a primary may be a standby by now, with another one in its place: whoever goes on
    /// reading there may never hear of what is written.
    pub(super) fn found_read_only(&mut self) {
        self.read_only.get_or_insert_with(Instant::now);
    }

    /// It takes changes after all.
    pub(super) fn found_writable(&mut self) {
        self.read_only = None;
    }

    /// None was found that can be written.
    fn sought(self) -> Self {
        Self { read_only: Instant::now().checked_add(WRITABLE_SOUGHT_EVERY), ..self }
    }

    /// The session after it was used without a time-out, if it can be used again.
    pub(super) fn used(mut self) -> Option<Self> {
        self.used_at = Instant::now();
        (!self.client.is_closed()).then_some(self)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What `work` brings, unless the time is over before.
pub(super) async fn within_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, work).await.unwrap_or_else(|_elapsed| Err(Fault::silent()))
}
