//! The token cache, as the commands use it.

mod inventory;

pub(crate) use inventory::{Inventory, Kind, Listed, Records};

use crate::failure::{Failure, described};
use crate::output;
use crate::settings::{CacheKeys, CachePlace, CacheSettings, Kept, RedisSettings, Secrets};
use bytes::Bytes;
use jeton::http::TlsRoots;
use jeton::store::{
    Change, FileStore, KeyRing, Reading, RecordName, SharedStore, StoreFault, StoreFaultKind, StoreFuture,
    Subscription, Swap, Version,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An answer that took this long and then was no longer waited for is one that did not come in time.
const OVERDUE: Duration = Duration::from_millis(400);

/// A cache that can be used.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn SharedStore>,
    pub(crate) ring: KeyRing,
    /// Where it is.
    pub(crate) place: String,
    /// What to do when it does not work.
    pub(crate) remedy: &'static str,
}

/// Opens the cache, if tokens are to be kept. One that cannot be used costs nobody a token: that is told, and there is none. Keys
/// that are named and cannot be read are a failure.
pub(crate) async fn open(
    settings: &CacheSettings,
    roots: &TlsRoots,
    secrets: &Secrets,
) -> Result<Option<Opened>, Failure> {
    match &settings.kept {
        Kept::Nowhere => Ok(None),
        Kept::InRedis(redis) => open_redis(redis, &settings.place, roots, secrets).await,
        Kept::InFiles => open_files(&settings.place, secrets).await,
    }
}

async fn open_files(place: &CachePlace, secrets: &Secrets) -> Result<Option<Opened>, Failure> {
    const NO_DIR: &str = "neither HOME nor XDG_CACHE_HOME is set";
    const OTHER_DIR: &str = "name another directory by --cache-dir";
    const NO_STATE: &str = "neither HOME nor XDG_STATE_HOME is set, so there is no place for a key file";
    const OTHER_KEYS: &str = "name keys by --cache-key";
    let ring = match &place.keys {
        CacheKeys::Named(keys) => keys.read(secrets).await?,
        CacheKeys::Made(None) => return Ok(unused(NO_STATE, OTHER_KEYS)),
        CacheKeys::Made(Some(path)) => match KeyRing::from_key_file(path) {
            Ok(ring) => ring,
            Err(error) => return Ok(unused(&described(&error), &format!("or {OTHER_KEYS}"))),
        },
    };
    let Some(dir) = &place.dir else {
        return Ok(unused(NO_DIR, OTHER_DIR));
    };
    match FileStore::open(dir) {
        Ok(store) => {
            let place = store.directory().display().to_string();
            Ok(Some(Opened { store: Arc::new(store), ring, place, remedy: OTHER_DIR }))
        }
        Err(error) => Ok(unused(&described(&error), &format!("or {OTHER_DIR}"))),
    }
}

async fn open_redis(
    redis: &RedisSettings,
    place: &CachePlace,
    roots: &TlsRoots,
    secrets: &Secrets,
) -> Result<Option<Opened>, Failure> {
    // Settings without keys are refused before.
    let CacheKeys::Named(keys) = &place.keys else { return Ok(None) };
    let (ring, store) = (keys.read(secrets).await?, redis.store(roots, secrets).await?);
    let place = redis.url.value.clone();
    Ok(Some(Opened { store: Arc::new(store), ring, place, remedy: "name another one by --cache" }))
}

fn unused(why: &str, remedy: &str) -> Option<Opened> {
    warn(why, remedy);
    None
}

fn warn(why: &str, remedy: &str) {
    let why = output::harmless(why);
    output::note(&format!(
        "warning: the token cache is not used: {why}; {remedy}, or turn it off by --no-cache"
    ));
}

/// Whether a token that is kept will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It will, as long as it is good.
    #[default]
    WhenNeeded,
    /// A new one is wanted. The one that is kept stays until that is there.
    Now,
}

/// The store as one command uses it: its first fault is told to the person, once.
pub(crate) struct CommandStore {
    store: Arc<dyn SharedStore>,
    place: String,
    remedy: &'static str,
    failed: AtomicBool,
    /// With a renewal: the body that was there first, which is not shown to the manager.
    outdated: Option<OnceLock<Option<Bytes>>>,
}

impl CommandStore {
    pub(crate) fn new(opened: Opened, renewal: Renewal) -> Self {
        let Opened { store, ring: _, place, remedy } = opened;
        let outdated = match renewal {
            Renewal::WhenNeeded => None,
            Renewal::Now => Some(OnceLock::new()),
        };
        Self { store, place, remedy, failed: AtomicBool::new(false), outdated }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Whether it has done all that it was asked for.
    pub(crate) fn works(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    async fn answer<T>(&self, asking: StoreFuture<'_, T>) -> Result<T, StoreFault> {
        let mut waiting = Waiting { store: self, since: Instant::now(), answered: false };
        let answer = asking.await;
        waiting.answered = true;
        drop(waiting);
        if let Err(fault) = &answer {
            self.fault(fault);
        }
        answer
    }

    fn fault(&self, fault: &StoreFault) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            warn(&fault.to_string(), &format!("mend {}, {}", self.place, self.remedy));
        }
    }

    /// What is there, without the token that is to be renewed.
    fn shown(&self, mut reading: Reading) -> Reading {
        let Some(outdated) = &self.outdated else { return reading };
        let Some(record) = &mut reading.record else {
            let _known = outdated.get_or_init(|| None);
            return reading;
        };
        let first = outdated.get_or_init(|| record.body.clone());
        if *first == record.body {
            record.body = None;
        }
        reading
    }
}

/// An answer that is waited for.
struct Waiting<'a> {
    store: &'a CommandStore,
    since: Instant,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= OVERDUE {
            self.store.fault(&StoreFault::new(StoreFaultKind::TimedOut, self.store.place.clone()));
        }
    }
}

impl SharedStore for CommandStore {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move { Ok(self.shown(self.answer(self.store.load(name)).await?)) })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move {
            match self.answer(self.store.compare_and_swap(name, expected, change)).await? {
                Swap::Conflict(reading) => Ok(Swap::Conflict(self.shown(reading))),
                Swap::Written { now } => {
                    // Whatever comes later is newer than this command.
                    let _known = self.outdated.as_ref().map(|outdated| outdated.get_or_init(|| None));
                    Ok(Swap::Written { now })
                }
            }
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move { self.answer(self.store.subscribe(name)).await })
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }
}

/// Whether a directory, or something in its place, is there.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
