//! What stands behind the HTTP face: something that answers token requests.

mod granted;
mod inquiry;

pub use granted::Granted;
pub use inquiry::{Introspected, RevocationEffect, RevocationFeedPage, Revoked, TokenInquiry};

use crate::client_certificate::ClientCertificate;
use jeton_proto::issuance::Rule;
use jeton_proto::revocation::FeedPosition;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{BasicCredentials, ClientAuthMethod};
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::introspection::AnswerForm;
use jeton_proto::wire::token_request::TokenRequest;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Answers token requests (RFC 6749 §3.2).
///
/// The face has done all that concerns HTTP and the form; what comes here is well-formed, and carries one credential
/// at most. An answer that never comes holds a connection, so an implementation bounds its own waits. A panic is
/// answered with `server_error` and ends nothing else. A refusal too many costs the caller a retry; a token for the
/// wrong caller is the one answer that is not harmless.
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, call: TokenCall<'_>) -> impl Future<Output = Result<IssuedToken, TokenRefusal>> + Send;

    /// Tells of a token (RFC 7662) in the form that was asked for. The caller must have authenticated (trap T40).
    ///
    /// Only asked when the documents name the endpoint, as with the two below.
    fn introspect(
        &self,
        _inquiry: TokenInquiry<'_>,
        _form: AnswerForm,
    ) -> impl Future<Output = Result<Introspected, TokenRefusal>> + Send {
        async { Err(TokenRefusal::not_offered()) }
    }

    /// Revokes a token (RFC 7009). It may only be acknowledged when the revocation outlasts this process (trap T40).
    fn revoke(
        &self,
        _inquiry: TokenInquiry<'_>,
    ) -> impl Future<Output = Result<Revoked, TokenRefusal>> + Send {
        async { Err(TokenRefusal::not_offered()) }
    }

    /// The list of revoked tokens after this position, or from an earlier one: from the beginning where the position is of
    /// another history.
    fn revocations(
        &self,
        _position: FeedPosition,
    ) -> impl Future<Output = Result<RevocationFeedPage, TokenRefusal>> + Send {
        async { Err(TokenRefusal::not_offered()) }
    }

    /// Whether requests can be answered well now; what `/readyz` tells.
    fn is_ready(&self) -> bool {
        true
    }

    /// How many clients there are, where that is known; for the metrics.
    fn clients(&self) -> Option<u64> {
        None
    }
}

/// A well-formed token request.
#[derive(Clone, Copy, Debug)]
pub struct TokenCall<'a> {
    /// The parameters.
    pub request: &'a TokenRequest<'a>,
    /// How the caller says who it is.
    pub credential: &'a PresentedCredential<'a>,
    /// The address of the caller, or of the proxy before it.
    pub peer: SocketAddr,
    /// The certificate with which the caller opened the connection, where it has one and speaks TLS to this server
    /// itself.
    pub certificate: Option<&'a ClientCertificate>,
}

/// The credential in a token request (RFC 6749 §2.3.1).
#[derive(Debug)]
pub enum PresentedCredential<'a> {
    /// In the `Authorization` header: `client_secret_basic`.
    Basic(BasicCredentials),
    /// In the body: `client_secret_post`.
    Post {
        /// The client id.
        client_id: &'a str,
        /// The client secret.
        client_secret: &'a Secret<String>,
    },
    /// A JWT in `client_assertion` (RFC 7521 §4.2): `client_secret_jwt`, `private_key_jwt`, or a token of another issuer
    /// that stands for the client.
    Assertion {
        /// The client id, where the body has one. An assertion that a client made itself names the client anyway.
        client_id: Option<&'a str>,
        /// The JWT.
        assertion: &'a Secret<String>,
    },
    /// None in the request. There may be a certificate on the connection.
    Absent,
}

impl PresentedCredential<'_> {
    /// Client id and secret, where there are any.
    pub fn id_and_secret(&self) -> Option<(&str, &Secret<String>)> {
        match self {
            Self::Basic(basic) => Some((&basic.client_id, &basic.client_secret)),
            Self::Post { client_id, client_secret } => Some((client_id, client_secret)),
            Self::Assertion { .. } | Self::Absent => None,
        }
    }

    /// The client id that stands beside the credential.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Basic(basic) => Some(&basic.client_id),
            Self::Post { client_id, .. } => Some(client_id),
            Self::Assertion { client_id, .. } => *client_id,
            Self::Absent => None,
        }
    }

    /// The method (RFC 7591 §2), where the form of the request tells it: by which one an assertion or a certificate
    /// authenticates is known only when it has.
    pub const fn method(&self) -> Option<ClientAuthMethod> {
        match self {
            Self::Basic(_) => Some(ClientAuthMethod::ClientSecretBasic),
            Self::Post { .. } => Some(ClientAuthMethod::ClientSecretPost),
            Self::Assertion { .. } | Self::Absent => None,
        }
    }
}

/// A token to be handed out (RFC 6749 §5.1).
#[derive(Debug)]
pub struct IssuedToken {
    /// The access token.
    pub access_token: Secret<String>,
    /// What is left of its life, in whole seconds.
    pub expires_in: Duration,
    /// To whom, and for what. Tokens that have it in common share it.
    pub granted: Arc<Granted>,
    /// The `jti` of the token (RFC 7519 §4.1.7), an id and no secret. Empty where it has none.
    pub jwt_id: String,
    /// How the client has authenticated.
    pub authentication: Authentication,
}

/// How a client has authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// The method. A token of another issuer that stands for the client is told as `private_key_jwt`, which it is in form.
    pub method: ClientAuthMethod,
    /// Which of its credentials it was, where one has a name: that of the secret, or the issuer of the workload identity.
    pub credential: Option<String>,
}

/// Why no token is handed out (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// The `error` of the answer.
    pub code: ErrorCode,
    /// The rule behind it, for the audit log; it is not in the answer.
    pub rule: Rule,
    /// The `error_description` of the answer: printable ASCII without `"` and `\`, and nothing that the caller sent.
    pub description: Cow<'static, str>,
    /// What the log says beyond that. The face cleans it.
    pub detail: Option<Cow<'static, str>>,
    /// After how long the same request may fare better, in whole seconds: the `Retry-After` of the answer.
    pub retry_after: Option<Duration>,
    /// Which limit on callers refuses the request, if one does: then the status is 429 (RFC 6585 §4).
    pub limit: Option<Limit>,
}

/// A limit on what a caller may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The requests of one client.
    ClientRequests,
    /// Failed authentications from one address.
    Failures,
    /// New tokens while the last one is good.
    MintPerCall,
}

impl Limit {
    const fn rule(self) -> Rule {
        match self {
            Self::ClientRequests => Rule::TooManyRequests,
            Self::Failures => Rule::TooManyFailures,
            Self::MintPerCall => Rule::MintPerCall,
        }
    }
}

impl TokenRefusal {
    /// A refusal with a code and a description, of which the rule is not told.
    #[cold]
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        let (rule, description) = (Rule::Unspecified, description.into());
        Self { code, rule, description, detail: None, retry_after: None, limit: None }
    }

    /// The same, by this rule.
    #[must_use]
    pub fn by(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// The same with a detail for the log.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// The one `invalid_client` for credentials that are not good, whatever is wrong with them.
    pub fn invalid_client() -> Self {
        Self::new(
            ErrorCode::InvalidClient,
            "client authentication failed: check the client id, and its secret, key or certificate",
        )
    }

    /// The caller is to ask less often: after `retry_after`, in whole seconds and at least one. RFC 6749 §5.2 has no code for
    /// it; `temporarily_unavailable` is the registered one (RFC 6749 §4.1.2.1) that tells clients to come again.
    pub fn slow_down(limit: Limit, description: &'static str, retry_after: Duration) -> Self {
        let whole_seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self {
            retry_after: Some(Duration::from_secs(whole_seconds.max(1))),
            limit: Some(limit),
            rule: limit.rule(),
            ..Self::new(ErrorCode::TemporarilyUnavailable, description)
        }
    }

    fn not_offered() -> Self {
        Self::server_error("the documents name an endpoint that is not there")
    }

    /// The server is at fault.
    pub fn server_error(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::ServerError, "the server failed to answer; try again later")
            .by(Rule::ServerFailed)
            .with_detail(detail)
    }
}
