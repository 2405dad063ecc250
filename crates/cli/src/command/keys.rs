//! `jeton keys`: the signing keys of the server, whether it runs or not.

use super::audit::{actor, tell};
use crate::args::{KeyArgs, KeysCommand, KeysCommandArgs, RotateKeysArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Format};
use crate::settings::{Keeping, Layers};
use jeton::Timestamp;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{KeyState, Refused, Retirement, Urgency};
use jeton_server::audit::{Act, Event};
use jeton_server::{KeyListing, KeyringError, ListedKey, Resealed, SigningKeys};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// How long a running server may take to see a change; a command that takes something away ends after that.
const SEEN_AFTER: Duration = Duration::from_millis(400);
/// How often it is looked whether a server has settled when a new key signs, and the pause between.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Signing keys, and where they are.
struct OpenKeys<'a> {
    layers: &'a Layers,
    keeping: Keeping,
    keys: SigningKeys,
}

/// Does what is asked, and says where.
pub(crate) fn run(args: &KeysCommandArgs, layers: &Layers) -> Result<(), Failure> {
    let keeping = layers.keeping(&args.storage, args.data_dir.as_deref())?;
    if !keeping.is_there() {
        let message = format!("there is no data directory {}", keeping.place());
        return Err(Failure::new(ExitCode::Other, message)
            .hint("name the one of the server by --data-dir; the keys are made when it first runs"));
    }
    let keys = SigningKeys::open_in(&keeping.storage, &keeping.data_dir, keeping.key.as_ref());
    let open = &mut OpenKeys { layers, keeping, keys: keys.map_err(|error| failure(&error))? };
    match &args.command {
        KeysCommand::List => list(open, args.output),
        KeysCommand::Rotate(rotated) => rotate(open, rotated, args.output),
        KeysCommand::Retire(key) => end(open, key, End::Retired, args.output),
        KeysCommand::Drop(key) => end(open, key, End::Dropped, args.output),
        KeysCommand::Reseal => reseal(open, args.output),
    }
}

impl OpenKeys<'_> {
    /// Tells the audit log what was done to keys.
    fn tell(&self, event: Event, key_ids: &[String]) -> Result<(), Failure> {
        let actor = actor();
        let act = |key_id| Act { event, actor: &actor, client_id: None, detail: Some(key_id) };
        let acts: Vec<_> = key_ids.iter().map(|key_id| act(key_id.as_str())).collect();
        tell(self.layers, &self.keeping.data_dir, &acts)
    }
}

fn list(open: &mut OpenKeys<'_>, format: Format) -> Result<(), Failure> {
    let KeyListing { keys, unreadable } = open.keys.list().map_err(|error| failure(&error))?;
    for key in &unreadable {
        output::note(&format!("the key {} cannot be used: {}", key.key_id, key.fault));
    }
    match format {
        Format::Text => {
            let noun = if keys.len() == 1 { "key" } else { "keys" };
            output::note(&format!("{} {noun} in {}", keys.len(), open.keeping.place()));
            output::result(table(&keys))
        }
        Format::Json => {
            let keys: Vec<_> = keys.iter().map(document).collect();
            output::json(&json!({ (open.keeping.member()): open.keeping.place(), "keys": keys }))
        }
    }
}

fn rotate(open: &mut OpenKeys<'_>, args: &RotateKeysArgs, format: Format) -> Result<(), Failure> {
    let algorithm = args.algorithm.as_deref().map(algorithm_of).transpose()?;
    let made = open.keys.rotate(algorithm).map_err(|error| failure(&error))?;
    if made.is_empty() {
        let message = format!("there are no signing keys in {}", open.keeping.place());
        return Err(Failure::new(ExitCode::Other, message).hint("the server makes them when it first runs"));
    }
    open.tell(Event::SigningKeyAnnounced, &made)?;
    let announced = settled(&mut open.keys, &made)?;
    for key in &announced {
        output::note(&match key.state {
            KeyState::Announced { active_from: None } => format!(
                "{} key {} is announced; when it signs is settled by the server as soon as it runs",
                key.algorithm, key.key_id
            ),
            KeyState::Announced { active_from: Some(at) } => {
                format!(
                    "{} key {} is announced and signs from {} on",
                    key.algorithm,
                    key.key_id,
                    moment::second(at)
                )
            }
            KeyState::Active { .. } | KeyState::Retired { .. } => {
                format!("{} key {} is {}", key.algorithm, key.key_id, state_name(key.state))
            }
        });
    }
    match format {
        Format::Text => output::line(&made.join("\n")),
        Format::Json => output::json(&json!({ "keys": announced.iter().map(document).collect::<Vec<_>>() })),
    }
}

/// The keys `made`, when a running server has settled when they sign, or none seems to run.
fn settled(keys: &mut SigningKeys, made: &[String]) -> Result<Vec<ListedKey>, Failure> {
    for look in 1.. {
        let listing = keys.list().map_err(|error| failure(&error))?;
        let listed: Vec<_> = listing.keys.into_iter().filter(|key| made.contains(&key.key_id)).collect();
        let open = |key: &ListedKey| key.state == KeyState::Announced { active_from: None };
        if look == LOOKS || !listed.iter().any(open) {
            return Ok(listed);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Vec::new())
}

/// What becomes of a key before its time.
#[derive(Clone, Copy)]
enum End {
    Retired,
    Dropped,
}

fn end(open: &mut OpenKeys<'_>, args: &KeyArgs, end: End, format: Format) -> Result<(), Failure> {
    let urgency = if args.emergency { Urgency::Emergency } else { Urgency::Planned };
    let (made, what, event) = match end {
        End::Retired => (open.keys.retire(&args.key, urgency), "retired", Event::SigningKeyRetired),
        End::Dropped => (open.keys.drop_key(&args.key, urgency), "dropped", Event::SigningKeyDropped),
    };
    let made = made.map_err(|error| failure(&error))?;
    open.tell(event, std::slice::from_ref(&args.key))?;
    open.tell(Event::SigningKeyReplaced, &made)?;
    std::thread::sleep(SEEN_AFTER);
    output::note(&format!("the key {} is {what}", args.key));
    for key_id in &made {
        output::note(&format!("the key {key_id} is new and signs from now on"));
    }
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&json!({ "kid": args.key, "state": what, "new_keys": made })),
    }
}

fn reseal(open: &mut OpenKeys<'_>, format: Format) -> Result<(), Failure> {
    let resealed = open.keys.reseal().map_err(|error| failure(&error))?;
    let Resealed { signing_keys, clients, unopened } = &resealed;
    if !signing_keys.is_empty() || *clients > 0 {
        let actor = actor();
        let act = Act { event: Event::ServerKeyReplaced, actor: &actor, client_id: None, detail: None };
        tell(open.layers, &open.keeping.data_dir, &[act])?;
    }
    let counts = (signing_keys.len(), clients);
    output::note(&format!(
        "sealed with the server key: {} signing keys, secrets of {} clients",
        counts.0, counts.1
    ));
    for client_id in unopened {
        output::note(&format!("a sealed secret of {client_id} cannot be opened with either key: rotate it"));
    }
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&json!({
            (open.keeping.member()): open.keeping.place(),
            "signing_keys": signing_keys,
            "clients": clients,
            "unopened": unopened,
        })),
    }
}

fn algorithm_of(name: &str) -> Result<Algorithm, Failure> {
    Algorithm::parse(name).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        Failure::new(ExitCode::Usage, format!("--algorithm: it is one of {names}"))
    })
}

const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Announced { .. } => "announced",
        KeyState::Active { .. } => "active",
        KeyState::Retired { .. } => "retired",
    }
}

fn document(key: &ListedKey) -> Value {
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_unix_seconds);
    let (retired_at, published_until) = match key.state {
        KeyState::Retired { published_until } => (since(key), published_until),
        KeyState::Announced { .. } | KeyState::Active { .. } => (None, None),
    };
    json!({
        "kid": key.key_id,
        "alg": key.algorithm.as_str(),
        "state": state_name(key.state),
        "announced_at": key.times.announced_at.as_unix_seconds(),
        "active_from": seconds(key.times.active_from),
        "retired_at": seconds(retired_at),
        "published_until": seconds(published_until),
    })
}

const fn since(key: &ListedKey) -> Option<Timestamp> {
    match key.times.retired {
        Some(Retirement::Since(since)) => Some(since),
        Some(Retirement::Ordered) | None => None,
    }
}

/// One line for each key, in columns.
fn table(keys: &[ListedKey]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let mut table = format!("{:<43}  {:<5}  {:<9}  NEXT\n", "KEY", "ALG", "STATE");
    for key in keys {
        let next = match key.state {
            KeyState::Announced { active_from: Some(at) } => format!("active {}", moment::second(at)),
            KeyState::Announced { active_from: None } => "active when the server has settled it".to_owned(),
            KeyState::Active { until: Some(at) } => format!("retired {}", moment::second(at)),
            KeyState::Active { until: None } => "retired after its successor is active".to_owned(),
            KeyState::Retired { published_until: Some(at) } => format!("dropped {}", moment::second(at)),
            KeyState::Retired { published_until: None } => "dropped after its last token".to_owned(),
        };
        let (key_id, algorithm, state) = (&key.key_id, key.algorithm.as_str(), state_name(key.state));
        let _infallible = writeln!(table, "{key_id:<43}  {algorithm:<5}  {state:<9}  {next}");
    }
    table
}

fn failure(error: &KeyringError) -> Failure {
    match error {
        KeyringError::Refused(refused) => {
            let failure = Failure::of(ExitCode::Other, error);
            match refused {
                Refused::NoSuchKey { .. } => failure.hint("see which there are by: jeton keys list"),
                Refused::Active { .. } => failure.hint(
                    "announce a successor by: jeton keys rotate; with --emergency the key ends at once, and a new one signs that \
                     APIs have to look for",
                ),
                Refused::HasATurn { .. } | Refused::TokensLive { .. } => {
                    failure.hint("with --emergency it is dropped now, and its live tokens are refused")
                }
                Refused::NotInUse { .. } => {
                    failure.hint("name it in server.signing_algorithms, and start the server anew")
                }
                Refused::AlreadyAnnounced { .. } | Refused::TooManyKeys { .. } => failure,
            }
        }
        KeyringError::Generate(_)
        | KeyringError::Seal(_)
        | KeyringError::Document(_)
        | KeyringError::Full
        | KeyringError::Contended
        | KeyringError::NotSeen
        | KeyringError::Thread(_) => Failure::of(ExitCode::Other, error),
        KeyringError::File(_)
        | KeyringError::Damaged { .. }
        | KeyringError::Unreadable { .. }
        | KeyringError::Registry(_)
        | KeyringError::Store(_) => Failure::of(ExitCode::Configuration, error),
    }
}
