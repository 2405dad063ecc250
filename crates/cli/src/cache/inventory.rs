//! What is in the cache, for those who list and clear it. Looking makes neither a directory nor keys.

use super::is_there;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, described};
use crate::settings::{CacheKeys, CachePlace, Layers};
use jeton::store::{FileStore, KeyRing, Reading, RecordName, SharedStore as _, StoreFault, TokenSummary};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than any record has.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The cache, as it is found.
pub(crate) struct Inventory {
    place: PathBuf,
    /// `None` when there is no directory.
    store: Option<FileStore>,
    /// The keys, or why there are none.
    keys: Result<KeyRing, String>,
}

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Tokens first, in the order of what they are for.
    pub(crate) listed: Vec<Listed>,
    /// Those that are over, and not swept away yet: nobody misses them.
    pub(crate) over: Vec<RecordName>,
}

/// A record.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: RecordName,
    pub(crate) kind: Kind,
}

/// What a record is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A token, and perhaps for how long a process may go on fetching the next one.
    Token { token: Box<TokenSummary>, lease_left: Option<Duration> },
    /// A process is fetching a token.
    Leased { lease_left: Duration },
    /// The server wants to be left alone.
    Paused { left: Duration },
    /// It cannot be read.
    Unreadable { reason: String },
}

impl Inventory {
    /// Opens what is there.
    pub(crate) async fn open(place: &CachePlace, layers: &Layers) -> Result<Self, Failure> {
        let Some(dir) = &place.dir else {
            let message = "there is no place for a token cache: neither HOME nor XDG_CACHE_HOME is set";
            return Err(
                Failure::new(ExitCode::Configuration, message).hint("name its directory by --cache-dir")
            );
        };
        let store = if is_there(dir) {
            let opened = FileStore::open(dir);
            let store = opened.map_err(|error| {
                let message = format!("the token cache cannot be opened: {}", described(&error));
                Failure::new(ExitCode::Configuration, message)
            })?;
            Some(store)
        } else {
            None
        };
        let keys = match &place.keys {
            CacheKeys::Named(keys) => Ok(keys.read(&layers.secrets(&place.secret_places())).await?),
            CacheKeys::Made(None) => {
                Err("there is no key file: neither HOME nor XDG_STATE_HOME is set".to_owned())
            }
            CacheKeys::Made(Some(path)) if is_there(path) => {
                KeyRing::from_key_file(path).map_err(|error| described(&error))
            }
            CacheKeys::Made(Some(path)) => Err(format!("there is no key file {}", path.display())),
        };
        Ok(Self { place: dir.clone(), store, keys })
    }

    /// Where it is, or would be.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// All records.
    pub(crate) async fn records(&self) -> Result<Records, Failure> {
        let mut records = Records::default();
        let Some(store) = &self.store else { return Ok(records) };
        for name in store.names().await.map_err(|fault| self.failure(&fault))? {
            let kind = match store.load(&name).await {
                Ok(Reading { record: None, .. }) => match file(store, &name) {
                    File::IsOver => None,
                    File::Unreadable(reason) => Some(Kind::Unreadable { reason }),
                },
                Ok(reading) => self.kind(&name, &reading),
                Err(fault) => Some(Kind::Unreadable { reason: fault.to_string() }),
            };
            match kind {
                Some(kind) => records.listed.push(Listed { name, kind }),
                None => records.over.push(name),
            }
        }
        records.listed.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(records)
    }

    /// Removes a record, and tells whether it was there.
    pub(crate) async fn remove(&self, name: &RecordName) -> Result<bool, Failure> {
        let Some(store) = &self.store else { return Ok(false) };
        store.remove(name).await.map_err(|fault| self.failure(&fault))
    }

    fn failure(&self, fault: &StoreFault) -> Failure {
        Failure::new(ExitCode::Other, format!("the token cache in {}: {fault}", self.place.display()))
    }

    /// What is in the record; `None` when it is of no use any more.
    fn kind(&self, name: &RecordName, reading: &Reading) -> Option<Kind> {
        let record = reading.record.as_ref()?;
        // Without a token there may be nothing in it that a key opens.
        if let (None, Some(lease_left)) = (&record.body, record.lease_left) {
            return Some(Kind::Leased { lease_left });
        }
        let ring = match &self.keys {
            Ok(ring) => ring,
            Err(reason) => return Some(Kind::Unreadable { reason: reason.clone() }),
        };
        match ring.summarize(name, reading) {
            Ok(summary) => match (summary.token, summary.pause_left) {
                (Some(token), _) => {
                    Some(Kind::Token { token: Box::new(token), lease_left: summary.lease_left })
                }
                (None, left) => left.map(|left| Kind::Paused { left }),
            },
            Err(error) => Some(Kind::Unreadable { reason: error.to_string() }),
        }
    }
}

/// What the file of a record is that the store does not take for one.
enum File {
    IsOver,
    Unreadable(String),
}

fn file(store: &FileStore, name: &RecordName) -> File {
    let path = store.directory().join(name.to_string());
    match path.symlink_metadata() {
        // It was removed in the meantime.
        Err(error) if error.kind() == ErrorKind::NotFound => return File::IsOver,
        Err(error) => return File::Unreadable(error.to_string()),
        Ok(metadata) if !metadata.is_file() => return File::Unreadable("it is no file".to_owned()),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    match read {
        // Long ago it was not over yet, if it is whole.
        Ok(_) if FileStore::decode(name, &bytes, 0).record.is_some() => File::IsOver,
        Ok(_) => File::Unreadable("it is damaged".to_owned()),
        Err(error) => File::Unreadable(error.to_string()),
    }
}

impl Listed {
    /// Whether it is named by `beginning`.
    pub(crate) fn is_named(&self, beginning: &str) -> bool {
        self.name.to_string().starts_with(&beginning.to_ascii_lowercase())
    }

    fn order(&self) -> (u8, [&str; 3], RecordName) {
        let (place, texts) = match &self.kind {
            Kind::Token { token, .. } => {
                let scope = token.scope.as_deref().unwrap_or_default();
                (0, [token.client_id.as_str(), token.token_endpoint.as_str(), scope])
            }
            Kind::Leased { .. } => (1, [""; 3]),
            Kind::Paused { .. } => (2, [""; 3]),
            Kind::Unreadable { .. } => (3, [""; 3]),
        };
        (place, texts, self.name)
    }
}
