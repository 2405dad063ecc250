//! `jeton client list` and `jeton client show`.

use super::rendering;
use crate::command::registry::OpenRegistry;
use crate::failure::Failure;
use crate::output::{self, Format};
use jeton::{Clock as _, SystemClock};
use jeton_server::{ClientListing, DamagedClient, LastUses};
use serde_json::json;

/// Lists the clients.
pub(super) fn list(opened: &OpenRegistry<'_>, format: Format) -> Result<(), Failure> {
    let listing = opened.registry.list().map_err(|error| opened.failure(&error))?;
    tell_damaged(&listing);
    match format {
        Format::Text => {
            let clients = &listing.clients;
            let noun = if clients.len() == 1 { "client" } else { "clients" };
            output::note(&format!("{} {noun} in {}", clients.len(), opened.place()));
            output::result(rendering::table(clients))
        }
        Format::Json => {
            let unused = LastUses::default();
            let now = SystemClock.now();
            let clients = listing.clients.iter().map(|record| {
                let uses = listing.last_uses.get(&record.settings.client_id).unwrap_or(&unused);
                rendering::record(record, uses, now)
            });
            let clients: Vec<_> = clients.collect();
            output::json(&json!({ (opened.member()): opened.place(), "clients": clients }))
        }
    }
}

/// Shows one client.
pub(super) fn show(client_id: &str, opened: &OpenRegistry<'_>, format: Format) -> Result<(), Failure> {
    let record = opened.registry.client(client_id).map_err(|error| opened.failure(&error))?;
    let uses = opened.registry.last_uses(client_id).map_err(|error| opened.failure(&error))?;
    let now = SystemClock.now();
    match format {
        Format::Text => output::result(rendering::text(&record, &uses, now)),
        Format::Json => output::json(&rendering::record(&record, &uses, now)),
    }
}

/// Says which clients cannot be read.
pub(super) fn tell_damaged(listing: &ClientListing) {
    for DamagedClient { client_id, fault } in &listing.damaged {
        output::note(&format!("client {client_id} cannot be read and has no tokens: {fault}"));
    }
}
