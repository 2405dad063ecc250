//! Who may administer: the token of a request, and what it is good for.

use super::operation::Access;
use super::problem::{Code, Problem};
use crate::client_certificate::ClientCertificate;
use crate::issuer::Issuer;
use crate::keyring::Keyring;
use crate::registry::Clients;
use crate::revocations::Revocations;
use http::header::{AUTHORIZATION, HeaderMap};
use jeton_proto::introspection::Standing;
use jeton_proto::issuance::{CertificateThumbprint, ClientStatus};
use jeton_proto::jose::access_token::VerifiedClaims;
use jeton_proto::time::Timestamp;
use jeton_proto::verification::{self, Expectations};
use jeton_proto::wire::challenge::{BearerChallenge, BearerError};
use jeton_proto::wire::error_response::printable;
use jeton_proto::wire::scope::Scope;
use serde_json::json;
use std::sync::Arc;

/// The scope of tokens that may change everything here.
pub const ADMIN_SCOPE: &str = "jeton:admin";
/// The scope of tokens that may read everything here.
pub const ADMIN_READ_SCOPE: &str = "jeton:admin:read";
const REALM: &str = "jeton-admin";

/// Who asks: the id of a client that has a token for it, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Administrator(pub(super) String);

/// Judges tokens of this server's own issuer, with its own keys.
#[derive(Debug)]
pub(super) struct Guard {
    expectations: Expectations,
    keyring: Arc<Keyring>,
    clients: Arc<Clients>,
    revocations: Arc<Revocations>,
}

impl Guard {
    /// The guard of what `issuer` issues.
    pub(super) fn new(expectations: Expectations, issuer: &Issuer) -> Self {
        Self {
            expectations,
            keyring: Arc::clone(&issuer.keyring),
            clients: Arc::clone(&issuer.authenticator.clients),
            revocations: Arc::clone(&issuer.desk.revocations),
        }
    }

    /// Who asks, if the request may have what wants `access`; never for [`Access::Open`].
    ///
    /// A client that was disabled, removed or given fewer scopes meanwhile may have no more than is true of it now: its tokens live on
    /// elsewhere, and not where they could undo that.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        access: Access,
        now: Timestamp,
    ) -> Result<Administrator, Problem> {
        let token = presented(headers)?;
        let keys = self.keyring.keys();
        let claims = verification::decide(token, keys.verification(), &self.expectations, now).map_err(
            |rejection| {
                tracing::info!(%rejection, "a token was refused by the administrative api");
                invalid_token(rejection.description())
            },
        )?;
        if self.revocations.standing(claims.jwt_id()) != Standing::Standing {
            return Err(invalid_token("the token was revoked"));
        }
        if !is_of_its_bearer(&claims, certificate) {
            return Err(invalid_token(
                "the token is bound to a certificate, and the connection has another one or none",
            ));
        }
        let clients = self.clients.snapshot();
        let client = clients.client(claims.client_id()).map(|client| client.settings());
        let Some(client) = client.filter(|client| client.status == ClientStatus::Enabled) else {
            return Err(invalid_token("the client of the token was disabled or removed"));
        };
        let has = |token| {
            claims.scope().is_some_and(|scope| scope.contains(token)) && client.allowed_scope.contains(token)
        };
        let (enough, wanted) = match access {
            Access::Open => (true, ADMIN_READ_SCOPE),
            Access::Reading => (has(ADMIN_SCOPE) || has(ADMIN_READ_SCOPE), ADMIN_READ_SCOPE),
            Access::Changing => (has(ADMIN_SCOPE), ADMIN_SCOPE),
        };
        if enough {
            return Ok(Administrator(printable(claims.client_id())));
        }
        let detail = format!("this wants the scope {wanted}");
        let challenge = BearerChallenge::new(REALM)
            .error(BearerError::InsufficientScope, detail.as_str())
            .scope(wanted.parse().unwrap_or_else(|_| Scope::empty()));
        Err(Problem::new(Code::InsufficientScope, detail).with_challenge(challenge))
    }
}

/// Whether a token that is bound to a certificate comes over a connection with that one (RFC 8705 §3). What else a token may be bound
/// to is not known here, so that one is refused.
fn is_of_its_bearer(claims: &VerifiedClaims, certificate: Option<&ClientCertificate>) -> bool {
    let Some(confirmation) = claims.all().get("cnf") else { return true };
    let thumbprint = certificate.map(|certificate| CertificateThumbprint::of(&certificate.der));
    thumbprint.is_some_and(|shown| *confirmation == json!({ "x5t#S256": shown.to_base64url() }))
}

/// The one token in the one header (RFC 6750 §2.1).
fn presented(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let unauthenticated = || {
        let detail = "send an access token of this issuer: Authorization: Bearer TOKEN";
        Problem::new(Code::Unauthenticated, detail).with_challenge(BearerChallenge::new(REALM))
    };
    let field = fields.next().ok_or_else(unauthenticated)?;
    if fields.next().is_some() {
        let detail = "there is more than one Authorization header";
        let challenge = BearerChallenge::new(REALM).error(BearerError::InvalidRequest, detail);
        return Err(Problem::new(Code::InvalidRequest, detail).with_challenge(challenge));
    }
    let Ok(field) = field.to_str() else {
        return Err(invalid_token("the token is malformed"));
    };
    let (scheme, token) = field.split_once(' ').ok_or_else(unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(unauthenticated());
    }
    Ok(token.trim_matches(' '))
}

fn invalid_token(description: &'static str) -> Problem {
    let challenge = BearerChallenge::new(REALM).error(BearerError::InvalidToken, description);
    Problem::new(Code::InvalidToken, description).with_challenge(challenge)
}
