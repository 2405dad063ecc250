//! `jeton cache`: what is kept, without the tokens themselves.

mod rendering;

use crate::args::{CacheCommand, CacheCommandArgs, ClearCacheArgs, ListCacheArgs, ShowCacheArgs};
use crate::cache::{Inventory, Kind, Listed, Records};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Layers;
use jeton::store::{RecordName, TokenSummary};
use jeton::{Clock as _, Scope, SystemClock};
use serde_json::{Value, json};

/// Does what is asked.
pub(crate) async fn run(args: &CacheCommandArgs, layers: &Layers) -> Result<(), Failure> {
    match &args.command {
        CacheCommand::List(args) => list(args, layers).await,
        CacheCommand::Show(args) => show(args, layers).await,
        CacheCommand::Clear(args) => clear(args, layers).await,
    }
}

async fn list(args: &ListCacheArgs, layers: &Layers) -> Result<(), Failure> {
    let inventory =
        Inventory::open(&layers.without_profile().cache_to_look_into(&args.place)?, layers).await?;
    let records = inventory.records().await?.listed;
    let now = SystemClock.now();
    match args.output.output {
        Format::Text => {
            let noun = if records.len() == 1 { "record" } else { "records" };
            output::note(&format!("{} {noun} in {}", records.len(), inventory.place().display()));
            output::result(rendering::table(&records))
        }
        Format::Json => {
            let records: Vec<Value> = records.iter().map(|record| rendering::document(record, now)).collect();
            let place = inventory.place().to_string_lossy();
            output::json(&json!({ "cache": "file", "cache_dir": place, "records": records }))
        }
    }
}

async fn show(args: &ShowCacheArgs, layers: &Layers) -> Result<(), Failure> {
    let inventory =
        Inventory::open(&layers.without_profile().cache_to_look_into(&args.place)?, layers).await?;
    let records = inventory.records().await?.listed;
    let record = named(&records, &args.name, &inventory)?;
    let now = SystemClock.now();
    match args.output.output {
        Format::Text => output::result(rendering::text(record, now)),
        Format::Json => output::json(&rendering::document(record, now)),
    }
}

/// The one record whose name begins so.
fn named<'a>(records: &'a [Listed], name: &str, inventory: &Inventory) -> Result<&'a Listed, Failure> {
    let mut found = records.iter().filter(|record| !name.is_empty() && record.is_named(name));
    match (found.next(), found.next()) {
        (Some(record), None) => Ok(record),
        (None, _) => {
            let message = format!(
                "no record in {} begins with {}",
                inventory.place().display(),
                output::harmless(name)
            );
            Err(Failure::new(ExitCode::Other, message).hint("see which there are by: jeton cache list"))
        }
        (Some(_), Some(_)) => {
            let message = format!("more than one record begins with {}", output::harmless(name));
            Err(Failure::new(ExitCode::Usage, message).hint("give more of its name"))
        }
    }
}

async fn clear(args: &ClearCacheArgs, layers: &Layers) -> Result<(), Failure> {
    let choice = Choice::of(args)?;
    let inventory =
        Inventory::open(&layers.without_profile().cache_to_look_into(&args.place)?, layers).await?;
    let Records { listed: records, over } = inventory.records().await?;
    let named: Result<Vec<&Listed>, Failure> =
        args.names.iter().map(|name| named(&records, name, &inventory)).collect();
    let named: Vec<RecordName> = named?.iter().map(|record| record.name).collect();
    let chosen = records.iter().filter(|record| {
        (args.names.is_empty() || named.contains(&record.name)) && choice.includes(&record.kind)
    });
    let mut removed: usize = 0;
    for record in chosen {
        removed += usize::from(inventory.remove(&record.name).await?);
    }
    for name in over.iter().filter(|_| args.all) {
        inventory.remove(name).await?;
    }
    let place = inventory.place();
    match args.output.output {
        Format::Text => {
            let noun = if removed == 1 { "record" } else { "records" };
            output::line(&format!("removed {removed} {noun} from {}", place.display()))
        }
        Format::Json => output::json(&json!({ "removed": removed, "cache_dir": place.to_string_lossy() })),
    }
}

/// Which records are meant, besides by their names.
struct Choice {
    token_endpoint: Option<String>,
    client_id: Option<String>,
    scope: Option<Scope>,
    unreadable: bool,
}

impl Choice {
    fn of(args: &ClearCacheArgs) -> Result<Self, Failure> {
        let usage = |flag: &str, error: &dyn std::fmt::Display| {
            Failure::new(ExitCode::Usage, format!("{flag}: {error}"))
        };
        // As the token endpoint of a manager is written.
        let endpoint = args.token_url.as_deref().map(url::Url::parse).transpose();
        let scope = args.scope.as_deref().map(str::parse::<Scope>).transpose();
        Ok(Self {
            token_endpoint: endpoint.map_err(|error| usage("--token-url", &error))?.map(String::from),
            client_id: args.client_id.clone(),
            scope: scope.map_err(|error| usage("--scope", &error))?,
            unreadable: args.unreadable,
        })
    }

    fn includes(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Token { token, .. } => !self.unreadable && self.fits(token),
            Kind::Leased { .. } | Kind::Paused { .. } => !self.unreadable && self.is_open(),
            Kind::Unreadable { .. } => self.is_open(),
        }
    }

    fn fits(&self, token: &TokenSummary) -> bool {
        let asked = || token.scope.as_deref().map(str::parse::<Scope>);
        self.token_endpoint.as_ref().is_none_or(|endpoint| *endpoint == token.token_endpoint)
            && self.client_id.as_ref().is_none_or(|client_id| *client_id == token.client_id)
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| asked().is_some_and(|asked| asked.as_ref() == Ok(scope)))
    }

    /// Whether nothing is asked of a token.
    fn is_open(&self) -> bool {
        self.token_endpoint.is_none() && self.client_id.is_none() && self.scope.is_none()
    }
}
