//! Why a request is not done, as RFC 9457 has it told.

use super::answer;
use crate::http::Answer;
use crate::registry::RegistryError;
use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use jeton_proto::wire::challenge::BearerChallenge;
use jeton_proto::wire::error_response::printable;
use serde_json::json;

/// What a patch may be written in (RFC 5789 §3.1).
pub(super) const PATCH_TYPES: &str = "application/merge-patch+json, application/json";
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// When it is worth another try, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

macro_rules! codes {
    ($($variant:ident: $name:literal, $status:ident, $meaning:literal;)*) => {
        /// What is wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The member `code`.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status that goes with it.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

// One line a code: its variant, its name, its status, its meaning.
codes! {
    InvalidRequest: "invalid_request", BAD_REQUEST, "The request is not as the description of the API has it.";
    InvalidClient: "invalid_client_metadata", BAD_REQUEST, "What is said of the client does not hold together (RFC 7591 §3.2.2).";
    Unauthenticated: "unauthenticated", UNAUTHORIZED, "There is no token.";
    InvalidToken: "invalid_token", UNAUTHORIZED, "The token is not good (RFC 6750 §3.1).";
    InsufficientScope: "insufficient_scope", FORBIDDEN, "The token is good for less than this (RFC 6750 §3.1).";
    NotFound: "not_found", NOT_FOUND, "There is nothing at the path.";
    NoSuchClient: "no_such_client", NOT_FOUND, "There is no client with this id.";
    NoSuchSecret: "no_such_secret", NOT_FOUND, "The client has no secret with this name.";
    MethodNotAllowed: "method_not_allowed", METHOD_NOT_ALLOWED, "The path has no such method.";
    BodySlow: "body_slow", REQUEST_TIMEOUT, "The body did not arrive in time.";
    ClientExists: "client_exists", CONFLICT, "There is a client with this id already.";
    ManagedClient: "managed_client", CONFLICT, "Files declare the client, and are to be changed instead.";
    SecretsInForce: "secrets_in_force", CONFLICT, "The client has as many secrets in force as it may have.";
    DamagedClient: "damaged_client", CONFLICT, "What is stored of the client cannot be read.";
    TooManyClients: "too_many_clients", CONFLICT, "There are as many clients as there may be.";
    KeyState: "key_state", CONFLICT, "The keys are as they are for a reason.";
    PreconditionFailed: "precondition_failed", PRECONDITION_FAILED, "The client is not as `If-Match` wants it.";
    BodyTooLong: "body_too_long", PAYLOAD_TOO_LARGE, "The body is too long.";
    ContentType: "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of another type.";
    ServerError: "server_error", INTERNAL_SERVER_ERROR, "A fault of this program.";
    Busy: "busy", SERVICE_UNAVAILABLE, "Others administer at the same time; nothing was done.";
    Unavailable: "unavailable", SERVICE_UNAVAILABLE, "The store failed; whether something was done is told.";
}

/// Why a request is not done. Nothing secret is in it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: Code,
    /// For people, in lower case and without full stop. It may have words of the caller, cleaned.
    pub(super) detail: String,
    challenge: Option<Box<BearerChallenge>>,
    allow: Option<HeaderValue>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), challenge: None, allow: None }
    }

    /// The same with what RFC 6750 §3 wants said.
    pub(super) fn with_challenge(self, challenge: BearerChallenge) -> Self {
        Self { challenge: Some(Box::new(challenge)), ..self }
    }

    /// The path has these methods and no others.
    pub(super) fn method_not_allowed(methods: &str) -> Self {
        let detail = format!("the methods of this path are {methods}");
        Self { allow: HeaderValue::from_str(methods).ok(), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// The store failed by `error`.
    pub(super) fn of_the_store(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "the registry failed under the administrative api");
        // Paths of the machine are for the log.
        let detail = "the registry cannot be used now; a change may have been made all the same, so look before you try again";
        Self::new(Code::Unavailable, detail)
    }

    /// As it is answered.
    pub(super) fn into_answer(self) -> Answer {
        let status = self.code.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
        });
        let mut answer = answer::of(status, &body, HeaderValue::from_static("application/problem+json"));
        let headers = answer.headers_mut();
        let challenge =
            self.challenge.and_then(|challenge| HeaderValue::from_str(&challenge.to_string()).ok());
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, methods);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if self.code == Code::ContentType {
            headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCH_TYPES));
        }
        answer
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::Settings(_) => Code::InvalidClient,
            RegistryError::ClientExists { .. } => Code::ClientExists,
            RegistryError::NoSuchClient { .. } => Code::NoSuchClient,
            RegistryError::NoSuchSecret { .. } => Code::NoSuchSecret,
            RegistryError::SecretsInForce { .. } => Code::SecretsInForce,
            RegistryError::Damaged { .. } => Code::DamagedClient,
            RegistryError::TooManyClients => Code::TooManyClients,
            RegistryError::Contended { .. } => Code::Busy,
            RegistryError::File(_)
            | RegistryError::Key(_)
            | RegistryError::Store(_)
            | RegistryError::ForeignKey
            | RegistryError::Sealing
            | RegistryError::Random
            | RegistryError::Seal(_)
            | RegistryError::Manager
            | RegistryError::EmptyFiles { .. } => {
                return Self::of_the_store(&error);
            }
        };
        Self::new(code, printable(&error.to_string()))
    }
}
