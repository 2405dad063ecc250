//! Secrets in the keyring of the operating system, which a person unlocks by logging in.

#[cfg(any(target_os = "macos", windows))]
mod native;
#[cfg(all(unix, not(target_os = "macos")))]
mod secret_service;

#[cfg(any(target_os = "macos", windows))]
use native::Keyring;
#[cfg(all(unix, not(target_os = "macos")))]
use secret_service::Keyring;

use super::environment::Surroundings;
use super::place::InvalidPlace;
use super::source::{Reread, SecretFuture, SecretSource, SourceFault, SourceFaultKind};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A secret in the keyring of the operating system: `keyring:SERVICE/USER`, split at the last `/`, everything taken as it is
/// written.
///
/// | where | what is asked |
/// |---|---|
/// | Linux and other Unixes | the Secret Service (GNOME Keyring, `KWallet`, `KeePassXC`) on the D-Bus session bus, for the entry with the attributes `service` and `username` |
/// | macOS | the login keychain, for the generic password of that service and account |
/// | Windows | the Credential Manager, for the generic credential `USER.SERVICE` |
///
/// The bus is that of `DBUS_SESSION_BUS_ADDRESS`, or the socket `bus` in `XDG_RUNTIME_DIR`: a daemon or a container has
/// neither, as a rule, and wants another place. Nothing is ever unlocked and no prompt is caused on Unix: a locked keyring is
/// [`Denied`](super::SourceFaultKind::Denied). It is read [periodically](super::Reread::Periodically); a read takes 8 s at most.
///
/// ```
/// use jeton::credentials::KeyringPlace;
///
/// let place: KeyringPlace = "id.example.com/billing".parse()?;
/// assert_eq!(place.to_string(), "the keyring entry of service id.example.com and user billing");
/// # Ok::<(), jeton::credentials::InvalidPlace>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringPlace {
    service: String,
    user: String,
}

/// For a keyring that shows a prompt, or that nobody runs any more.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

impl KeyringPlace {
    /// Opens the place: nothing is read and nobody is asked yet.
    ///
    /// # Errors
    /// [`SourceFaultKind::Unusable`] where the environment names no session bus, though the keyring is asked over it.
    pub fn open(&self, surroundings: &Surroundings) -> Result<Arc<dyn SecretSource>, SourceFault> {
        let keyring = Keyring::of(self, surroundings)?;
        Ok(Arc::new(KeyringSource { place: self.clone(), keyring }))
    }

    fn fault(&self, kind: SourceFaultKind, what: impl fmt::Display) -> SourceFault {
        SourceFault::new(kind, self, what)
    }
}

impl FromStr for KeyringPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        match text.rsplit_once('/') {
            Some((service, user)) if !service.is_empty() && !user.is_empty() => {
                Ok(Self { service: service.to_owned(), user: user.to_owned() })
            }
            Some(_) | None => Err(InvalidPlace::form(
                "keyring",
                "it takes a service and a user; write keyring:SERVICE/USER",
            )),
        }
    }
}

impl fmt::Display for KeyringPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keyring entry of service {} and user {}", self.service, self.user)
    }
}

/// An entry of the keyring.
struct KeyringSource {
    place: KeyringPlace,
    keyring: Keyring,
}

impl SecretSource for KeyringSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            let read = tokio::time::timeout(READ_TIMEOUT, self.keyring.read(&self.place)).await;
            read.unwrap_or_else(|_elapsed| {
                let what = format!(
                    "the keyring did not answer within {} s; perhaps it waits for somebody at its prompt",
                    READ_TIMEOUT.as_secs()
                );
                Err(self.place.fault(SourceFaultKind::Unreachable, what))
            })
        })
    }

    fn reread(&self) -> Reread {
        Reread::Periodically
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_what_stands_behind_the_last_slash() {
        for (text, service, user) in [
            ("billing/app", "billing", "app"),
            ("https://id.example.com/token/app", "https://id.example.com/token", "app"),
            ("a%2Fb/c d", "a%2Fb", "c d"),
        ] {
            let place: KeyringPlace = text.parse().unwrap();
            assert_eq!((place.service.as_str(), place.user.as_str()), (service, user));
        }
    }

    #[test]
    fn what_names_no_entry_is_refused_without_the_text() {
        for text in ["", "canary", "/canary", "canary/", "/"] {
            let error = text.parse::<KeyringPlace>().unwrap_err().to_string();
            assert!(error.contains("keyring:SERVICE/USER") && !error.contains("canary"), "{error}");
        }
    }
}
