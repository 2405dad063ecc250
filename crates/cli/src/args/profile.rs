//! What is written about profiles.

use super::OutputArgs;
use clap::{Args, Subcommand};

/// `jeton profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileCommandArgs {
    #[command(subcommand)]
    pub(crate) command: ProfileCommand,
}

/// What is done with profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List the profiles as the settings file has them; no secret is read
    List(ListProfilesArgs),
    /// Check settings and secrets, and tell all that is wrong; with --online, ask the servers for tokens
    #[command(after_help = "\
The report goes to stdout, whatever it says. The command ends with 5 if settings or secrets of any profile are wrong, or else
with 3 if a server refused a credential, or else with 4 if a server cannot be reached, or else with 1 if a token was not had for
another reason. What is checked is what --client NAME would use.")]
    Check(CheckProfilesArgs),
}

/// `jeton profile list`.
#[derive(Debug, Args)]
pub(crate) struct ListProfilesArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `jeton profile check`.
#[derive(Debug, Args)]
pub(crate) struct CheckProfilesArgs {
    /// The profiles to check; all of them if none is named
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Ask each server for a token, whether one is kept or not; the token is not kept
    #[arg(long)]
    pub(crate) online: bool,
    /// With --online: how long getting one token may take, tries and pauses included
    #[arg(long, value_name = "SPAN", default_value = "15s")]
    pub(crate) timeout: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
