//! `jeton client`: the clients of the server, whether it runs or not.

mod add;
mod due;
mod flags;
mod handover;
mod listing;
mod rendering;
mod secrets;
mod update;

use super::registry::{Presence, open, wait_until_seen};
use crate::args::{ClientCommand, ClientCommandArgs};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Layers;
use jeton_server::audit::Event;
use serde_json::json;

/// Does what is asked, and says in which data directory.
pub(crate) async fn run(args: &ClientCommandArgs, layers: &Layers) -> Result<(), Failure> {
    let format = args.output;
    let open = |presence| open(layers, &args.storage, args.data_dir.as_deref(), presence);
    match &args.command {
        ClientCommand::Add(added) => add::run(added, || open(Presence::Made), format),
        ClientCommand::List => listing::list(&open(Presence::Wanted)?, format),
        ClientCommand::Show(client) => listing::show(&client.name, &open(Presence::Wanted)?, format),
        ClientCommand::Update(updated) => update::run(updated, || open(Presence::Wanted), format),
        ClientCommand::Rotate(rotated) => secrets::rotate(rotated, || open(Presence::Wanted), format),
        ClientCommand::Verify(verified) => {
            let secret = layers.secret_at("--secret", &verified.secret).await?;
            secrets::verify(&verified.name, &secret, &open(Presence::Wanted)?, format)
        }
        ClientCommand::Revoke(revoked) => secrets::revoke(revoked, &open(Presence::Wanted)?, format),
        ClientCommand::Due(due) => due::run(due, || open(Presence::Wanted), format),
        ClientCommand::Hash(hashed) => {
            let secret = layers.secret_at("--secret", &hashed.secret).await?;
            secrets::hash(&secret, &open(Presence::Made)?, format)
        }
        ClientCommand::Disable(client) => {
            change(&client.name, &open(Presence::Wanted)?, format, Change::Disable)
        }
        ClientCommand::Enable(client) => {
            change(&client.name, &open(Presence::Wanted)?, format, Change::Enable)
        }
        ClientCommand::Remove(client) => {
            change(&client.name, &open(Presence::Wanted)?, format, Change::Remove)
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Disable,
    Enable,
    Remove,
}

fn change(
    client_id: &str,
    opened: &super::registry::OpenRegistry<'_>,
    format: Format,
    change: Change,
) -> Result<(), Failure> {
    let registry = &opened.registry;
    let (done, what, event) = match change {
        Change::Disable => (registry.disable(client_id), "disabled", Event::ClientDisabled),
        Change::Enable => (registry.enable(client_id), "enabled", Event::ClientEnabled),
        Change::Remove => (registry.remove(client_id), "removed", Event::ClientRemoved),
    };
    done.map_err(|error| opened.failure(&error))?;
    opened.tell(event, client_id, None)?;
    wait_until_seen();
    output::note(&format!("client {client_id} {what} in {}", opened.place()));
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&json!({
            "client_id": client_id,
            "status": what,
            (opened.member()): opened.place(),
        })),
    }
}
