//! The token endpoint that issues: registry, keys and policy.

use crate::authentication::{Authenticated, Authenticator, Proof};
use crate::counters::Counters;
use crate::endpoint::{
    Introspected, IssuedToken, RevocationFeedPage, Revoked, TokenCall, TokenEndpoint, TokenInquiry,
    TokenRefusal,
};
use crate::inquiry::Desk;
use crate::keyring::{KeySchedule, Keyring, Keys};
use crate::registry::SecretUses;
use crate::throttle::{JwtId, Minting, Throttle, TokenKind};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::introspection::Standing;
use jeton_proto::issuance::{self, Grant, IssuancePolicy, RegisteredClient};
use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Moment};
use jeton_proto::wire::introspection::AnswerForm;
use std::sync::Arc;
use std::time::Duration;

/// Authenticates clients of the registry and signs tokens for them.
///
/// A request is answered from memory. The one wait is after a failed authentication: the registry is looked at once
/// more, for every failure alike, so that a client works in the moment in which it was added.
#[derive(Debug)]
pub struct Issuer {
    pub(crate) url: String,
    pub(crate) keyring: Arc<Keyring>,
    /// What signs for clients that have not chosen.
    pub(crate) default_algorithm: Algorithm,
    /// Here for its end alone, which is to come before that of the watch.
    pub(crate) _key_schedule: KeySchedule,
    pub(crate) authenticator: Authenticator,
    pub(crate) uses: Arc<SecretUses>,
    pub(crate) policy: IssuancePolicy,
    pub(crate) desk: Desk,
    pub(crate) clock: ClockHandle,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) counters: Arc<Counters>,
}

impl TokenEndpoint for Issuer {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        let (authenticated, proof) = self.authenticate(&call).await?;
        self.issue(authenticated, &proof, &call)
    }

    async fn introspect(
        &self,
        inquiry: TokenInquiry<'_>,
        form: AnswerForm,
    ) -> Result<Introspected, TokenRefusal> {
        self.introspected(inquiry, form).await
    }

    async fn revoke(&self, inquiry: TokenInquiry<'_>) -> Result<Revoked, TokenRefusal> {
        self.revoked(inquiry).await
    }

    async fn revocations(&self, since: u64) -> Result<RevocationFeedPage, TokenRefusal> {
        self.feed_page(since).await
    }

    fn clients(&self) -> Option<u64> {
        Some(self.authenticator.clients.snapshot().len() as u64)
    }

    fn is_ready(&self) -> bool {
        self.authenticator.is_ready()
    }
}

impl Issuer {
    /// Who makes `call`, for every endpoint alike.
    pub(crate) async fn authenticate<'a>(
        &self,
        call: &TokenCall<'a>,
    ) -> Result<(Authenticated, Proof<'a>), TokenRefusal> {
        let proof = self.authenticator.proof(call)?;
        let (client_id, address) = (proof.client_id(), call.peer.ip());
        if proof.is_dear_to_check() {
            self.throttle.before_dear_check(client_id, address, self.clock.moment())?;
        }
        let first = match self.authenticator.attempt(&proof, &*self.clock).await {
            Ok(authenticated) => return Ok((self.noted(authenticated, &proof, call), proof)),
            Err(attempt) => attempt,
        };
        // Only the answer to a wrong secret is slowed down: a right one has been let in above, so nobody can be locked out.
        self.throttle.standing(client_id, address, self.clock.moment())?;
        let failure = match self.authenticator.attempt_again(&proof, first, &*self.clock).await {
            Ok(authenticated) => return Ok((self.noted(authenticated, &proof, call), proof)),
            Err(failure) => failure,
        };
        if failure.is_the_callers() {
            self.throttle.failed(client_id, address, self.clock.moment())?;
        }
        Err(failure.into())
    }

    /// Remembers that a credential was good.
    fn noted(&self, authenticated: Authenticated, proof: &Proof<'_>, call: &TokenCall<'_>) -> Authenticated {
        let now = self.clock.moment();
        let client_id = &authenticated.client.settings().client_id;
        if proof.is_dear_to_check() {
            self.throttle.proved(client_id, call.peer.ip(), now);
        }
        if let (true, Some(secret)) = (authenticated.method.is_by_secret(), &authenticated.credential) {
            self.uses.record(client_id, secret, now.wall());
        }
        authenticated
    }

    fn issue(
        &self,
        authenticated: Authenticated,
        proof: &Proof<'_>,
        call: &TokenCall<'_>,
    ) -> Result<IssuedToken, TokenRefusal> {
        let now = self.clock.moment();
        let client = Arc::clone(&authenticated.client);
        let client_id = &client.settings().client_id;
        self.throttle.requested(client_id, now)?;
        let grant = issuance::decide(&client, call.request, &self.policy, now.wall()).map_err(|refusal| {
            TokenRefusal::new(refusal.code, refusal.description).by(refusal.rule).with_detail(refusal.detail)
        })?;
        self.mint(authenticated, &grant, proof, call, now)
    }

    /// A token for the grant: a new one, unless the client mints per call and that is not to be had.
    fn mint(
        &self,
        authenticated: Authenticated,
        grant: &Grant<'_>,
        proof: &Proof<'_>,
        call: &TokenCall<'_>,
        now: Moment,
    ) -> Result<IssuedToken, TokenRefusal> {
        let per_call = self.throttle.per_call();
        let minting = per_call.asked(&authenticated.client.settings().client_id, call.peer, grant, now);
        if minting != Minting::Usual {
            self.counters.count_minted_per_call();
        }
        match minting {
            Minting::Usual | Minting::PerCall => self.sign(authenticated, grant, &random_jwt_id()?),
            Minting::Refused(refusal) => Err(refusal),
            Minting::Same => {
                let kind = self.kind(&authenticated, grant, proof)?;
                let kept = per_call.kept().get(&kind, now.wall());
                // Another instance may have revoked it.
                if let Some((access_token, jwt_id, expires_in)) =
                    kept.filter(|(_, jwt_id, _)| self.is_good(jwt_id))
                {
                    self.counters.count_same_token();
                    return Ok(issued(access_token, &jwt_id, expires_in, grant, authenticated));
                }
                let jwt_id = random_jwt_id()?;
                let issued = self.sign(authenticated, grant, &jwt_id)?;
                per_call.kept().keep(kind, &issued.access_token, jwt_id, grant.issued_at);
                Ok(issued)
            }
        }
    }

    fn is_good(&self, jwt_id: &JwtId) -> bool {
        let jwt_id = std::str::from_utf8(jwt_id).unwrap_or_default();
        self.desk.revocations.standing(jwt_id) == Standing::Standing
    }

    /// What signs for the client.
    fn signer<'k>(
        &self,
        keys: &'k Keys,
        client: &RegisteredClient,
        grant: &Grant<'_>,
    ) -> Result<&'k AccessTokenSigner, TokenRefusal> {
        let settings = client.settings();
        let algorithm = settings.signing_algorithm.unwrap_or(self.default_algorithm);
        keys.signer(algorithm, grant.issued_at).ok_or_else(|| no_key(&settings.client_id, algorithm))
    }

    fn kind(
        &self,
        authenticated: &Authenticated,
        grant: &Grant<'_>,
        proof: &Proof<'_>,
    ) -> Result<TokenKind, TokenRefusal> {
        let keys = self.keyring.keys();
        let signer = self.signer(&keys, &authenticated.client, grant)?;
        Ok(TokenKind {
            client_id: authenticated.client.settings().client_id.clone(),
            scope: grant.scope.to_string(),
            audience: grant.audience.iter().map(|audience| (*audience).to_owned()).collect(),
            lifetime: grant.lifetime,
            proof: authenticated.proof_bytes(proof),
            key_id: signer.key().key_id().to_owned(),
        })
    }

    fn sign(
        &self,
        authenticated: Authenticated,
        grant: &Grant<'_>,
        jwt_id: &JwtId,
    ) -> Result<IssuedToken, TokenRefusal> {
        let client_id = authenticated.client.settings().client_id.as_str();
        let keys = self.keyring.keys();
        let token = self.signer(&keys, &authenticated.client, grant)?.sign(&AccessTokenClaims {
            issuer: &self.url,
            audience: &grant.audience,
            subject: client_id,
            client_id,
            scope: Some(&grant.scope),
            issued_at: grant.issued_at,
            expires_at: grant.expires_at(),
            jwt_id: std::str::from_utf8(jwt_id).unwrap_or_default(),
            confirmation: authenticated.confirmation,
        });
        let token = token.map_err(|error| TokenRefusal::server_error(error.to_string()))?;
        Ok(issued(Secret::new(token), jwt_id, grant.lifetime, grant, authenticated))
    }
}

fn issued(
    access_token: Secret<String>,
    jwt_id: &JwtId,
    expires_in: Duration,
    grant: &Grant<'_>,
    authenticated: Authenticated,
) -> IssuedToken {
    IssuedToken {
        access_token,
        expires_in,
        scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
        audience: grant.audience.join(" "),
        jwt_id: std::str::from_utf8(jwt_id).unwrap_or_default().to_owned(),
        authentication: authenticated.into_authentication(),
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

fn no_key(client_id: &str, algorithm: Algorithm) -> TokenRefusal {
    TokenRefusal::server_error(format!(
        "the client {client_id} has tokens signed with {algorithm}, and this server has no such key; add {algorithm} to \
         server.signing_algorithms, or let the client have another algorithm"
    ))
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
