//! The signing keys for those who administer, whether the server runs or not.

use super::KeyringError;
use super::book::{self, Book};
use super::schedule::log;
use crate::clock::SystemClock;
use crate::config::Storage;
use crate::data_dir::create_private_dir;
use crate::registry::RegistryError;
use crate::server_key::{ServerKey, StoreKeys};
use crate::store::{ChangeNumber, CommitError, Store, StoreLocation, Write};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{Command, Effect, KeyState, KeyTimes, Refused, Urgency, obey, signing, state};
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::error_response::printable;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How often a change is made anew on what another process has written in between.
pub(super) const TRIES: usize = 16;

/// The signing keys of a server.
///
/// Every method reads and writes the store at once, and may wait up to 5 seconds for another process that writes. A key that is
/// announced here has its turn settled by the servers, in a moment where one runs; see `jeton_proto::rotation`.
///
/// ```no_run
/// use jeton_server::SigningKeys;
///
/// let mut keys = SigningKeys::open("/var/lib/jeton".as_ref())?;
/// let announced = keys.rotate(None)?;
/// println!("{} will sign soon", announced.join(", "));
/// # Ok::<(), jeton_server::KeyringError>(())
/// ```
pub struct SigningKeys {
    pub(super) store: Box<dyn Store>,
    pub(super) keys: StoreKeys,
    pub(super) clock: Arc<dyn Clock>,
}

/// Every signing key of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyListing {
    /// Those that can be read, the newest first.
    pub keys: Vec<ListedKey>,
    /// Those that cannot.
    pub unreadable: Vec<UnreadableKey>,
}

/// A signing key, without its secret half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The `kid`.
    pub key_id: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// What it is now.
    pub state: KeyState,
    /// Its times.
    pub times: KeyTimes,
}

/// A record that is no key: another program wrote it, or a newer version of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableKey {
    /// Its id, cut and cleaned.
    pub key_id: String,
    /// What is wrong with it.
    pub fault: String,
}

impl SigningKeys {
    /// Opens the keys in `data_dir`; directory, server key and registry are made where they are missing.
    pub fn open(data_dir: &Path) -> Result<Self, KeyringError> {
        Self::open_in(&Storage::Embedded, data_dir, None)
    }

    /// Opens the keys that a server with these settings has, as [`Registry::open_in`](crate::Registry::open_in) opens its clients.
    pub fn open_in(
        storage: &Storage,
        data_dir: &Path,
        key: Option<&ServerKey>,
    ) -> Result<Self, KeyringError> {
        match storage {
            Storage::Embedded => create_private_dir(data_dir)?,
            Storage::Postgres(_) => {}
        }
        let key = ServerKey::of(key, storage, data_dir).map_err(RegistryError::from)?;
        Self::over(&StoreLocation::of(storage, data_dir)?, &key, Arc::new(SystemClock))
    }

    /// The keys that are kept at `location`, sealed with `key`.
    pub(crate) fn over(
        location: &StoreLocation,
        key: &ServerKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyringError> {
        let mut store = location.open()?;
        let keys = StoreKeys::of(key, store.as_mut())?;
        Ok(Self { store, keys, clock })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Every key.
    pub fn list(&mut self) -> Result<KeyListing, KeyringError> {
        let (book, now) = (self.read()?, self.clock.now());
        let keys = book.schedule();
        let mut listed: Vec<_> = keys
            .iter()
            .map(|key| ListedKey {
                key_id: key.key_id.clone(),
                algorithm: key.algorithm,
                state: state(key, &keys, now),
                times: key.times,
            })
            .collect();
        listed.sort_by_key(|key| std::cmp::Reverse(key.times.number));
        let unreadable = book
            .unreadable()
            .iter()
            .map(|(key_id, fault)| UnreadableKey { key_id: printable(key_id), fault: fault.what.clone() });
        Ok(KeyListing { keys: listed, unreadable: unreadable.collect() })
    }

    /// Announces a successor for the key of this algorithm, or of every algorithm that has one: their key ids.
    pub fn rotate(&mut self, algorithm: Option<Algorithm>) -> Result<Vec<String>, KeyringError> {
        self.change(|book, now| {
            let keys = book.schedule();
            if let Some(algorithm) = algorithm {
                return obey(&keys, Command::Rotate { algorithm }, now);
            }
            let has_one = |algorithm: &Algorithm| signing(&keys, *algorithm, now).is_some();
            let all = Algorithm::ALL.into_iter().filter(has_one);
            all.map(|algorithm| obey(&keys, Command::Rotate { algorithm }, now))
                .collect::<Result<Vec<_>, _>>()
                .map(|effects| effects.concat())
        })
    }

    /// Lets a key sign no more; see [`Command::Retire`]. The ids of keys that take its place at once.
    pub fn retire(&mut self, key_id: &str, urgency: Urgency) -> Result<Vec<String>, KeyringError> {
        self.change(|book, now| obey(&book.schedule(), Command::Retire { key_id, urgency }, now))
    }

    /// Lets nobody accept a token of the key any more; see [`Command::Drop`]. The ids of keys that take its place at once.
    ///
    /// In an emergency a record that cannot be read is removed too.
    pub fn drop_key(&mut self, key_id: &str, urgency: Urgency) -> Result<Vec<String>, KeyringError> {
        if urgency == Urgency::Emergency
            && let Some(removal) = self.read()?.removal_of(key_id)
        {
            return self.commit(&removal)?.map(|_| Vec::new()).ok_or(KeyringError::Contended);
        }
        self.change(|book, now| obey(&book.schedule(), Command::Drop { key_id, urgency }, now))
    }

    /// Writes what `decision` wants, on the condition that nothing has changed meanwhile: the ids of the keys that were made.
    fn change(
        &mut self,
        decision: impl Fn(&Book, Timestamp) -> Result<Vec<Effect>, Refused>,
    ) -> Result<Vec<String>, KeyringError> {
        for _ in 0..TRIES {
            let book = self.read()?;
            let effects = decision(&book, self.clock.now())?;
            if effects.is_empty() {
                return Ok(Vec::new());
            }
            let writes = book.writes(&effects, self.keys.sealer())?;
            if self.commit(&writes)?.is_some() {
                effects.iter().for_each(log);
                return Ok(book::made_by(&writes).map(str::to_owned).collect());
            }
        }
        Err(KeyringError::Contended)
    }

    pub(super) fn read(&mut self) -> Result<Book, KeyringError> {
        let mut book = Book::default();
        book.follow(&self.store.changes(ChangeNumber(0))?);
        Ok(book)
    }

    /// The change; `None` when others have written meanwhile.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<Option<ChangeNumber>, KeyringError> {
        match self.store.commit(writes, self.clock.now()) {
            Ok(change) => Ok(Some(change)),
            Err(CommitError::Conflict { .. }) => Ok(None),
            Err(CommitError::Full(_)) => Err(KeyringError::Full),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys").field("store", &self.store).finish_non_exhaustive()
    }
}
