//! When the secrets of clients were used last: to the minute, in memory on the token path, and in the store a minute later.
//!
//! It is what people look at before they revoke a secret. Nothing is decided by it, so that whatever is lost of it, by a kill or a full
//! disk, is made good by the next use.

mod flusher;

pub(crate) use flusher::UseFlusher;

use super::document;
use crate::store::{ChangeNumber, Changes, Expect, Extent, Follower, Kind, Record, Write};
use arc_swap::ArcSwap;
use jeton_proto::issuance::NamedSecret;
use jeton_proto::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A use is written when it is this much later than the one that is stored.
const STEP_MS: u64 = 60_000;
/// How many clients are written in one commit, so that nobody waits long for the store.
const BATCH: usize = 500;

/// When the secrets of one client were used last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastUses(BTreeMap<String, Timestamp>);

impl LastUses {
    /// When `secret` was used last, to the minute; `None`: not since it was made, or not for a minute yet.
    #[must_use]
    pub fn of(&self, secret: &NamedSecret) -> Option<Timestamp> {
        // A name may have been another secret's before.
        self.0.get(&secret.name).copied().filter(|used_at| *used_at >= secret.created_at)
    }

    /// A document that cannot be read tells of no use.
    pub(super) fn parse(body: &str) -> Self {
        let uses: BTreeMap<String, u64> = serde_json::from_str(body).unwrap_or_default();
        Self(uses.into_iter().map(|(name, millis)| (name, Timestamp::from_unix_millis(millis))).collect())
    }
}

/// The last use of every secret, as this server has seen it.
#[derive(Debug, Default)]
pub(crate) struct SecretUses {
    clients: ArcSwap<HashMap<String, Vec<Arc<SecretUse>>>>,
    /// What a flush wrote for a client that was removed meanwhile.
    orphans: Mutex<Vec<(String, ChangeNumber)>>,
}

#[derive(Debug)]
struct SecretUse {
    name: String,
    created_at: Timestamp,
    used_at_ms: AtomicU64,
    stored_at_ms: AtomicU64,
}

impl SecretUses {
    /// Notes that the client authenticated with the secret of this name. It costs a look into memory and one relaxed store; a
    /// client or secret that is not known is not noted.
    pub(crate) fn record(&self, client_id: &str, secret_name: &str, now: Timestamp) {
        let clients = self.clients.load();
        let secrets = clients.get(client_id).map_or(&[][..], Vec::as_slice);
        if let Some(secret) = secrets.iter().find(|secret| secret.name == secret_name) {
            secret.used_at_ms.store(now.as_unix_millis(), Ordering::Relaxed);
        }
    }

    /// The next clients, [`BATCH`] at most, of which something is to be written.
    fn unwritten(&self) -> Vec<Unwritten> {
        let orphans = std::mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner));
        let orphans = orphans.into_iter().map(|(client_id, change)| Unwritten {
            write: write(&client_id, None, Expect::Change(change)),
            uses: Vec::new(),
        });
        let clients = self.clients.load();
        let moved = clients.iter().filter(|(_, secrets)| secrets.iter().any(|secret| secret.has_moved()));
        let moved = moved.map(|(client_id, secrets)| {
            let uses: Vec<_> =
                secrets.iter().map(|secret| (Arc::clone(secret), secret.latest_ms())).collect();
            let body: BTreeMap<&str, u64> = uses
                .iter()
                .filter(|(_, at_ms)| *at_ms > 0)
                .map(|(secret, at_ms)| (secret.name.as_str(), *at_ms))
                .collect();
            // Texts and numbers can always be written.
            let body = serde_json::to_string(&body).unwrap_or_default();
            Unwritten { write: write(client_id, Some(body), Expect::Anything), uses }
        });
        orphans.chain(moved).take(BATCH).collect()
    }
}

impl SecretUse {
    fn latest_ms(&self) -> u64 {
        self.used_at_ms.load(Ordering::Relaxed).max(self.stored_at_ms.load(Ordering::Relaxed))
    }

    fn has_moved(&self) -> bool {
        let stored_ms = self.stored_at_ms.load(Ordering::Relaxed);
        let used_ms = self.used_at_ms.load(Ordering::Relaxed);
        used_ms > stored_ms && used_ms - stored_ms >= STEP_MS
    }
}

/// What is to be written of one client, and what is stored when it is.
struct Unwritten {
    write: Write,
    uses: Vec<(Arc<SecretUse>, u64)>,
}

impl Unwritten {
    fn is_written(&self) {
        for (secret, at_ms) in &self.uses {
            secret.stored_at_ms.fetch_max(*at_ms, Ordering::Relaxed);
        }
    }
}

fn write(client_id: &str, body: Option<String>, expect: Expect) -> Write {
    Write { kind: Kind::SecretUse, id: client_id.to_owned(), body, expires_at: None, expect }
}

impl Follower for SecretUses {
    fn follow(&self, changes: &Changes) {
        let known = self.clients.load();
        let (of_clients, of_uses): (Vec<_>, Vec<_>) = changes
            .records
            .iter()
            .filter(|record| matches!(record.kind, Kind::Client | Kind::SecretUse))
            .partition(|record| record.kind == Kind::Client);
        if changes.extent == Extent::Everything || !of_clients.is_empty() {
            let mut clients = match changes.extent {
                Extent::Everything => HashMap::new(),
                Extent::Since => HashMap::clone(&known),
            };
            for record in of_clients {
                match record.body.as_deref() {
                    Some(body) => {
                        let held = known.get(&record.id).map_or(&[][..], Vec::as_slice);
                        clients.insert(record.id.clone(), secrets_of(&record.id, body, held));
                    }
                    None => drop(clients.remove(&record.id)),
                }
            }
            self.clients.store(Arc::new(clients));
        }
        for record in of_uses {
            self.follow_use(record);
        }
    }
}

impl SecretUses {
    /// Takes over what this server or another one has written.
    fn follow_use(&self, record: &Record) {
        let Some(body) = record.body.as_deref() else { return };
        let clients = self.clients.load();
        let Some(secrets) = clients.get(&record.id) else {
            let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            return orphans.push((record.id.clone(), record.change));
        };
        let LastUses(uses) = LastUses::parse(body);
        for secret in secrets {
            let used_at = uses.get(&secret.name).filter(|used_at| **used_at >= secret.created_at);
            let used_at_ms = used_at.map_or(0, |used_at| used_at.as_unix_millis());
            secret.stored_at_ms.fetch_max(used_at_ms, Ordering::Relaxed);
        }
    }
}

/// The secrets of a client's document: those that were there keep their uses. A client that cannot be read has none, and stays known.
fn secrets_of(client_id: &str, body: &str, held: &[Arc<SecretUse>]) -> Vec<Arc<SecretUse>> {
    let Ok(client) = document::parse(client_id, body) else { return Vec::new() };
    let secrets = client.credentials.secrets.into_iter().map(|secret| {
        let same = held.iter().find(|held| held.name == secret.name && held.created_at == secret.created_at);
        same.cloned().unwrap_or_else(|| {
            Arc::new(SecretUse {
                name: secret.name,
                created_at: secret.created_at,
                used_at_ms: AtomicU64::new(0),
                stored_at_ms: AtomicU64::new(0),
            })
        })
    });
    secrets.collect()
}

#[cfg(test)]
mod tests;
