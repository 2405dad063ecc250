//! The command line, as it is written. What it means is decided in `settings` and in the commands.

#![allow(
    clippy::doc_markdown,
    reason = "the doc comments are the text of the help, where backticks are noise"
)]

mod apply;
mod cache;
mod client;
mod credential;
mod keys;
mod operations;
mod profile;
mod refusal;
mod storage;

pub(crate) use cache::{
    CacheArgs, CacheCommand, CacheCommandArgs, CachePlaceArgs, ClearCacheArgs, ListCacheArgs, ShowCacheArgs,
};

pub(crate) use apply::{ApplyArgs, ClientsDirArgs, DriftArgs, FilesArgs};
pub(crate) use client::{
    AddClientArgs, Clearable, ClientCommand, ClientCommandArgs, CredentialFlags, DueArgs, RevokeArgs,
    RotateArgs, SettingFlags, UpdateClientArgs,
};
pub(crate) use credential::CredentialArgs;
pub(crate) use keys::{KeyArgs, KeysCommand, KeysCommandArgs, RotateKeysArgs};
pub(crate) use operations::{
    AssertionArgs, AuditCommand, AuditCommandArgs, AuditPlaceArgs, ExplainArgs, OperationsArgs,
    VerifyAuditArgs,
};
pub(crate) use profile::{CheckProfilesArgs, ListProfilesArgs, ProfileCommand, ProfileCommandArgs};
pub(crate) use storage::StorageArgs;

use crate::exit_code;
use crate::output::Format;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// OAuth 2.0 client credentials: mint a token once, share it, renew it, and check it.
#[derive(Debug, Parser)]
#[command(name = "jeton", version, after_help = exit_code::HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads a command line. What may be a secret in one that is wrong is not in the error.
    pub(crate) fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(words).map_err(refusal::without_secrets)
    }
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The settings file [env: JETON_CONFIG; default: jeton/jeton.toml in $XDG_CONFIG_HOME or ~/.config, if there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// What is logged to stderr: off, error, warn, info, debug, trace, or a filter such as jeton=debug [env: JETON_LOG]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    pub(crate) log_level: Option<String>,
    /// The form of the log: text or json [env: JETON_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) log_format: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the authorization server until interrupted
    Serve(ServerArgs),
    /// Add, change and remove the clients of the server and their secrets, also while it runs
    Client(ClientCommandArgs),
    /// Verify the audit log of the server
    Audit(AuditCommandArgs),
    /// Say why the server answered a token request as it did
    Explain(ExplainArgs),
    /// Make the clients of the server what a directory of files says, all at once or not at all
    Apply(ApplyArgs),
    /// Tell where the clients of the server are not what a directory of files says
    Drift(DriftArgs),
    /// List, rotate, retire and drop the signing keys of the server, also while it runs
    Keys(KeysCommandArgs),
    /// Print an access token, alone
    Token(TokenArgs),
    /// Call an API with the token; a token that the API refuses is replaced once
    Call(CallArgs),
    /// Fetch a token and keep it for the commands that follow, and say what was done
    Login(LoginArgs),
    /// Forget the tokens that are kept for this client at this server
    Logout(LogoutArgs),
    /// List, show and clear the tokens that are kept; the tokens themselves are not shown
    Cache(CacheCommandArgs),
    /// List and check the profiles, the tables [client.NAME] of the settings file
    Profile(ProfileCommandArgs),
    /// Show what is in a token, without verifying it
    Inspect(InspectArgs),
    /// Run a server and a guarded API on this machine, and prove that the token handling works
    Sandbox(SandboxArgs),
}

/// How a result is told.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// The form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What is set for a server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where to listen: PORT, localhost:PORT or ADDRESS:PORT[,...] [env: JETON_SERVER_LISTEN; default: localhost:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// The url by which clients and APIs know the server [env: JETON_SERVER_ISSUER; default: http://localhost:PORT]
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// Where keys and clients are kept [env: JETON_SERVER_DATA_DIR; default: jeton in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// The audience of tokens of clients without one of their own [env: JETON_SERVER_DEFAULT_AUDIENCE; default: the issuer]
    #[arg(long, value_name = "URI")]
    pub(crate) default_audience: Option<String>,
    /// What tokens are signed with: ES256, EdDSA or RS256; may be repeated, the first being for clients that have not chosen
    /// [env: JETON_SERVER_SIGNING_ALGORITHMS, divided by commas; default: ES256]
    #[arg(long = "signing-algorithm", value_name = "NAME")]
    pub(crate) signing_algorithms: Vec<String>,
    /// For how long a signing key is used before the next one is [env: JETON_SERVER_KEY_ROTATION_PERIOD; default: 90d]
    #[arg(long, value_name = "SPAN")]
    pub(crate) key_rotation_period: Option<String>,
    /// For how long APIs may keep the public keys; a new key is published for more than twice that before it signs
    /// [env: JETON_SERVER_JWKS_MAX_AGE; default: 5m]
    #[arg(long, value_name = "SPAN")]
    pub(crate) jwks_max_age: Option<String>,
    /// No token lives longer, whatever is set for its client [env: JETON_SERVER_LONGEST_TOKEN_LIFETIME; default: 30d]
    #[arg(long, value_name = "SPAN")]
    pub(crate) longest_token_lifetime: Option<String>,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
    #[command(flatten)]
    pub(crate) assertions: AssertionArgs,
    #[command(flatten)]
    pub(crate) throttling: ThrottlingArgs,
    #[command(flatten)]
    pub(crate) clients: ClientsDirArgs,
}

/// Limits on callers of the server.
#[derive(Debug, Default, Args)]
pub(crate) struct ThrottlingArgs {
    /// Token requests of one client a second, or off [env: JETON_SERVER_CLIENT_REQUESTS_PER_SECOND; default: 50]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) client_requests_per_second: Option<String>,
    /// Token requests of one client at once [env: JETON_SERVER_CLIENT_BURST; default: 500]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) client_burst: Option<String>,
    /// Clients that mint per call: off, warn, refuse or same_token [env: JETON_SERVER_MINT_PER_CALL; default: warn]
    #[arg(long, value_name = "CHOICE")]
    pub(crate) mint_per_call: Option<String>,
    /// From how many tokens in the life of one on that is [env: JETON_SERVER_MINTS_PER_TOKEN_LIFE; default: 100]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) mints_per_token_life: Option<String>,
}

/// What is set for asking an authorization server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authorization server")]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    /// The scopes to ask for, space-delimited; may be repeated [env: JETON_SCOPES]
    #[arg(long = "scope", value_name = "SCOPES")]
    pub(crate) scopes: Vec<String>,
    /// The audience to ask for, at servers that want it [env: JETON_AUDIENCE]
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// A resource to ask for (RFC 8707); may be repeated [env: JETON_RESOURCE, space-delimited]
    #[arg(long = "resource", value_name = "URI")]
    pub(crate) resources: Vec<String>,
    /// Another parameter of the token request; may be repeated [env: JETON_ENDPOINT_PARAMS, as a=1&b=2]
    #[arg(long = "endpoint-param", value_name = "NAME=VALUE")]
    pub(crate) endpoint_params: Vec<String>,
    /// How long getting a token may take, tries and pauses included
    #[arg(long, value_name = "SPAN", default_value = "15s")]
    pub(crate) timeout: String,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

/// Which client at which authorization server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Authorization server")]
pub(crate) struct IdentityArgs {
    /// The profile [client.NAME] of the settings file. Which client asks, and its secret, then come from flags and the file, and
    /// not from the environment [env: JETON_CLIENT]
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// The token endpoint [env: JETON_TOKEN_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) token_url: Option<String>,
    /// The issuer identifier of the server: without --token-url, the token endpoint and what the server offers are found by it
    /// (RFC 8414); with it, it is the audience of client assertions [env: JETON_ISSUER]
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// The client id [env: JETON_CLIENT_ID]
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
}

/// How servers are reached.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// The certificate authorities to trust, as a PEM file, in place of those of the system [env: JETON_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
    /// A host that plain http is allowed to, besides this machine; may be repeated [env: JETON_PLAIN_HTTP_HOSTS]
    #[arg(long = "plain-http-host", value_name = "HOST")]
    pub(crate) plain_http_hosts: Vec<String>,
}

/// `jeton token`.
#[derive(Debug, Args)]
#[command(after_help = "\
The token comes from the cache where a good one is kept there; then no server is asked. All commands that share the cache
live on one token for each client, credential, server, scope, audience, resource and parameters; one of them renews it in time.")]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `jeton call`.
#[derive(Debug, Args)]
#[command(after_help = "\
Redirects are not followed: the answer is shown, and where it points to is told on stderr.
Without a Content-Type header, data that is a JSON object or array is sent as application/json, and other data as
application/x-www-form-urlencoded.")]
pub(crate) struct CallArgs {
    /// The method, such as GET or POST
    pub(crate) method: String,
    /// The url; plain http only to this machine, or to a host that is allowed by name
    pub(crate) url: String,
    /// A header field of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The body of the request: the text, @FILE for a file, or - for standard input
    #[arg(short, long, value_name = "DATA", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Show status and header fields before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// End with 1, and print no body, when the status is 400 or above
    #[arg(short, long)]
    pub(crate) fail: bool,
    /// How long the call may take, from its beginning to the end of the answer
    #[arg(long, value_name = "SPAN", default_value = "1m")]
    pub(crate) max_time: String,
    /// The longest answer that is taken, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_answer_mib: u16,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `jeton login`.
#[derive(Debug, Args)]
#[command(after_help = "\
A token that is kept and good is left in place, and no server is asked. `jeton token` and `jeton call` need no login: they
keep the tokens that they fetch. It is for finding out whether a credential works, and for a token in advance.")]
pub(crate) struct LoginArgs {
    /// Fetch a new token though a good one is kept; that one stays if the server gives none
    #[arg(long)]
    pub(crate) renew: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `jeton logout`.
#[derive(Debug, Args)]
#[command(after_help = "\
All tokens of the client at the server are forgotten, whatever their scope; a secret is not needed. Forgotten is not
revoked: whoever has a copy of a token can use it until it expires.")]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) place: CachePlaceArgs,
}

/// `jeton inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The token, or - to read it from standard input, where other users of the machine do not see it
    pub(crate) token: String,
    /// Verify the token with the keys of this issuer; a token that does not pass ends with 1
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// With --issuer: the audience that the token must be for; without it, the one that the token names
    #[arg(long, value_name = "AUDIENCE", requires = "issuer")]
    pub(crate) audience: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// `jeton sandbox`.
#[derive(Debug, Args)]
#[command(after_help = "\
The command that --exec runs has these variables: JETON_TOKEN_URL, JETON_CLIENT_ID, JETON_CLIENT_SECRET, JETON_SCOPES,
JETON_ISSUER and JETON_API_URL, and under the plain names TOKEN_URL, CLIENT_ID, CLIENT_SECRET and API_URL.
Nothing outlives the sandbox: its data directory is temporary, and its secret and tokens are worthless elsewhere. In the
command, jeton keeps no tokens; with --cache file it keeps them in the temporary directory.")]
pub(crate) struct SandboxArgs {
    /// Where the server listens: PORT, localhost:PORT or a loopback ADDRESS:PORT [default: 8080, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Run this command with `sh -c` after the proof, and end with its exit code
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// How many callers ask at the same time in the proof
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(crate) callers: u16,
    /// Do not prove anything, only run
    #[arg(long)]
    pub(crate) no_proof: bool,
    /// Print no result; a proof that fails is still told, and ends with 1
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
