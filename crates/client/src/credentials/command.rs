//! A secret that a command prints.

mod line;
#[cfg(unix)]
mod run;

pub use line::CommandLine;
#[cfg(unix)]
pub use run::CommandSource;

/// Elsewhere there is no sure way to end a command together with those that it started.
#[cfg(not(unix))]
pub(super) fn unusable(line: &CommandLine) -> super::source::SourceFault {
    let what = "commands are run on unix alone; name another place";
    super::source::SourceFault::new(super::source::SourceFaultKind::Unusable, line, what)
}
