//! The clients of the server, in one `SQLite` file that several processes may have open at once.
//!
//! [`Registry`] is for those who administer; the token path has a [`Snapshot`] in memory, which [`RegistryWatch`]
//! keeps up to date.

mod schema;
mod secrets;
mod snapshot;
mod watch;

pub(crate) use secrets::{SECRET_PREFIX, SecretHasher};
pub use snapshot::ClientRecord;
pub(crate) use snapshot::Snapshot;
pub(crate) use watch::{RegistryReader, RegistryWatch};

use crate::data_dir::{PrivateFileError, create_private_dir};
use jeton_proto::issuance::{
    ClientCredentials, ClientSettings, ClientStatus, InvalidClientSettings, RegisteredClient,
};
use jeton_proto::secret::Secret;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most clients of a registry: all of them are held in memory.
const MAX_CLIENTS: u32 = 100_000;

/// The register of clients: add, list, disable, enable, remove.
///
/// Every method writes or reads the file at once, and may wait up to 5 seconds for another process that writes. Do
/// not call them on a thread that must not block.
///
/// ```
/// use jeton_proto::issuance::ClientSettings;
/// use jeton_server::Registry;
///
/// # let dir = tempfile::tempdir()?;
/// let registry = Registry::open(dir.path())?;
/// let settings = ClientSettings {
///     allowed_scope: "orders:read orders:write".parse()?,
///     ..ClientSettings::new("orders-worker")
/// };
/// let secret = registry.add(settings)?;
/// assert!(secret.expose().starts_with("jeton_secret_"));
/// assert_eq!(registry.list()?.len(), 1);
/// registry.disable("orders-worker")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Registry {
    connection: Mutex<Connection>,
    data_dir: PathBuf,
    hasher: SecretHasher,
}

impl Registry {
    /// Opens the registry in `data_dir`, and makes the directory, the key and the file where they are missing, for
    /// the owner alone.
    pub fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        create_private_dir(data_dir)?;
        let hasher = SecretHasher::open(data_dir)?;
        let connection = schema::open(data_dir, &hasher)?;
        Ok(Self { connection: Mutex::new(connection), data_dir: data_dir.to_owned(), hasher })
    }

    /// Adds a client, and gives the secret that was made for it: the one time that it can be had. Only its keyed
    /// digest is stored.
    pub fn add(&self, settings: ClientSettings) -> Result<Secret<String>, RegistryError> {
        let secret = secrets::generate()?;
        let client =
            RegisteredClient::new(settings, ClientCredentials::from_digest(self.hasher.digest(&secret)))?;
        let client_id = client.settings().client_id.clone();
        let inserted = self.write(|transaction| insert(transaction, &client))?;
        match inserted {
            Inserted::Done => Ok(secret),
            Inserted::Exists => Err(RegistryError::ClientExists { client_id }),
            Inserted::Full => Err(RegistryError::TooManyClients),
        }
    }

    /// Every client, in the order of the ids.
    pub fn list(&self) -> Result<Vec<ClientRecord>, RegistryError> {
        let clients =
            snapshot::read_clients(&mut self.connection()).map_err(|source| self.database(source))?;
        Ok(clients.into_iter().map(|(record, _)| record).collect())
    }

    /// Lets the client have no more tokens. Those that it has live on until they expire.
    pub fn disable(&self, client_id: &str) -> Result<(), RegistryError> {
        self.set_status(client_id, ClientStatus::Disabled)
    }

    /// Lets a disabled client have tokens again, with the secret that it had.
    pub fn enable(&self, client_id: &str) -> Result<(), RegistryError> {
        self.set_status(client_id, ClientStatus::Enabled)
    }

    /// Removes the client and its secrets. Tokens that it has live on until they expire.
    pub fn remove(&self, client_id: &str) -> Result<(), RegistryError> {
        let removed = self.write(|transaction| {
            transaction.execute("DELETE FROM client WHERE client_id = ?1", [client_id])
        })?;
        found(removed, client_id)
    }

    fn set_status(&self, client_id: &str, status: ClientStatus) -> Result<(), RegistryError> {
        let changed = self.write(|transaction| {
            let parameters = params![client_id, snapshot::status_name(status)];
            transaction.execute("UPDATE client SET status = ?2 WHERE client_id = ?1", parameters)
        })?;
        found(changed, client_id)
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let mut connection = self.connection();
        (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        })()
        .map_err(|source| self.database(source))
    }

    /// A panic while the lock was held leaves a transaction that was rolled back, and nothing else.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, source: rusqlite::Error) -> RegistryError {
        schema::database(&schema::path(&self.data_dir), source)
    }

    /// Gives the parts that a server needs: what hashes secrets, and what reads the clients.
    pub(crate) fn into_reader(self) -> Result<(SecretHasher, RegistryReader), RegistryError> {
        let reader = RegistryReader::open(&self.data_dir, self.hasher.clone())?;
        Ok((self.hasher, reader))
    }
}

/// Why the registry cannot be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The data directory or a file in it cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The settings make no client.
    #[error(transparent)]
    Settings(#[from] InvalidClientSettings),
    /// There is a client with this id.
    #[error("there is a client {client_id} already; remove it first or choose another id")]
    ClientExists {
        /// The id.
        client_id: String,
    },
    /// There is no client with this id.
    #[error("there is no client {client_id}")]
    NoSuchClient {
        /// The id, cut and cleaned.
        client_id: String,
    },
    /// There are 100,000, which is the most: all of them are held in memory.
    #[error("the registry has {MAX_CLIENTS} clients, which is the most it takes")]
    TooManyClients,
    /// `SQLite` failed.
    #[error("the registry {path} {}", advice(source), path = .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// The file was made by a newer version.
    #[error(
        "the registry {path} has version {version}, this program knows {known} at most; use the newer program",
        path = .path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// The key file has not the length of a key.
    #[error("{} is damaged; restore it from a backup (without it no client secret can be checked)", .path.display())]
    DamagedKey {
        /// The file.
        path: PathBuf,
    },
    /// The digests in the registry were made with another key.
    #[error(
        "the client secrets in {dir} were hashed with another key than the one in client-secrets.key; restore that \
         file from a backup, or move the registry away and add the clients again",
        dir = .data_dir.display()
    )]
    ForeignKey {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The random source of the machine failed.
    #[error("the random source failed, so no secret can be made")]
    Random,
}

/// What is wrong with the registry, and what to do.
fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "is damaged; restore it from a backup, or move it away and add the clients again"
        }
        Some(ErrorCode::DiskFull) => "cannot be written: the disk is full; make room and try again",
        Some(ErrorCode::SystemIoFailure) => {
            "cannot be used: the disk is full or fails; make room and try again"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "is held by another program for more than 5 seconds; end that program or try again"
        }
        _ => {
            "cannot be used; it must be a database that this user can write, in a directory that this user can write"
        }
    }
}

enum Inserted {
    Done,
    Exists,
    Full,
}

fn insert(transaction: &Transaction<'_>, client: &RegisteredClient) -> rusqlite::Result<Inserted> {
    let settings = client.settings();
    let clients: u32 = transaction.query_row("SELECT count(*) FROM client", [], |row| row.get(0))?;
    if clients >= MAX_CLIENTS {
        return Ok(Inserted::Full);
    }
    // The settings were checked: a lifetime has 30 days at most, and there are 32 audiences at most.
    let lifetime_seconds = u32::try_from(settings.token_lifetime.as_secs()).unwrap_or(u32::MAX);
    let added = transaction.execute(
        "INSERT INTO client
             (client_id, status, allowed_scope, default_scope, token_lifetime_seconds, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, CAST(unixepoch('subsec') * 1000 AS INTEGER))
         ON CONFLICT DO NOTHING",
        params![
            settings.client_id,
            snapshot::status_name(settings.status),
            settings.allowed_scope.to_string(),
            settings.default_scope.as_ref().map(ToString::to_string),
            lifetime_seconds,
        ],
    )?;
    if added == 0 {
        return Ok(Inserted::Exists);
    }
    for (position, audience) in (0_u32..).zip(&settings.audiences) {
        transaction.execute(
            "INSERT INTO client_audience (client_id, position, audience) VALUES (?1, ?2, ?3)",
            params![settings.client_id, position, audience],
        )?;
    }
    for secret in &client.credentials().secrets {
        transaction.execute(
            "INSERT INTO client_secret (client_id, digest, created_at_ms)
             VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
            params![settings.client_id, secret.digest.as_bytes()],
        )?;
    }
    Ok(Inserted::Done)
}

fn found(rows: usize, client_id: &str) -> Result<(), RegistryError> {
    if rows == 0 {
        let client_id = jeton_proto::wire::error_response::printable(client_id);
        return Err(RegistryError::NoSuchClient { client_id });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
