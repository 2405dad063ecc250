//! What is set for a connection to `PostgreSQL`, and what follows from it.

use jeton_proto::secret::Secret;
use jeton_proto::wire::error_response::printable;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use url::form_urlencoded;

/// The longest that the TCP connection to one host takes, where the URL does not say.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After how long a silent connection is looked at, how often then, and how many looks without an answer end it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 2;
/// How long bytes may be on their way without an answer.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// What is given on to the library as it stands.
const PASSED_ON: [&str; 5] = ["host", "port", "application_name", "connect_timeout", "target_session_attrs"];

/// Where the database is that several instances share, and how to get in.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full`, as libpq has it, with several hosts divided by commas. Never a
    /// password.
    ///
    /// `sslmode` is `verify-full`, or `disable` for a host that is this machine (`localhost`, a loopback address, the directory of a
    /// Unix socket as in `?host=/run/postgresql`), where that is the default. `sslrootcert` is a file of PEM certificates: the authorities
    /// that are trusted in place of the platform's. Taken besides: `application_name`, `connect_timeout` (seconds, for each
    /// host) and `target_session_attrs`.
    pub url: String,
    /// The password; `None` where the database asks for none.
    pub password: Option<Arc<dyn DatabasePassword>>,
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password in it all the same, until it was checked.
        let place = self.check().map_or_else(|_| "…".to_owned(), |target| target.place);
        f.debug_struct("PostgresSettings").field("place", &place).finish_non_exhaustive()
    }
}

/// Where the password of the database comes from.
///
/// It is read for every new connection, so that a password that was changed is used from then on. A read has 5 seconds with all else
/// that a connection needs.
pub trait DatabasePassword: Send + Sync + 'static {
    /// Reads it. The error is told to people, so nothing secret is in it.
    fn read(&self) -> PasswordFuture<'_>;
}

/// The password to come, or why there is none.
pub type PasswordFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Secret<String>, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// A password that stays as it is.
impl DatabasePassword for Secret<String> {
    fn read(&self) -> PasswordFuture<'_> {
        let password = self.clone();
        Box::pin(std::future::ready(Ok(password)))
    }
}

/// Why a URL leads to no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabase {
    /// It is no URL of `PostgreSQL`.
    #[error("the database must be a url such as postgresql://USER@HOST/DATABASE?sslmode=verify-full")]
    Url,
    /// There is a password in it.
    #[error(
        "the url of the database must have no password in it, where logs and process lists show it; name the place of the password \
         by server.database_password instead"
    )]
    Password,
    /// A parameter is not taken.
    #[error(
        "the url of the database has a parameter that is not taken; there are sslmode, sslrootcert, host, port, application_name, \
         connect_timeout and target_session_attrs"
    )]
    Parameter,
    /// `sslmode` is none that keeps what it promises.
    #[error(
        "sslmode must be verify-full, which is the default, or disable for a database on this machine; the others do not tell the \
         database from somebody in between"
    )]
    SslMode,
    /// Without TLS to another machine.
    #[error(
        "sslmode=disable is for a database on this machine; use sslmode=verify-full, with sslrootcert=FILE for an authority of your own"
    )]
    PlainToAnotherMachine,
}

/// A URL that was looked at.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) transport: Transport,
    /// For messages.
    pub(super) place: String,
}

/// How bytes get to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// In the clear, on this machine.
    Plain,
    /// Over TLS, with the certificate and its name verified.
    Tls {
        /// The file of the authorities; `None`: those of the platform.
        authorities: Option<PathBuf>,
    },
}

impl PostgresSettings {
    /// The settings without a password.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), password: None }
    }

    /// Where that is, for people: the database and its hosts.
    ///
    /// # Errors
    /// When the URL leads nowhere, or has a password in it.
    pub fn place(&self) -> Result<String, InvalidDatabase> {
        self.check().map(|target| target.place)
    }

    /// What the URL says.
    pub(super) fn check(&self) -> Result<Target, InvalidDatabase> {
        let parts = Parts::of(&self.url)?;
        // The library's own message may have a part of the password in it.
        let mut config: Config = parts.rest.parse().map_err(|_| InvalidDatabase::Url)?;
        if config.get_password().is_some() {
            return Err(InvalidDatabase::Password);
        }
        if config.get_hosts().is_empty() {
            return Err(InvalidDatabase::Url);
        }
        let is_here = config.get_hosts().iter().all(is_this_machine);
        let transport = match (parts.ssl_mode.as_deref(), is_here) {
            (Some("verify-full"), _) | (None, false) => Transport::Tls { authorities: parts.authorities },
            (Some("disable") | None, true) => Transport::Plain,
            (Some("disable"), false) => return Err(InvalidDatabase::PlainToAnotherMachine),
            (Some(_), _) => return Err(InvalidDatabase::SslMode),
        };
        config.ssl_mode(match transport {
            Transport::Plain => SslMode::Disable,
            Transport::Tls { .. } => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(TCP_CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("jeton");
        }
        if !parts.names_session {
            // Of a primary and its standbys, the one that can be written.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED);
        let place = place(&config);
        Ok(Target { config, transport, place })
    }
}

/// A URL without what the library does not know.
struct Parts {
    rest: String,
    ssl_mode: Option<String>,
    authorities: Option<PathBuf>,
    names_session: bool,
}

impl Parts {
    fn of(url: &str) -> Result<Self, InvalidDatabase> {
        if !(url.starts_with("postgresql://") || url.starts_with("postgres://")) {
            return Err(InvalidDatabase::Url);
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parts =
            Self { rest: format!("{base}?"), ssl_mode: None, authorities: None, names_session: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = form_urlencoded::parse(pair.as_bytes()).next().ok_or(InvalidDatabase::Url)?;
            match name.as_ref() {
                "sslmode" => parts.ssl_mode = Some(value.into_owned()),
                "sslrootcert" => parts.authorities = Some(PathBuf::from(value.into_owned())),
                "password" => return Err(InvalidDatabase::Password),
                name if PASSED_ON.contains(&name) => {
                    parts.names_session |= name == "target_session_attrs";
                    parts.rest.push_str(pair);
                    parts.rest.push('&');
                }
                _ => return Err(InvalidDatabase::Parameter),
            }
        }
        parts.rest.pop();
        Ok(parts)
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// `the database DB at HOST:PORT`, which is all of the settings that a message shows.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    let database = config.get_dbname().or(config.get_user()).unwrap_or("of this user");
    printable(&format!("the database {database} at {hosts}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<Target, InvalidDatabase> {
        PostgresSettings::new(url).check()
    }

    #[test]
    fn tls_is_verified_unless_the_database_is_on_this_machine() {
        let tls = Transport::Tls { authorities: None };
        let with_file = Transport::Tls { authorities: Some("/etc/my ca.pem".into()) };
        for (url, transport, place) in [
            ("postgresql://jeton@db.example/auth", &tls, "the database auth at db.example:5432"),
            ("postgres://jeton@a,b:6000/auth", &tls, "the database auth at a:5432,b:6000"),
            (
                "postgresql://u@db/auth?sslmode=verify-full&sslrootcert=%2Fetc/my%20ca.pem",
                &with_file,
                "auth at db:5432",
            ),
            ("postgresql://u@127.0.0.1:99/auth?sslmode=verify-full", &tls, "127.0.0.1:99"),
            ("postgresql://u@127.0.0.1/auth", &Transport::Plain, "127.0.0.1"),
            ("postgresql://u@localhost/auth?sslmode=disable", &Transport::Plain, "localhost"),
            ("postgresql://u@/auth?host=/run/postgresql", &Transport::Plain, "/run/postgresql"),
            ("postgresql://u@%2Frun%2Fpostgresql/auth", &Transport::Plain, "/run/postgresql"),
            ("postgresql://u@localhost,far/auth", &tls, "localhost:5432,far:5432"),
        ] {
            let target = check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(&target.transport, transport, "{url}");
            assert!(target.place.contains(place), "{url}: {}", target.place);
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for (url, expected) in [
            ("", InvalidDatabase::Url),
            ("mysql://u@db/auth", InvalidDatabase::Url),
            ("postgresql:///auth", InvalidDatabase::Url),
            ("postgresql://u@db:port/auth", InvalidDatabase::Url),
            ("postgresql://u:canary@db/auth", InvalidDatabase::Password),
            ("postgresql://u@db/auth?password=canary", InvalidDatabase::Password),
            ("postgresql://u@db/auth?p%61ssword=canary", InvalidDatabase::Password),
            ("postgresql://u@db/auth?options=-csearch_path%3Dx", InvalidDatabase::Parameter),
            ("postgresql://u@db/auth?sslmode=require", InvalidDatabase::SslMode),
            ("postgresql://u@db/auth?sslmode=prefer", InvalidDatabase::SslMode),
            ("postgresql://u@db/auth?sslmode=disable", InvalidDatabase::PlainToAnotherMachine),
            ("postgresql://u@localhost,db/auth?sslmode=disable", InvalidDatabase::PlainToAnotherMachine),
        ] {
            let refused = PostgresSettings::new(url).place().unwrap_err();
            assert_eq!(refused, expected, "{url}");
            assert!(!refused.to_string().contains("canary"));
            assert!(!format!("{:?}", PostgresSettings::new(url)).contains("canary"), "{url}");
        }
    }
}
