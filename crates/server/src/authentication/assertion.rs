//! Authentication by assertion (RFC 7521 §4.2, RFC 7523 §2.2).

use super::prepared::{Prepared, PreparedClients, PreparedKeys};
use super::{Authenticated, Failure};
use crate::registry::KnownClient;
use crate::remote_keys::RemoteKeys;
use crate::server_key::Sealer;
use crate::spent_assertions::{Spending, SpentAssertions};
use jeton_proto::issuance::{
    AuthenticationFailure, RegisteredClient, Rule, SecretTerm, WorkloadTrust, check_status,
};
use jeton_proto::jose::assertion_key::AssertionAlgorithm;
use jeton_proto::jose::assertion_verification::{
    AssertionExpectations, AssertionKeys, AssertionRejection, UnverifiedAssertion, VerifiedAssertion,
    VerifiedBy, WorkloadExpectations, verify_own, verify_workload,
};
use jeton_proto::jose::jwk::ClientKeySet;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::client_auth::ClientAuthMethod;
use std::sync::Arc;

/// An assertion that was read, and the client that it is to authenticate.
pub(crate) struct PresentedAssertion<'a> {
    assertion: UnverifiedAssertion<'a>,
    client: Presenter,
}

enum Presenter {
    /// The client itself has made the assertion.
    Own(String),
    /// A token of another issuer is to stand for this client.
    Workload(String),
}

impl<'a> PresentedAssertion<'a> {
    /// Reads an assertion. One of another issuer says nothing of clients, so `client_id` must stand beside it.
    pub(super) fn read(
        assertion: &'a Secret<String>,
        client_id: Option<&str>,
    ) -> Result<Self, AssertionRejection> {
        let assertion = UnverifiedAssertion::parse(assertion.expose())?;
        let client = match (client_id, assertion.own_client_id()) {
            (Some(named), Some(own)) if named == own => Presenter::Own(own.to_owned()),
            (Some(named), Some(_) | None) => Presenter::Workload(named.to_owned()),
            (None, Some(own)) => Presenter::Own(own.to_owned()),
            (None, None) => return Err(AssertionRejection::NotOfClient),
        };
        Ok(Self { assertion, client })
    }

    pub(super) fn client_id(&self) -> &str {
        match &self.client {
            Presenter::Own(client_id) | Presenter::Workload(client_id) => client_id,
        }
    }
}

/// Verifies assertions, and spends those that clients have made.
#[derive(Debug)]
pub(crate) struct AssertionAuthenticator {
    prepared: PreparedClients,
    remote: RemoteKeys,
    audiences: Vec<String>,
}

impl AssertionAuthenticator {
    /// Takes assertions for any of `audiences`, opens sealed secrets with `sealer`, and has keys fetched by `remote`.
    pub(crate) fn new(audiences: Vec<String>, sealer: Arc<Sealer>, remote: RemoteKeys) -> Self {
        Self { prepared: PreparedClients::new(sealer), remote, audiences }
    }

    /// Whether the assertion is good for `client`. Spending it is the last thing done: what fails before burns nothing.
    pub(super) async fn authenticate(
        &self,
        presented: &PresentedAssertion<'_>,
        client: Option<&Arc<KnownClient>>,
        spent: &SpentAssertions,
        clock: &dyn Clock,
    ) -> Result<Authenticated, Failure> {
        let prepared = client.map(|client| self.prepared.of(client));
        match &presented.client {
            Presenter::Own(client_id) => {
                let verified = self.own(&presented.assertion, client_id, prepared.as_deref(), clock).await?;
                let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
                let (method, credential) = by(&verified, client, prepared.as_deref(), clock.now())?;
                check_status(client)?;
                spend(client_id, &verified, spent, clock.now()).await?;
                Ok(Authenticated { client: Arc::clone(client), method, credential, confirmation: None })
            }
            Presenter::Workload(_) => {
                let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
                let trust = self.workload(&presented.assertion, client, prepared.as_deref(), clock).await?;
                check_status(client)?;
                Ok(Authenticated {
                    client: Arc::clone(client),
                    method: ClientAuthMethod::PrivateKeyJwt,
                    credential: Some(trust.issuer.clone()),
                    confirmation: None,
                })
            }
        }
    }

    async fn own(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        client_id: &str,
        prepared: Option<&Prepared>,
        clock: &dyn Clock,
    ) -> Result<VerifiedAssertion, Failure> {
        let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
        let expectations = AssertionExpectations { client_id, audiences: &audiences };
        let secrets = prepared.map_or(&[][..], |prepared| &prepared.secrets);
        let verify = |public: Option<&ClientKeySet>| {
            verify_own(assertion, &expectations, &AssertionKeys { public, secrets }, clock.now())
        };
        let keys = prepared.and_then(|prepared| prepared.keys.as_ref());
        // Nobody's keys are fetched for a signature that no public key verifies.
        let keys = keys.filter(|_| assertion.algorithm() != AssertionAlgorithm::Hs256);
        self.with_keys(keys, verify).await
    }

    /// The workload identity of the client that the assertion is of.
    async fn workload<'c>(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        client: &'c RegisteredClient,
        prepared: Option<&Prepared>,
        clock: &dyn Clock,
    ) -> Result<&'c WorkloadTrust, Failure> {
        let mut failure = Failure::from(AssertionRejection::UntrustedIssuer);
        for (place, trust) in client.credentials().workloads.iter().enumerate() {
            if trust.issuer != assertion.claims().issuer() {
                continue;
            }
            let expectations = WorkloadExpectations {
                issuer: &trust.issuer,
                audience: &trust.audience,
                subject: trust.subject.as_deref(),
                claims: &trust.claims,
            };
            let verify =
                |keys: Option<&ClientKeySet>| verify_workload(assertion, &expectations, keys, clock.now());
            // What is not trusted whoever has signed it is not worth a fetch.
            let untrusted = verify(None).err().filter(|rejection| !is_for_want_of_a_key(rejection));
            let keys = prepared.and_then(|prepared| prepared.workload_keys.get(place));
            let verified = match untrusted {
                Some(rejection) => Err(rejection.into()),
                None => self.with_keys(keys, verify).await,
            };
            match verified {
                Ok(()) => return Ok(trust),
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    /// What `verify` says with the keys that there are, or with newer ones where one is missing.
    async fn with_keys<T>(
        &self,
        keys: Option<&PreparedKeys>,
        verify: impl Fn(Option<&ClientKeySet>) -> Result<T, AssertionRejection>,
    ) -> Result<T, Failure> {
        let location = match keys {
            None => return Ok(verify(None)?),
            Some(PreparedKeys::Inline(keys)) => return Ok(verify(Some(keys))?),
            Some(PreparedKeys::Remote(location)) => location,
        };
        let keys = self.remote.usable(location).await?;
        let rejection = match verify(Some(&keys)) {
            Ok(verified) => return Ok(verified),
            Err(rejection) => rejection,
        };
        if !is_for_want_of_a_key(&rejection) {
            return Err(rejection.into());
        }
        match self.remote.newer_than(location, &keys).await {
            Some(newer) => Ok(verify(Some(&newer))?),
            None => Err(rejection.into()),
        }
    }

    /// The keys of the client as far as they can be had: for certificates that are in them.
    pub(super) async fn keys_of(
        &self,
        client: &Arc<KnownClient>,
    ) -> Result<Option<Arc<ClientKeySet>>, Failure> {
        match &self.prepared.of(client).keys {
            None => Ok(None),
            Some(PreparedKeys::Inline(keys)) => Ok(Some(Arc::clone(keys))),
            Some(PreparedKeys::Remote(location)) => Ok(Some(self.remote.usable(location).await?)),
        }
    }
}

fn is_for_want_of_a_key(rejection: &AssertionRejection) -> bool {
    matches!(rejection, AssertionRejection::UnknownKey { .. })
}

/// The method, and the name of the secret where it was one.
fn by(
    verified: &VerifiedAssertion,
    client: &RegisteredClient,
    prepared: Option<&Prepared>,
    now: Timestamp,
) -> Result<(ClientAuthMethod, Option<String>), Failure> {
    let VerifiedBy::Secret(place) = verified.by else {
        return Ok((ClientAuthMethod::PrivateKeyJwt, None));
    };
    let place = prepared.and_then(|prepared| prepared.secret_places.get(place));
    let secret = place.and_then(|place| client.credentials().secrets.get(*place));
    let secret = secret.ok_or(AuthenticationFailure::WrongSecret)?;
    match secret.term(now) {
        SecretTerm::InForce => Ok((ClientAuthMethod::ClientSecretJwt, Some(secret.name.clone()))),
        SecretTerm::NotYet => Err(AuthenticationFailure::SecretNotYet.into()),
        SecretTerm::Expired => Err(AuthenticationFailure::SecretExpired.into()),
    }
}

async fn spend(
    client_id: &str,
    verified: &VerifiedAssertion,
    spent: &SpentAssertions,
    now: Timestamp,
) -> Result<(), Failure> {
    match spent.spend(client_id, verified, now).await {
        Spending::First => Ok(()),
        Spending::Again => Err(Failure::Refused {
            rule: Rule::AssertionUsed,
            detail: "the assertion was used before: each is good once".to_owned(),
        }),
        Spending::Unknown { why, retry_after } => {
            Err(Failure::Unavailable { detail: why.to_string(), retry_after })
        }
    }
}
