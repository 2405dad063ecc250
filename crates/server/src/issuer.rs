//! The token endpoint that issues: registry, keys and policy.

mod prepared_grant;

pub(crate) use prepared_grant::PreparedGrant;

use crate::authentication::{Authenticated, Authenticator, FailedAttempt, Proof};
use crate::counters::Counters;
use crate::endpoint::{
    Introspected, IssuedToken, RevocationFeedPage, Revoked, TokenCall, TokenEndpoint, TokenInquiry,
    TokenRefusal,
};
use crate::http::bytes_beside_token;
use crate::inquiry::Desk;
use crate::jwt_ids::JwtIds;
use crate::keyring::{KeySchedule, Keyring, Keys};
use crate::registry::{KnownClient, SecretUses};
use crate::throttle::{Minting, Throttle, TokenKind};
use crate::workers::Workers;
use jeton_proto::introspection::Standing;
use jeton_proto::issuance::{self, Grant, IssuancePolicy, RegisteredClient};
use jeton_proto::jose::access_token::{AccessTokenSigner, OwnClaims};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::revocation::FeedPosition;
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
    /// Here for its end alone.
    pub(crate) _key_schedule: KeySchedule,
    pub(crate) authenticator: Authenticator,
    pub(crate) uses: Arc<SecretUses>,
    pub(crate) policy: IssuancePolicy,
    pub(crate) desk: Desk,
    pub(crate) clock: ClockHandle,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) jwt_ids: JwtIds,
    pub(crate) workers: Workers,
}

impl TokenEndpoint for Issuer {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        let (authenticated, proof, at) = self.authenticate(&call).await?;
        self.issue(authenticated, &proof, &call, at)
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

    async fn revocations(&self, position: FeedPosition) -> Result<RevocationFeedPage, TokenRefusal> {
        self.feed_page(position).await
    }

    fn clients(&self) -> Option<u64> {
        Some(self.authenticator.clients.snapshot().len() as u64)
    }

    fn is_ready(&self) -> bool {
        self.authenticator.is_ready() && self.workers.are_well()
    }
}

impl Issuer {
    /// Who makes `call`, for every endpoint alike, and when that was found out.
    pub(crate) async fn authenticate<'a>(
        &self,
        call: &TokenCall<'a>,
    ) -> Result<(Authenticated, Proof<'a>, Moment), TokenRefusal> {
        let proof = self.authenticator.proof(call)?;
        let now = self.clock.moment();
        if proof.is_dear_to_check() {
            self.throttle.before_dear_check(proof.client_id(), call.peer.ip(), now)?;
        }
        let (authenticated, at) = match self.authenticator.attempt(&proof, now.wall(), &*self.clock).await {
            // It was looked at in no time, and the time is read no more.
            Ok(authenticated) if !proof.is_dear_to_check() => (authenticated, now),
            Ok(authenticated) => (authenticated, self.clock.moment()),
            Err(attempt) => {
                let authenticated = Box::pin(self.authenticate_again(call, &proof, attempt)).await?;
                (authenticated, self.clock.moment())
            }
        };
        self.note(&authenticated, &proof, call, at);
        Ok((authenticated, proof, at))
    }

    /// The same after a first attempt that has failed.
    async fn authenticate_again(
        &self,
        call: &TokenCall<'_>,
        proof: &Proof<'_>,
        first: FailedAttempt,
    ) -> Result<Authenticated, TokenRefusal> {
        let (client_id, address) = (proof.client_id(), call.peer.ip());
        // Only the answer to a wrong secret is slowed down: a right one was let in before, so nobody can be locked out.
        self.throttle.standing(client_id, address, self.clock.moment())?;
        let failure = match self.authenticator.attempt_again(proof, first, &*self.clock).await {
            Ok(authenticated) => return Ok(authenticated),
            Err(failure) => failure,
        };
        if failure.is_the_callers() {
            self.throttle.failed(client_id, address, self.clock.moment())?;
        }
        Err(failure.into())
    }

    /// Remembers that a credential was good.
    fn note(&self, authenticated: &Authenticated, proof: &Proof<'_>, call: &TokenCall<'_>, now: Moment) {
        let client_id = &authenticated.client.settings().client_id;
        if proof.is_dear_to_check() {
            self.throttle.proved(client_id, call.peer.ip(), now);
        }
        let secret = authenticated.credential.as_ref().filter(|_| authenticated.method.is_by_secret());
        if let Some(secret) = secret.filter(|secret| authenticated.client.is_to_be_noted(secret, now.wall()))
        {
            self.uses.record(client_id, secret, now.wall());
        }
    }

    fn issue(
        &self,
        authenticated: Authenticated,
        proof: &Proof<'_>,
        call: &TokenCall<'_>,
        now: Moment,
    ) -> Result<IssuedToken, TokenRefusal> {
        let client = Arc::clone(&authenticated.client);
        let key = client.request_key.get_or_init(|| self.throttle.request_key(&client.settings().client_id));
        self.throttle.requested(*key, now)?;
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
        let prepared = self.prepared(&authenticated.client, grant);
        let client_id = &authenticated.client.settings().client_id;
        let minting = per_call.asked(prepared.mint_key, client_id, call.peer, grant.lifetime, now);
        if minting != Minting::Usual {
            self.counters.count_minted_per_call();
        }
        match minting {
            Minting::Usual | Minting::PerCall => {
                self.sign(authenticated, grant, &prepared, self.jwt_ids.next()?)
            }
            Minting::Refused(refusal) => Err(refusal),
            Minting::Same => {
                let kind = self.kind(&authenticated, grant, proof)?;
                let kept = per_call.kept().get(&kind, now.wall());
                // Another instance may have revoked it.
                if let Some((access_token, jwt_id, expires_in)) =
                    kept.filter(|(_, jwt_id, _)| self.is_good(jwt_id))
                {
                    self.counters.count_same_token();
                    return Ok(issued(access_token, jwt_id, expires_in, &prepared, authenticated));
                }
                let issued = self.sign(authenticated, grant, &prepared, self.jwt_ids.next()?)?;
                per_call.kept().keep(kind, &issued.access_token, &issued.jwt_id, grant.issued_at);
                Ok(issued)
            }
        }
    }

    /// What is made of the grant once, and kept with the client when it is its usual one.
    fn prepared(&self, client: &KnownClient, grant: &Grant<'_>) -> Arc<PreparedGrant> {
        let prepare = || Arc::new(PreparedGrant::new(&self.url, client, grant, self.throttle.per_call()));
        if grant.is_usual { Arc::clone(client.usual.get_or_init(prepare)) } else { prepare() }
    }

    fn is_good(&self, jwt_id: &str) -> bool {
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
        prepared: &PreparedGrant,
        jwt_id: String,
    ) -> Result<IssuedToken, TokenRefusal> {
        let keys = self.keyring.keys();
        let own = OwnClaims {
            issued_at: grant.issued_at,
            expires_at: grant.expires_at(),
            jwt_id: &jwt_id,
            confirmation: authenticated.confirmation,
        };
        let room_bytes = bytes_beside_token(prepared.granted.scope());
        let signer = self.signer(&keys, &authenticated.client, grant)?;
        let token = signer.sign_behind(&prepared.claims, &own, room_bytes);
        let token = token.map_err(|error| TokenRefusal::server_error(error.to_string()))?;
        Ok(issued(Secret::new(token), jwt_id, grant.lifetime, prepared, authenticated))
    }
}

fn issued(
    access_token: Secret<String>,
    jwt_id: String,
    expires_in: Duration,
    prepared: &PreparedGrant,
    authenticated: Authenticated,
) -> IssuedToken {
    IssuedToken {
        access_token,
        expires_in,
        granted: Arc::clone(&prepared.granted),
        jwt_id,
        authentication: authenticated.into_authentication(),
    }
}

#[cold]
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
