//! What an authorization server answers to a token request: who is asking, and what are they granted.
//!
//! Two decisions. [`authenticate`] compares digests, with the same work for a client that is not there,
//! one that is disabled and one whose secret is wrong. [`decide`] turns a request of an authenticated client into a
//! [`Grant`] or a [`Refusal`].

use crate::time::Timestamp;
use crate::wire::error_response::ErrorCode;
use crate::wire::scope::{InvalidScope, Scope};
use crate::wire::token_request::{CLIENT_CREDENTIALS, TokenRequest};
use std::borrow::Cow;
use std::time::Duration;

mod client_keys;
mod credentials;
mod due;
mod registered_client;
mod rule;

pub use client_keys::ClientKeys;
pub use credentials::{
    CertificateThumbprint, ClientCredentials, InvalidCredentials, MAX_CERTIFICATES, MAX_CLAIM_CONDITIONS,
    MAX_CLIENT_JWKS_BYTES, MAX_CREDENTIAL_TEXT_BYTES, MAX_SECRET_NAME_BYTES, MAX_SECRETS, MAX_WORKLOADS,
    NamedSecret, SecretDigest, SecretTerm, TlsSubject, WorkloadTrust,
};
pub use due::{DueReason, DueTerms, due};
pub use registered_client::{
    AuthenticationFailure, ClientSettings, ClientStatus, DEFAULT_TOKEN_LIFETIME, InvalidClientSettings,
    MAX_AUDIENCES, MAX_CLIENT_ID_BYTES, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS,
    RegisteredClient, authenticate, check_status,
};
pub use rule::Rule;

/// The shortest token lifetime that can be set.
pub const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(1);
/// The longest token lifetime that can be set: 30 days.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// The longest audience, in bytes.
pub const MAX_AUDIENCE_BYTES: usize = 2048;

/// What holds for every client of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuancePolicy {
    default_audience: String,
    longest_lifetime: Duration,
}

impl IssuancePolicy {
    /// The audience of clients that have none of their own, and a bound on the lifetime of every token, in whole
    /// seconds from [`MIN_TOKEN_LIFETIME`] to [`MAX_TOKEN_LIFETIME`].
    pub fn new(default_audience: String, longest_lifetime: Duration) -> Result<Self, InvalidPolicy> {
        if !is_audience(&default_audience) {
            return Err(InvalidPolicy::DefaultAudience);
        }
        check_lifetime(longest_lifetime).map_err(|LifetimeOutOfBounds| InvalidPolicy::LongestLifetime)?;
        Ok(Self { default_audience, longest_lifetime })
    }
}

/// Why a policy does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// The default audience is empty, too long, or has a character other than printable ASCII without space.
    #[error("the default audience has 1 to {MAX_AUDIENCE_BYTES} printable ascii characters and no space")]
    DefaultAudience,
    /// The bound on lifetimes is out of bounds, or has a fraction of a second.
    #[error("the longest token lifetime is a whole number of seconds from 1 to 2592000 (30 days)")]
    LongestLifetime,
}

/// What a client is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The scope, a part of what the client may have. It may be empty: then the token and the answer have none.
    pub scope: Cow<'a, Scope>,
    /// For which resources, one or more, without repetition.
    pub audience: Vec<&'a str>,
    /// When the token begins, rounded down to whole seconds.
    pub issued_at: Timestamp,
    /// How long it lives, in whole seconds from [`MIN_TOKEN_LIFETIME`] to [`MAX_TOKEN_LIFETIME`].
    pub lifetime: Duration,
    /// Whether scope and audience are those of a request that names none, so that what is made of them can be kept for the next one.
    pub is_usual: bool,
}

impl Grant<'_> {
    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.issued_at.saturating_add(self.lifetime)
    }
}

/// Why a request of an authenticated client is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The `error` of the answer (RFC 6749 §5.2, RFC 8707 §2).
    pub code: ErrorCode,
    /// The rule behind it, for the audit log.
    pub rule: Rule,
    /// The `error_description` of the answer. It repeats nothing that the caller sent.
    pub description: &'static str,
    /// What the log says: text that the caller sent may be in it, so it is to be cleaned before it is shown.
    pub detail: String,
}

/// What an authenticated client is granted, or why it is not (RFC 6749 §4.4.2, §5.2; RFC 8707 §2).
///
/// A scope is granted whole or refused: a client that asks for more than it may have is told so, instead of getting a
/// token that fails later.
pub fn decide<'a>(
    client: &'a RegisteredClient,
    request: &'a TokenRequest<'_>,
    policy: &'a IssuancePolicy,
    now: Timestamp,
) -> Result<Grant<'a>, Refusal> {
    check_grant_type(request.grant_type.as_deref())?;
    let scope = granted_scope(client, request.scope.as_deref())?;
    let audience = granted_audience(client, request, policy)?;
    let usual_audience = allowed_audiences(client, policy).next();
    let is_usual = *scope == *client.granted_by_default() && audience.iter().copied().eq(usual_audience);
    Ok(Grant {
        scope,
        audience,
        is_usual,
        issued_at: Timestamp::from_unix_seconds(now.as_unix_seconds()),
        lifetime: client.settings().token_lifetime.min(policy.longest_lifetime),
    })
}

fn check_grant_type(grant_type: Option<&str>) -> Result<(), Refusal> {
    match grant_type {
        Some(CLIENT_CREDENTIALS) => Ok(()),
        Some(other) => Err(Refusal {
            code: ErrorCode::UnsupportedGrantType,
            rule: Rule::GrantTypeUnsupported,
            description: "this server knows the grant client_credentials and no other",
            detail: format!("the grant type is {other}"),
        }),
        None => Err(Refusal {
            code: ErrorCode::InvalidRequest,
            rule: Rule::GrantTypeMissing,
            description: "the parameter grant_type is missing; it must be client_credentials",
            detail: "the request has no grant_type".to_owned(),
        }),
    }
}

fn granted_scope<'a>(
    client: &'a RegisteredClient,
    requested: Option<&str>,
) -> Result<Cow<'a, Scope>, Refusal> {
    let refusal =
        |rule, description, detail| Refusal { code: ErrorCode::InvalidScope, rule, description, detail };
    let Some(requested) = requested else {
        return Ok(Cow::Borrowed(client.granted_by_default()));
    };
    // Most clients ask for all that they may have, which is what they have by default.
    if requested == client.default_text() {
        return Ok(Cow::Borrowed(client.granted_by_default()));
    }
    let scope: Scope = requested.parse().map_err(|error: InvalidScope| {
        refusal(
            Rule::ScopeMalformed,
            "the scope is malformed: it must be scope tokens separated by spaces",
            error.to_string(),
        )
    })?;
    if let Some(token) = scope.tokens().find(|token| !client.settings().allowed_scope.contains(token)) {
        let detail = format!("the scope {token} is not among those the client may have");
        return Err(refusal(Rule::ScopeNotAllowed, "the client may not have this scope", detail));
    }
    Ok(Cow::Owned(scope))
}

fn granted_audience<'a>(
    client: &'a RegisteredClient,
    request: &TokenRequest<'_>,
    policy: &'a IssuancePolicy,
) -> Result<Vec<&'a str>, Refusal> {
    let mut granted = Vec::with_capacity(1);
    for requested in request.resources.iter().chain(&request.audience) {
        let Some(audience) = allowed_audiences(client, policy).find(|audience| audience == requested) else {
            return Err(Refusal {
                code: ErrorCode::InvalidTarget,
                rule: Rule::TargetNotAllowed,
                description: "the client may not have a token for this resource or audience",
                detail: format!("the audience {requested} is not among those the client may have"),
            });
        };
        if !granted.contains(&audience) {
            granted.push(audience);
        }
    }
    if granted.is_empty() {
        granted.extend(allowed_audiences(client, policy).next());
    }
    Ok(granted)
}

/// The first one is for requests that name none.
fn allowed_audiences<'a>(
    client: &'a RegisteredClient,
    policy: &'a IssuancePolicy,
) -> impl Iterator<Item = &'a str> {
    let of_server = client.settings().audiences.is_empty().then_some(&policy.default_audience);
    client.settings().audiences.iter().chain(of_server).map(String::as_str)
}

fn is_audience(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_AUDIENCE_BYTES
        && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}

struct LifetimeOutOfBounds;

fn check_lifetime(lifetime: Duration) -> Result<(), LifetimeOutOfBounds> {
    let bounded = (MIN_TOKEN_LIFETIME..=MAX_TOKEN_LIFETIME).contains(&lifetime);
    if bounded && lifetime.subsec_nanos() == 0 { Ok(()) } else { Err(LifetimeOutOfBounds) }
}

#[cfg(test)]
mod tests;
