//! Which endpoint is asked, and what the server says of itself: found by its issuer (RFC 8414) and kept, so that neither its answers nor
//! its outages are waited for twice.

mod kept;

use crate::cache::Renewal;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::output::{self, harmless};
use crate::settings::{CacheSettings, Kept, Material, NetworkSettings, ServerSettings};
use jeton::discovery::{AuthorizationServerMetadata, Discovery, DiscoveryError};
use jeton::http::{EndpointUrl, ExchangeError};
use jeton::{ClientAuthMethod, Clock as _, SystemClock, Timestamp};
use kept::{KeptMetadata, Record};
use std::path::Path;
use std::time::Duration;

/// For so long what the server said holds without asking.
const FRESH_FOR: Duration = Duration::from_hours(24);
/// For so long it holds while the server says nothing.
const USABLE_FOR: Duration = Duration::from_hours(30 * 24);
/// A server that said nothing is left alone for so long, where there is something to go on with.
const LEFT_ALONE_FOR: Duration = Duration::from_mins(1);
/// The longest time for its answer.
const WITHIN: Duration = Duration::from_secs(10);
/// The same, where there is something to go on with.
const WITHIN_WITH_OLDER: Duration = Duration::from_secs(3);

/// A server as a manager needs it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) token_url: String,
    pub(crate) issuer: Option<String>,
    pub(crate) metadata: Option<AuthorizationServerMetadata>,
}

/// How servers are found.
pub(crate) struct Finder<'a> {
    network: &'a NetworkSettings,
    /// Where what they say is kept.
    dir: Option<&'a Path>,
    within: Duration,
}

impl Server {
    /// The endpoint for who proves itself by `material`.
    pub(crate) fn endpoint_for(&self, material: &Material) -> &str {
        match (&self.metadata, material) {
            (Some(metadata), Material::Certificate { .. }) => {
                metadata.token_endpoint_for(ClientAuthMethod::TlsClientAuth)
            }
            (
                _,
                Material::Secret { .. }
                | Material::PrivateKey(_)
                | Material::Assertion(_)
                | Material::Certificate { .. },
            ) => &self.token_url,
        }
    }

    /// All of its token endpoints.
    pub(crate) fn endpoints(&self) -> Vec<&str> {
        let metadata = self.metadata.as_ref();
        let alias = metadata.map(|metadata| metadata.token_endpoint_for(ClientAuthMethod::TlsClientAuth));
        [self.token_url.as_str()].into_iter().chain(alias).collect()
    }

    fn told(metadata: AuthorizationServerMetadata) -> Self {
        let token_url = metadata.token_endpoint.clone();
        Self { token_url, issuer: Some(metadata.issuer.clone()), metadata: Some(metadata) }
    }

    /// What is set of it. A server of which the issuer alone is set is named by that: no request may be sent there.
    pub(crate) fn as_set(settings: &ServerSettings) -> Self {
        let (token_url, issuer) = (settings.url().to_owned(), settings.issuer().map(str::to_owned));
        Self { token_url, issuer, metadata: None }
    }
}

impl<'a> Finder<'a> {
    /// Servers over this network. An answer is waited for as long as `within` at most, and kept nowhere.
    pub(crate) fn new(network: &'a NetworkSettings, within: Duration) -> Self {
        Self { network, dir: None, within }
    }

    /// What servers say is kept where the cache is, if there is one.
    pub(crate) fn keeping_with(self, cache: &'a CacheSettings) -> Self {
        match cache.kept {
            Kept::InFiles | Kept::InRedis(_) => self.keeping_in(cache.place.dir.as_deref()),
            Kept::Nowhere => self,
        }
    }

    /// What servers say is kept in this directory.
    pub(crate) fn keeping_in(self, dir: Option<&'a Path>) -> Self {
        Self { dir, ..self }
    }

    /// The server, if it can be known without asking it.
    pub(crate) fn known(&self, settings: &ServerSettings) -> Option<Server> {
        let ServerSettings::Issuer(issuer) = settings else { return Some(Server::as_set(settings)) };
        // To look makes no directory.
        let record = self.dir.filter(|dir| dir.exists()).and_then(|_| self.kept(&issuer.value))?.read()?;
        self.may_be_used(&record, SystemClock.now()).then(|| Server::told(record.metadata))
    }

    /// The server. Its issuer is asked where nothing recent is kept, or if that is not to do.
    pub(crate) async fn find(&self, settings: &ServerSettings, renewal: Renewal) -> Result<Server, Failure> {
        let ServerSettings::Issuer(issuer) = settings else { return Ok(Server::as_set(settings)) };
        let kept = self.kept(&issuer.value);
        let now = SystemClock.now();
        let record = kept.as_ref().and_then(KeptMetadata::read);
        let record = record.filter(|record| self.may_be_used(record, now));
        if let (Some(record), Renewal::WhenNeeded) = (&record, renewal) {
            if is_within(record.fetched_at, FRESH_FOR, now) {
                return Ok(Server::told(record.metadata.clone()));
            }
            if is_within(record.asked_at, LEFT_ALONE_FOR, now) {
                warn(&issuer.value, "it did not answer a moment ago", record, now);
                return Ok(Server::told(record.metadata.clone()));
            }
        }
        let within = if record.is_some() { WITHIN_WITH_OLDER } else { WITHIN };
        let answer = Discovery::of(&issuer.value)
            .plain_http(self.network.plain_http.clone())
            .tls_roots(self.network.tls_roots.clone())
            .timeout(within.min(self.within))
            .fetch()
            .await;
        let (record, server) = match (answer, record) {
            (Ok(metadata), _) => (
                Record { fetched_at: now, asked_at: now, metadata: metadata.clone() },
                Server::told(metadata),
            ),
            (Err(error), Some(older)) if says_nothing(&error) => {
                warn(&issuer.value, &error.to_string(), &older, now);
                let server = Server::told(older.metadata.clone());
                (Record { asked_at: now, ..older }, server)
            }
            (Err(error), _) => return Err(failure(&error, settings)),
        };
        if let Some(kept) = kept {
            kept.write(&record);
        }
        Ok(server)
    }

    fn kept(&self, issuer: &str) -> Option<KeptMetadata> {
        KeptMetadata::of(self.dir?, issuer, &self.network.tls_roots)
    }

    /// Whether it is not too old, and names an endpoint that a secret may be sent to: that is not a matter of the file.
    fn may_be_used(&self, record: &Record, now: Timestamp) -> bool {
        is_within(record.fetched_at, USABLE_FOR, now)
            && EndpointUrl::parse(&record.metadata.token_endpoint, &self.network.plain_http).is_ok()
    }
}

/// Whether `now` is less than `span` after `at`. What is to come is of a clock that was wrong.
fn is_within(at: Timestamp, span: Duration, now: Timestamp) -> bool {
    at <= now && now.saturating_since(at) < span
}

/// Whether the issuer did not answer, or something else in its place. What it says and may not say is believed to be its own word.
fn says_nothing(error: &DiscoveryError) -> bool {
    use jeton_proto::wire::metadata::InvalidMetadata;
    match error {
        DiscoveryError::Exchange { .. } | DiscoveryError::Status { .. } => true,
        DiscoveryError::Metadata { fault, .. } => *fault != InvalidMetadata::Issuer,
        DiscoveryError::Issuer
        | DiscoveryError::Url(_)
        | DiscoveryError::TokenEndpoint(_)
        | DiscoveryError::Tls(_) => false,
    }
}

fn warn(issuer: &str, why: &str, record: &Record, now: Timestamp) {
    let age = Lifespan(now.saturating_since(record.fetched_at));
    let (issuer, why) = (harmless(issuer), harmless(why));
    output::note(&format!("warning: what {issuer} said of itself {age} ago is used: {why}"));
}

fn failure(error: &DiscoveryError, settings: &ServerSettings) -> Failure {
    let code = match error {
        DiscoveryError::Exchange { fault, .. } => match fault {
            ExchangeError::Connect(_) | ExchangeError::Interrupted(_) | ExchangeError::TimedOut => {
                ExitCode::ServerUnreachable
            }
            ExchangeError::BodyTooLarge { .. } | ExchangeError::Request(_) => ExitCode::Other,
        },
        DiscoveryError::Status { status: 429 | 500.., .. } => ExitCode::ServerUnreachable,
        DiscoveryError::Status { .. } | DiscoveryError::Metadata { .. } => ExitCode::Configuration,
        DiscoveryError::Issuer
        | DiscoveryError::Url(_)
        | DiscoveryError::TokenEndpoint(_)
        | DiscoveryError::Tls(_) => return settings.origin().fault(error),
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        DiscoveryError::Exchange { .. } => failure.hint(
            "check the issuer and that the server runs; its certificate authority can be given by --ca-file",
        ),
        DiscoveryError::Metadata { .. } => {
            failure.hint("write the issuer as the server does in its metadata, or set the token url")
        }
        DiscoveryError::Status { .. }
        | DiscoveryError::Issuer
        | DiscoveryError::Url(_)
        | DiscoveryError::TokenEndpoint(_)
        | DiscoveryError::Tls(_) => failure,
    }
}
