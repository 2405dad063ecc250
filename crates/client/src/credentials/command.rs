//! A secret that a command prints.

mod line;
#[cfg(unix)]
mod run;

pub use line::CommandLine;
#[cfg(unix)]
pub use run::CommandSource;

use super::environment::Surroundings;
use super::source::{SecretSource, SourceFault};
use std::sync::Arc;

/// The source that runs the command.
#[cfg(unix)]
pub(super) fn open(
    line: &CommandLine,
    surroundings: &Surroundings,
) -> Result<Arc<dyn SecretSource>, SourceFault> {
    Ok(Arc::new(CommandSource::new(line.clone(), surroundings)))
}

/// Elsewhere there is no sure way to end a command together with those that it started.
#[cfg(not(unix))]
pub(super) fn open(
    line: &CommandLine,
    _surroundings: &Surroundings,
) -> Result<Arc<dyn SecretSource>, SourceFault> {
    let what = "commands are run on unix alone; name another place";
    Err(SourceFault::new(super::source::SourceFaultKind::Unusable, line, what))
}
