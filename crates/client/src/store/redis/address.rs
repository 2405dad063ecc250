//! Where a server is, and what else its URL tells.

use super::settings::InvalidRedisSettings;
use jeton_proto::secret::Secret;
use std::fmt;
use std::path::PathBuf;
use url::Url;
use zeroize::Zeroizing;

const REDIS_PORT: u16 = 6379;
pub(super) const SENTINEL_PORT: u16 = 26379;

/// Where a server is. Its `Display` is fit for messages: it has no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// From `host:port`, as cluster nodes and redirections tell it. Where they leave out the host they mean their own.
    pub(super) fn told_by(other: &Self, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::beside(other, host, port.parse().ok()?)
    }

    /// The same with the parts taken apart already.
    pub(super) fn beside(other: &Self, host: &str, port: u16) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match other {
            Self::Tcp { host: own, .. } if matches!(host, "" | "?") => {
                Some(Self::Tcp { host: own.clone(), port })
            }
            Self::Unix(_) if matches!(host, "" | "?") => None,
            Self::Tcp { .. } | Self::Unix(_) => Some(Self::Tcp { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a URL tells.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) address: Address,
    pub(super) channel: Channel,
    pub(super) login: Login,
    pub(super) database: Option<i64>,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    Tls,
}

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
}

impl Login {
    /// What is told by hand goes before what a URL tells.
    pub(super) fn or(self, other: Self) -> Self {
        Self { user: self.user.or(other.user), password: self.password.or(other.password) }
    }
}

/// Reads `redis://`, `rediss://`, `unix://` and `redis+unix://`.
pub(super) fn located(text: &str, default_port: Option<u16>) -> Result<Located, InvalidRedisSettings> {
    // The reason could quote the text, and with it the password.
    let url = Url::parse(text).map_err(|_| InvalidRedisSettings::Url)?;
    let login = Login { user: named(url.username())?, password: secret(&url)? };
    let located = match url.scheme() {
        "unix" | "redis+unix" => over_unix(&url, login),
        "redis" | "rediss" => over_tcp(&url, login, default_port.unwrap_or(REDIS_PORT)),
        _ => Err(InvalidRedisSettings::Scheme),
    };
    drop(Zeroizing::new(String::from(url)));
    located
}

fn over_tcp(url: &Url, login: Login, default_port: u16) -> Result<Located, InvalidRedisSettings> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(InvalidRedisSettings::Url)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidRedisSettings::Parameter);
    }
    let database = match url.path().trim_start_matches('/') {
        "" => None,
        number => Some(database(number)?),
    };
    let channel = if url.scheme() == "rediss" { Channel::Tls } else { Channel::Plain };
    let address = Address::Tcp { host, port: url.port().unwrap_or(default_port) };
    Ok(Located { address, channel, login, database })
}

fn over_unix(url: &Url, login: Login) -> Result<Located, InvalidRedisSettings> {
    let path = named(url.path())?.filter(|path| path.len() > 1).ok_or(InvalidRedisSettings::Url)?;
    if url.host_str().is_some_and(|host| !host.is_empty()) || url.fragment().is_some() {
        return Err(InvalidRedisSettings::Url);
    }
    let database = match url.query() {
        None => None,
        Some(query) => Some(database(query.strip_prefix("db=").ok_or(InvalidRedisSettings::Parameter)?)?),
    };
    Ok(Located { address: Address::Unix(PathBuf::from(path)), channel: Channel::Plain, login, database })
}

fn database(number: &str) -> Result<i64, InvalidRedisSettings> {
    number.parse::<u32>().map(i64::from).map_err(|_| InvalidRedisSettings::Database)
}

fn secret(url: &Url) -> Result<Option<Secret<String>>, InvalidRedisSettings> {
    let Some(password) = url.password() else {
        return Ok(None);
    };
    String::from_utf8(unescaped(password.as_bytes()))
        .map(|password| Some(Secret::new(password)))
        .map_err(|_| InvalidRedisSettings::Url)
}

fn named(text: &str) -> Result<Option<String>, InvalidRedisSettings> {
    let text = String::from_utf8(unescaped(text.as_bytes())).map_err(|_| InvalidRedisSettings::Url)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The bytes that percent-encoding (RFC 3986 §2.1) stands for.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let escaped = rest.split_first_chunk::<2>().filter(|_| *first == b'%').and_then(|(digits, rest)| {
            let number = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some((number, rest))
        });
        let (byte, rest) = escaped.unwrap_or((*first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_address_channel_login_and_database() {
        for (url, address, channel, user, password, database) in [
            ("redis://localhost", "localhost:6379", Channel::Plain, None, None, None),
            ("redis://[::1]:7000/3", "[::1]:7000", Channel::Plain, None, None, Some(3)),
            (
                "rediss://jeton:s%2F%40@cache/0",
                "cache:6379",
                Channel::Tls,
                Some("jeton"),
                Some("s/@"),
                Some(0),
            ),
            ("redis://:s@cache:1", "cache:1", Channel::Plain, None, Some("s"), None),
            ("unix:///run/redis.sock", "/run/redis.sock", Channel::Plain, None, None, None),
            ("redis+unix:///run/a%20b?db=2", "/run/a b", Channel::Plain, None, None, Some(2)),
        ] {
            let located = located(url, None).unwrap();
            assert_eq!(located.address.to_string(), address);
            assert_eq!((located.channel, located.database), (channel, database), "{url}");
            assert_eq!(located.login.user.as_deref(), user, "{url}");
            assert_eq!(located.login.password.as_ref().map(|it| it.expose().as_str()), password, "{url}");
        }
    }

    #[test]
    fn t34_a_wrong_url_is_refused_without_quoting_it() {
        for url in [
            "canary",
            "http://canary@cache",
            "redis://",
            "redis://a:canary@cache/x",
            "redis://cache/1?canary=1",
            "rediss://u:canary@:99999",
            "unix://",
            "unix:///a?pass=canary",
            "redis://cache/-1#canary",
        ] {
            let error = located(url, None).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{url}: {error}");
        }
    }

    #[test]
    fn a_redirection_without_a_host_stays_on_the_host() {
        let here = Address::Tcp { host: "10.0.0.1".to_owned(), port: 1 };
        let told = |text| Address::told_by(&here, text).map(|address| address.to_string());
        assert_eq!(told("10.0.0.2:7"), Some("10.0.0.2:7".to_owned()));
        assert_eq!(told(":7"), Some("10.0.0.1:7".to_owned()));
        assert_eq!(told("::1:7"), Some("[::1]:7".to_owned()));
        assert_eq!(told("10.0.0.2"), None);
        assert_eq!(told("10.0.0.2:x"), None);
    }
}
