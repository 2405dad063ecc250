//! The one credential of a token request (RFC 6749 §2.3).

use crate::endpoint::{PresentedCredential, TokenRefusal};
use http::header::{AUTHORIZATION, HeaderMap};
use jeton_proto::issuance::Rule;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{InvalidBasic, JWT_BEARER, parse_basic};
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::token_request::TokenRequest;

/// Finds the credential. Two of them, in whatever form, are an `invalid_request` (RFC 6749 §2.3: "MUST NOT use more
/// than one authentication method"); one that cannot be read is an `invalid_client`.
pub(super) fn presented<'a>(
    headers: &HeaderMap,
    request: &'a TokenRequest<'_>,
) -> Result<PresentedCredential<'a>, TokenRefusal> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(
            invalid_request("there is more than one Authorization header").by(Rule::TwoAuthorizations)
        );
    }
    let assertion = assertion(request)?;
    match (authorization, &request.client_secret) {
        (Some(_), Some(_)) => Err(two_methods()),
        (Some(_), None) | (None, Some(_)) if assertion.is_some() => Err(two_methods()),
        (Some(value), None) => {
            let basic = parse_basic(value.as_bytes()).map_err(unreadable)?;
            if request.client_id.as_deref().is_some_and(|client_id| client_id != basic.client_id) {
                return Err(invalid_request(
                    "the client_id in the body is not the one in the Authorization header",
                )
                .by(Rule::ClientIdMismatch));
            }
            Ok(PresentedCredential::Basic(basic))
        }
        (None, Some(client_secret)) => match request.client_id.as_deref() {
            Some(client_id) => Ok(PresentedCredential::Post { client_id, client_secret }),
            None => {
                Err(invalid_request("there is a client_secret without a client_id").by(Rule::ClientIdMissing))
            }
        },
        (None, None) => Ok(assertion.map_or(PresentedCredential::Absent, |assertion| {
            PresentedCredential::Assertion { client_id: request.client_id.as_deref(), assertion }
        })),
    }
}

/// The assertion of RFC 7521 §4.2, where there is one: both parameters or none. A type that the server does not know is
/// an authentication method that it does not support, which RFC 6749 §5.2 counts under `invalid_client`.
fn assertion<'a>(request: &'a TokenRequest<'_>) -> Result<Option<&'a Secret<String>>, TokenRefusal> {
    let half = |description| Err(invalid_request(description).by(Rule::AssertionIncomplete));
    match (&request.client_assertion, request.client_assertion_type.as_deref()) {
        (None, None) => Ok(None),
        (Some(_), None) => half("there is a client_assertion without a client_assertion_type"),
        (None, Some(_)) => half("there is a client_assertion_type without a client_assertion"),
        (Some(assertion), Some(JWT_BEARER)) => Ok(Some(assertion)),
        (Some(_), Some(_)) => Err(TokenRefusal::new(
            ErrorCode::InvalidClient,
            "the client_assertion_type is not supported; it must be that of RFC 7523, jwt-bearer",
        )
        .by(Rule::AssertionUnsupported)),
    }
}

fn two_methods() -> TokenRefusal {
    invalid_request("the client authenticates in more than one way; use either the header or the body")
        .by(Rule::TwoMethods)
}

fn invalid_request(description: &'static str) -> TokenRefusal {
    TokenRefusal::new(ErrorCode::InvalidRequest, description)
}

fn unreadable(error: InvalidBasic) -> TokenRefusal {
    TokenRefusal::new(
        ErrorCode::InvalidClient,
        "the Authorization header is not a Basic credential of RFC 6749",
    )
    .by(Rule::BasicMalformed)
    .with_detail(error.to_string())
}
