//! Secrets in variables of the environment, taken out of it before anything is read.
//!
//! What a process was started with stays in its memory for as long as it lives, where `/proc/PID/environ` and core dumps show it, and goes
//! on to the processes that it starts. A variable that is removed later stays there. So on Linux the process replaces itself by a new
//! image of the same program, with the same arguments and without these variables; their values go over in a file in memory, which is
//! emptied when it is read. Elsewhere they stay where they are.

mod names;

#[cfg(target_os = "linux")]
mod handover;

use crate::args::{Cli, Command};
use jeton::credentials::Environment;
#[cfg(target_os = "linux")]
use std::ffi::{OsStr, OsString};

/// Says in the new image which file descriptor the values are in.
pub(crate) const HANDOVER_VARIABLE: &str = "JETON_SECRETS_FD";

/// The variables of the environment, with those that hold secrets. Where they can be taken out of it, this is the new image: the one
/// before does not come back from here. Nothing but the settings file is read before.
#[cfg(target_os = "linux")]
pub(crate) fn environment(cli: &Cli) -> Environment {
    let number = std::env::var_os(HANDOVER_VARIABLE);
    let handed_over = number.map(|number| handover::receive(&number)).unwrap_or_default();
    let is_handover = |name: &OsStr| name == OsStr::new(HANDOVER_VARIABLE);
    let own = || std::env::vars_os().filter(|(name, _)| !is_handover(name));
    let environment: Environment = own().chain(handed_over.iter().cloned()).collect();
    // Once is enough, whatever is still found then.
    if handed_over.is_empty() && reads_secrets(&cli.command) {
        let names = names::of_secrets(&cli.global, &environment);
        let secrets: Vec<(OsString, OsString)> =
            own().filter(|(name, _)| names.iter().any(|secret| OsStr::new(secret) == name)).collect();
        if !secrets.is_empty() {
            // Who cannot be replaced goes on: the secrets are no worse off than where they were found.
            handover::replace_this_image(secrets);
        }
    }
    environment
}

/// The variables of the environment, with those that hold secrets.
#[cfg(not(target_os = "linux"))]
pub(crate) fn environment(_: &Cli) -> Environment {
    Environment::of_process()
}

#[cfg(target_os = "linux")]
fn reads_secrets(command: &Command) -> bool {
    match command {
        Command::Token(_)
        | Command::Call(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Cache(_)
        | Command::Profile(_) => true,
        // The sandbox has secrets of its own, and what it runs sees none of these variables.
        Command::Serve(_) | Command::Client(_) | Command::Inspect(_) | Command::Sandbox(_) => false,
    }
}
