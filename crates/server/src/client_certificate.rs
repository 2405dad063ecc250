//! The certificate with which the peer of a connection has proven that it holds a private key (RFC 8705 §2).

use std::fmt;

/// The leaf certificate of a TLS handshake in which the client has proven possession of its private key.
///
/// A listener makes one only after the handshake is whole: `CertificateVerify` was checked against this certificate. It
/// puts it, as an `Arc<ClientCertificate>`, into the extensions of every request of the connection, which no request can
/// write itself; [`Face`](crate::http::Face) takes it from there.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The leaf certificate in DER. Nothing of its content has been looked at beyond what the handshake needs, unless
    /// [`CertificateTrust::Anchored`] says so.
    pub der: Vec<u8>,
    /// What is known of its chain.
    pub trust: CertificateTrust,
}

/// What a listener found out of the chain of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateTrust {
    /// The chain leads to a configured authority, every certificate of it is in force, and the leaf
    /// may be used by clients: good for `tls_client_auth` (RFC 8705 §2.1).
    Anchored,
    /// The client holds the private key; the chain was not checked or leads nowhere. Good for
    /// `self_signed_tls_client_auth` alone (RFC 8705 §2.2).
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
