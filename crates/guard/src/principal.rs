//! Who is calling.

use jeton::{Scope, Timestamp};
use jeton_proto::jose::access_token::VerifiedClaims;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The caller of a request that the guard let through: the claims of its token, without the token.
///
/// The layer puts it into the extensions of the request; with the feature `axum` it is an extractor too. Cheap to
/// clone.
#[derive(Clone)]
pub struct Principal {
    claims: Arc<VerifiedClaims>,
    realm: Arc<str>,
}

impl Principal {
    pub(crate) fn new(claims: VerifiedClaims, realm: Arc<str>) -> Self {
        Self { claims: Arc::new(claims), realm }
    }

    /// The client that calls (`client_id`, RFC 9068 §2.2).
    pub fn client_id(&self) -> &str {
        self.claims.client_id()
    }

    /// The subject (`sub`): with the client-credentials grant an identifier of the client.
    pub fn subject(&self) -> &str {
        self.claims.subject()
    }

    /// The scope of the token; empty when it has none.
    pub fn scope(&self) -> &Scope {
        static NONE: OnceLock<Scope> = OnceLock::new();
        self.claims.scope().unwrap_or_else(|| NONE.get_or_init(Scope::empty))
    }

    /// Whether the token has this scope token.
    pub fn has_scope(&self, token: &str) -> bool {
        self.scope().contains(token)
    }

    /// When the token expires (`exp`).
    pub fn expires_at(&self) -> Timestamp {
        self.claims.expires_at()
    }

    /// All claims of the token.
    pub fn claims(&self) -> &VerifiedClaims {
        &self.claims
    }

    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("client_id", &self.client_id())
            .field("subject", &self.subject())
            .field("scope", &format_args!("{}", self.scope()))
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Takes the principal that the guard's layer left. On a route without the layer every request is answered with 500
/// and an error is logged: handing out a route that nobody guards would be worse.
#[cfg(feature = "axum")]
impl<S: Sync> axum_core::extract::FromRequestParts<S> for Principal {
    type Rejection = http::StatusCode;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _state: &S,
    ) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(
                path = parts.uri.path(),
                "a handler takes a Principal on a route without the guard's layer"
            );
            http::StatusCode::INTERNAL_SERVER_ERROR
        })
    }
}
