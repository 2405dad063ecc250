//! The request and response types that the layer works on.

use super::body::ReplayBody;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

/// A request that can carry a token.
pub trait OutgoingRequest: Sized {
    /// Sets the one `Authorization` value, in place of any other.
    fn set_authorization(&mut self, value: HeaderValue);

    /// The same request once more, unsent; `None` when its body cannot be had again.
    fn try_clone(&self) -> Option<Self>;

    /// Scheme and host of the target; `None` when the request does not tell, as one for a connection that is open.
    fn target(&self) -> Option<(&str, &str)>;
}

/// A response whose status and header fields can be read.
pub trait Answer {
    /// The status.
    fn status(&self) -> StatusCode;
    /// The header fields.
    fn headers(&self) -> &HeaderMap;
}

impl<B: ReplayBody> OutgoingRequest for http::Request<B> {
    fn set_authorization(&mut self, value: HeaderValue) {
        self.headers_mut().insert(AUTHORIZATION, value);
    }

    fn try_clone(&self) -> Option<Self> {
        let mut copy = Self::new(self.body().try_clone()?);
        self.method().clone_into(copy.method_mut());
        self.uri().clone_into(copy.uri_mut());
        *copy.version_mut() = self.version();
        self.headers().clone_into(copy.headers_mut());
        self.extensions().clone_into(copy.extensions_mut());
        Some(copy)
    }

    fn target(&self) -> Option<(&str, &str)> {
        Some((self.uri().scheme_str()?, self.uri().host()?))
    }
}

impl<B> Answer for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

#[cfg(feature = "reqwest")]
impl OutgoingRequest for reqwest::Request {
    fn set_authorization(&mut self, value: HeaderValue) {
        self.headers_mut().insert(AUTHORIZATION, value);
    }

    fn try_clone(&self) -> Option<Self> {
        self.try_clone()
    }

    fn target(&self) -> Option<(&str, &str)> {
        Some((self.url().scheme(), self.url().host_str()?))
    }
}

#[cfg(feature = "reqwest")]
impl Answer for reqwest::Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}
