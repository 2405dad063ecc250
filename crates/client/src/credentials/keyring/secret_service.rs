//! The Secret Service of the desktop, over the D-Bus session bus.

use super::KeyringPlace;
use crate::credentials::content;
use crate::credentials::environment::{Environment, Surroundings};
use crate::credentials::source::{SecretReading, SourceFault, SourceFaultKind};
use jeton_proto::time::Timestamp;
use secret_service::{EncryptionType, Error, Item, SearchItemsResult, SecretService};
use std::collections::HashMap;
use zeroize::Zeroizing;

const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const UNKNOWN_NAME: &str = "org.freedesktop.DBus.Error.ServiceUnknown";
const NOBODY: &str = "no program on the session bus keeps secrets; start one, such as gnome-keyring-daemon";
const RUNTIME_DIRECTORY: &str = "XDG_RUNTIME_DIR";

/// The session bus. Each read has a connection of its own: reads are rare, and a bus that was started anew is found by that.
pub(super) struct Keyring {
    bus: String,
}

impl Keyring {
    pub(super) fn of(place: &KeyringPlace, surroundings: &Surroundings) -> Result<Self, SourceFault> {
        let absent = || {
            let what = format!(
                "there is no D-Bus session bus to ask the keyring over: neither {BUS} nor {RUNTIME_DIRECTORY} is set; a daemon \
                 or a container needs another place for the secret"
            );
            place.fault(SourceFaultKind::Unusable, what)
        };
        Ok(Self { bus: bus(&surroundings.environment)?.ok_or_else(absent)? })
    }

    pub(super) async fn read(&self, place: &KeyringPlace) -> Result<SecretReading, SourceFault> {
        let connection = match zbus::connection::Builder::address(self.bus.as_str()) {
            Ok(builder) => builder.build().await,
            Err(error) => {
                let what = format!("the address of the D-Bus session bus is none: {error}");
                return Err(place.fault(SourceFaultKind::Unusable, what));
            }
        };
        let connection = connection.map_err(|error| {
            let what = format!("the D-Bus session bus does not answer, is it running? {error}");
            place.fault(SourceFaultKind::Unreachable, what)
        })?;
        let failed = |error: Error| failed(place, &error);
        // The secret crosses the bus encrypted.
        let service =
            SecretService::connect_with_existing(EncryptionType::Dh, connection).await.map_err(failed)?;
        let attributes = HashMap::from([("service", place.service.as_str()), ("username", &place.user)]);
        let item = the_one(place, service.search_items(attributes).await.map_err(failed)?)?;
        let bytes = Zeroizing::new(item.get_secret().await.map_err(failed)?);
        let secret = content::secret(place, &bytes)?;
        let reading = SecretReading::new(secret);
        let changed_at = item.get_modified().await.ok().filter(|seconds| *seconds > 0);
        Ok(match changed_at {
            Some(seconds) => {
                reading.in_force_since(Timestamp::from_unix_millis(seconds.saturating_mul(1000)))
            }
            None => reading,
        })
    }
}

fn bus(environment: &Environment) -> Result<Option<String>, SourceFault> {
    if let Some(address) = environment.text(BUS)? {
        return Ok(Some(address));
    }
    let directory = environment.text(RUNTIME_DIRECTORY)?;
    Ok(directory.map(|directory| format!("unix:path={directory}/bus")))
}

/// The one entry; never one of several by chance.
fn the_one<'a>(place: &KeyringPlace, found: SearchItemsResult<Item<'a>>) -> Result<Item<'a>, SourceFault> {
    let SearchItemsResult { mut unlocked, locked } = found;
    let count = unlocked.len() + locked.len();
    if count > 1 {
        let what = format!("{count} entries have this service and user, and one alone can be meant");
        return Err(place.fault(SourceFaultKind::Unusable, what));
    }
    if let Some(item) = unlocked.pop() {
        return Ok(item);
    }
    Err(if locked.is_empty() {
        let what = format!(
            "there is none; store it by `secret-tool store --label=jeton service '{}' username '{}'`",
            place.service, place.user
        );
        place.fault(SourceFaultKind::Absent, what)
    } else {
        let what = "the keyring is locked, and nobody is asked to unlock it here; unlock it and try again";
        place.fault(SourceFaultKind::Denied, what)
    })
}

fn failed(place: &KeyringPlace, error: &Error) -> SourceFault {
    match error {
        Error::Unavailable => place.fault(SourceFaultKind::Unreachable, NOBODY),
        Error::Zbus(zbus::Error::MethodError(name, ..)) if name.as_str() == UNKNOWN_NAME => {
            place.fault(SourceFaultKind::Unreachable, NOBODY)
        }
        Error::Locked | Error::Prompt | Error::PromptDisconnected => {
            place.fault(SourceFaultKind::Denied, "the keyring was locked meanwhile; unlock it and try again")
        }
        Error::NoResult => place.fault(SourceFaultKind::Absent, "it was removed meanwhile"),
        _ => place.fault(SourceFaultKind::Unreachable, format!("the keyring failed: {error}")),
    }
}
