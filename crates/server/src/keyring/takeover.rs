//! Key files of versions before the keys were records: each is put on record once, and removed when it can be opened there.

use super::document::StoredKey;
use super::{KeyringError, Scheduler};
use crate::data_dir::{private_file, read_private, remove_private};
use crate::store::StoreWatch;
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{KeyTimes, Retirement, signing};
use jeton_proto::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How often a key is put on record anew when others write at the same time.
const TRIES: usize = 32;

/// Takes over every key file in `data_dir`.
///
/// A key becomes the active one of its algorithm, as it was. Where there is one on record, it is published for its tokens alone:
/// no verifier of the other instances has it. A file is removed when its key was read back and opened, so that none is ever lost.
pub(super) fn take_over(
    scheduler: &Scheduler,
    data_dir: &Path,
    watch: &StoreWatch,
) -> Result<(), KeyringError> {
    for algorithm in Algorithm::ALL {
        let path = key_path(data_dir, algorithm);
        let Some(pkcs8) = read_private(&path)? else { continue };
        let key = SigningKey::from_pkcs8(algorithm, pkcs8.expose())
            .map_err(|source| KeyringError::Damaged { path: path.clone(), source })?;
        record(scheduler, &key, &path, watch)?;
        if !scheduler.keyring.keys().has_opened(key.key_id()) {
            return Err(KeyringError::NotSeen);
        }
        let file = path.display();
        match remove_private(&path) {
            Ok(()) => tracing::info!(%file, "a signing key was moved from its file into the registry"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(%file, error, "a signing key is in the registry now, and its file cannot be removed");
            }
        }
    }
    Ok(())
}

fn record(
    scheduler: &Scheduler,
    key: &SigningKey,
    path: &Path,
    watch: &StoreWatch,
) -> Result<(), KeyringError> {
    for _ in 0..TRIES {
        let keyring = &scheduler.keyring;
        let keys = keyring.keys();
        if keys.book.key(key.key_id()).is_some() {
            return Ok(());
        }
        let now = scheduler.clock.now();
        let on_record = keys.book.schedule();
        let made_at = made_at(path)?.unwrap_or(now).min(now);
        let taken = signing(&on_record, key.algorithm(), now).is_some();
        let times = KeyTimes {
            number: on_record.iter().map(|key| key.times.number).max().unwrap_or(0).saturating_add(1),
            retired: taken.then_some(Retirement::Ordered),
            ..KeyTimes::at_once(made_at)
        };
        let stored = StoredKey::seal(key, times, keyring.sealer(), keys.book.sealing())?;
        if scheduler.write_and_await(&keys.book.writes_for(&stored)?, watch)? {
            return Ok(());
        }
    }
    Err(KeyringError::Contended)
}

/// When the file was written, which is the age of the key.
fn made_at(path: &Path) -> Result<Option<Timestamp>, KeyringError> {
    let modified = private_file(path)?.and_then(|metadata| metadata.modified().ok());
    let since_epoch = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    Ok(since_epoch.and_then(|age| u64::try_from(age.as_millis()).ok()).map(Timestamp::from_unix_millis))
}

pub(super) fn key_path(data_dir: &Path, algorithm: Algorithm) -> PathBuf {
    data_dir.join(match algorithm {
        Algorithm::Es256 => "signing-key-es256.p8",
        Algorithm::EdDsa => "signing-key-eddsa.p8",
        Algorithm::Rs256 => "signing-key-rs256.p8",
    })
}
