//! The clients of the server.
//!
//! [`Registry`] is for those who administer; the token path has a [`Snapshot`] in memory, which a
//! [`StoreWatch`](crate::store::StoreWatch) keeps up to date.

mod administration;
mod application;
mod document;
mod record;
mod resealing;
mod rotation;
mod secrets;
mod snapshot;
mod uses;

pub use application::ApplyError;
pub(crate) use document::{InvalidDocument, members, of_members, parse_jwks, shown};
pub use record::{ClientListing, ClientRecord, DamagedClient, MAX_MANAGER_BYTES};
pub(crate) use resealing::reseal_secrets;
pub use rotation::{NewSecret, Rotated, SecretKeeping};
pub use secrets::certificate_thumbprint;
pub(crate) use secrets::{SECRET_PREFIX, SecretHasher, parse_digest_text, sealing_name};
pub(crate) use snapshot::{Clients, KnownClient};
pub use uses::LastUses;
pub(crate) use uses::{SecretUses, UseFlusher};

use crate::clock::SystemClock;
use crate::config::Storage;
use crate::data_dir::{PrivateFileError, create_private_dir};
use crate::server_key::{KeyId, SEALING, SealError, SealingRecord, ServerKey, ServerKeyError, StoreKeys};
use crate::store::{CommitError, Expect, Extent, Kind, Record, Store, StoreError, StoreLocation, Write};
use jeton_proto::issuance::{
    ClientCredentials, ClientSettings, ClientStatus, InvalidClientSettings, RegisteredClient,
};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::error_response::printable;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often a change is made anew on what another process has written in between.
const TRIES: usize = 16;

/// The register of clients.
///
/// Every method writes or reads the store at once, and may wait up to 5 seconds for another process that writes. Do
/// not call them on a thread that must not block.
///
/// ```
/// use jeton_proto::issuance::ClientSettings;
/// use jeton_server::Registry;
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// let registry = Registry::open(dir.path())?;
/// let settings = ClientSettings {
///     allowed_scope: "orders:read orders:write".parse()?,
///     ..ClientSettings::new("orders-worker")
/// };
/// let secret = registry.add(settings)?;
/// assert!(secret.expose().starts_with("jeton_secret_"));
/// let next = registry.rotate("orders-worker", None, Duration::from_hours(24))?;
/// assert!(registry.verify("orders-worker", &secret)?.is_some(), "for a day more");
/// registry.disable("orders-worker")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Registry {
    store: Mutex<Box<dyn Store>>,
    keys: StoreKeys,
    hasher: SecretHasher,
    clock: ClockHandle,
}

impl Registry {
    /// Opens the registry in `data_dir`, and makes the directory, the key and the file where they are missing, for
    /// the owner alone.
    pub fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        Self::open_in(&Storage::Embedded, data_dir, None)
    }

    /// Opens the registry that a server with these settings has. What is missing is made: in `data_dir` as by [`Registry::open`], in a
    /// database its tables. One in a database needs the key that its instances share.
    pub fn open_in(
        storage: &Storage,
        data_dir: &Path,
        key: Option<&ServerKey>,
    ) -> Result<Self, RegistryError> {
        match storage {
            Storage::Embedded => create_private_dir(data_dir)?,
            Storage::Postgres(_) => {}
        }
        let key = ServerKey::of(key, storage, data_dir)?;
        Self::over(&StoreLocation::of(storage, data_dir)?, &key, Arc::new(SystemClock))
    }

    /// The registry that is kept at `location` under `key`.
    pub(crate) fn over(
        location: &StoreLocation,
        key: &ServerKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RegistryError> {
        let mut store = location.open()?;
        let keys = StoreKeys::of(key, store.as_mut())?;
        let hasher = keys.hasher();
        Ok(Self { store: Mutex::new(store), keys, hasher, clock: ClockHandle(clock) })
    }

    /// Adds a client, and gives the secret that was made for it: the one time that it can be had. Only its keyed
    /// digest is stored.
    pub fn add(&self, settings: ClientSettings) -> Result<Secret<String>, RegistryError> {
        self.add_with_secret(settings, ClientCredentials::default(), &NewSecret::default())
    }

    /// Adds a client with these credentials.
    pub fn add_with(
        &self,
        settings: ClientSettings,
        credentials: ClientCredentials,
    ) -> Result<(), RegistryError> {
        let record = ClientRecord { settings, credentials, created_at: self.clock.now(), managed_by: None };
        let written = self.commit(&[write(&record, Expect::Absent)?]);
        written.map_err(|error| match error {
            CommitError::Conflict { id, .. } => RegistryError::ClientExists { client_id: printable(&id) },
            CommitError::Full(_) => RegistryError::TooManyClients,
            CommitError::Store(error) => error.into(),
        })
    }

    /// Every client, in the order of the ids.
    pub fn list(&self) -> Result<ClientListing, RegistryError> {
        let changes = self.store().changes(crate::store::ChangeNumber(0))?;
        debug_assert_eq!(changes.extent, Extent::Everything, "asked from the beginning");
        let mut listing = ClientListing::default();
        for record in &changes.records {
            if record.kind == Kind::SecretUse {
                let uses = record.body.as_deref().map(LastUses::parse).unwrap_or_default();
                listing.last_uses.insert(record.id.clone(), uses);
            }
            if record.kind != Kind::Client {
                continue;
            }
            match read(record) {
                Ok(client) => listing.clients.push(client),
                Err(RegistryError::Damaged { client_id, fault }) => {
                    listing.damaged.push(DamagedClient { client_id, fault });
                }
                Err(other) => return Err(other),
            }
        }
        listing.clients.sort_by(|one, other| one.settings.client_id.cmp(&other.settings.client_id));
        listing.damaged.sort_by(|one, other| one.client_id.cmp(&other.client_id));
        Ok(listing)
    }

    /// The client with this id.
    pub fn client(&self, client_id: &str) -> Result<ClientRecord, RegistryError> {
        let found = self.store().record(Kind::Client, client_id)?;
        read(&found.ok_or_else(|| no_such_client(client_id))?)
    }

    /// When the secrets of a client were used last, to the minute.
    pub fn last_uses(&self, client_id: &str) -> Result<LastUses, RegistryError> {
        let found = self.store().record(Kind::SecretUse, client_id)?;
        Ok(found.and_then(|record| record.body).as_deref().map(LastUses::parse).unwrap_or_default())
    }

    /// Changes a client: `change` is given what is there, and is called again when another process was faster. What it leaves is
    /// checked whole, and written or not at all.
    pub fn update<T>(
        &self,
        client_id: &str,
        mut change: impl FnMut(&mut ClientRecord) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        for _ in 0..TRIES {
            let found = self.store().record(Kind::Client, client_id)?;
            let found = found.ok_or_else(|| no_such_client(client_id))?;
            let mut record = read(&found)?;
            let changed = change(&mut record)?;
            match self.commit(&[write(&record, Expect::Change(found.change))?]) {
                Ok(()) => return Ok(changed),
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Full(_)) => return Err(RegistryError::TooManyClients),
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended { client_id: printable(client_id) })
    }

    /// Lets the client have no more tokens. Those that it has live on until they expire.
    pub fn disable(&self, client_id: &str) -> Result<(), RegistryError> {
        self.set_status(client_id, ClientStatus::Disabled)
    }

    /// Lets a disabled client have tokens again, with the credentials that it had.
    pub fn enable(&self, client_id: &str) -> Result<(), RegistryError> {
        self.set_status(client_id, ClientStatus::Enabled)
    }

    fn set_status(&self, client_id: &str, status: ClientStatus) -> Result<(), RegistryError> {
        self.update(client_id, |record| {
            record.settings.status = status;
            Ok(())
        })
    }

    /// Removes the client and its secrets. Tokens that it has live on until they expire.
    pub fn remove(&self, client_id: &str) -> Result<(), RegistryError> {
        for _ in 0..TRIES {
            let found = self.store().record(Kind::Client, client_id)?;
            let found = found.ok_or_else(|| no_such_client(client_id))?;
            let removal =
                |kind, expect| Write { kind, id: client_id.to_owned(), body: None, expires_at: None, expect };
            let removals = [
                removal(Kind::Client, Expect::Change(found.change)),
                removal(Kind::SecretUse, Expect::Anything),
            ];
            match self.commit(&removals) {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Full(_)) => return Err(RegistryError::TooManyClients),
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended { client_id: printable(client_id) })
    }

    /// Takes the secret `name` from the client, at once.
    pub fn revoke_secret(&self, client_id: &str, name: &str) -> Result<(), RegistryError> {
        self.update(client_id, |record| {
            let held = &mut record.credentials.secrets;
            let before = held.len();
            held.retain(|secret| secret.name != name);
            if held.len() == before {
                return Err(RegistryError::NoSuchSecret {
                    client_id: printable(client_id),
                    name: printable(name),
                    names: held.iter().map(|secret| secret.name.clone()).collect(),
                });
            }
            Ok(())
        })
    }

    /// The keys of the store.
    pub(crate) const fn keys(&self) -> &StoreKeys {
        &self.keys
    }

    /// The key that seals now; `None`: the one that the registry began with.
    fn sealing(&self) -> Result<Option<KeyId>, RegistryError> {
        let record = self.store().record(Kind::SigningKey, SEALING)?.and_then(|record| record.body);
        let parse = |body: String| serde_json::from_str::<SealingRecord>(&body);
        let record = record.map(parse).transpose().map_err(|_| RegistryError::Sealing)?;
        Ok(record.map(|record| record.sealed_with))
    }

    fn commit(&self, writes: &[Write]) -> Result<(), CommitError> {
        self.store().commit(writes, self.clock.now()).map(|_| ())
    }

    /// A panic while the lock was held leaves a transaction that was rolled back, and nothing else.
    fn store(&self) -> MutexGuard<'_, Box<dyn Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record is checked before it is written, so that what is stored holds together.
fn write(record: &ClientRecord, expect: Expect) -> Result<Write, RegistryError> {
    RegisteredClient::new(record.settings.clone(), record.credentials.clone())?;
    let client_id = &record.settings.client_id;
    let body = document::render(record).map_err(|error| damaged(client_id, &error.to_string()))?;
    Ok(Write { kind: Kind::Client, id: client_id.clone(), body: Some(body), expires_at: None, expect })
}

fn read(record: &Record) -> Result<ClientRecord, RegistryError> {
    let body = record.body.as_deref().unwrap_or_default();
    document::parse(&record.id, body).map_err(|error| damaged(&record.id, &error.to_string()))
}

fn damaged(client_id: &str, fault: &str) -> RegistryError {
    RegistryError::Damaged { client_id: printable(client_id), fault: printable(fault) }
}

fn no_such_client(client_id: &str) -> RegistryError {
    RegistryError::NoSuchClient { client_id: printable(client_id) }
}

/// A clock that has a `Debug`.
#[derive(Clone)]
struct ClockHandle(Arc<dyn Clock>);

impl ClockHandle {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Why the registry cannot be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The data directory cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is no key for it.
    #[error(transparent)]
    Key(#[from] ServerKeyError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// The client has no secret of this name.
    #[error("the client {client_id} has no secret {name}; it has {}", told(.names))]
    NoSuchSecret {
        /// The id of the client, cut and cleaned.
        client_id: String,
        /// The name, cut and cleaned.
        name: String,
        /// Those that it has.
        names: Vec<String>,
    },
    /// There is no room for one more secret.
    #[error("the client {client_id} has two secrets in force, {}; revoke one of them first", told(.names))]
    SecretsInForce {
        /// The id of the client, cut and cleaned.
        client_id: String,
        /// Those that it has.
        names: Vec<String>,
    },
    /// What is stored of the client cannot be read.
    #[error(
        "the client {client_id} cannot be read: {fault}; use the newer program that wrote it, or remove the client"
    )]
    Damaged {
        /// The id of the client, cut and cleaned.
        client_id: String,
        /// What is wrong.
        fault: String,
    },
    /// Others changed the same client again and again.
    #[error("the client {client_id} is being changed by others all the time; try again")]
    Contended {
        /// The id of the client, cut and cleaned.
        client_id: String,
    },
    /// The name of who manages clients is not good.
    #[error("the name of a manager has 1 to {MAX_MANAGER_BYTES} printable ascii characters and no space")]
    Manager,
    /// Files without any client would remove clients.
    #[error(
        "the files have no client at all, and {clients} clients would be removed; remove the last ones by: jeton client remove NAME"
    )]
    EmptyFiles {
        /// How many would be removed.
        clients: usize,
    },
    /// There are 100,000, which is the most: all of them are held in memory.
    #[error("the registry has {} clients, which is the most it takes", Kind::Client.most())]
    TooManyClients,
    /// The digests in the registry were made with another key.
    #[error(
        "the secrets of this registry are kept under another server key than the one given; give that one (after jeton keys reseal the new \
         one), or restore it from a backup (client-secrets.key, unless it is kept elsewhere), or move the registry away and add the \
         clients again"
    )]
    ForeignKey,
    /// The record that names the key that seals is none.
    #[error(
        "the record of the server key in the registry cannot be read; use the newer program that wrote it, or restore a backup"
    )]
    Sealing,
    /// The random source of the machine failed.
    #[error("the random source failed, so no secret can be made")]
    Random,
    /// A secret cannot be sealed.
    #[error("the secret cannot be kept for client_secret_jwt")]
    Seal(#[from] SealError),
}

fn told(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
}

#[cfg(test)]
mod tests;
