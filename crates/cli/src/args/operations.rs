//! What is written about running a server.

use super::OutputArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What a server tells of itself.
#[derive(Debug, Default, Args)]
pub(crate) struct OperationsArgs {
    /// The audit log: a file, or off [env: JETON_SERVER_AUDIT_LOG; default: audit.jsonl in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<String>,
    /// Where the metrics are had, at /metrics, such as 127.0.0.1:9464 [env: JETON_SERVER_METRICS_LISTEN; default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<String>,
    /// The OpenTelemetry collector to which the metrics are sent by OTLP over HTTP, such as http://127.0.0.1:4318
    /// [env: JETON_SERVER_OTLP_ENDPOINT; default: none]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// How often they are sent, from 1s to 1h [env: JETON_SERVER_OTLP_INTERVAL; default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) otlp_interval: Option<String>,
    /// Where clients and keys are administered over HTTP, such as 8081 [env: JETON_SERVER_ADMIN_LISTEN; default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<String>,
    /// The certificate of the server with those above it, in PEM; it may be replaced [env: JETON_SERVER_TLS_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<String>,
    /// The key of the certificate, in PEM [env: JETON_SERVER_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<String>,
    /// Whose certificates clients may authenticate with by tls_client_auth, in PEM [env: JETON_SERVER_TLS_CLIENT_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<String>,
}

/// How assertions of clients are judged.
#[derive(Debug, Default, Args)]
pub(crate) struct AssertionArgs {
    /// What the audience of a client's own assertions may be: issuer or issuer_or_token_endpoint
    /// [env: JETON_SERVER_ASSERTION_AUDIENCE; default: issuer]
    #[arg(long, value_name = "WHAT")]
    pub(crate) assertion_audience: Option<String>,
    /// The certificate authorities to trust when keys of clients and platforms are fetched, as a PEM file, in place of those of the
    /// system [env: JETON_SERVER_KEY_AUTHORITIES]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_authorities: Option<String>,
}

/// Where the audit log of a server is.
#[derive(Debug, Args)]
pub(crate) struct AuditPlaceArgs {
    /// Where keys and clients are kept [env: JETON_SERVER_DATA_DIR; default: jeton in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// The audit log [env: JETON_SERVER_AUDIT_LOG; default: audit.jsonl in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<String>,
}

/// `jeton audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditCommandArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

/// What is done with an audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no line of the audit log was changed, removed, added or moved
    #[command(after_help = "\
The files are those of one log; without any, the log of the server and the files before it. The command ends with 1 where the
log was tampered with or damaged. A last line that was cut off, as a killed server leaves it, is told and is none of that.
Nothing in a log shows that its last lines are gone. Keep the digest that is told elsewhere, and give it by --contains next time.")]
    Verify(VerifyAuditArgs),
}

/// `jeton audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyAuditArgs {
    /// The files of the log, in any order
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A digest that was told before: the line that has it must be there
    #[arg(long, value_name = "DIGEST")]
    pub(crate) contains: Option<String>,
    #[command(flatten)]
    pub(crate) place: AuditPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `jeton explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every answer of the server has the id of its request in the header X-Request-Id. What a client is told stays uniform, so that
it helps no attacker; the exact reason is in the audit log, for who may read that.")]
pub(crate) struct ExplainArgs {
    /// The id of the request, from the header X-Request-Id of its answer
    #[arg(allow_hyphen_values = true)]
    pub(crate) request_id: String,
    /// Look into these files instead
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: AuditPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
