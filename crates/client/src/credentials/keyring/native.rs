//! The keychain of macOS and the Credential Manager of Windows.

use super::KeyringPlace;
use crate::credentials::content;
use crate::credentials::environment::Surroundings;
use crate::credentials::source::{SecretReading, SourceFault, SourceFaultKind};
use keyring::{Entry, Error};
use std::sync::Arc;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// A look blocks a thread, until somebody answers where a prompt is shown: there is never more than one.
pub(super) struct Keyring {
    looks: Arc<Semaphore>,
}

impl Keyring {
    #[allow(clippy::unnecessary_wraps, reason = "the keyrings of other platforms cannot always be opened")]
    pub(super) fn of(_place: &KeyringPlace, _surroundings: &Surroundings) -> Result<Self, SourceFault> {
        Ok(Self { looks: Arc::new(Semaphore::new(1)) })
    }

    pub(super) async fn read(&self, place: &KeyringPlace) -> Result<SecretReading, SourceFault> {
        let Ok(look) = Arc::clone(&self.looks).try_acquire_owned() else {
            let what = "the last look at it still waits, perhaps for somebody at a prompt";
            return Err(place.fault(SourceFaultKind::Unreachable, what));
        };
        let KeyringPlace { service, user } = place.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _look = look;
            // As text, since Windows keeps it in UTF-16.
            Entry::new(&service, &user)?.get_password().map(Zeroizing::new)
        });
        match looked.await {
            Ok(Ok(text)) => content::secret(place, text.as_bytes()).map(SecretReading::new),
            Ok(Err(error)) => Err(failed(place, &error)),
            Err(_ended) => Err(place.fault(SourceFaultKind::Unreachable, "the look at it was broken off")),
        }
    }
}

fn failed(place: &KeyringPlace, error: &Error) -> SourceFault {
    let kind = match error {
        Error::NoEntry => return place.fault(SourceFaultKind::Absent, "there is none"),
        Error::BadEncoding(_) => return place.fault(SourceFaultKind::Malformed, "it is no text"),
        Error::NoStorageAccess(_) => SourceFaultKind::Denied,
        Error::Ambiguous(_)
        | Error::NoDefaultStore
        | Error::NotSupportedByStore(_)
        | Error::TooLong(..)
        | Error::Invalid(..) => SourceFaultKind::Unusable,
        _ => SourceFaultKind::Unreachable,
    };
    place.fault(kind, format!("the keyring failed: {error}"))
}
