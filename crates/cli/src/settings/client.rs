//! The settings of the commands that ask for tokens.

mod credential;
mod identity;
mod material;
mod network;
mod request;

pub(crate) use credential::Proof;
pub(crate) use identity::ServerSettings;
pub(crate) use material::Material;
pub(crate) use network::NetworkSettings;

use self::credential::CredentialSettings;
use self::identity::IdentitySettings;
use super::cache::CacheSettings;
use super::faults::Faults;
use super::profile::ClientLayers;
use super::{Found, Layers, Origin, Secrets, found};
use crate::args::ClientArgs;
use crate::discovery::Server;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use jeton::credentials::SecretPlace;
use jeton::{BuildError, Scope, TokenKey, TokenManager, TokenManagerBuilder};
use std::time::Duration;

/// What is set for asking an authorization server. The secret is not read yet.
#[derive(Debug)]
pub(crate) struct ClientSettings {
    pub(crate) identity: IdentitySettings,
    pub(crate) credential: CredentialSettings,
    key: TokenKey,
    /// The scope asked for, which is the one granted when the server does not tell (RFC 6749 §5.1).
    pub(crate) scope: Option<Scope>,
    /// How long the whole may take.
    pub(crate) timeout: Duration,
    pub(crate) network: NetworkSettings,
    pub(crate) cache: CacheSettings,
}

impl Layers {
    /// The settings of a command that asks for tokens.
    pub(crate) fn client(&self, args: &ClientArgs) -> Result<ClientSettings, Failure> {
        self.chosen(&args.identity)?.client(args).map_err(Faults::first)
    }
}

impl ClientLayers<'_> {
    /// The settings of a client, or all that is wrong with them.
    pub(crate) fn client(&self, args: &ClientArgs) -> Result<ClientSettings, Faults> {
        let mut faults = Faults::default();
        let identity = faults.keep_all(self.identity(&args.identity));
        let credential = faults.keep_all(self.credential(&args.credential));
        let scope = faults.keep(self.scope(args));
        let key = faults.keep(self.key(args, scope.as_ref().and_then(Option::as_ref)));
        let timeout = faults.keep(timeout(&args.timeout));
        let network = faults.keep(self.network(&args.network));
        let cache = faults.keep(self.cache(&args.cache));
        if let (Some(credential), Some(cache)) = (&credential, &cache) {
            let places = credential.secret_places().into_iter().chain(cache.secret_places());
            if places.filter(|place| place.reads_standard_input()).count() > 1 {
                let message = "two secrets cannot both be read from standard input";
                faults.add(
                    Failure::new(ExitCode::Configuration, message).hint("name one of them by file:PATH"),
                );
            }
        }
        match (identity, credential, key, scope, timeout, network, cache) {
            (
                Some(identity),
                Some(credential),
                Some(key),
                Some(scope),
                Some(timeout),
                Some(network),
                Some(cache),
            ) if faults.is_empty() => {
                Ok(ClientSettings { identity, credential, key, scope, timeout, network, cache })
            }
            _ => Err(faults),
        }
    }
}

impl ClientSettings {
    /// The secrets of these settings.
    pub(crate) fn secrets(&self, layers: &Layers) -> Secrets {
        layers.secrets(&self.secret_places()).asked(&self.network, self.timeout)
    }

    fn secret_places(&self) -> Vec<&SecretPlace> {
        let mut places = self.cache.secret_places();
        places.extend(self.credential.secret_places());
        places
    }

    /// The settings of a manager that asks `server`, and proves itself with `proof`.
    pub(crate) fn manager(&self, server: &Server, proof: Proof) -> TokenManagerBuilder {
        let mut builder = TokenManager::builder(&server.token_url, &self.identity.client_id)
            .plain_http(self.network.plain_http.clone())
            .tls_roots(self.network.tls_roots.clone())
            .total_timeout(self.timeout)
            .wait_timeout(self.timeout);
        if let Some(issuer) = &server.issuer {
            builder = builder.issuer(issuer);
        }
        if let Some(metadata) = &server.metadata {
            builder = builder.metadata(metadata.clone());
        }
        self.credential.put_on(builder, proof)
    }

    /// Why a manager of these settings cannot be built.
    pub(crate) fn build_failure(&self, error: &BuildError) -> Failure {
        let span = |found: &Option<Found<Duration>>| match found {
            Some(found) => found.origin.fault(error),
            None => Failure::from(error),
        };
        match error {
            BuildError::TokenUrl(_) | BuildError::MutualTlsWithoutTls => {
                self.identity.server.origin().fault(error)
            }
            BuildError::Credential(_) => self.credential.material.place().origin.fault(error),
            BuildError::CredentialSpan { name: "credential_period", .. } => span(&self.credential.period),
            BuildError::CredentialSpan { .. } => span(&self.credential.rotation_due_after),
            BuildError::ClientId
            | BuildError::ClientSecret
            | BuildError::TwoSecrets
            | BuildError::TwoCredentials { .. }
            | BuildError::MethodMismatch { .. }
            | BuildError::NoRuntime
            | BuildError::TooManyKeys { .. }
            | BuildError::AnotherEndpoint
            | BuildError::Timeout { .. }
            | BuildError::Lease
            | BuildError::Tls(_) => Failure::from(error),
        }
    }

    /// What the token is asked for.
    pub(crate) fn key(&self) -> &TokenKey {
        &self.key
    }

    /// Whether a secret is read from standard input, which then holds nothing else.
    pub(crate) fn takes_standard_input(&self) -> bool {
        self.secret_places().into_iter().any(SecretPlace::reads_standard_input)
    }
}

/// The value of the flag `--timeout`.
pub(crate) fn timeout(text: &str) -> Result<Duration, Failure> {
    let origin = Origin::Flag("--timeout");
    let Lifespan(timeout) = found(text, origin.clone()).parse()?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
    if !bounds.contains(&timeout) {
        return Err(origin.fault(&"it must be from 1ms to 1h"));
    }
    Ok(timeout)
}
