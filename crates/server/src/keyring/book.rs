//! The records of the signing keys as they were read, and what is written to change them.

use super::KeyringError;
use super::document::StoredKey;
use crate::server_key::{KeyId, SEALING, Sealer, SealingRecord, StoreKeys};
use crate::store::{ChangeNumber, Changes, Expect, Extent, Kind, Record, Write};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::rotation::{Effect, ScheduledKey};
use jeton_proto::wire::error_response::printable;
use std::collections::BTreeMap;

/// The record that every change of the keys writes, so that of two that were decided at once one is made and the other one is
/// decided anew. No key has this id: ids have 43 characters.
const TURNSTILE: &str = "schedule";

/// The signing keys on record.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    keys: BTreeMap<String, Entry>,
    unreadable: BTreeMap<String, Fault>,
    turnstile: Option<ChangeNumber>,
    sealing: Option<Sealing>,
}

/// Which key seals.
#[derive(Clone, Debug)]
struct Sealing {
    key_id: KeyId,
    change: ChangeNumber,
}

/// A key and the change that wrote its record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) stored: StoredKey,
    change: ChangeNumber,
}

/// Why a record is no key.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    change: ChangeNumber,
}

impl Book {
    /// Takes over what was written; whether that concerned any key.
    pub(super) fn follow(&mut self, changes: &Changes) -> bool {
        let mut concerned = match changes.extent {
            Extent::Everything => {
                *self = Self::default();
                true
            }
            Extent::Since => false,
        };
        for record in changes.records.iter().filter(|record| record.kind == Kind::SigningKey) {
            concerned = true;
            self.take(record);
        }
        concerned
    }

    fn take(&mut self, record: &Record) {
        let (id, change) = (record.id.clone(), record.change);
        if id == TURNSTILE {
            self.turnstile = record.body.as_ref().map(|_| change);
            return;
        }
        self.unreadable.remove(&id);
        if id == SEALING {
            let record = record.body.as_deref().map(serde_json::from_str::<SealingRecord>);
            match record.transpose() {
                Ok(record) => {
                    self.sealing = record.map(|record| Sealing { key_id: record.sealed_with, change });
                }
                Err(error) => {
                    drop(self.unreadable.insert(id, Fault { what: printable(&error.to_string()), change }));
                }
            }
            return;
        }
        let Some(body) = &record.body else {
            self.keys.remove(&id);
            return;
        };
        match StoredKey::parse(&id, body) {
            Ok(stored) => drop(self.keys.insert(id, Entry { stored, change })),
            Err(error) => {
                self.keys.remove(&id);
                self.unreadable.insert(id, Fault { what: printable(&error.to_string()), change });
            }
        }
    }

    /// The keys, by their ids.
    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = &StoredKey> {
        self.keys.values().map(|entry| &entry.stored)
    }

    /// The key with this id.
    pub(super) fn key(&self, key_id: &str) -> Option<&StoredKey> {
        self.keys.get(key_id).map(|entry| &entry.stored)
    }

    /// The records that are no keys, by their ids.
    pub(super) const fn unreadable(&self) -> &BTreeMap<String, Fault> {
        &self.unreadable
    }

    /// What decisions are about.
    pub(super) fn schedule(&self) -> Vec<ScheduledKey> {
        self.keys().map(|stored| stored.key.clone()).collect()
    }

    /// Whether what was written with `change` is in here.
    pub(super) fn has_seen(&self, change: ChangeNumber) -> bool {
        self.turnstile >= Some(change)
    }

    /// What is to be written for `effects`, all at once or not at all, on the condition that nothing was written since. Keys are
    /// made here.
    pub(super) fn writes(&self, effects: &[Effect], sealer: &Sealer) -> Result<Vec<Write>, KeyringError> {
        let mut writes = vec![self.turnstile_write()];
        for effect in effects {
            let write = match effect {
                Effect::Announce { algorithm, times } => {
                    let key = SigningKey::generate(*algorithm).map_err(KeyringError::Generate)?;
                    Some(write_new(&StoredKey::seal(&key, *times, sealer, self.sealing())?)?)
                }
                Effect::Change { key_id, times } => self
                    .keys
                    .get(key_id)
                    .map(|entry| {
                        let mut stored = entry.stored.clone();
                        stored.key.times = *times;
                        Ok::<_, KeyringError>(write(
                            key_id,
                            Some(stored.render()?),
                            Expect::Change(entry.change),
                        ))
                    })
                    .transpose()?,
                Effect::Drop { key_id } => {
                    self.keys.get(key_id).map(|entry| write(key_id, None, Expect::Change(entry.change)))
                }
            };
            writes.extend(write);
        }
        Ok(writes)
    }

    /// What puts a key that was made elsewhere on record.
    pub(super) fn writes_for(&self, key: &StoredKey) -> Result<Vec<Write>, KeyringError> {
        Ok(vec![self.turnstile_write(), write_new(key)?])
    }

    /// The key that seals; `None`: the one that the registry began with.
    pub(super) fn sealing(&self) -> Option<&KeyId> {
        self.sealing.as_ref().map(|sealing| &sealing.key_id)
    }

    /// What seals every key with the key that was given, and lets that one seal from then on: nothing when it does already, else on the
    /// condition that nothing was written since.
    pub(super) fn resealing(&self, keys: &StoreKeys) -> Result<Vec<Write>, KeyringError> {
        let sealer = keys.sealer();
        let mut writes = Vec::new();
        for (key_id, entry) in &self.keys {
            let resealed = entry.stored.resealed(sealer).map_err(|error| KeyringError::Unreadable {
                key_id: printable(key_id),
                fault: error.to_string(),
            })?;
            if let Some(stored) = resealed {
                writes.push(write(key_id, Some(stored.render()?), Expect::Change(entry.change)));
            }
        }
        if sealer.seals(self.sealing()) != sealer.given() {
            let expect = self.sealing.as_ref().map_or(Expect::Absent, |held| Expect::Change(held.change));
            writes.push(write(SEALING, Some(serde_json::to_string(&keys.record()?)?), expect));
        }
        if !writes.is_empty() {
            writes.push(self.turnstile_write());
        }
        Ok(writes)
    }

    /// What removes a record that is no key. That of the server key is nobody's to remove: the key of the digests is in it.
    pub(super) fn removal_of(&self, key_id: &str) -> Option<Vec<Write>> {
        let fault = self.unreadable.get(key_id).filter(|_| key_id != SEALING)?;
        Some(vec![self.turnstile_write(), write(key_id, None, Expect::Change(fault.change))])
    }

    fn turnstile_write(&self) -> Write {
        let expect = self.turnstile.map_or(Expect::Absent, Expect::Change);
        write(TURNSTILE, Some("{}".to_owned()), expect)
    }
}

/// The ids of the keys that are new in `writes`.
pub(super) fn made_by(writes: &[Write]) -> impl Iterator<Item = &str> {
    let new = |write: &&Write| write.expect == Expect::Absent && write.id != TURNSTILE;
    writes.iter().filter(new).map(|write| write.id.as_str())
}

fn write_new(stored: &StoredKey) -> Result<Write, KeyringError> {
    Ok(write(&stored.key.key_id, Some(stored.render()?), Expect::Absent))
}

fn write(id: &str, body: Option<String>, expect: Expect) -> Write {
    Write { kind: Kind::SigningKey, id: id.to_owned(), body, expires_at: None, expect }
}
