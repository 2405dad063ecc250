//! What is written about the signing keys of the server.

use super::StorageArgs;
use crate::output::Format;
use clap::{Args, Subcommand};

/// The signing keys of the server.
#[derive(Debug, Args)]
#[command(after_help = "\
A key is announced, then active, then retired, then dropped. It is announced before it signs, so that every API has it in time, and
published after it retired, until its last token is over: the server does all of that by itself, see docs/server-keys.md.")]
pub(crate) struct KeysCommandArgs {
    /// Where keys and clients are kept [env: JETON_SERVER_DATA_DIR; default: jeton in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<String>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// The form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

/// What is done with the keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys, the newest first
    List,
    /// Announce the next key now, instead of when it is due, and print its id; no token is refused for it
    Rotate(RotateKeysArgs),
    /// Let a key sign no more; it stays published for the tokens that live
    Retire(KeyArgs),
    /// Take a key out of the published keys
    Drop(KeyArgs),
    /// Seal everything with the new server key, when every instance has it beside the previous one
    Reseal,
}

/// `jeton keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateKeysArgs {
    /// The key of which algorithm: ES256, EdDSA or RS256; without it, of all that there are
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
}

/// A key that is there.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key id (kid)
    #[arg(allow_hyphen_values = true)]
    pub(crate) key: String,
    /// For a key in wrong hands: do it although live tokens are refused for it. A new key signs at once
    #[arg(long)]
    pub(crate) emergency: bool,
}
