//! What an authorization server tells of a token of its own (RFC 7662): whether it is any business of who asks, and
//! whether it still counts.

use crate::issuance::RegisteredClient;
use crate::jose::access_token::VerifiedClaims;
use crate::verification::Rejection;

/// A client with this scope among its allowed ones may ask about every token.
pub const INTROSPECT_SCOPE: &str = "jeton:introspect";

/// Whether a token was revoked (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not.
    Standing,
    /// It was.
    Revoked,
}

/// Whether `caller`, which has authenticated, is told of a token whose signature and times are good.
///
/// A token concerns the client that it was issued to, and the API that it is for: a client whose id, or one of whose own
/// audiences, is in `aud`. The default audience of a server stands for every API, so nobody gets to see all tokens by it.
/// Beyond that there is [`INTROSPECT_SCOPE`].
///
/// # Errors
/// Why the answer is `{"active":false}` and nothing more: for the log alone (trap T40).
pub fn decide(
    claims: &VerifiedClaims,
    standing: Standing,
    caller: &RegisteredClient,
) -> Result<(), InactiveReason> {
    if !concerns(claims, caller) {
        return Err(InactiveReason::NoConcern);
    }
    match standing {
        Standing::Standing => Ok(()),
        Standing::Revoked => Err(InactiveReason::Rejected(Rejection::Revoked)),
    }
}

/// Why a caller is told that a token is not active.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InactiveReason {
    /// It is none of this issuer, or it does not count any more.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It is good, and no business of the caller.
    #[error("the token is of no concern to the caller")]
    NoConcern,
}

fn concerns(claims: &VerifiedClaims, caller: &RegisteredClient) -> bool {
    let settings = caller.settings();
    claims.client_id() == settings.client_id
        || claims.audience().iter().any(|api| *api == settings.client_id || settings.audiences.contains(api))
        || settings.allowed_scope.contains(INTROSPECT_SCOPE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::{ClientCredentials, ClientSettings};
    use serde_json::json;

    fn claims(client_id: &str, audience: &[&str]) -> VerifiedClaims {
        let claims = json!({
            "iss": "i", "aud": audience, "sub": client_id, "client_id": client_id, "iat": 1, "exp": 2, "jti": "id",
        });
        VerifiedClaims::parse(claims.to_string().as_bytes()).unwrap()
    }

    fn client(settings: ClientSettings) -> RegisteredClient {
        RegisteredClient::new(settings, ClientCredentials::default()).unwrap()
    }

    #[test]
    fn t40_a_token_concerns_its_client_its_api_and_who_may_ask_about_all() {
        let claims = claims("worker", &["https://one", "https://two"]);
        let asked = |settings| decide(&claims, Standing::Standing, &client(settings));
        let with = |audience: &str| ClientSettings {
            audiences: vec![audience.to_owned()],
            ..ClientSettings::new("other")
        };
        let scoped = |scope: &str| ClientSettings {
            allowed_scope: scope.parse().unwrap(),
            ..ClientSettings::new("other")
        };
        for good in [
            ClientSettings::new("worker"),
            ClientSettings::new("https://two"),
            with("https://two"),
            scoped("a jeton:introspect"),
        ] {
            assert_eq!(asked(good.clone()), Ok(()), "{good:?}");
        }
        for foreign in [
            ClientSettings::new("other"),
            ClientSettings::new("Worker"),
            with("https://three"),
            with("https://two/"),
            scoped("introspect jeton:revoke"),
        ] {
            assert_eq!(asked(foreign.clone()), Err(InactiveReason::NoConcern), "{foreign:?}");
        }
    }

    #[test]
    fn a_revoked_token_is_not_active_for_anybody() {
        let claims = claims("worker", &["https://one"]);
        let asked = |id: &str| decide(&claims, Standing::Revoked, &client(ClientSettings::new(id)));
        assert_eq!(asked("worker"), Err(InactiveReason::Rejected(Rejection::Revoked)));
        assert_eq!(asked("other"), Err(InactiveReason::NoConcern));
    }
}
