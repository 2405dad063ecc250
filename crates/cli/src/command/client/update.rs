//! `jeton client update`.

use super::flags::{Flags, clear};
use super::rendering;
use crate::args::UpdateClientArgs;
use crate::command::registry::{OpenRegistry, wait_until_seen};
use crate::failure::Failure;
use crate::output::{self, Format};
use jeton::{Clock as _, SystemClock};
use jeton_server::audit::Event;

/// Changes what the flags name, and leaves the rest.
pub(super) fn run<'a>(
    args: &UpdateClientArgs,
    open: impl FnOnce() -> Result<OpenRegistry<'a>, Failure>,
    format: Format,
) -> Result<(), Failure> {
    let flags = Flags::read(&args.settings, &args.credentials)?;
    let opened = open()?;
    let updated = opened.registry.update(&args.name, |record| {
        for what in &args.cleared {
            clear(*what, &mut record.settings, &mut record.credentials);
        }
        flags.put_on(&mut record.settings, &mut record.credentials);
        Ok(record.clone())
    });
    let record = updated.map_err(|error| opened.failure(&error))?;
    opened.tell(Event::ClientChanged, &args.name, None)?;
    wait_until_seen();
    output::note(&format!("client {} changed in {}", args.name, opened.place()));
    if let Some(manager) = &record.managed_by {
        output::note(&format!(
            "it is managed by {manager}: the next `jeton apply` makes it what the files say"
        ));
    }
    let uses = opened.registry.last_uses(&args.name).map_err(|error| opened.failure(&error))?;
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&rendering::record(&record, &uses, SystemClock.now())),
    }
}
