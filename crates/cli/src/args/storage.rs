//! What is written about the database that several instances share.

use clap::Args;

/// Where the clients are when they are not in the data directory.
#[derive(Debug, Default, Args)]
pub(crate) struct StorageArgs {
    /// Keep the clients in PostgreSQL: postgresql://USER@HOST/DATABASE, without a password [env: JETON_SERVER_DATABASE]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) database: Option<String>,
    /// Where the password of the database is, such as file:PATH or env:NAME [env: JETON_SERVER_DATABASE_PASSWORD]
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) database_password: Option<String>,
    /// Where the key of the server is, which all instances share [env: JETON_SERVER_KEY; default: made in the data directory]
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) server_key: Option<String>,
    /// Where the key before that one is, while it is replaced: see docs/server-keys.md [env: JETON_SERVER_PREVIOUS_KEY]
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) previous_server_key: Option<String>,
}
