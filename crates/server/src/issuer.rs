//! The token endpoint that issues: registry, keys and policy.

use crate::endpoint::{IssuedToken, TokenCall, TokenEndpoint, TokenRefusal};
use crate::registry::{Clients, SecretHasher, Snapshot};
use crate::store::StoreWatch;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{
    self, AuthenticationFailure, Grant, IssuancePolicy, RegisteredClient, SecretDigest,
};
use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::secret::Secret;
use jeton_proto::time::Clock;
use jeton_proto::wire::error_response::ErrorCode;
use std::sync::Arc;

/// Authenticates clients of the registry and signs tokens for them.
///
/// A request is answered from memory. The one wait is after a failed authentication: the registry is looked at once
/// more, for every failure alike, so that a client works in the moment in which it was added.
#[derive(Debug)]
pub struct Issuer {
    pub(crate) url: String,
    pub(crate) signer: AccessTokenSigner,
    pub(crate) hasher: SecretHasher,
    pub(crate) clients: Arc<Clients>,
    pub(crate) watch: StoreWatch,
    pub(crate) policy: IssuancePolicy,
    pub(crate) clock: ClockHandle,
}

impl TokenEndpoint for Issuer {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        let Some((client_id, client_secret)) = call.credential.id_and_secret() else {
            return Err(no_credential(&call));
        };
        let digest = self.hasher.digest(client_secret);
        if let Ok(answer) = self.answer_from(&self.clients.snapshot(), client_id, &digest, &call) {
            return answer;
        }
        self.watch.look_again().await;
        match self.answer_from(&self.clients.snapshot(), client_id, &digest, &call) {
            Ok(answer) => answer,
            Err(failure) => Err(TokenRefusal::invalid_client().with_detail(failure.to_string())),
        }
    }

    fn is_ready(&self) -> bool {
        self.watch.is_readable()
    }
}

impl Issuer {
    /// The answer to a client that `snapshot` authenticates.
    fn answer_from(
        &self,
        snapshot: &Snapshot,
        client_id: &str,
        digest: &SecretDigest,
        call: &TokenCall<'_>,
    ) -> Result<Result<IssuedToken, TokenRefusal>, AuthenticationFailure> {
        let client = snapshot.client(client_id);
        issuance::authenticate(client.map(AsRef::as_ref), digest, self.clock.now())?;
        let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
        Ok(issuance::decide(client, call.request, &self.policy, self.clock.now())
            .map_err(|refusal| {
                TokenRefusal::new(refusal.code, refusal.description).with_detail(refusal.detail)
            })
            .and_then(|grant| self.sign(client, &grant)))
    }

    fn sign(&self, client: &RegisteredClient, grant: &Grant<'_>) -> Result<IssuedToken, TokenRefusal> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| TokenRefusal::server_error("the random source failed"))?;
        let mut jwt_id = [0; 22];
        URL_SAFE_NO_PAD
            .encode_slice(random, &mut jwt_id)
            .map_err(|error| TokenRefusal::server_error(error.to_string()))?;
        let client_id = client.settings().client_id.as_str();
        let token = self.signer.sign(&AccessTokenClaims {
            issuer: &self.url,
            audience: &grant.audience,
            subject: client_id,
            client_id,
            scope: Some(&grant.scope),
            issued_at: grant.issued_at,
            expires_at: grant.expires_at(),
            jwt_id: std::str::from_utf8(&jwt_id).unwrap_or_default(),
        });
        Ok(IssuedToken {
            access_token: Secret::new(token.map_err(|error| TokenRefusal::server_error(error.to_string()))?),
            expires_in: grant.lifetime,
            scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
        })
    }
}

/// RFC 6749 §5.2 names "no client authentication included" under `invalid_client`.
fn no_credential(call: &TokenCall<'_>) -> TokenRefusal {
    if call.request.client_assertion.is_some() || call.request.client_assertion_type.is_some() {
        return TokenRefusal::new(
            ErrorCode::InvalidClient,
            "client assertions are not supported; use client_secret_basic or client_secret_post",
        );
    }
    TokenRefusal::new(
        ErrorCode::InvalidClient,
        "the client did not authenticate: send client id and client secret by HTTP Basic, or both as form parameters",
    )
}

/// A clock that has a `Debug`.
#[derive(Clone)]
pub(crate) struct ClockHandle(pub(crate) Arc<dyn Clock>);

impl std::ops::Deref for ClockHandle {
    type Target = dyn Clock;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
