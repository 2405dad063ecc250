//! What is set for a server, and what follows from it.

use crate::audit::{AuditLimits, AuditLog};
use crate::clock::SystemClock;
use crate::declared::Unnamed;
use crate::limits::Limits;
use crate::metrics::Destination;
use crate::server_key::ServerKey;
use crate::store::PostgresSettings;
use crate::throttle::Throttling;
use crate::tls::TlsFiles;
use jeton_proto::issuance::{InvalidPolicy, IssuancePolicy, MAX_TOKEN_LIFETIME};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{
    DEFAULT_JWKS_MAX_AGE, DEFAULT_ROTATION_PERIOD, InvalidRotationPolicy, RotationPolicy,
};
use jeton_proto::time::Clock;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// The port of [`Listen::default`].
pub(crate) const DEFAULT_PORT: u16 = 8080;
const DEFAULT_OTLP_INTERVAL: Duration = Duration::from_mins(1);
const SHORTEST_OTLP_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_OTLP_INTERVAL: Duration = Duration::from_hours(1);

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On `127.0.0.1` and, where the machine has it, on `[::1]`: `localhost` may mean either. Port 0 takes a free one.
    Localhost {
        /// The TCP port.
        port: u16,
    },
    /// On these addresses and no others. Port 0 takes a free one.
    Addresses(Vec<SocketAddr>),
}

impl Default for Listen {
    fn default() -> Self {
        Self::Localhost { port: DEFAULT_PORT }
    }
}

/// What the `aud` of a client's own assertions may be (RFC 7523 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer identifier alone, as draft-ietf-oauth-rfc7523bis wants it: another server that a client was led to believe
    /// in cannot make it sign anything that is good here.
    #[default]
    Issuer,
    /// The issuer identifier or the URL of the token endpoint, or both in a list: for clients made before 2025 that can do
    /// no other.
    IssuerOrTokenEndpoint,
}

/// Where clients, keys and revocations are kept.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// In a file in the data directory, for one instance.
    #[default]
    Embedded,
    /// In a `PostgreSQL` database, for several instances of one issuer. They need the same [`Config::key`].
    Postgres(PostgresSettings),
}

/// What is set for a server.
#[derive(Clone)]
pub struct Config {
    /// Where it listens. Default: `localhost`, port 8080.
    pub listen: Listen,
    /// The issuer identifier (RFC 8414 §2), by which clients and APIs know the server: an https URL without query
    /// and fragment, written exactly as it is to stand in tokens. `http` is for loopback and for networks that are
    /// trusted whole. Never taken from a request.
    ///
    /// `None`: `http://localhost:PORT` when listening on [`Listen::Localhost`], the address when it is a loopback
    /// address, and otherwise an error.
    pub issuer: Option<String>,
    /// TLS at the listener; the issuer is `https` then. `None`: plain http, for loopback and behind a proxy that has TLS.
    pub tls: Option<TlsFiles>,
    /// The directory of the registry and the keys.
    pub data_dir: PathBuf,
    /// Where clients, keys and revocations are kept. Default: in the data directory.
    pub storage: Storage,
    /// The key under which client secrets are hashed and private keys sealed. `None`: the one in the data directory, which is made
    /// where it is missing; several instances need one that is given to all of them.
    pub key: Option<ServerKey>,
    /// The `aud` of tokens for clients that have no audiences of their own (RFC 9068 §3). `None`: the issuer, which
    /// stands for "the APIs of this issuer".
    pub default_audience: Option<String>,
    /// What tokens are signed with: at least one, each once. The first is for clients that have not chosen. Default: ES256.
    pub signing_algorithms: Vec<Algorithm>,
    /// For how long a key signs before the next one does. Default: 90 days; for the bounds see [`RotationPolicy::new`].
    pub key_rotation_period: Duration,
    /// For how long verifiers may keep the public keys: 1 s to 24 h in whole seconds, default 5 minutes. A new key is published for
    /// more than twice that before it signs.
    pub jwks_max_age: Duration,
    /// No token lives longer than this, whatever is set for its client: 1 s to 30 days, which is the default.
    pub longest_token_lifetime: Duration,
    /// A directory of files with clients (see [`DeclaredClients`](crate::DeclaredClients)), which are applied at the start and
    /// whenever the files change. Files with a fault leave the clients as they are.
    pub clients_dir: Option<PathBuf>,
    /// What becomes of clients that these files named and name no more. Default: they stay.
    pub unnamed_clients: Unnamed,
    /// What the `aud` of a client's own assertions may be. Default: the issuer alone.
    pub assertion_audience: AssertionAudience,
    /// PEM certificates of the authorities that are trusted when keys of clients and platforms are fetched, and no others.
    /// `None`: those of the machine.
    pub key_authorities: Option<Vec<u8>>,
    /// Bounds on connections, requests and waits.
    pub limits: Limits,
    /// Limits on what callers ask of the token endpoint.
    pub throttling: Throttling,
    /// Where every token request and every administrative act is told. Default: `audit.jsonl` in the data directory.
    pub audit_log: AuditLog,
    /// Bounds of that log.
    pub audit_limits: AuditLimits,
    /// Where the metrics are had, at `/metrics`, over plain http. `None`: nowhere, which is the default.
    pub metrics_listen: Option<Listen>,
    /// The base URL of the collector to which the metrics are sent by OTLP over HTTP, such as `http://127.0.0.1:4318`: `https`, or `http`
    /// at loopback addresses alone. `None`: nowhere, which is the default.
    pub otlp_endpoint: Option<String>,
    /// How often they are sent: 1 s to 1 h, default 60 s.
    pub otlp_interval: Duration,
    /// Where the administrative API is had: over TLS where the server has a certificate, else over plain http at loopback addresses
    /// alone. `None`: nowhere, which is the default.
    pub admin_listen: Option<Listen>,
    /// The clock. Default: the one of the machine.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// The defaults, with this data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: Listen::default(),
            issuer: None,
            tls: None,
            data_dir: data_dir.into(),
            storage: Storage::default(),
            key: None,
            default_audience: None,
            signing_algorithms: vec![Algorithm::Es256],
            key_rotation_period: DEFAULT_ROTATION_PERIOD,
            jwks_max_age: DEFAULT_JWKS_MAX_AGE,
            longest_token_lifetime: MAX_TOKEN_LIFETIME,
            clients_dir: None,
            unnamed_clients: Unnamed::Kept,
            assertion_audience: AssertionAudience::default(),
            key_authorities: None,
            limits: Limits::default(),
            throttling: Throttling::default(),
            audit_log: AuditLog::default(),
            audit_limits: AuditLimits::default(),
            metrics_listen: None,
            otlp_endpoint: None,
            otlp_interval: DEFAULT_OTLP_INTERVAL,
            admin_listen: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// What can be checked before anything is opened.
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        if !self.limits.are_sound() {
            return Err(InvalidConfig::Limits);
        }
        self.default_algorithm()?;
        self.rotation()?;
        self.exporting()?;
        if let Some(Listen::Addresses(addresses)) = &self.admin_listen {
            if addresses.is_empty() {
                return Err(InvalidConfig::NoAddress);
            }
            if self.tls.is_none() && !addresses.iter().all(|address| address.ip().is_loopback()) {
                return Err(InvalidConfig::AdminNotLoopback);
            }
        }
        match (&self.issuer, &self.listen) {
            (_, Listen::Addresses(addresses)) if addresses.is_empty() => Err(InvalidConfig::NoAddress),
            (Some(issuer), _) if self.tls.is_some() && !issuer.starts_with("https://") => {
                Err(InvalidConfig::IssuerNotHttps)
            }
            (Some(issuer), _) => check_issuer(issuer),
            (None, Listen::Addresses(addresses))
                if !addresses.iter().all(|address| address.ip().is_loopback()) =>
            {
                Err(InvalidConfig::IssuerMissing)
            }
            (None, Listen::Localhost { .. } | Listen::Addresses(_)) => Ok(()),
        }
    }

    /// The issuer of a server that listens on `bound`.
    pub(crate) fn issuer_for(&self, bound: &[SocketAddr]) -> Result<String, InvalidConfig> {
        let first = bound.first().ok_or(InvalidConfig::NoAddress)?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(match (&self.issuer, &self.listen) {
            (Some(issuer), Listen::Localhost { .. } | Listen::Addresses(_)) => issuer.clone(),
            (None, Listen::Localhost { .. }) => format!("{scheme}://localhost:{}", first.port()),
            (None, Listen::Addresses(_)) => format!("{scheme}://{first}"),
        })
    }

    /// What the `aud` of assertions may be at the issuer `issuer`.
    pub(crate) fn assertion_audiences(&self, issuer: &str) -> Vec<String> {
        match self.assertion_audience {
            AssertionAudience::Issuer => vec![issuer.to_owned()],
            AssertionAudience::IssuerOrTokenEndpoint => vec![issuer.to_owned(), token_endpoint(issuer)],
        }
    }

    /// What signs for clients that have not chosen.
    pub(crate) fn default_algorithm(&self) -> Result<Algorithm, InvalidConfig> {
        let once = |algorithm: &Algorithm| {
            self.signing_algorithms.iter().filter(|other| *other == algorithm).count() == 1
        };
        match self.signing_algorithms.first() {
            Some(first) if self.signing_algorithms.iter().all(once) => Ok(*first),
            Some(_) | None => Err(InvalidConfig::SigningAlgorithms),
        }
    }

    /// How the keys are rotated.
    pub(crate) fn rotation(&self) -> Result<RotationPolicy, InvalidConfig> {
        Ok(RotationPolicy::new(self.key_rotation_period, self.jwks_max_age, self.longest_token_lifetime)?)
    }

    /// Where the metrics are sent.
    pub(crate) fn exporting(&self) -> Result<Option<Destination>, InvalidConfig> {
        if !(SHORTEST_OTLP_INTERVAL..=LONGEST_OTLP_INTERVAL).contains(&self.otlp_interval) {
            return Err(InvalidConfig::OtlpInterval);
        }
        let destination = |base: &String| Destination::new(base, self.otlp_interval);
        let to = self.otlp_endpoint.as_ref();
        to.map(|base| destination(base).ok_or(InvalidConfig::OtlpEndpoint)).transpose()
    }

    /// The policy of the issuer `issuer`.
    pub(crate) fn policy(&self, issuer: &str) -> Result<IssuancePolicy, InvalidConfig> {
        let default_audience = self.default_audience.as_deref().unwrap_or(issuer).to_owned();
        Ok(IssuancePolicy::new(default_audience, self.longest_token_lifetime)?)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("issuer", &self.issuer)
            .field("tls", &self.tls)
            .field("data_dir", &self.data_dir)
            .field("storage", &self.storage)
            .field("key", &self.key)
            .field("default_audience", &self.default_audience)
            .field("signing_algorithms", &self.signing_algorithms)
            .field("key_rotation_period", &self.key_rotation_period)
            .field("jwks_max_age", &self.jwks_max_age)
            .field("longest_token_lifetime", &self.longest_token_lifetime)
            .field("clients_dir", &self.clients_dir)
            .field("unnamed_clients", &self.unnamed_clients)
            .field("assertion_audience", &self.assertion_audience)
            .field("limits", &self.limits)
            .field("throttling", &self.throttling)
            .field("audit_log", &self.audit_log)
            .field("audit_limits", &self.audit_limits)
            .field("metrics_listen", &self.metrics_listen)
            .field("otlp_interval", &self.otlp_interval)
            .field("admin_listen", &self.admin_listen)
            .finish_non_exhaustive()
    }
}

/// The URL of the token endpoint of an issuer, as its metadata has it.
pub(crate) fn token_endpoint(issuer: &str) -> String {
    format!("{}/oauth/token", issuer.trim_end_matches('/'))
}

/// Why settings make no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// The issuer is no URL that can be one.
    #[error(
        "the issuer must be an http or https url without user, query and fragment, such as https://id.example.com"
    )]
    Issuer,
    /// The issuer cannot be told from the addresses.
    #[error(
        "the issuer must be set when listening on an address that is not loopback: it is the url by which clients \
         reach this server, such as https://id.example.com"
    )]
    IssuerMissing,
    /// There is TLS, and the issuer says that there is none.
    #[error("the server has a certificate, so the issuer must begin with https://")]
    IssuerNotHttps,
    /// The administrative API would be open to the network in the clear.
    #[error(
        "without a certificate the administrative api listens on loopback addresses alone, such as 127.0.0.1:8081, since its tokens and \
         secrets would go over plain http; give the server a certificate, or let others reach it through a proxy that has one"
    )]
    AdminNotLoopback,
    /// The metrics cannot be sent to that URL.
    #[error(
        "the otlp endpoint must be an https url without user, query and fragment, such as https://otel.example.com, or an http url of a \
         loopback address, such as http://127.0.0.1:4318; /v1/metrics is added to it"
    )]
    OtlpEndpoint,
    /// The metrics cannot be sent that often, or that seldom.
    #[error("the otlp interval must be from 1s to 1h")]
    OtlpInterval,
    /// There is nothing to listen on.
    #[error("there is no address to listen on")]
    NoAddress,
    /// The default audience or the bound on lifetimes is wrong.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The keys cannot be rotated like that.
    #[error(transparent)]
    Rotation(#[from] InvalidRotationPolicy),
    /// There is no algorithm to sign with, or one twice.
    #[error("the signing algorithms are one or more of ES256, EdDSA and RS256, each once")]
    SigningAlgorithms,
    /// A limit is zero or too large.
    #[error("a limit is zero or too large; see the bounds of each limit")]
    Limits,
}

/// The directory for the data of this user: `$XDG_DATA_HOME/jeton`, or `~/.local/share/jeton`.
///
/// # Errors
/// When neither `XDG_DATA_HOME` nor `HOME` is set to an absolute path.
pub fn default_data_dir() -> Result<PathBuf, NoDataDir> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    data_dir_of(absolute("XDG_DATA_HOME"), absolute("HOME"))
}

fn data_dir_of(data_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, NoDataDir> {
    let data_home = data_home.or_else(|| home.map(|home| home.join(".local/share")));
    data_home.map(|dir| dir.join("jeton")).ok_or(NoDataDir)
}

/// There is no place for the data of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither XDG_DATA_HOME nor HOME is an absolute path; set one of them or name a data directory")]
pub struct NoDataDir;

fn check_issuer(issuer: &str) -> Result<(), InvalidConfig> {
    let url = Url::parse(issuer).map_err(|_| InvalidConfig::Issuer)?;
    let named = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    // The parser mends what it can (spaces, a lost slash, capitals); tokens carry the text, so it must need no mending.
    let exact = url.as_str() == issuer || url.as_str() == format!("{issuer}/");
    if !(named && plain && bare && exact) {
        return Err(InvalidConfig::Issuer);
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        tracing::warn!(issuer, "the issuer is plain http: secrets and tokens can be read on the way");
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(issuer: Option<&str>, listen: Listen) -> Config {
        Config { issuer: issuer.map(str::to_owned), listen, ..Config::new("/nowhere") }
    }

    fn addresses(text: &[&str]) -> Listen {
        Listen::Addresses(text.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn t42_an_issuer_is_written_as_it_stands_in_tokens() {
        let check = |issuer| config(Some(issuer), Listen::default()).check();
        for good in [
            "http://localhost:8080",
            "https://id.example.com",
            "https://id.example.com/tenant",
            "http://[::1]:1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "localhost:8080",
            "ftp://id.example.com",
            "https://",
            "https://id.example.com?x=1",
            "https://id.example.com#x",
            "https://user@id.example.com",
            "https://:p@id.example.com",
            "HTTPS://id.example.com",
            "https://ID.example.com",
            " https://id.example.com",
            "https:id.example.com",
            "https://id.example.com/a/../b",
            "https://id.example.com:443",
        ] {
            assert_eq!(check(bad), Err(InvalidConfig::Issuer), "{bad}");
        }
    }

    #[test]
    fn the_issuer_follows_from_loopback_addresses_alone() {
        let bound = |text: &str| vec![text.parse().unwrap()];
        let local = config(None, Listen::Localhost { port: 0 });
        assert_eq!(local.check(), Ok(()));
        assert_eq!(local.issuer_for(&bound("127.0.0.1:4000")).unwrap(), "http://localhost:4000");
        let v6 = config(None, addresses(&["[::1]:0"]));
        assert_eq!(v6.check(), Ok(()));
        assert_eq!(v6.issuer_for(&bound("[::1]:4000")).unwrap(), "http://[::1]:4000");
        for listen in [&["0.0.0.0:80"][..], &["127.0.0.1:80", "192.0.2.1:80"]] {
            assert_eq!(config(None, addresses(listen)).check(), Err(InvalidConfig::IssuerMissing));
        }
        let named = config(Some("https://id.example.com"), addresses(&["0.0.0.0:80"]));
        assert_eq!(named.check(), Ok(()));
        assert_eq!(named.issuer_for(&bound("0.0.0.0:80")).unwrap(), "https://id.example.com");
        assert_eq!(config(None, Listen::Addresses(Vec::new())).check(), Err(InvalidConfig::NoAddress));
    }

    #[test]
    fn metrics_are_sent_in_the_clear_to_loopback_alone() {
        let check = |endpoint: &str, interval| {
            let to = Some(endpoint.to_owned());
            Config { otlp_endpoint: to, otlp_interval: interval, ..Config::new("/nowhere") }.check()
        };
        let second = Duration::from_secs(1);
        for good in [
            "http://127.0.0.1:4318",
            "http://[::1]:4318/",
            "http://localhost:1",
            "https://otel.example.com/a",
        ] {
            assert_eq!(check(good, second), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:4318",
            "http://otel.example.com",
            "http://192.0.2.1:4318",
            "http://localhost.example.com",
            "https://user:password@otel.example.com",
            "https://otel.example.com?key=1",
            "https://otel.example.com#x",
            "unix:/run/otel",
        ] {
            assert_eq!(check(bad, second), Err(InvalidConfig::OtlpEndpoint), "{bad}");
        }
        for interval in [Duration::ZERO, second / 2, Duration::from_secs(3601)] {
            assert_eq!(check("http://127.0.0.1:4318", interval), Err(InvalidConfig::OtlpInterval));
        }
    }

    #[test]
    fn the_data_directory_follows_xdg() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(data_dir_of(path("/data"), path("/home/u")).unwrap(), PathBuf::from("/data/jeton"));
        assert_eq!(data_dir_of(None, path("/home/u")).unwrap(), PathBuf::from("/home/u/.local/share/jeton"));
        assert_eq!(data_dir_of(None, None), Err(NoDataDir));
    }

    #[test]
    fn limits_out_of_bounds_are_refused() {
        let good = Limits::default();
        for limits in [
            Limits { max_connections: 0, ..good },
            Limits { max_connections: usize::MAX, ..good },
            Limits { max_body_bytes: 0, ..good },
            Limits { max_body_bytes: 65_537, ..good },
            Limits { body_timeout: Duration::ZERO, ..good },
            Limits { idle_timeout: Duration::ZERO, ..good },
        ] {
            assert_eq!(
                Config { limits, ..Config::new("/nowhere") }.check(),
                Err(InvalidConfig::Limits),
                "{limits:?}"
            );
        }
    }
}
