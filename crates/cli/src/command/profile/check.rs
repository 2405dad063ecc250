//! `jeton profile check`: what is wrong with profiles, all of it.

use super::rendering;
use super::report::{ProfileReport, Report, SecretReport, ServerReport};
use crate::args::{CheckProfilesArgs, ClientArgs};
use crate::cache::Renewal;
use crate::discovery::{Finder, Server};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::{
    CacheKeys, ClientLayers, ClientSettings, Kept, Layers, Material, Proof, Secrets, timeout,
};
use jeton::credentials::{SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use jeton::{BuildError, Clock as _, SystemClock, TokenErrorKind};
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// So many profiles are looked at at the same time.
const MAX_AT_ONCE: usize = 8;
/// Whatever takes longer is told.
const QUIET: Duration = Duration::from_secs(1);
/// How long a manager may take to end.
const CLOSED_WITHIN: Duration = Duration::from_millis(200);

/// Checks the profiles and tells what was found.
pub(super) async fn run(args: &CheckProfilesArgs, layers: &Layers) -> Result<(), Failure> {
    timeout(&args.timeout)?;
    let Some(path) = layers.settings_file() else { return Err(layers.no_settings_file()) };
    let settings_file = path.to_owned();
    let faults: Vec<Failure> = layers.faults_in_file(None).cloned().collect();
    // In a file that cannot be read there is no profile to be found.
    let profiles = if faults.is_empty() || args.names.is_empty() {
        chosen(args, layers)?
    } else {
        chosen(args, layers).unwrap_or_default()
    };
    let wanted = ClientArgs { timeout: args.timeout.clone(), ..ClientArgs::without_flags() };
    let look = Look {
        standard_input: if profiles.len() == 1 { StandardInput::Read } else { StandardInput::Left },
        servers: if args.online { Servers::Asked } else { Servers::LeftAlone },
    };
    let lost = || Failure::new(ExitCode::Other, "the check of this profile came to no end");
    let (mut reports, mut looks) = (Vec::new(), JoinSet::new());
    let turns = Arc::new(Semaphore::new(MAX_AT_ONCE));
    for (number, profile) in profiles.into_iter().enumerate() {
        let (mut report, settings) = examine(&profile, layers, &wanted);
        if let Some(settings) = settings {
            let (secrets, turns) = (settings.secrets(layers), Arc::clone(&turns));
            let healthy = report.faults.is_empty();
            report.server = ServerReport::Failed { failure: lost(), error: None };
            looks.spawn(async move {
                let _turn = turns.acquire().await;
                (number, look.at(&settings, &secrets, healthy).await)
            });
        }
        reports.push(report);
    }
    progress(look.servers, gather(looks, &mut reports)).await;
    let report = Report { settings_file, faults, profiles: reports };
    let now = SystemClock.now();
    match args.output.output {
        Format::Text => output::result(rendering::text(&report, now))?,
        Format::Json => output::json(&rendering::document(&report, now))?,
    }
    match report.status().exit_code() {
        ExitCode::Done => Ok(()),
        code => Err(Failure::quiet(code)),
    }
}

/// The profiles that are named, or all.
fn chosen<'a>(args: &CheckProfilesArgs, layers: &'a Layers) -> Result<Vec<ClientLayers<'a>>, Failure> {
    if args.names.is_empty() {
        return Ok(layers.profiles().collect());
    }
    args.names.iter().map(|name| layers.profile_by_argument(name)).collect()
}

/// Reads the settings of a profile. Opens nothing but certificate authorities.
fn examine(
    profile: &ClientLayers<'_>,
    layers: &Layers,
    args: &ClientArgs,
) -> (ProfileReport, Option<ClientSettings>) {
    let mut report = ProfileReport {
        summary: profile.summary(),
        faults: layers.faults_in_file(profile.name()).cloned().collect(),
        secret: SecretReport::Unread,
        server: ServerReport::NotAsked,
    };
    let settings = match profile.client(args) {
        Ok(settings) => Some(settings),
        Err(faults) => {
            // A key whose value is wrong is missing too.
            let new = faults.all().iter().filter(|fault| !report.faults.contains(fault)).cloned();
            let new: Vec<Failure> = new.collect();
            report.faults.extend(new);
            None
        }
    };
    (report, settings)
}

/// How closely profiles are looked at.
#[derive(Clone, Copy)]
struct Look {
    standard_input: StandardInput,
    servers: Servers,
}

/// What is done with standard input, which holds one secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StandardInput {
    Read,
    Left,
}

/// What is done with servers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Servers {
    Asked,
    LeftAlone,
}

/// What was seen.
struct Seen {
    faults: Vec<Failure>,
    secret: SecretReport,
    server: ServerReport,
}

impl Look {
    /// Reads the secrets, builds a manager, and asks the server if that is wanted and nothing is wrong.
    async fn at(self, settings: &ClientSettings, secrets: &Secrets, healthy: bool) -> Seen {
        let mut seen =
            Seen { faults: Vec::new(), secret: SecretReport::Unread, server: ServerReport::NotAsked };
        let mut reading = None;
        let material = &settings.credential.material;
        if settings.takes_standard_input() && self.standard_input == StandardInput::Left {
            seen.secret = SecretReport::LeftInStandardInput;
        } else {
            match read(material, secrets).await {
                Ok(read) => {
                    let (place, since) = (material.place().told(), read.since);
                    let due_after = settings.credential.rotation_due_after();
                    seen.secret = SecretReport::Read { place, since, due_after };
                    reading = Some(read);
                }
                Err(fault) => seen.faults.push(fault),
            }
            seen.faults.extend(cache_faults(settings, secrets).await);
        }
        let finder = Finder::new(&settings.network, settings.timeout).keeping_with(&settings.cache);
        // Whatever the secret is and the server says, the rest can be held against its bounds.
        let known = finder.known(&settings.identity.server);
        seen.faults.extend(build_fault(settings, known, reading.clone()));
        if let Some(reading) = reading
            && healthy
            && seen.faults.is_empty()
            && self.servers == Servers::Asked
        {
            seen.server = ask(settings, reading).await;
        }
        seen
    }
}

async fn read(material: &Material, secrets: &Secrets) -> Result<SecretReading, Failure> {
    let source = secrets.open_material(material)?;
    secrets.read_material(material, source.as_ref()).await
}

/// Why no manager can be built, with what is known of the server.
fn build_fault(
    settings: &ClientSettings,
    known: Option<Server>,
    reading: Option<SecretReading>,
) -> Option<Failure> {
    let text = reading.as_ref().map(|reading| reading.current.clone());
    let source = Arc::new(Fixed(reading));
    let proof = match text {
        Some(text) => Proof::Text(text, source),
        None => Proof::Source(source),
    };
    let is_known = known.is_some();
    let server = known.unwrap_or_else(|| Server::as_set(&settings.identity.server));
    match settings.manager(&server, proof).build() {
        Ok(_) => None,
        // The endpoint is for the issuer to say.
        Err(BuildError::MutualTlsWithoutTls) if !is_known => None,
        Err(error) => Some(settings.build_failure(&error)),
    }
}

/// What is wrong with the secrets of the cache, which is not opened: that would make one.
async fn cache_faults(settings: &ClientSettings, secrets: &Secrets) -> Vec<Failure> {
    let store = match &settings.cache.kept {
        Kept::InRedis(redis) => redis.store(&settings.network.tls_roots, secrets).await.err(),
        Kept::InFiles | Kept::Nowhere => None,
    };
    let keys = match (&settings.cache.kept, &settings.cache.place.keys) {
        (Kept::InFiles | Kept::InRedis(_), CacheKeys::Named(keys)) => keys.read(secrets).await.err(),
        (Kept::Nowhere, _) | (_, CacheKeys::Made(_)) => None,
    };
    store.into_iter().chain(keys).collect()
}

/// A source of what was read before.
struct Fixed(Option<SecretReading>);

impl SecretSource for Fixed {
    fn read(&self) -> SecretFuture<'_> {
        let absent = || SourceFault::new(SourceFaultKind::Absent, "the secret", "it was not read");
        Box::pin(ready(self.0.clone().ok_or_else(absent)))
    }
}

/// Asks for a token. What the issuer says is asked for too, and nothing is kept.
async fn ask(settings: &ClientSettings, reading: SecretReading) -> ServerReport {
    let failed = |failure| ServerReport::Failed { failure, error: None };
    let begun = Instant::now();
    let finder = Finder::new(&settings.network, settings.timeout);
    let server = match finder.find(&settings.identity.server, Renewal::Now).await {
        Ok(server) => server,
        Err(failure) => return failed(failure),
    };
    let proof = Proof::Source(Arc::new(Fixed(Some(reading))));
    let manager = match settings.manager(&server, proof).build() {
        Ok(manager) => manager,
        Err(error) => return failed(settings.build_failure(&error)),
    };
    let left = settings.timeout.saturating_sub(begun.elapsed());
    let answer = manager.token_within(settings.key(), left).await;
    let _unfinished = manager.close(CLOSED_WITHIN).await;
    match answer {
        Ok(token) => ServerReport::Granted(token),
        Err(error) => {
            let mut code = None;
            if let TokenErrorKind::Refused { error, .. } = error.kind() {
                code = Some(error.to_string());
            }
            ServerReport::Failed { failure: Failure::from(&error), error: code }
        }
    }
}

/// Puts what is seen into the reports.
async fn gather(mut looks: JoinSet<(usize, Seen)>, reports: &mut [ProfileReport]) {
    while let Some(ended) = looks.join_next().await {
        let Ok((number, seen)) = ended else { continue };
        let Some(report) = reports.get_mut(number) else { continue };
        report.faults.extend(seen.faults);
        report.secret = seen.secret;
        report.server = seen.server;
    }
}

/// Waits for `work`, and says so when that takes long.
async fn progress<T>(servers: Servers, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(QUIET) => output::note(match servers {
            Servers::Asked => "reading secrets and asking servers for tokens ...",
            Servers::LeftAlone => "reading secrets ...",
        }),
    }
    work.await
}
