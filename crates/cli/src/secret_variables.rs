//! Secrets in variables of the environment, taken out of it before anything is read.
//!
//! What a process was started with stays in its memory for as long as it lives, where `/proc/PID/environ` and core dumps show it, and goes
//! on to the processes that it starts. A variable that is removed later stays there. So on Linux the process replaces itself by a new
//! image of the same program, with the same arguments and without these variables; their values go over in a file in memory, which is
//! emptied when it is read. Elsewhere they stay where they are.

mod names;

#[cfg(target_os = "linux")]
mod handover;

use jeton::credentials::Environment;
#[cfg(target_os = "linux")]
use std::ffi::{OsStr, OsString};

/// Says in the new image which file descriptor the values are in.
pub(crate) const HANDOVER_VARIABLE: &str = "JETON_SECRETS_FD";

/// The variables of the environment, with those that hold secrets. Where they can be taken out of it, this is the new image: the one
/// before does not come back from here. Nothing but the settings file is read before, and the command line is not parsed yet: what is
/// done twice is to be little.
#[cfg(target_os = "linux")]
pub(crate) fn environment() -> Environment {
    let number = std::env::var_os(HANDOVER_VARIABLE);
    let handed_over = number.map(|number| handover::receive(&number)).unwrap_or_default();
    let is_handover = |name: &OsStr| name == OsStr::new(HANDOVER_VARIABLE);
    let own = || std::env::vars_os().filter(|(name, _)| !is_handover(name));
    let environment: Environment = own().chain(handed_over.iter().cloned()).collect();
    // Once is enough, whatever is still found then.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if handed_over.is_empty() && reads_secrets(&arguments) {
        let names = names::of_secrets(&arguments, &environment);
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
pub(crate) fn environment() -> Environment {
    Environment::of_process()
}

/// The commands that read secrets. The sandbox has secrets of its own, and what it runs sees none of these variables.
#[cfg(target_os = "linux")]
const READ_SECRETS: [&str; 11] =
    ["token", "call", "login", "logout", "cache", "profile", "serve", "client", "apply", "drift", "keys"];

/// Whether one of them is among the words, wherever options stand. One that is meant as something else costs a moment.
#[cfg(target_os = "linux")]
fn reads_secrets(arguments: &[OsString]) -> bool {
    arguments.iter().any(|word| READ_SECRETS.iter().any(|command| word == command))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory as _;

    /// Those that read no secrets from variables.
    const OTHERS: [&str; 5] = ["audit", "explain", "inspect", "sandbox", "help"];

    #[test]
    fn every_command_is_known_to_read_secrets_or_not_to() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().map(clap::Command::get_name) {
            let known = READ_SECRETS.contains(&command) || OTHERS.contains(&command);
            assert!(known, "say of `{command}` whether it reads secrets");
        }
        assert!(reads_secrets(&["--log-level", "trace", "token"].map(OsString::from)));
        assert!(!reads_secrets(&["inspect", "--issuer", "x"].map(OsString::from)));
    }
}
