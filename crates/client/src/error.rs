//! Why there is no token: whose fault it is, whether asking again helps, and when.

use crate::credentials::{InvalidCredential, SourceFault};
use crate::http::{ExchangeError, InvalidUrl};
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::Verdict;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::scope::Scope;
use jeton_proto::wire::token_request::ReservedParameter;
use jeton_proto::wire::token_response::MalformedAnswer;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no token. Cheap to clone: all callers that waited for one token request share one error.
///
/// No secret, no token and no part of a foreign answer's body is in it; error codes and descriptions of the server
/// (RFC 6749 §5.2) are cut to 256 characters of printable ASCII.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct TokenError {
    kind: Arc<TokenErrorKind>,
    retry_after: Option<Duration>,
}

/// The ways in which a token request fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenErrorKind {
    /// The server refused by name (RFC 6749 §5.2).
    #[error("the authorization server {server} refused the token request of client {client_id}: {}", described(.error, .description.as_deref()))]
    Refused {
        /// Host and port of the server.
        server: String,
        /// The client.
        client_id: String,
        /// The code.
        error: ErrorCode,
        /// The server's words, cut and cleaned.
        description: Option<String>,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The answer is neither a token nor an error of RFC 6749.
    #[error("the authorization server {server} sent a malformed answer: {fault}")]
    Malformed {
        /// Host and port of the server.
        server: String,
        /// What was wrong with it.
        fault: MalformedAnswer,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The server gave out a token that has expired.
    #[error("the authorization server {server} gave out a token that has expired")]
    ExpiredToken {
        /// Host and port of the server.
        server: String,
    },
    /// The server sent the request elsewhere. That is not followed: the secret would go along.
    #[error(
        "the authorization server {server} redirected the token request (status {status}), which is never followed; set the token URL to its real place"
    )]
    Redirected {
        /// Host and port of the server.
        server: String,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// No answer.
    #[error("no token from the authorization server {server}: {fault}")]
    Unreachable {
        /// Host and port of the server.
        server: String,
        /// What happened.
        fault: ExchangeError,
    },
    /// The granted scope is narrower than the one asked for, and that was declared unacceptable.
    #[error(
        "the authorization server {server} granted the scope \"{granted}\" where \"{requested}\" was asked for"
    )]
    NarrowedScope {
        /// Host and port of the server.
        server: String,
        /// The scope that was granted.
        granted: Scope,
        /// The scope that was asked for.
        requested: Scope,
    },
    /// The server is left alone for a while, for a reason that another key or another client met: it was down when it was last
    /// asked, or asked for a pause.
    #[error(
        "the authorization server {server} is left alone for a while: it was down when it was last asked, or asked for a pause"
    )]
    LeftAlone {
        /// Host and port of the server.
        server: String,
    },
    /// The caller's own deadline came first. The token request goes on for the others.
    #[error("no token within the {} ms that the caller would wait", .waited.as_millis())]
    DeadlinePassed {
        /// How long the caller would wait.
        waited: Duration,
    },
    /// The task of the token request ended without an outcome: its runtime was shut down, or it panicked.
    #[error("the token request was dropped before it ended: its runtime shut down, or it panicked")]
    FlightLost,
    /// The manager was closed; no token requests are made any more.
    #[error("the token manager was closed")]
    Closed,
    /// The request quota of the client at this server is used up (see
    /// [`request_quota`](crate::TokenManagerBuilder::request_quota)): something asks for many more tokens than it should.
    #[error(
        "the request quota of client {client_id} at {server} is used up; look for a caller that asks for ever new scopes, audiences or parameters, or rejects every token, or raise the quota"
    )]
    QuotaExhausted {
        /// Host and port of the server.
        server: String,
        /// The client.
        client_id: String,
    },
    /// The client secret, or whatever else the client proves itself with, could not be read from its source.
    #[error("the client's credential cannot be read: {fault}")]
    SecretUnavailable {
        /// Why, without the secret.
        fault: SourceFault,
    },
    /// There is no tokio runtime to run the token request on, or to wait for it.
    #[error("there is no tokio runtime to request a token on")]
    NoRuntime,
    /// More keys than the manager holds.
    #[error("more than {limit} different scopes, resources or audiences were asked for")]
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
    /// A parameter of the key has a setting of its own.
    #[error("the token request cannot be written: {0}")]
    Request(#[from] ReservedParameter),
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The credential or its registration: whoever administers the client at the authorization server.
    Credential,
    /// The call or the configuration: whoever wrote it.
    Caller,
    /// The authorization server, or the network on the way to it: whoever runs them, and time may help.
    Server,
    /// The caller's deadline was shorter than the token request.
    Deadline,
}

impl TokenError {
    pub(crate) fn new(kind: TokenErrorKind) -> Self {
        Self { kind: Arc::new(kind), retry_after: None }
    }

    pub(crate) fn retry_after_of(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// What happened.
    pub fn kind(&self) -> &TokenErrorKind {
        &self.kind
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        use TokenErrorKind as Kind;
        match self.kind() {
            Kind::Refused { error, status, .. } => fault_of(error, *status),
            // A malformed 401 is one too: the status says that the client was not authenticated (RFC 9110 §15.5.2), and a
            // wrong secret that is sent again and again locks the client out.
            Kind::NarrowedScope { .. }
            | Kind::Malformed { status: 401, .. }
            | Kind::SecretUnavailable { .. } => Fault::Credential,
            Kind::Redirected { .. }
            | Kind::TooManyKeys { .. }
            | Kind::Request(_)
            | Kind::NoRuntime
            | Kind::QuotaExhausted { .. }
            | Kind::Closed => Fault::Caller,
            Kind::Malformed { .. }
            | Kind::ExpiredToken { .. }
            | Kind::Unreachable { .. }
            | Kind::LeftAlone { .. } => Fault::Server,
            Kind::DeadlinePassed { .. } | Kind::FlightLost => Fault::Deadline,
        }
    }

    /// Whether asking again may help without anybody changing something.
    pub fn is_retryable(&self) -> bool {
        if matches!(
            self.kind(),
            TokenErrorKind::QuotaExhausted { .. } | TokenErrorKind::SecretUnavailable { .. }
        ) {
            return true;
        }
        match self.fault() {
            Fault::Server | Fault::Deadline => true,
            Fault::Credential | Fault::Caller => false,
        }
    }

    /// When it is worth asking again; the manager answers at once with this same error until then.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the server itself said that it wants to be left alone, or is not well: every process would be told the same.
    pub(crate) fn is_of_the_server(&self) -> bool {
        use TokenErrorKind as Kind;
        match self.kind() {
            Kind::Refused { status, .. } | Kind::Malformed { status, .. } => {
                *status == 429 || *status >= 500 || self.retry_after.is_some()
            }
            Kind::Redirected { .. }
            | Kind::ExpiredToken { .. }
            | Kind::NarrowedScope { .. }
            | Kind::Unreachable { .. }
            | Kind::DeadlinePassed { .. }
            | Kind::LeftAlone { .. }
            | Kind::FlightLost
            | Kind::Closed
            | Kind::QuotaExhausted { .. }
            | Kind::SecretUnavailable { .. }
            | Kind::NoRuntime
            | Kind::TooManyKeys { .. }
            | Kind::Request(_) => false,
        }
    }

    /// Whether the request was waited for as long as one may take.
    pub(crate) fn took_all_its_time(&self) -> bool {
        matches!(self.kind(), TokenErrorKind::Unreachable { fault: ExchangeError::TimedOut, .. })
    }

    /// The failure as the lifecycle sees it.
    pub(crate) fn failure(&self) -> Failure {
        use TokenErrorKind as Kind;
        let class = match self.kind() {
            Kind::Refused { error, .. } if concerns_the_client(error) => FailureClass::Credential,
            Kind::Malformed { status: 401, .. } => FailureClass::Credential,
            Kind::QuotaExhausted { .. }
            | Kind::LeftAlone { .. }
            | Kind::Closed
            | Kind::NoRuntime
            | Kind::DeadlinePassed { .. } => FailureClass::Local,
            Kind::Refused { .. }
            | Kind::Malformed { .. }
            | Kind::ExpiredToken { .. }
            | Kind::Redirected { .. }
            | Kind::Unreachable { .. }
            | Kind::NarrowedScope { .. }
            | Kind::FlightLost
            | Kind::SecretUnavailable { .. }
            | Kind::TooManyKeys { .. }
            | Kind::Request(_) => {
                if self.is_retryable() {
                    FailureClass::Transient
                } else {
                    FailureClass::Terminal
                }
            }
        };
        Failure { class, retry_after: self.retry_after }
    }

    /// What it tells of the endpoint's health: only transport faults and 5xx count against it (R3.5).
    pub(crate) fn verdict(&self) -> Verdict {
        use TokenErrorKind as Kind;
        let by_status = |status: u16| if status >= 500 { Verdict::Faulted } else { Verdict::Answered };
        match self.kind() {
            Kind::Refused { status, .. }
            | Kind::Malformed { status, .. }
            | Kind::Redirected { status, .. } => by_status(*status),
            Kind::Unreachable { fault, .. } => match fault {
                ExchangeError::Connect(_) | ExchangeError::Interrupted(_) | ExchangeError::TimedOut => {
                    Verdict::Faulted
                }
                ExchangeError::BodyTooLarge { .. } => Verdict::Answered,
                ExchangeError::Request(_) => Verdict::Abandoned,
            },
            Kind::ExpiredToken { .. } | Kind::NarrowedScope { .. } => Verdict::Answered,
            Kind::DeadlinePassed { .. }
            | Kind::LeftAlone { .. }
            | Kind::FlightLost
            | Kind::Closed
            | Kind::QuotaExhausted { .. }
            | Kind::SecretUnavailable { .. }
            | Kind::NoRuntime
            | Kind::TooManyKeys { .. }
            | Kind::Request(_) => Verdict::Abandoned,
        }
    }
}

/// Whether a refusal holds for whatever this client would ask for.
fn concerns_the_client(error: &ErrorCode) -> bool {
    match error {
        ErrorCode::InvalidClient | ErrorCode::UnauthorizedClient | ErrorCode::InvalidGrant => true,
        ErrorCode::InvalidRequest
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::ServerError
        | ErrorCode::TemporarilyUnavailable
        | ErrorCode::Other(_) => false,
    }
}

fn fault_of(error: &ErrorCode, status: u16) -> Fault {
    match error {
        ErrorCode::InvalidClient
        | ErrorCode::UnauthorizedClient
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::InvalidGrant => Fault::Credential,
        ErrorCode::ServerError | ErrorCode::TemporarilyUnavailable => Fault::Server,
        // A code of the vendor's own: the status has to tell, as for any HTTP answer.
        ErrorCode::Other(_) if status == 429 || status >= 500 => Fault::Server,
        ErrorCode::InvalidRequest | ErrorCode::UnsupportedGrantType | ErrorCode::Other(_) => Fault::Caller,
    }
}

fn described(error: &ErrorCode, description: Option<&str>) -> String {
    let hint = match error {
        ErrorCode::InvalidClient => "; check the client id, the credential and the authentication method",
        ErrorCode::InvalidScope => "; ask for scopes that are registered for this client",
        ErrorCode::UnauthorizedClient => "; allow the client-credentials grant for this client",
        ErrorCode::UnsupportedGrantType => "; the server does not offer the client-credentials grant",
        ErrorCode::InvalidTarget => "; ask for a resource that is registered for this client",
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidGrant
        | ErrorCode::ServerError
        | ErrorCode::TemporarilyUnavailable
        | ErrorCode::Other(_) => "",
    };
    match description {
        Some(description) => format!("{error} ({description}){hint}"),
        None => format!("{error}{hint}"),
    }
}

/// Why a [`TokenManager`](crate::TokenManager) could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The token URL.
    #[error("the token URL is refused: {0}")]
    TokenUrl(#[from] InvalidUrl),
    /// An empty client id.
    #[error("the client id is empty")]
    ClientId,
    /// Tokens are to be fetched when the manager is built, and there is no tokio runtime to do it on.
    #[error("prefetching needs a tokio runtime; build the manager inside of one")]
    NoRuntime,
    /// More keys to prefetch than a manager holds.
    #[error("more than {limit} keys are to be prefetched")]
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
    /// A client secret, and a source of client secrets besides.
    #[error("a client secret and a source of client secrets were given; give one of them")]
    TwoSecrets,
    /// The manager that this one is to share an endpoint with asks another.
    #[error(
        "the manager beside this one asks another token endpoint; only managers of one endpoint share it"
    )]
    AnotherEndpoint,
    /// No client secret was given.
    #[error("no client secret was given")]
    ClientSecret,
    /// The credential is none of its kind, or cannot be sent by the method chosen.
    #[error("the credential is refused: {0}")]
    Credential(#[from] InvalidCredential),
    /// Two different things to prove the client with.
    #[error("both {first} and {second} were given; give one of them")]
    TwoCredentials {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// The authentication method cannot be served by what was given.
    #[error("{method} does not go with {evidence}")]
    MethodMismatch {
        /// The method that was set.
        method: ClientAuthMethod,
        /// What was given.
        evidence: String,
    },
    /// Mutual TLS over plain http.
    #[error("mutual TLS wants a token URL with https")]
    MutualTlsWithoutTls,
    /// A time between two looks at the source of the credential, or until a rotation is due, that is too short or too long.
    #[error("the {name} must be from {least} to {most}")]
    CredentialSpan {
        /// Which.
        name: &'static str,
        /// The shortest.
        least: &'static str,
        /// The longest.
        most: &'static str,
    },
    /// A time-out of zero or more than an hour.
    #[error("the {name} must be from 1 ms to 1 h")]
    Timeout {
        /// Which.
        name: &'static str,
    },
    /// A lease that is too short or too long.
    #[error("the lease must be from 100 ms to 60 s")]
    Lease,
    /// TLS.
    #[cfg(feature = "reqwest")]
    #[error(transparent)]
    Tls(#[from] crate::http::InvalidTls),
    /// No exchange was given, and the feature `reqwest`, which brings one, is off.
    #[cfg(not(feature = "reqwest"))]
    #[error("no HTTP exchange was given, and the feature `reqwest` is off")]
    NoExchange,
}
