//! What is written about the credential of a client.

use clap::Args;

/// With what a client proves itself, and how. Every SOURCE is a place in one grammar, and never the secret. One that begins with
/// hyphens, as PEM does, is taken for a value too: what is no argument is told with all that is in it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Client authentication (one of: secret, private key, assertion, certificate)")]
pub(crate) struct CredentialArgs {
    /// Where the secret is: env:NAME, file:PATH, - for standard input, 'cmd:PROGRAM ARGUMENT ...', systemd:NAME,
    /// vault:MOUNT/PATH#FIELD, aws:SECRET_ID#MEMBER or keyring:SERVICE/USER
    /// [env: JETON_CLIENT_SECRET (the secret itself) or JETON_CLIENT_SECRET_FILE (a path)]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) client_secret: Option<String>,
    /// Where the secret before this one is, for as long as the server may not know the new one
    /// [env: JETON_CLIENT_SECRET_PREVIOUS, a SOURCE]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) client_secret_previous: Option<String>,
    /// Where the private key of private_key_jwt is, as PEM or JWK [env: JETON_PRIVATE_KEY, a SOURCE]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) private_key: Option<String>,
    /// Where a client assertion is that somebody else makes, such as the token of a Kubernetes service account
    /// [env: JETON_CLIENT_ASSERTION, a SOURCE]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) client_assertion: Option<String>,
    /// Where the certificate of mutual TLS is (RFC 8705), as PEM, with its private key or without
    /// [env: JETON_CLIENT_CERTIFICATE, a SOURCE]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) client_certificate: Option<String>,
    /// Where the private key of the certificate is, if it is not beside it [env: JETON_CLIENT_CERTIFICATE_KEY, a SOURCE]
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub(crate) client_certificate_key: Option<String>,
    /// How the credential is sent: client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, tls_client_auth or
    /// self_signed_tls_client_auth [env: JETON_AUTH_METHOD; default: what the issuer offers, else client_secret_basic for a
    /// secret, private_key_jwt for a private key or an assertion, tls_client_auth for a certificate]
    #[arg(long, value_name = "METHOD")]
    pub(crate) auth_method: Option<String>,
    /// How client_secret_basic encodes id and secret: form (RFC 6749), or raw for servers that do not decode
    /// [env: JETON_BASIC_ENCODING; default: form]
    #[arg(long, value_name = "FORM")]
    pub(crate) basic_encoding: Option<String>,
    /// The kid in the header of client assertions [env: JETON_KEY_ID; default: that of the JWK]
    #[arg(long, value_name = "ID")]
    pub(crate) key_id: Option<String>,
    /// What client assertions are signed with: ES256, RS256, PS256, EdDSA or HS256
    /// [env: JETON_ASSERTION_ALGORITHM; default: by the key]
    #[arg(long, value_name = "NAME")]
    pub(crate) assertion_algorithm: Option<String>,
    /// The aud of client assertions [env: JETON_ASSERTION_AUDIENCE; default: the issuer, else the token url]
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) assertion_audience: Option<String>,
    /// How long a client assertion is good, from 1s to 300s [env: JETON_ASSERTION_LIFETIME; default: 60s]
    #[arg(long, value_name = "SPAN")]
    pub(crate) assertion_lifetime: Option<String>,
    /// Whether client assertions name the certificate beside the private key by x5t#S256: true or false
    /// [env: JETON_X5T_S256; default: false]
    #[arg(long, value_name = "BOOL")]
    pub(crate) x5t_s256: Option<String>,
    /// How often a source is read again that costs something, such as a command, from 1s to 24h
    /// [env: JETON_CREDENTIAL_PERIOD; default: 5m]
    #[arg(long, value_name = "SPAN")]
    pub(crate) credential_period: Option<String>,
    /// After how long the credential ought to be replaced, which is told [env: JETON_ROTATION_DUE_AFTER; default: 90d]
    #[arg(long, value_name = "SPAN")]
    pub(crate) rotation_due_after: Option<String>,
}
