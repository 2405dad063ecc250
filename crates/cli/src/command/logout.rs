//! `jeton logout`: the cache forgets the tokens of one client at one server.

use crate::args::{LogoutArgs, NetworkArgs};
use crate::cache::{Inventory, Kind, Listed, Renewal};
use crate::discovery::{Finder, Server};
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Format, harmless};
use crate::settings::{CachePlace, ClientLayers, Faults, Layers, ServerSettings};
use jeton::store::TokenSummary;
use jeton::{Clock as _, SystemClock, Timestamp};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// How long the issuer may take that names the server, where it has to be asked.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// Removes the tokens, and tells how many they were.
pub(crate) async fn run(args: &LogoutArgs, layers: &Layers) -> Result<(), Failure> {
    let client = layers.chosen(&args.identity)?;
    let identity = client.identity(&args.identity).map_err(Faults::first)?;
    let place = client.cache_to_look_into(&args.place)?;
    let server = server(&client, &identity.server, &place).await?;
    let endpoints = endpoints(&server).map_err(|error| identity.server.origin().fault(&error))?;
    let inventory = Inventory::open(&place, layers).await?;
    let records = inventory.records().await?.listed;
    let mut removed = Removed::default();
    for record in &records {
        let Some(token) = token_of(record, &endpoints, &identity.client_id) else { continue };
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
    removed.tell(&identity.client_id, &server.token_url, inventory.place(), args.output.output)
}

/// The server, whose issuer is asked only where nothing of it is kept. A cache that is not there is not made.
async fn server(
    client: &ClientLayers<'_>,
    settings: &ServerSettings,
    place: &CachePlace,
) -> Result<Server, Failure> {
    let network = client.network(&NetworkArgs::default())?;
    let dir = place.dir.as_deref().filter(|dir| dir.exists());
    let finder = Finder::new(&network, FOUND_WITHIN).keeping_in(dir);
    match finder.known(settings) {
        Some(server) => Ok(server),
        None => finder.find(settings, Renewal::WhenNeeded).await,
    }
}

/// The endpoints, written as those of a manager are.
fn endpoints(server: &Server) -> Result<Vec<String>, url::ParseError> {
    server.endpoints().into_iter().map(|url| url::Url::parse(url).map(String::from)).collect()
}

/// The token in the record, if it is of this client at this server.
fn token_of<'a>(record: &'a Listed, endpoints: &[String], client_id: &str) -> Option<&'a TokenSummary> {
    match &record.kind {
        Kind::Token { token, .. }
            if endpoints.contains(&token.token_endpoint) && token.client_id == client_id =>
        {
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
    fn tell(&self, client_id: &str, token_url: &str, place: &Path, format: Format) -> Result<(), Failure> {
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
                    harmless(client_id),
                    harmless(token_url),
                    place.display()
                ))
            }
            Format::Json => output::json(&json!({
                "client_id": client_id,
                "token_endpoint": token_url,
                "removed": self.count,
                "latest_expires_at": self.latest_expiry.map(Timestamp::as_unix_seconds),
                "cache_dir": place.to_string_lossy(),
            })),
        }
    }
}
