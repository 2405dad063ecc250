//! What `jeton apply` and `jeton drift` take.

use super::StorageArgs;
use crate::output::Format;
use clap::Args;
use std::path::PathBuf;

/// `jeton apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every file NAME.toml of the directory is read: one client, or several as tables [[client]]. Everything is checked before anything
is written, and is written in one commit. A client that was added by other means is never changed; a file that names one is
told, unless --adopt is given. With --plan, exit code 6 says that there is something to change.")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Only tell what would change
    #[arg(long)]
    pub(crate) plan: bool,
    /// Take over clients that the files name and that were added by other means, with the secrets that they have
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Remove the clients that the files named before and name no more
    #[arg(long)]
    pub(crate) prune: bool,
}

/// `jeton drift`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 6 says that there is a difference; 0, that there is none.")]
pub(crate) struct DriftArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// Which files, and which registry.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The directory with the files
    pub(crate) dir: PathBuf,
    /// Where keys and clients are kept [env: JETON_SERVER_DATA_DIR; default: jeton in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// Under which name the files manage their clients: two directories for one server have two names
    #[arg(long, value_name = "NAME", default_value = "files")]
    pub(crate) manager: String,
    /// The form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// The files that a server follows.
#[derive(Debug, Default, Args)]
pub(crate) struct ClientsDirArgs {
    /// A directory of files with clients, which are applied at the start and whenever the files change, as `jeton apply` does
    /// [env: JETON_SERVER_CLIENTS_DIR]
    #[arg(long = "clients", value_name = "DIR")]
    pub(crate) clients_dir: Option<String>,
    /// What becomes of a client that the files named and name no more: keep or remove [env: JETON_SERVER_UNNAMED_CLIENTS;
    /// default: keep]
    #[arg(long, value_name = "WHAT")]
    pub(crate) unnamed_clients: Option<String>,
}
