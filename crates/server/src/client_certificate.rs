//! The certificate that a client showed when its connection was made (RFC 8705).

use std::fmt;

/// A certificate of whose key the client has proven possession.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate itself, in DER (RFC 5280 §4.1).
    pub der: Vec<u8>,
    /// Who vouches for it.
    pub trust: CertificateTrust,
}

/// Who vouches for a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateTrust {
    /// An authority that the server was given, by a chain that is valid now: fit for `tls_client_auth` (RFC 8705 §2.1).
    Anchored,
    /// Nobody: fit for `self_signed_tls_client_auth` alone, where the certificate itself is registered (RFC 8705 §2.2).
    Presented,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("der_bytes", &self.der.len())
            .field("trust", &self.trust)
            .finish()
    }
}
