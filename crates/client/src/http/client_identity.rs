//! The certificate that a client shows, with its private key (RFC 8705).

use jeton_proto::secret::Secret;
use std::fmt;
use std::sync::Arc;

/// A certificate chain and the private key of its first certificate, in PEM: what a client shows in the TLS handshake
/// (RFC 8705 §2). Cheap to clone.
///
/// It travels to the [`HttpExchange`](super::HttpExchange) in the extensions of a request, so that a certificate which is
/// replaced is shown from the next token request on.
#[derive(Clone)]
pub struct ClientIdentity {
    pem: Arc<Secret<String>>,
}

impl ClientIdentity {
    /// The certificates and the private key in `pem`, in any order but for the client's own certificate, which is the first. Read
    /// and held against each other where a connection is made, and when a manager is built with it.
    #[must_use]
    pub fn new(pem: Secret<String>) -> Self {
        Self { pem: Arc::new(pem) }
    }

    /// The text itself.
    pub fn pem(&self) -> &Secret<String> {
        &self.pem
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pem, &other.pem) || self.pem == other.pem
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}
