//! What is written about the token cache.

use super::OutputArgs;
use clap::{Args, Subcommand};

/// Whether tokens are kept, and where.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Token cache")]
pub(crate) struct CacheArgs {
    /// Where tokens are kept for the commands that follow: file, off, or redis://HOST:PORT, rediss://HOST:PORT or
    /// unix:///PATH for a Redis that several machines share; it wants --cache-key [env: JETON_CACHE; default: file]
    #[arg(long, value_name = "WHERE")]
    pub(crate) cache: Option<String>,
    /// Keep no token and use none that is kept; the same as --cache off
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
    #[command(flatten)]
    pub(crate) place: CachePlaceArgs,
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
}

/// How the Redis of the cache is reached.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Token cache")]
pub(crate) struct RedisArgs {
    /// With Redis: the user to log in as [env: JETON_CACHE_USER]
    #[arg(id = "cache_user", long = "cache-user", value_name = "USER")]
    pub(crate) user: Option<String>,
    /// With Redis: where the password is, as for --client-secret [env: JETON_CACHE_PASSWORD]
    #[arg(id = "cache_password", long = "cache-password", value_name = "SOURCE")]
    pub(crate) password: Option<String>,
    /// With rediss: the certificate authorities to trust, as a PEM file [env: JETON_CACHE_CA_FILE; default: those of --ca-file]
    #[arg(id = "cache_ca_file", long = "cache-ca-file", value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
}

/// Where the cache is, and what it is encrypted with.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Token cache")]
pub(crate) struct CachePlaceArgs {
    /// The directory of the cache, for its owner alone [env: JETON_CACHE_DIR; default: jeton in $XDG_CACHE_HOME or ~/.cache]
    #[arg(id = "cache_dir", long = "cache-dir", value_name = "DIR")]
    pub(crate) dir: Option<String>,
    /// Where a key is that what is kept is encrypted with, as for --client-secret: 64 hexadecimal digits, as `openssl rand -hex 32`
    /// makes them; may be repeated: the first encrypts, all decrypt [env: JETON_CACHE_KEYS, space-delimited; default: a
    /// key file that is made on first use, jeton/cache.key in $XDG_STATE_HOME or ~/.local/state]
    #[arg(id = "cache_keys", long = "cache-key", value_name = "SOURCE")]
    pub(crate) keys: Vec<String>,
    /// With --cache-key: the key that the records are named with, which stays when the others are replaced [env:
    /// JETON_CACHE_NAME_KEY; default: made from the first key]
    #[arg(id = "cache_name_key", long = "cache-name-key", value_name = "SOURCE")]
    pub(crate) name_key: Option<String>,
}

/// `jeton cache`.
#[derive(Debug, Args)]
pub(crate) struct CacheCommandArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

/// What is done with what is kept.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List what is kept
    List(ListCacheArgs),
    /// Show one record, named by the beginning of its name
    Show(ShowCacheArgs),
    /// Remove records: all of them, or those that are chosen
    #[command(after_help = "\
A record is removed when all that is given fits it. Removed is not revoked: whoever has a copy of a token can use it
until it expires. Programs that use the cache at the same time fetch a new token when they need one.")]
    Clear(ClearCacheArgs),
}

/// `jeton cache list`.
#[derive(Debug, Args)]
pub(crate) struct ListCacheArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) place: CachePlaceArgs,
}

/// `jeton cache show`.
#[derive(Debug, Args)]
pub(crate) struct ShowCacheArgs {
    /// The name of the record, or as much of its beginning as no other has
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) place: CachePlaceArgs,
}

/// `jeton cache clear`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct ClearCacheArgs {
    /// All records, also those that cannot be read
    #[arg(long, group = "which", conflicts_with_all = ["names", "token_url", "client_id", "scope", "unreadable"])]
    pub(crate) all: bool,
    /// The records with these names, or beginnings of names that no other has
    #[arg(value_name = "NAME", group = "which")]
    pub(crate) names: Vec<String>,
    /// The tokens from this token endpoint
    #[arg(long, value_name = "URL", group = "which")]
    pub(crate) token_url: Option<String>,
    /// The tokens of this client
    #[arg(long, value_name = "ID", group = "which")]
    pub(crate) client_id: Option<String>,
    /// The tokens that were asked for with exactly these scopes, space-delimited
    #[arg(long, value_name = "SCOPES", group = "which")]
    pub(crate) scope: Option<String>,
    /// The records that cannot be read
    #[arg(long, group = "which", conflicts_with_all = ["token_url", "client_id", "scope"])]
    pub(crate) unreadable: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) place: CachePlaceArgs,
}
