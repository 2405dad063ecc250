//! The token endpoint that issues: registry, keys and policy.

use crate::counters::Counters;
use crate::endpoint::{IssuedToken, TokenCall, TokenEndpoint, TokenRefusal};
use crate::registry::{Clients, SecretHasher, SecretUses, Snapshot};
use crate::store::StoreWatch;
use crate::throttle::{JwtId, Minting, Throttle, TokenKind};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{
    self, AuthenticationFailure, Grant, IssuancePolicy, RegisteredClient, Rule, SecretDigest,
};
use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Moment};
use jeton_proto::wire::error_response::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

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
    pub(crate) uses: Arc<SecretUses>,
    pub(crate) policy: IssuancePolicy,
    pub(crate) clock: ClockHandle,
    pub(crate) throttle: Throttle,
    pub(crate) counters: Arc<Counters>,
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
        // Only the answer to a wrong secret is slowed down: a right one has been let in above, so nobody can be locked out.
        self.throttle.standing(client_id, call.peer.ip(), self.clock.moment())?;
        self.watch.look_again().await;
        let failure = match self.answer_from(&self.clients.snapshot(), client_id, &digest, &call) {
            Ok(answer) => return answer,
            Err(failure) => failure,
        };
        self.throttle.failed(client_id, call.peer.ip(), self.clock.moment())?;
        Err(TokenRefusal::invalid_client().by(failure.rule()).with_detail(failure.to_string()))
    }

    fn clients(&self) -> Option<u64> {
        Some(self.clients.snapshot().len() as u64)
    }

    fn is_ready(&self) -> bool {
        self.watch.is_readable()
    }
}

impl Issuer {
    /// Takes note that a client was changed, disabled or removed: no token that it was given before is given to it once more.
    pub fn client_changed(&self, client_id: &str) {
        self.throttle.per_call().kept().forget_client(client_id);
    }

    /// Takes note that the token with this `jti` was revoked: it is not given out once more.
    pub fn token_revoked(&self, jwt_id: &str) {
        self.throttle.per_call().kept().forget_token(jwt_id);
    }

    /// The answer to a client that `snapshot` authenticates.
    fn answer_from(
        &self,
        snapshot: &Snapshot,
        client_id: &str,
        digest: &SecretDigest,
        call: &TokenCall<'_>,
    ) -> Result<Result<IssuedToken, TokenRefusal>, AuthenticationFailure> {
        let client = snapshot.client(client_id);
        let now = self.clock.moment();
        let secret = issuance::authenticate(client.map(AsRef::as_ref), digest, now.wall())?;
        self.uses.record(client_id, &secret.name, now.wall());
        let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
        Ok(self.throttle.requested(client_id, now).and_then(|()| {
            let grant =
                issuance::decide(client, call.request, &self.policy, now.wall()).map_err(|refusal| {
                    TokenRefusal::new(refusal.code, refusal.description)
                        .by(refusal.rule)
                        .with_detail(refusal.detail)
                })?;
            self.mint(client, &grant, digest, call, now)
        }))
    }

    /// A token for the grant: a new one, unless the client mints per call and that is not to be had.
    fn mint(
        &self,
        client: &RegisteredClient,
        grant: &Grant<'_>,
        proof: &SecretDigest,
        call: &TokenCall<'_>,
        now: Moment,
    ) -> Result<IssuedToken, TokenRefusal> {
        let per_call = self.throttle.per_call();
        let minting = per_call.asked(&client.settings().client_id, call.peer, grant, now);
        if minting != Minting::Usual {
            self.counters.count_minted_per_call();
        }
        match minting {
            Minting::Usual | Minting::PerCall => self.sign(client, grant, &random_jwt_id()?),
            Minting::Refused(refusal) => Err(refusal),
            Minting::Same => {
                let kind = self.kind(client, grant, proof);
                if let Some((access_token, jwt_id, expires_in)) = per_call.kept().get(&kind, now.wall()) {
                    self.counters.count_same_token();
                    return Ok(issued(access_token, &jwt_id, expires_in, grant));
                }
                let jwt_id = random_jwt_id()?;
                let issued = self.sign(client, grant, &jwt_id)?;
                per_call.kept().keep(kind, &issued.access_token, jwt_id, grant.issued_at);
                Ok(issued)
            }
        }
    }

    fn kind(&self, client: &RegisteredClient, grant: &Grant<'_>, proof: &SecretDigest) -> TokenKind {
        TokenKind {
            client_id: client.settings().client_id.clone(),
            scope: grant.scope.to_string(),
            audience: grant.audience.iter().map(|audience| (*audience).to_owned()).collect(),
            lifetime: grant.lifetime,
            proof: proof.as_bytes().to_vec(),
            key_id: self.signer.key().key_id().to_owned(),
        }
    }

    fn sign(
        &self,
        client: &RegisteredClient,
        grant: &Grant<'_>,
        jwt_id: &JwtId,
    ) -> Result<IssuedToken, TokenRefusal> {
        let client_id = client.settings().client_id.as_str();
        let token = self.signer.sign(&AccessTokenClaims {
            issuer: &self.url,
            audience: &grant.audience,
            subject: client_id,
            client_id,
            scope: Some(&grant.scope),
            issued_at: grant.issued_at,
            expires_at: grant.expires_at(),
            jwt_id: std::str::from_utf8(jwt_id).unwrap_or_default(),
        });
        let token = token.map_err(|error| TokenRefusal::server_error(error.to_string()))?;
        Ok(issued(Secret::new(token), jwt_id, grant.lifetime, grant))
    }
}

fn issued(
    access_token: Secret<String>,
    jwt_id: &JwtId,
    expires_in: Duration,
    grant: &Grant<'_>,
) -> IssuedToken {
    IssuedToken {
        access_token,
        expires_in,
        scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
        audience: grant.audience.join(" "),
        jwt_id: std::str::from_utf8(jwt_id).unwrap_or_default().to_owned(),
    }
}

fn random_jwt_id() -> Result<JwtId, TokenRefusal> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| TokenRefusal::server_error("the random source failed"))?;
    let mut jwt_id = [0; 22];
    URL_SAFE_NO_PAD
        .encode_slice(random, &mut jwt_id)
        .map_err(|error| TokenRefusal::server_error(error.to_string()))?;
    Ok(jwt_id)
}

/// RFC 6749 §5.2 names "no client authentication included" under `invalid_client`.
fn no_credential(call: &TokenCall<'_>) -> TokenRefusal {
    if call.request.client_assertion.is_some() || call.request.client_assertion_type.is_some() {
        return TokenRefusal::new(
            ErrorCode::InvalidClient,
            "client assertions are not supported; use client_secret_basic or client_secret_post",
        )
        .by(Rule::AssertionUnsupported);
    }
    TokenRefusal::new(
        ErrorCode::InvalidClient,
        "the client did not authenticate: send client id and client secret by HTTP Basic, or both as form parameters",
    )
    .by(Rule::NoCredential)
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
