//! The certificate of a client, for as long as its connection lasts.

use super::{Inner, Tls};
use crate::client_certificate::{CertificateTrust, ClientCertificate};
use jeton_proto::time::Timestamp;
use rustls::ServerConnection;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For how long an answer about who vouches for a certificate holds: a certificate of the chain may end meanwhile.
const HOLDS_FOR: Duration = Duration::from_mins(1);

/// The certificate that the client of a connection has proven to have.
///
/// A session that is resumed has the certificate of its first connection, and a connection that is used goes on for as long as it
/// is; so who vouches for it is asked apart from the handshake, and again when the authorities were replaced.
pub(crate) struct PeerCertificate {
    tls: Arc<Tls>,
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    judged: Mutex<Judged>,
}

struct Judged {
    by: Arc<Inner>,
    at: Timestamp,
    certificate: Arc<ClientCertificate>,
}

impl PeerCertificate {
    /// That of a connection whose handshake is whole; `None` when the client has shown none.
    pub(super) fn of(connection: &ServerConnection, tls: &Arc<Tls>) -> Option<Self> {
        let (leaf, intermediates) = connection.peer_certificates()?.split_first()?;
        let (leaf, intermediates) = (leaf.clone().into_owned(), intermediates.to_vec());
        let judged = Mutex::new(judge(&leaf, &intermediates, tls.inner.load_full(), tls.clock.now()));
        Some(Self { tls: Arc::clone(tls), leaf, intermediates, judged })
    }

    /// The certificate with what is known of it now.
    pub(crate) fn now(&self) -> Arc<ClientCertificate> {
        let (inner, now) = (self.tls.inner.load(), self.tls.clock.now());
        // It is replaced whole.
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = judged.at <= now && now < judged.at.saturating_add(HOLDS_FOR);
        if !(is_recent && Arc::ptr_eq(&judged.by, &inner)) {
            *judged = judge(&self.leaf, &self.intermediates, Arc::clone(&inner), now);
        }
        Arc::clone(&judged.certificate)
    }
}

fn judge(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    by: Arc<Inner>,
    at: Timestamp,
) -> Judged {
    let now = UnixTime::since_unix_epoch(Duration::from_millis(at.as_unix_millis()));
    let anchored = by.anchors.as_ref().is_some_and(|anchors| anchors.vouch_for(leaf, intermediates, now));
    let trust = if anchored { CertificateTrust::Anchored } else { CertificateTrust::Presented };
    Judged { by, at, certificate: Arc::new(ClientCertificate { der: leaf.to_vec(), trust }) }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate").field("leaf_bytes", &self.leaf.len()).finish_non_exhaustive()
    }
}
