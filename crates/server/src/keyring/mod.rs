//! The signing keys: records of the store, sealed with the server key, that every instance holds in memory.
//!
//! Which key signs follows from the times in the records and the clock (`jeton_proto::rotation`), so keys take their turns while
//! the store is away. The schedule makes, settles and drops keys where it can write; people do so by [`SigningKeys`].

mod administration;
mod book;
mod document;
mod resealing;
mod ring;
mod schedule;
mod takeover;
#[cfg(test)]
mod tests;

pub use administration::{KeyListing, ListedKey, SigningKeys, UnreadableKey};
pub use resealing::Resealed;
pub(crate) use ring::{KeyCounts, Keyring, Keys};
pub(crate) use schedule::{KeySchedule, Scheduler};

use crate::data_dir::PrivateFileError;
use crate::registry::RegistryError;
use crate::server_key::SealError;
use crate::store::StoreError;
use jeton_proto::jose::jwk::KeyError;
use jeton_proto::rotation::Refused;
use std::path::PathBuf;

/// Why the signing keys cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A key file cannot be read or removed.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A key file has something else in it.
    #[error(
        "the signing key {path} is damaged; restore it from a backup, or move it away to have a new one made \
         (tokens signed with the old one are then refused)",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A record cannot be read, or not be opened.
    #[error(
        "the signing key {key_id} in the registry cannot be used: {fault}; restore what is missing, or give the key up with all its \
         tokens by: jeton keys drop {key_id} --emergency"
    )]
    Unreadable {
        /// Its id, cut and cleaned.
        key_id: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A new key could not be made.
    #[error("a new signing key could not be made")]
    Generate(#[source] KeyError),
    /// A new key could not be sealed, or no key be opened.
    #[error("signing keys cannot be sealed")]
    Seal(#[from] SealError),
    /// A document could not be written.
    #[error("the record of a signing key cannot be written")]
    Document(#[from] serde_json::Error),
    /// The registry that has the keys cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store that has the keys cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are as many keys as there can be.
    #[error("there are too many signing keys in the registry; drop some of them by: jeton keys drop KEY")]
    Full,
    /// Others changed the keys again and again.
    #[error("the signing keys are being changed by others all the time; try again")]
    Contended,
    /// A change that was written is not read back.
    #[error(
        "a signing key was written to the registry and is not found there; look for another program that changes it"
    )]
    NotSeen,
    /// The command would cost live tokens, or makes no sense.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The thread that rotates the keys cannot be started.
    #[error("the thread that rotates the signing keys cannot be started")]
    Thread(#[source] std::io::Error),
}
