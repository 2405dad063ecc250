//! The settings of the commands that ask for tokens.

use super::cache::{self, CacheSettings};
use super::{Found, Layers, Name, Origin, Secrets, found, missing};
use crate::args::{ClientArgs, IdentityArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use jeton::credentials::{SecretPlace, SecretSource};
use jeton::http::{PlainHttp, TlsRoots};
use jeton::{BuildError, ClientAuthMethod, Scope, TokenKey, TokenManager, TokenManagerBuilder};
use std::sync::Arc;
use std::time::Duration;

const TOKEN_URL: Name = Name { file: "token_url", environment: "JETON_TOKEN_URL", flag: "--token-url" };
const CLIENT_ID: Name = Name { file: "client_id", environment: "JETON_CLIENT_ID", flag: "--client-id" };
const CLIENT_SECRET_FILE: Name =
    Name { file: "client_secret_file", environment: "JETON_CLIENT_SECRET_FILE", flag: "--client-secret" };
const CLIENT_SECRET: Name =
    Name { file: "client_secret", environment: "JETON_CLIENT_SECRET", flag: "--client-secret" };
/// The one variable that holds a secret itself.
pub(crate) const CLIENT_SECRET_VARIABLE: &str = CLIENT_SECRET.environment;
const AUTH_METHOD: Name =
    Name { file: "auth_method", environment: "JETON_AUTH_METHOD", flag: "--auth-method" };
const SCOPES: Name = Name { file: "scopes", environment: "JETON_SCOPES", flag: "--scope" };
const AUDIENCE: Name = Name { file: "audience", environment: "JETON_AUDIENCE", flag: "--audience" };
const RESOURCE: Name = Name { file: "resource", environment: "JETON_RESOURCE", flag: "--resource" };
const ENDPOINT_PARAMS: Name =
    Name { file: "endpoint_params", environment: "JETON_ENDPOINT_PARAMS", flag: "--endpoint-param" };
const CA_FILE: Name = Name { file: "ca_file", environment: "JETON_CA_FILE", flag: "--ca-file" };
const PLAIN_HTTP_HOSTS: Name =
    Name { file: "plain_http_hosts", environment: "JETON_PLAIN_HTTP_HOSTS", flag: "--plain-http-host" };

/// The variables of the environment that settings are read from.
pub(crate) const CLIENT_VARIABLES: [&str; 18] = [
    TOKEN_URL.environment,
    CLIENT_ID.environment,
    CLIENT_SECRET_FILE.environment,
    CLIENT_SECRET_VARIABLE,
    AUTH_METHOD.environment,
    SCOPES.environment,
    AUDIENCE.environment,
    RESOURCE.environment,
    ENDPOINT_PARAMS.environment,
    CA_FILE.environment,
    PLAIN_HTTP_HOSTS.environment,
    cache::CACHE.environment,
    cache::CACHE_DIR.environment,
    cache::CACHE_KEYS.environment,
    cache::CACHE_NAME_KEY.environment,
    cache::CACHE_USER.environment,
    cache::CACHE_PASSWORD.environment,
    cache::CACHE_CA_FILE.environment,
];

/// What is set for asking an authorization server. The secret is not read yet.
#[derive(Debug)]
pub(crate) struct ClientSettings {
    pub(crate) identity: IdentitySettings,
    pub(crate) client_secret: Found<SecretPlace>,
    auth_method: ClientAuthMethod,
    key: TokenKey,
    /// The scope asked for, which is the one granted when the server does not tell (RFC 6749 §5.1).
    pub(crate) scope: Option<Scope>,
    /// How long the whole may take.
    pub(crate) timeout: Duration,
    pub(crate) network: NetworkSettings,
    pub(crate) cache: CacheSettings,
}

/// Which client at which authorization server.
#[derive(Debug)]
pub(crate) struct IdentitySettings {
    pub(crate) token_url: Found<String>,
    pub(crate) client_id: String,
}

/// How servers are reached.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSettings {
    pub(crate) plain_http: PlainHttp,
    pub(crate) tls_roots: TlsRoots,
}

impl Layers {
    /// The settings of a command that asks for tokens.
    pub(crate) fn client(&self, args: &ClientArgs) -> Result<ClientSettings, Failure> {
        let file = &self.file.content;
        let identity = self.identity(&args.identity)?;
        let method = self.text(&AUTH_METHOD, args.auth_method.as_deref(), file.auth_method.as_ref())?;
        let scope = self.scope(args)?;
        let settings = ClientSettings {
            identity,
            client_secret: self.client_secret(args)?,
            auth_method: method.map_or(Ok(ClientAuthMethod::default()), |method| method.parse())?,
            key: self.key(args, scope.as_ref())?,
            scope,
            timeout: timeout(&args.timeout)?,
            network: self.network(&args.network)?,
            cache: self.cache(&args.cache)?,
        };
        if settings.reads_of_standard_input() > 1 {
            let message = "two secrets cannot both be read from standard input";
            return Err(Failure::new(ExitCode::Configuration, message).hint("name one of them by file:PATH"));
        }
        Ok(settings)
    }

    /// Which client is meant, at which authorization server.
    pub(crate) fn identity(&self, args: &IdentityArgs) -> Result<IdentitySettings, Failure> {
        let file = &self.file.content;
        let token_url = self.text(&TOKEN_URL, args.token_url.as_deref(), file.token_url.as_ref())?;
        let client_id = self.text(&CLIENT_ID, args.client_id.as_deref(), file.client_id.as_ref())?;
        Ok(IdentitySettings {
            token_url: token_url.ok_or_else(|| missing("the token url", &TOKEN_URL))?,
            client_id: client_id.ok_or_else(|| missing("the client id", &CLIENT_ID))?.value,
        })
    }

    /// How servers are reached.
    pub(crate) fn network(&self, args: &crate::args::NetworkArgs) -> Result<NetworkSettings, Failure> {
        let file = &self.file.content;
        let hosts = self.list(
            &PLAIN_HTTP_HOSTS,
            &args.plain_http_hosts,
            &[',', ' '],
            file.plain_http_hosts.as_ref(),
        )?;
        let hosts = hosts.map(|found| found.value).unwrap_or_default();
        let tls_roots = match self.text(&CA_FILE, args.ca_file.as_deref(), file.ca_file.as_ref())? {
            None => TlsRoots::Platform,
            Some(found) => {
                let path = found.path();
                let pem = std::fs::read(&path);
                TlsRoots::Only(
                    pem.map_err(|error| found.origin.fault(&format!("{}: {error}", path.display())))?,
                )
            }
        };
        Ok(NetworkSettings {
            plain_http: hosts.into_iter().fold(PlainHttp::to_loopback(), PlainHttp::and_to),
            tls_roots,
        })
    }

    fn client_secret(&self, args: &ClientArgs) -> Result<Found<SecretPlace>, Failure> {
        if let Some(place) = &args.client_secret {
            let origin = Origin::Flag(CLIENT_SECRET.flag);
            return Ok(found(found(place, origin.clone()).parse()?, origin));
        }
        let holds_secret = self.environment.text(CLIENT_SECRET_VARIABLE)?.is_some();
        let names_file = self.environment.text(CLIENT_SECRET_FILE.environment)?.is_some();
        if holds_secret && names_file {
            let message = "JETON_CLIENT_SECRET and JETON_CLIENT_SECRET_FILE are both set";
            return Err(Failure::new(ExitCode::Configuration, message).hint("unset one of them"));
        }
        if holds_secret {
            let place = SecretPlace::Environment(CLIENT_SECRET_VARIABLE.to_owned());
            return Ok(found(place, Origin::Environment(CLIENT_SECRET_VARIABLE)));
        }
        let content = &self.file.content;
        let place = content.client_secret.as_ref().map(|place| self.in_file(&CLIENT_SECRET, place));
        if let (Some(place), Some(_), false) = (&place, &content.client_secret_file, names_file) {
            return Err(place.origin.fault(&"client_secret_file is set too; remove one of them"));
        }
        match (self.text(&CLIENT_SECRET_FILE, None, content.client_secret_file.as_ref())?, place) {
            (Some(path), _) => Ok(found(SecretPlace::File(path.value.into()), path.origin)),
            (None, Some(place)) => Ok(found(place.value.0, place.origin)),
            (None, None) => Err(
                Failure::new(ExitCode::Configuration, "the client secret is not set").hint(
                    "give --client-secret env:NAME, file:PATH or - (standard input), set JETON_CLIENT_SECRET_FILE \
                     or JETON_CLIENT_SECRET, or write client_secret_file or client_secret in the settings file",
                ),
            ),
        }
    }

    fn scope(&self, args: &ClientArgs) -> Result<Option<Scope>, Failure> {
        let in_file = self.file.content.scopes.as_ref();
        let scopes = self.list(&SCOPES, &args.scopes, &[' '], in_file)?;
        let joined = |list: Found<Vec<String>>| found(list.value.join(" "), list.origin);
        scopes.map(|list| joined(list).parse()).transpose()
    }

    fn key(&self, args: &ClientArgs, scope: Option<&Scope>) -> Result<TokenKey, Failure> {
        let file = &self.file.content;
        let mut key = match scope {
            // A scope that was read once is read again.
            Some(scope) => TokenKey::scope(&scope.to_string())
                .map_err(|error| Failure::new(ExitCode::Configuration, error.to_string()))?,
            None => TokenKey::default_scope(),
        };
        let resources = self.list(&RESOURCE, &args.resources, &[' '], file.resource.as_ref())?;
        for resource in resources.map(|found| found.value).unwrap_or_default() {
            key = key.with_resource(resource);
        }
        if let Some(found) = self.text(&AUDIENCE, args.audience.as_deref(), file.audience.as_ref())? {
            key = key.with_audience(found.value);
        }
        for (name, value) in self.endpoint_params(args)? {
            key = key.with_parameter(name, value);
        }
        Ok(key)
    }

    fn endpoint_params(&self, args: &ClientArgs) -> Result<Vec<(String, String)>, Failure> {
        if !args.endpoint_params.is_empty() {
            let origin = Origin::Flag(ENDPOINT_PARAMS.flag);
            let pairs = args.endpoint_params.iter().map(|pair| pair.split_once('='));
            return pairs
                .map(|pair| match pair {
                    Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
                    Some(_) | None => Err(origin.fault(&"a parameter is written NAME=VALUE")),
                })
                .collect();
        }
        if let Some(text) = self.environment.text(ENDPOINT_PARAMS.environment)? {
            let pairs = url::form_urlencoded::parse(text.as_bytes());
            return Ok(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect());
        }
        let in_file = self.file.content.endpoint_params.as_ref();
        let table = in_file.map(|spanned| spanned.get_ref().clone()).unwrap_or_default();
        Ok(table.into_iter().collect())
    }
}

impl ClientSettings {
    /// The secrets of these settings.
    pub(crate) fn secrets(&self, layers: &Layers) -> Secrets {
        let places = self.secret_places();
        layers.secrets(&places).asked(&self.network, self.timeout)
    }

    fn secret_places(&self) -> Vec<&SecretPlace> {
        let mut places = self.cache.secret_places();
        places.push(&self.client_secret.value);
        places
    }

    fn reads_of_standard_input(&self) -> usize {
        self.secret_places().into_iter().filter(|place| place.reads_standard_input()).count()
    }

    /// The settings of a manager that proves itself with what `secret` holds.
    pub(crate) fn manager(&self, secret: Arc<dyn SecretSource>) -> TokenManagerBuilder {
        let IdentitySettings { token_url, client_id } = &self.identity;
        TokenManager::builder(&token_url.value, client_id)
            .client_secret_source(secret)
            .auth_method(self.auth_method)
            .plain_http(self.network.plain_http.clone())
            .tls_roots(self.network.tls_roots.clone())
            .total_timeout(self.timeout)
            .wait_timeout(self.timeout)
    }

    /// Why a manager of these settings cannot be built.
    pub(crate) fn build_failure(&self, error: &BuildError) -> Failure {
        match error {
            BuildError::TokenUrl(_) => self.identity.token_url.origin.fault(error),
            BuildError::ClientId
            | BuildError::ClientSecret
            | BuildError::TwoSecrets
            | BuildError::TwoCredentials { .. }
            | BuildError::MethodMismatch { .. }
            | BuildError::MutualTlsWithoutTls
            | BuildError::CredentialSpan { .. }
            | BuildError::NoRuntime
            | BuildError::TooManyKeys { .. }
            | BuildError::AnotherEndpoint
            | BuildError::Credential(_)
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
        self.reads_of_standard_input() > 0
    }
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let origin = Origin::Flag("--timeout");
    let Lifespan(timeout) = found(text, origin.clone()).parse()?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
    if !bounds.contains(&timeout) {
        return Err(origin.fault(&"it must be from 1ms to 1h"));
    }
    Ok(timeout)
}
