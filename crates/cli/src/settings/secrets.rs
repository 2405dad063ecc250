//! The secrets that settings name: how they are read.

mod joined;

use super::section::CLIENT_SECRET;
use super::{Found, Layers, Material, NetworkSettings};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::output;
use jeton::Secret;
use jeton::credentials::{
    Reread, SecretFuture, SecretPlace, SecretReading, SecretSource, SourceFault, Surroundings, WithPrevious,
};
use joined::Joined;
use std::future::ready;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a place may take, where nothing is set.
const WITHIN: Duration = Duration::from_secs(15);

/// What the places of secrets have around them.
#[derive(Debug)]
pub(crate) struct Secrets {
    surroundings: Surroundings,
    within: Duration,
}

impl Layers {
    /// For the secrets at `places`, which are all that a command reads: what a command prints is not to depend on the others.
    pub(crate) fn secrets(&self, places: &[&SecretPlace]) -> Secrets {
        let variables = places.iter().flat_map(|place| place.variables());
        let withheld_variables =
            variables.chain([CLIENT_SECRET.name.environment]).map(str::to_owned).collect();
        let environment = self.environment.clone();
        let surroundings = Surroundings { environment, withheld_variables, ..Surroundings::default() };
        Secrets { surroundings, within: WITHIN }
    }
}

impl Secrets {
    /// Secret managers are asked over this network, and no place may take longer than `within`.
    pub(super) fn asked(mut self, network: &NetworkSettings, within: Duration) -> Self {
        self.within = within;
        self.surroundings.plain_http = network.plain_http.clone();
        self.surroundings.tls_roots = network.tls_roots.clone();
        self
    }

    /// The source at a place; a path in the settings file is relative to the directory of that file.
    pub(crate) fn open(&self, place: &Found<SecretPlace>) -> Result<Arc<dyn SecretSource>, Failure> {
        let directory = place.origin.directory().to_owned();
        let surroundings = Surroundings { directory, ..self.surroundings.clone() };
        Ok(place.value.open(&surroundings)?)
    }

    /// Reads the secret at a place.
    pub(crate) async fn read(&self, place: &Found<SecretPlace>) -> Result<Secret<String>, Failure> {
        let source = self.open(place)?;
        Ok(self.read_from(place, source.as_ref()).await?.current)
    }

    /// The source of what a client proves itself with.
    pub(crate) fn open_material(&self, material: &Material) -> Result<Arc<dyn SecretSource>, Failure> {
        let source = self.open(material.place())?;
        let Some(companion) = material.companion() else { return Ok(source) };
        let other = self.open(companion)?;
        Ok(match material {
            Material::Certificate { .. } => Arc::new(Joined::new(source, other)),
            Material::Secret { .. } | Material::PrivateKey(_) | Material::Assertion(_) => {
                Arc::new(WithPrevious::new(source, other))
            }
        })
    }

    /// Reads the source of what a client proves itself with.
    pub(crate) async fn read_material(
        &self,
        material: &Material,
        source: &dyn SecretSource,
    ) -> Result<SecretReading, Failure> {
        let companion = material.companion().filter(|place| place.value.reads_standard_input());
        self.read_from(companion.unwrap_or_else(|| material.place()), source).await
    }

    /// Reads the source that was opened at a place.
    async fn read_from(
        &self,
        place: &Found<SecretPlace>,
        source: &dyn SecretSource,
    ) -> Result<SecretReading, Failure> {
        if place.value.reads_standard_input() && io::stdin().is_terminal() {
            output::note("reading the secret from standard input, to its end");
        }
        if place.value.reads_standard_input() {
            // A person may be typing.
            return Ok(source.read().await?);
        }
        match tokio::time::timeout(self.within, source.read()).await {
            Ok(read) => Ok(read?),
            Err(_elapsed) => {
                let message = format!("{}: it gave nothing within {}", place.value, Lifespan(self.within));
                Err(Failure::new(ExitCode::ServerUnreachable, message).hint("give it more time by --timeout"))
            }
        }
    }
}

/// A source that was read already: its first read brings what that one brought, and costs nothing.
pub(crate) struct ReadAhead {
    ahead: Mutex<Option<SecretReading>>,
    source: Arc<dyn SecretSource>,
}

impl ReadAhead {
    pub(crate) fn new(ahead: SecretReading, source: Arc<dyn SecretSource>) -> Self {
        Self { ahead: Mutex::new(Some(ahead)), source }
    }
}

impl SecretSource for ReadAhead {
    fn read(&self) -> SecretFuture<'_> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ahead {
            Some(reading) => Box::pin(ready(Ok::<_, SourceFault>(reading))),
            None => self.source.read(),
        }
    }

    fn reread(&self) -> Reread {
        self.source.reread()
    }
}
