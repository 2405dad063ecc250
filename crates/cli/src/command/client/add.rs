//! `jeton client add`.

use super::flags::Flags;
use super::handover::Handover;
use super::rendering;
use crate::args::AddClientArgs;
use crate::command::registry::OpenRegistry;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_server::audit::Event;
use jeton_server::{NewSecret, SecretKeeping};
use serde_json::json;

/// Adds the client, and hands its secret over or adds none.
pub(super) fn run<'a>(
    args: &AddClientArgs,
    open: impl FnOnce() -> Result<OpenRegistry<'a>, Failure>,
    format: Format,
) -> Result<(), Failure> {
    check_name(&args.name)?;
    let flags = Flags::read(&args.settings, &args.credentials)?;
    let (mut settings, mut credentials) = (ClientSettings::new(&args.name), ClientCredentials::default());
    flags.put_on(&mut settings, &mut credentials);
    let opened = open()?;
    let mut document = rendering::settings(&settings);
    rendering::set(&mut document, opened.member(), json!(opened.place()));
    let told = |what: &str| {
        output::note(&format!("client {} added in {}; {what}", settings.client_id, opened.place()));
    };
    if args.no_secret {
        let added = opened.registry.add_with(settings.clone(), credentials);
        added.map_err(|error| opened.failure(&error))?;
        opened.tell(Event::ClientAdded, &args.name, None)?;
        told("it has no secret");
        return match format {
            Format::Text => Ok(()),
            Format::Json => output::json(&document),
        };
    }
    let mut handover = Handover::prepare(args.secret_file.as_deref(), format, "no client was added")?;
    let keeping = if args.client_secret_jwt { SecretKeeping::Sealed } else { SecretKeeping::Digest };
    let new = NewSecret { name: Some(args.secret_name.clone()), keeping: Some(keeping) };
    let secret = opened.registry.add_with_secret(settings.clone(), credentials, &new);
    let secret = secret.map_err(|error| opened.failure(&error))?;
    if let Err(failure) = handover.hand_over(&secret, &mut document) {
        // Nobody has the secret, and nobody can have it any more.
        let removed = opened.registry.remove(&settings.client_id);
        return Err(removed.err().map_or(failure, |error| opened.failure(&error)));
    }
    opened.tell(Event::ClientAdded, &args.name, None)?;
    told("its secret is shown this once and cannot be read again");
    handover.tell(&document)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let Some(odd) = name.chars().find(|character| !is_unreserved(*character)) else { return Ok(()) };
    let message = format!("NAME: a client id may have letters, digits and -._~ and not {odd:?}");
    Err(Failure::new(ExitCode::Usage, message)
        .hint("many clients do not encode what else there is before they send it (RFC 6749 section 2.3.1)"))
}

/// The characters that mean themselves in every encoding (RFC 3986 §2.3).
const fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~')
}
