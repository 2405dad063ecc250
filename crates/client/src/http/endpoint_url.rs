//! URLs to which a secret may be sent: https, or plain http to this machine alone.

use std::fmt;
use std::net::IpAddr;
use url::Url;

/// The hosts to which plain http is allowed besides loopback. Each is allowed by its name; there is no switch for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainHttp {
    hosts: Vec<String>,
}

impl PlainHttp {
    /// Loopback alone: `localhost`, `127.0.0.0/8` and `[::1]`.
    #[must_use]
    pub fn to_loopback() -> Self {
        Self::default()
    }

    /// Also to `host`, a name or address without port, compared without regard to case.
    #[must_use]
    pub fn and_to(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(without_brackets(&host.into()).to_owned());
        self
    }

    /// Whether a token or secret may travel to this URL; `scheme` and `host` as in RFC 3986.
    pub fn allows(&self, scheme: &str, host: &str) -> bool {
        let bare = without_brackets(host);
        scheme.eq_ignore_ascii_case("https")
            || is_loopback(bare)
            || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare))
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Loopback as it is written plainly. Names below `localhost` do not count: a resolver may ask the network for them.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An http or https URL that a secret may be sent to: no fragment, no user information, plain http only where
/// [`PlainHttp`] allows it.
///
/// ```
/// use jeton::http::{EndpointUrl, PlainHttp};
///
/// assert!(EndpointUrl::parse("http://localhost:8080/oauth/token", &PlainHttp::to_loopback()).is_ok());
/// assert!(EndpointUrl::parse("http://id.example.com/token", &PlainHttp::to_loopback()).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`InvalidUrl`] says what is wrong and what to do.
    pub fn parse(text: &str, plain_http: &PlainHttp) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text).map_err(|error| InvalidUrl::Syntax(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
            return Err(InvalidUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::UserInformation);
        }
        if url.fragment().is_some() {
            return Err(InvalidUrl::Fragment);
        }
        if !plain_http.allows(url.scheme(), host) {
            return Err(InvalidUrl::PlainHttp { host: host.to_owned() });
        }
        // What no request can carry is better refused here than at the first token request.
        http::Uri::try_from(url.as_str()).map_err(|error| InvalidUrl::Syntax(error.to_string()))?;
        Ok(Self(url))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the connection is one of TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and port, for messages: a query may hold what should not be shown.
    pub fn authority(&self) -> &str {
        self.0.authority()
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointUrl({}://{}{})", self.0.scheme(), self.0.authority(), self.0.path())
    }
}

/// Why a URL was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not a URL.
    #[error("not a URL: {0}")]
    Syntax(String),
    /// Another scheme, or no host.
    #[error("the URL must begin with https:// or http:// and name a host")]
    Scheme,
    /// `user:password@`.
    #[error("the URL has user information in it; give the credential by its own settings")]
    UserInformation,
    /// `#…` (RFC 6749 §3.2).
    #[error("the URL has a fragment")]
    Fragment,
    /// Plain http to another machine.
    #[error(
        "plain http to {host} would show secrets on the network; use https, or allow plain http to this host by name"
    )]
    PlainHttp {
        /// The host.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_4_plain_http_goes_to_loopback_or_to_a_host_allowed_by_name() {
        let allowed = PlainHttp::to_loopback().and_to("token.internal").and_to("fd00::1");
        for (url, expected) in [
            ("https://id.example.com/token", true),
            ("http://localhost:8080/oauth/token", true),
            ("http://LOCALHOST/token", true),
            ("http://127.0.0.1:1/token", true),
            ("http://127.9.9.9/token", true),
            ("http://[::1]:8080/token", true),
            ("http://Token.Internal/token", true),
            ("http://[fd00::1]/token", true),
            ("http://0.0.0.0/token", false),
            ("http://128.0.0.1/token", false),
            ("http://[::2]/token", false),
            ("http://localhost.example.com/token", false),
            ("http://127.0.0.1.example.com/token", false),
            ("http://x.token.internal/token", false),
        ] {
            assert_eq!(EndpointUrl::parse(url, &allowed).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_reason() {
        let parse = |url: &str| EndpointUrl::parse(url, &PlainHttp::to_loopback()).unwrap_err();
        assert!(matches!(parse("token"), InvalidUrl::Syntax(_)));
        assert_eq!(parse("ftp://x/"), InvalidUrl::Scheme);
        assert_eq!(parse("https://id:secret@x/"), InvalidUrl::UserInformation);
        assert_eq!(parse("https://x/#y"), InvalidUrl::Fragment);
        assert!(parse("http://x/").to_string().contains("plain http to x"));
    }
}
