//! `jeton client rotate`, `verify`, `revoke` and `hash`.

use super::flags::usage;
use super::handover::Handover;
use super::rendering;
use crate::args::{RevokeArgs, RotateArgs};
use crate::command::registry::{OpenRegistry, wait_until_seen};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::output::{self, Format};
use jeton::Secret;
use jeton_proto::issuance::SecretTerm;
use jeton_server::audit::Event;
use jeton_server::{NewSecret, SecretKeeping};
use serde_json::json;

/// Gives the client a new secret, and hands it over or leaves all as it was.
pub(super) fn rotate<'a>(
    args: &RotateArgs,
    open: impl FnOnce() -> Result<OpenRegistry<'a>, Failure>,
    format: Format,
) -> Result<(), Failure> {
    let overlap = args.overlap.parse::<Lifespan>().map_err(|error| usage("--overlap", &error))?;
    let opened = open()?;
    let mut handover =
        Handover::prepare(args.secret_file.as_deref(), format, "the secrets are as they were")?;
    let keeping = args.client_secret_jwt.then_some(SecretKeeping::Sealed);
    let new = NewSecret { name: args.secret_name.clone(), keeping };
    let rotated = opened.registry.rotate_to(&args.name, &new, overlap.0);
    let rotated = rotated.map_err(|error| opened.failure(&error))?;
    let mut document = json!({
        "client_id": args.name,
        "secret_name": rotated.name,
        "overlap_seconds": overlap.0.as_secs(),
        (opened.member()): opened.place(),
    });
    if let Err(failure) = handover.hand_over(&rotated.secret, &mut document) {
        // Nobody has the secret, and nobody can have it any more.
        let undone = opened.registry.undo_rotation(&args.name, &rotated);
        return Err(undone.err().map_or(failure, |error| opened.failure(&error)));
    }
    opened.tell(Event::SecretAdded, &args.name, Some(&rotated.name))?;
    if overlap.0.is_zero() {
        wait_until_seen();
    }
    output::note(&format!(
        "client {} has the new secret {} in {}; what it had before is good for {overlap} more",
        args.name,
        rotated.name,
        opened.place()
    ));
    handover.tell(&document)
}

/// Says which secret of the client this is; one that is not in force is refused.
pub(super) fn verify(
    client_id: &str,
    secret: &Secret<String>,
    opened: &OpenRegistry<'_>,
    format: Format,
) -> Result<(), Failure> {
    let found = opened.registry.verify(client_id, secret).map_err(|error| opened.failure(&error))?;
    let refused = |what: String| {
        Failure::new(ExitCode::CredentialRefused, what)
            .hint(format!("see which secrets it has by: jeton client show {client_id}"))
    };
    match found {
        None => Err(refused(format!("this is no secret of the client {client_id}"))),
        Some((held, SecretTerm::NotYet)) => Err(refused(format!(
            "this is the secret {} of the client {client_id}, which is not in force yet",
            held.name
        ))),
        Some((held, SecretTerm::Expired)) => Err(refused(format!(
            "this is the secret {} of the client {client_id}, which has expired",
            held.name
        ))),
        Some((held, SecretTerm::InForce)) => {
            let uses = opened.registry.last_uses(client_id).map_err(|error| opened.failure(&error))?;
            let now = jeton::Clock::now(&jeton::SystemClock);
            match format {
                Format::Text => output::line(&format!("secret {} is in force", held.name)),
                Format::Json => output::json(&rendering::secret(&held, &uses, now)),
            }
        }
    }
}

/// Takes a secret away.
pub(super) fn revoke(args: &RevokeArgs, opened: &OpenRegistry<'_>, format: Format) -> Result<(), Failure> {
    let revoked = opened.registry.revoke_secret(&args.name, &args.secret_name);
    revoked.map_err(|error| opened.failure(&error))?;
    opened.tell(Event::SecretRevoked, &args.name, Some(&args.secret_name))?;
    wait_until_seen();
    output::note(&format!("client {} has no secret {} any more", args.name, args.secret_name));
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&json!({
            "client_id": args.name,
            "secret_name": args.secret_name,
            (opened.member()): opened.place(),
        })),
    }
}

/// Prints the digest of a secret.
pub(super) fn hash(
    secret: &Secret<String>,
    opened: &OpenRegistry<'_>,
    format: Format,
) -> Result<(), Failure> {
    let digest = opened.registry.hash(secret);
    match format {
        Format::Text => output::line(&digest),
        Format::Json => output::json(&json!({ "digest": digest, (opened.member()): opened.place() })),
    }
}
