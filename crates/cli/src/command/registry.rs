//! The registry of clients, for the commands that administer it.

use super::audit::{actor, tell};
use crate::args::StorageArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::{Keeping, Layers};
use jeton_server::audit::{Act, Event};
use jeton_server::{Registry, RegistryError};
use std::time::Duration;

/// How long a running server may take to see a change. A command that takes something away ends after that, so that
/// whoever reads its last line can rely on it.
const SEEN_AFTER: Duration = Duration::from_millis(400);

/// Waits until running servers have seen what was taken away.
pub(super) fn wait_until_seen() {
    std::thread::sleep(SEEN_AFTER);
}

/// Whether a registry is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is.
    Made,
    /// To look into one must not make one.
    Wanted,
}

/// A registry, and where it is.
#[derive(Debug)]
pub(super) struct OpenRegistry<'a> {
    layers: &'a Layers,
    pub(super) registry: Registry,
    keeping: Keeping,
}

/// Opens the registry that flag and settings name. The one way of all commands to it.
pub(super) fn open<'a>(
    layers: &'a Layers,
    storage: &StorageArgs,
    data_dir: Option<&str>,
    presence: Presence,
) -> Result<OpenRegistry<'a>, Failure> {
    let keeping = layers.keeping(storage, data_dir)?;
    if presence == Presence::Wanted && !keeping.is_there() {
        let message = format!("there is no data directory {}", keeping.place());
        return Err(Failure::new(ExitCode::Other, message).hint(
            "name the one of the server by --data-dir, or add a first client by: jeton client add NAME",
        ));
    }
    let registry = keeping.registry().map_err(|error| failure(&error, &keeping.place()))?;
    Ok(OpenRegistry { layers, registry, keeping })
}

impl OpenRegistry<'_> {
    /// Tells the audit log what was done to a client.
    pub(super) fn tell(&self, event: Event, client_id: &str, detail: Option<&str>) -> Result<(), Failure> {
        self.tell_all(&[Act { event, actor: &actor(), client_id: Some(client_id), detail }])
    }

    /// Tells the audit log what was done to clients.
    pub(super) fn tell_all(&self, acts: &[Act<'_>]) -> Result<(), Failure> {
        tell(self.layers, &self.keeping.data_dir, acts)
    }

    /// Where it is, as it is told.
    pub(super) fn place(&self) -> String {
        self.keeping.place()
    }

    /// The member of a JSON document that tells it.
    pub(super) fn member(&self) -> &'static str {
        self.keeping.member()
    }

    /// The failure of something that was done with it.
    pub(super) fn failure(&self, error: &RegistryError) -> Failure {
        failure(error, &self.place())
    }
}

fn failure(error: &RegistryError, place: &dyn std::fmt::Display) -> Failure {
    match error {
        RegistryError::NoSuchClient { .. } => {
            Failure::new(ExitCode::Other, format!("{error} in {place}"))
                .hint("see which there are by: jeton client list")
        }
        RegistryError::SecretsInForce { .. } => Failure::of(ExitCode::Other, error).hint(
            "see by: jeton client show NAME, which of them is used no more, and take it away by: jeton client revoke NAME SECRET",
        ),
        RegistryError::ClientExists { .. }
        | RegistryError::NoSuchSecret { .. }
        | RegistryError::Damaged { .. }
        | RegistryError::Contended { .. }
        | RegistryError::TooManyClients
        | RegistryError::Seal(_)
        | RegistryError::EmptyFiles { .. }
        | RegistryError::Random => Failure::of(ExitCode::Other, error),
        RegistryError::Settings(_) | RegistryError::Manager => Failure::of(ExitCode::Usage, error),
        RegistryError::File(_)
        | RegistryError::Key(_)
        | RegistryError::Store(_)
        | RegistryError::ForeignKey
        | RegistryError::Sealing => Failure::of(ExitCode::Configuration, error),
    }
}
