//! `jeton logout`: the cache forgets the tokens of one client at one server.

use crate::args::LogoutArgs;
use crate::cache::{Inventory, Kind, Listed};
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Format, harmless};
use crate::settings::{Faults, IdentitySettings, Layers};
use jeton::store::TokenSummary;
use jeton::{Clock as _, SystemClock, Timestamp};
use serde_json::json;
use std::path::Path;

/// Removes the tokens, and tells how many they were.
pub(crate) async fn run(args: &LogoutArgs, layers: &Layers) -> Result<(), Failure> {
    let client = layers.chosen(&args.identity)?;
    let identity = client.identity(&args.identity).map_err(Faults::first)?;
    // As the token endpoint of a manager is written.
    let endpoint = url::Url::parse(&identity.token_url.value);
    let endpoint = endpoint.map_err(|error| identity.token_url.origin.fault(&error))?;
    let inventory = Inventory::open(&client.cache_to_look_into(&args.place)?, layers).await?;
    let records = inventory.records().await?.listed;
    let mut removed = Removed::default();
    for record in &records {
        let Some(token) = token_of(record, endpoint.as_str(), &identity.client_id) else { continue };
        if inventory.remove(&record.name).await? {
            removed.count += 1;
            removed.latest_expiry = removed.latest_expiry.max(Some(token.expires_at));
        }
    }
    let unreadable = records.iter().filter(|record| matches!(record.kind, Kind::Unreadable { .. })).count();
    if unreadable > 0 {
        output::note(&format!(
            "records that cannot be read, and may be of anybody: {unreadable}; remove them by: jeton cache clear --unreadable"
        ));
    }
    removed.tell(&identity, inventory.place(), args.output.output)
}

/// The token in the record, if it is of this client at this server.
fn token_of<'a>(record: &'a Listed, endpoint: &str, client_id: &str) -> Option<&'a TokenSummary> {
    match &record.kind {
        Kind::Token { token, .. } if token.token_endpoint == endpoint && token.client_id == client_id => {
            Some(token)
        }
        Kind::Token { .. } | Kind::Leased { .. } | Kind::Paused { .. } | Kind::Unreadable { .. } => None,
    }
}

/// What was removed.
#[derive(Default)]
struct Removed {
    count: usize,
    latest_expiry: Option<Timestamp>,
}

impl Removed {
    fn tell(&self, identity: &IdentitySettings, place: &Path, format: Format) -> Result<(), Failure> {
        let now = SystemClock.now();
        let alive = self.latest_expiry.filter(|expiry| *expiry > now);
        if let Some(expiry) = alive {
            output::note(&format!(
                "whoever has a copy of a token can use it until it expires, the last one at {} ({})",
                moment::second(expiry),
                moment::distance(expiry, now)
            ));
        }
        match format {
            Format::Text => {
                let noun = if self.count == 1 { "token" } else { "tokens" };
                output::line(&format!(
                    "removed {} {noun} of {} at {} from {}",
                    self.count,
                    harmless(&identity.client_id),
                    harmless(&identity.token_url.value),
                    place.display()
                ))
            }
            Format::Json => output::json(&json!({
                "client_id": identity.client_id,
                "token_endpoint": identity.token_url.value,
                "removed": self.count,
                "latest_expires_at": self.latest_expiry.map(Timestamp::as_unix_seconds),
                "cache_dir": place.to_string_lossy(),
            })),
        }
    }
}
