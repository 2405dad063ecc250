//! What `jeton client` takes.

use super::StorageArgs;
use crate::output::Format;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The clients of the server.
#[derive(Debug, Args)]
pub(crate) struct ClientCommandArgs {
    /// Where keys and clients are kept [env: JETON_SERVER_DATA_DIR; default: jeton in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<String>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// The form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: ClientCommand,
}

/// What is done with the clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add a client, and print its secret: the one time that it can be had
    Add(Box<AddClientArgs>),
    /// List the clients
    List,
    /// Show all that is set for a client, and when its secrets were used last
    Show(ClientNameArgs),
    /// Change what is set for a client; what no flag names stays
    Update(Box<UpdateClientArgs>),
    /// Give a client a new secret, and let the old one be good for a while
    Rotate(RotateArgs),
    /// Say which secret of a client is at a place, and whether it is in force: if not, the exit code is 3
    Verify(VerifyArgs),
    /// Take a secret from a client at once; tokens that it has live on until they expire
    Revoke(RevokeArgs),
    /// Tell which secrets ask for attention: old ones, such as end soon, such as are still used though they have a successor,
    /// and such as nobody uses
    Due(DueArgs),
    /// Print the digest of a secret, as a file of clients has it
    Hash(HashArgs),
    /// Let a client have no more tokens; those that it has live on until they expire
    Disable(ClientNameArgs),
    /// Let a disabled client have tokens again
    Enable(ClientNameArgs),
    /// Remove a client and its secrets
    Remove(ClientNameArgs),
}

/// What may be set for a client.
#[derive(Debug, Default, Args)]
pub(crate) struct SettingFlags {
    /// The scopes that the client may have, space-delimited; may be repeated
    #[arg(long = "scope", value_name = "SCOPES")]
    pub(crate) scopes: Vec<String>,
    /// What a request without scope is given; without it, all scopes that the client may have
    #[arg(long, value_name = "SCOPES")]
    pub(crate) default_scope: Option<String>,
    /// A resource that the client may have tokens for, the first being the default; may be repeated
    #[arg(long = "audience", value_name = "URI")]
    pub(crate) audiences: Vec<String>,
    /// How long its tokens live, such as 90s, 15m or 24h; of a new client 1h if not given
    #[arg(long, value_name = "SPAN")]
    pub(crate) token_lifetime: Option<String>,
    /// What its tokens are signed with: ES256, EdDSA or RS256; without it, what the server signs with
    #[arg(long, value_name = "NAME")]
    pub(crate) signing_algorithm: Option<String>,
    /// What people want to know of it, such as team=billing; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// What a client may authenticate with besides secrets.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Authentication without a secret")]
pub(crate) struct CredentialFlags {
    /// For private_key_jwt: a file with the client's public keys, a JWK Set
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    pub(crate) jwks: Option<PathBuf>,
    /// For private_key_jwt: where the client's JWK Set is fetched
    #[arg(long, value_name = "URL")]
    pub(crate) jwks_uri: Option<String>,
    /// For tls_client_auth: the subject of the client's certificate, as RFC 4514 writes it
    #[arg(long, value_name = "DN", group = "tls_subject")]
    pub(crate) tls_subject_dn: Option<String>,
    /// For tls_client_auth: a DNS name among the certificate's alternative names
    #[arg(long, value_name = "NAME", group = "tls_subject")]
    pub(crate) tls_san_dns: Option<String>,
    /// For tls_client_auth: a URI among the certificate's alternative names
    #[arg(long, value_name = "URI", group = "tls_subject")]
    pub(crate) tls_san_uri: Option<String>,
    /// For tls_client_auth: an IP address among the certificate's alternative names
    #[arg(long, value_name = "ADDRESS", group = "tls_subject")]
    pub(crate) tls_san_ip: Option<String>,
    /// For tls_client_auth: an e-mail address among the certificate's alternative names
    #[arg(long, value_name = "ADDRESS", group = "tls_subject")]
    pub(crate) tls_san_email: Option<String>,
    /// For self_signed_tls_client_auth: a file with the client's certificate, as PEM; may be repeated
    #[arg(long = "certificate", value_name = "FILE")]
    pub(crate) certificates: Vec<PathBuf>,
    /// An identity that another issuer vouches for, as issuer=URL,audience=URI,subject=TEXT,claim.NAME=TEXT (jwks_uri=URL names keys
    /// that the issuer's metadata does not); * stands for any text without / and :; may be repeated
    #[arg(long = "workload", value_name = "CONDITIONS")]
    pub(crate) workloads: Vec<String>,
}

/// A client to be added.
#[derive(Debug, Args)]
pub(crate) struct AddClientArgs {
    /// The client id
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    /// Write the secret to this new file, for the owner alone, and not to stdout
    #[arg(long, value_name = "PATH", conflicts_with = "no_secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// What the secret is called
    #[arg(long, value_name = "NAME", default_value = "1", conflicts_with = "no_secret")]
    pub(crate) secret_name: String,
    /// Keep the secret itself too, sealed with the server's key: client_secret_jwt cannot be checked with a digest
    #[arg(long, conflicts_with = "no_secret")]
    pub(crate) client_secret_jwt: bool,
    /// Make no secret
    #[arg(long)]
    pub(crate) no_secret: bool,
    #[command(flatten)]
    pub(crate) credentials: CredentialFlags,
}

/// A client to be changed.
#[derive(Debug, Args)]
pub(crate) struct UpdateClientArgs {
    /// The client id
    pub(crate) name: String,
    /// What is taken away before the other flags are looked at; may be repeated
    #[arg(long = "clear", value_enum, value_name = "WHAT")]
    pub(crate) cleared: Vec<Clearable>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    #[command(flatten)]
    pub(crate) credentials: CredentialFlags,
}

/// What can be taken from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clearable {
    Scope,
    DefaultScope,
    Audience,
    SigningAlgorithm,
    Labels,
    Jwks,
    TlsSubject,
    Certificates,
    Workloads,
}

/// A client that is there.
#[derive(Debug, Args)]
pub(crate) struct ClientNameArgs {
    /// The client id
    pub(crate) name: String,
}

/// `jeton client rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Put the new secret where the client reads it, and see by `jeton client show NAME` that the old one is used no more. A client has two
secrets in force at most: while it has, revoke one first.")]
pub(crate) struct RotateArgs {
    /// The client id
    pub(crate) name: String,
    /// For how long the old secret is good besides; 0s ends it at once
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    pub(crate) overlap: String,
    /// What the new secret is called; without it, the next number
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) secret_name: Option<String>,
    /// Write the secret to this new file, for the owner alone, and not to stdout
    #[arg(long, value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Keep the secret itself too, sealed with the server's key; without it, as it is with the old one
    #[arg(long)]
    pub(crate) client_secret_jwt: bool,
}

/// `jeton client verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The client id
    pub(crate) name: String,
    /// Where the secret is: env:NAME, file:PATH, - for standard input, and the other places of --client-secret
    #[arg(long, value_name = "PLACE")]
    pub(crate) secret: String,
}

/// `jeton client revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The client id
    pub(crate) name: String,
    /// The name of the secret
    pub(crate) secret_name: String,
}

/// `jeton client due`.
#[derive(Debug, Args)]
pub(crate) struct DueArgs {
    /// From which age on a secret without an end is told
    #[arg(long, value_name = "SPAN", default_value = "90d")]
    pub(crate) after: String,
    /// How near the end of a secret is told
    #[arg(long, value_name = "SPAN", default_value = "14d")]
    pub(crate) within: String,
    /// For how long a secret has been good that is told when nobody used it
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    pub(crate) unused_after: String,
}

/// `jeton client hash`.
#[derive(Debug, Args)]
#[command(after_help = "\
The digest is good for this server alone: it is made with its key. It is not a secret, as a secret of 32 random bytes cannot be
guessed; one that a person has thought up can, by whoever has the server's key.")]
pub(crate) struct HashArgs {
    /// Where the secret is: env:NAME, file:PATH, - for standard input, and the other places of --client-secret
    #[arg(long, value_name = "PLACE")]
    pub(crate) secret: String,
}
