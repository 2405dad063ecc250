//! Token requests of the client-credentials grant (RFC 6749 §4.4.2), as a server reads them and a client writes them.
//!
//! The parser is strict: whatever could be read in two ways is refused, because two readers that differ (a proxy and
//! a server, say) are how a check is got around.

use super::form::{self, InvalidComponent, Parameter, Repetition};
use crate::secret::Secret;
use crate::wire::client_auth::JWT_BEARER;
use crate::wire::scope::Scope;
use std::borrow::Cow;

/// The value of `grant_type` for this grant (RFC 6749 §4.4.2).
pub const CLIENT_CREDENTIALS: &str = "client_credentials";
/// The longest request body that is parsed, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most parameters in one request, those without a value and unknown ones counted too.
pub const MAX_PARAMETERS: usize = 64;
/// The longest name of a parameter, in bytes before decoding.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest value of a parameter, in bytes before decoding.
pub const MAX_VALUE_BYTES: usize = 32 * 1024;

/// The parameters of a token request. One that was sent without a value is as if it had not been sent (RFC 6749 §3.2).
///
/// Nothing is decided here: `grant_type` may be any, `scope` may be malformed. Values without an escape are borrowed
/// from the body.
///
/// ```
/// use jeton_proto::wire::token_request::TokenRequest;
///
/// let request = TokenRequest::parse(b"grant_type=client_credentials&scope=read+write&client_id=")?;
/// assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
/// assert_eq!(request.scope.as_deref(), Some("read write"));
/// assert!(request.client_id.is_none());
/// # Ok::<(), jeton_proto::wire::token_request::TokenRequestError>(())
/// ```
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenRequest<'a> {
    /// `grant_type` (RFC 6749 §4.4.2).
    pub grant_type: Option<Cow<'a, str>>,
    /// `client_id` (RFC 6749 §2.3.1).
    pub client_id: Option<Cow<'a, str>>,
    /// `client_secret` (RFC 6749 §2.3.1).
    pub client_secret: Option<Secret<String>>,
    /// `client_assertion_type` (RFC 7521 §4.2).
    pub client_assertion_type: Option<Cow<'a, str>>,
    /// `client_assertion` (RFC 7521 §4.2).
    pub client_assertion: Option<Secret<String>>,
    /// `scope` (RFC 6749 §3.3), as it was sent.
    pub scope: Option<Cow<'a, str>>,
    /// Every `resource`, in the order sent: the one parameter that may be repeated (RFC 8707 §2).
    pub resources: Vec<Cow<'a, str>>,
    /// `audience`: what several vendors use in place of `resource`.
    pub audience: Option<Cow<'a, str>>,
}

impl<'a> TokenRequest<'a> {
    /// Reads a body of the type `application/x-www-form-urlencoded`.
    ///
    /// Every error is an `invalid_request` of RFC 6749 §5.2, and its text repeats nothing that the caller sent.
    pub fn parse(body: &'a [u8]) -> Result<Self, TokenRequestError> {
        let mut request = Self::default();
        form::read(body, |known, value| request.set(known, value))?;
        Ok(request)
    }

    pub(super) fn set(&mut self, known: Known, value: Cow<'a, str>) {
        match known {
            Known::GrantType => self.grant_type = Some(value),
            Known::ClientId => self.client_id = Some(value),
            Known::ClientSecret => self.client_secret = Some(Secret::new(value.into_owned())),
            Known::ClientAssertionType => self.client_assertion_type = Some(value),
            Known::ClientAssertion => self.client_assertion = Some(Secret::new(value.into_owned())),
            Known::Scope => self.scope = Some(value),
            Known::Resource => self.resources.push(value),
            Known::Audience => self.audience = Some(value),
        }
    }
}

/// Why a body is no token request, nor one about a token. All of them are `invalid_request` (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRequestError {
    /// More than [`MAX_BODY_BYTES`].
    #[error("the body is {bytes} bytes long, the limit is {MAX_BODY_BYTES}")]
    BodyTooLong {
        /// The length found.
        bytes: usize,
    },
    /// More than [`MAX_PARAMETERS`].
    #[error("the request has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    /// A name above [`MAX_NAME_BYTES`] or a value above [`MAX_VALUE_BYTES`].
    #[error(
        "a parameter is longer than the limit of {MAX_NAME_BYTES} bytes for a name or {MAX_VALUE_BYTES} for a value"
    )]
    ParameterTooLong,
    /// A parameter that stands twice (RFC 6749 §3.2), known or not.
    #[error("the parameter {} is repeated", .name.unwrap_or("(one this server does not know)"))]
    Repeated {
        /// The name, when it is one that RFC 6749, 7521 or 8707 defines.
        name: Option<&'static str>,
    },
    /// A parameter that the request cannot do without.
    #[error("the parameter {name} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A `%` without two hexadecimal digits.
    #[error("a parameter has a percent sign that two hexadecimal digits do not follow")]
    PercentEncoding,
    /// Bytes that are no UTF-8.
    #[error("a parameter is not UTF-8")]
    Utf8,
    /// The character U+0000.
    #[error("a parameter has a NUL character")]
    Nul,
}

/// What a client asks for, to be written as a request body.
///
/// ```
/// use jeton_proto::wire::{scope::Scope, token_request::TokenRequestForm};
///
/// let scope: Scope = "orders:read".parse()?;
/// let form = TokenRequestForm { scope: Some(&scope), ..TokenRequestForm::default() };
/// assert_eq!(form.render()?.expose(), "grant_type=client_credentials&scope=orders%3Aread");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenRequestForm<'a> {
    /// The scope asked for; an empty one is left out, as `None` is.
    pub scope: Option<&'a Scope>,
    /// The resources asked for (RFC 8707 §2).
    pub resources: &'a [String],
    /// The audience asked for, for servers that do not know `resource`.
    pub audience: Option<&'a str>,
    /// What of the client's authentication goes into the body; `None` where all of it goes into the header.
    pub credential: Option<BodyCredential<'a>>,
    /// Parameters of a vendor, in the order to be sent.
    pub extra: &'a [(String, String)],
}

/// What a client proves itself with in the body. None of them goes together with an `Authorization` header.
#[derive(Clone, Copy, Debug)]
pub enum BodyCredential<'a> {
    /// `client_secret_post`: client id and secret (RFC 6749 §2.3.1).
    Secret {
        /// The client id.
        client_id: &'a str,
        /// The client secret.
        client_secret: &'a Secret<String>,
    },
    /// `client_secret_jwt`, `private_key_jwt`, or a JWT of a third party: a client assertion (RFC 7523 §2.2).
    Assertion {
        /// The client id. RFC 7521 §4.2 lets it be left out, as the assertion tells it; several servers ask for it.
        client_id: Option<&'a str>,
        /// The JWT in compact serialization.
        assertion: &'a Secret<String>,
    },
    /// Mutual TLS: the client id alone, for the proof is in the handshake (RFC 8705 §2).
    ClientId {
        /// The client id.
        client_id: &'a str,
    },
}

impl<'a> BodyCredential<'a> {
    fn pairs(self) -> [Option<(Known, &'a str)>; 3] {
        match self {
            Self::Secret { client_id, client_secret } => [
                Some((Known::ClientId, client_id)),
                Some((Known::ClientSecret, client_secret.expose())),
                None,
            ],
            Self::Assertion { client_id, assertion } => [
                client_id.map(|client_id| (Known::ClientId, client_id)),
                Some((Known::ClientAssertionType, JWT_BEARER)),
                Some((Known::ClientAssertion, assertion.expose())),
            ],
            Self::ClientId { client_id } => [Some((Known::ClientId, client_id)), None, None],
        }
    }
}

impl TokenRequestForm<'_> {
    /// Writes the body, of the type `application/x-www-form-urlencoded`. It is wiped when dropped, and was never
    /// moved while it grew, so no copy of the secret stays behind.
    ///
    /// An extra parameter with the name of one that this type has itself is refused: it would be a repeated one.
    pub fn render(&self) -> Result<Secret<String>, ReservedParameter> {
        if let Some(reserved) = self.extra.iter().find_map(|(name, _)| ReservedParameter::of(name)) {
            return Err(reserved);
        }
        let scope = self.scope.filter(|scope| !scope.is_empty()).map(ToString::to_string);
        let mut pairs: Vec<(&str, &str)> = vec![(Known::GrantType.as_str(), CLIENT_CREDENTIALS)];
        pairs.extend(scope.as_deref().map(|scope| (Known::Scope.as_str(), scope)));
        pairs.extend(self.resources.iter().map(|resource| (Known::Resource.as_str(), resource.as_str())));
        pairs.extend(self.audience.map(|audience| (Known::Audience.as_str(), audience)));
        pairs.extend(self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if let Some(credential) = self.credential {
            pairs.extend(
                credential.pairs().into_iter().flatten().map(|(known, value)| (known.as_str(), value)),
            );
        }
        // An escaped byte takes three, so this is never too little.
        let most_bytes = pairs.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(most_bytes));
        form.extend_pairs(pairs);
        Ok(Secret::new(form.finish()))
    }
}

/// An extra parameter has a name that this crate sets itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extra parameter {name} has a setting of its own; use that one")]
pub struct ReservedParameter {
    /// The name.
    pub name: &'static str,
}

impl ReservedParameter {
    /// The error of an extra parameter that is called `name`, if that is a name which is set otherwise.
    pub fn of(name: &str) -> Option<Self> {
        Known::named(name).map(|known| Self { name: known.as_str() })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    GrantType,
    ClientId,
    ClientSecret,
    ClientAssertionType,
    ClientAssertion,
    Scope,
    Resource,
    Audience,
}

impl Parameter for Known {
    fn named(name: &str) -> Option<Self> {
        match name {
            "grant_type" => Some(Self::GrantType),
            "client_id" => Some(Self::ClientId),
            "client_secret" => Some(Self::ClientSecret),
            "client_assertion_type" => Some(Self::ClientAssertionType),
            "client_assertion" => Some(Self::ClientAssertion),
            "scope" => Some(Self::Scope),
            "resource" => Some(Self::Resource),
            "audience" => Some(Self::Audience),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::GrantType => "grant_type",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
            Self::ClientAssertionType => "client_assertion_type",
            Self::ClientAssertion => "client_assertion",
            Self::Scope => "scope",
            Self::Resource => "resource",
            Self::Audience => "audience",
        }
    }
    fn repetition(self) -> Repetition {
        match self {
            Self::Resource => Repetition::Allowed,
            Self::GrantType
            | Self::ClientId
            | Self::ClientSecret
            | Self::ClientAssertionType
            | Self::ClientAssertion
            | Self::Scope
            | Self::Audience => Repetition::Refused,
        }
    }
}

impl From<InvalidComponent> for TokenRequestError {
    fn from(error: InvalidComponent) -> Self {
        match error {
            InvalidComponent::Percent => Self::PercentEncoding,
            InvalidComponent::Utf8 => Self::Utf8,
            InvalidComponent::Nul => Self::Nul,
        }
    }
}

#[cfg(test)]
mod tests;
