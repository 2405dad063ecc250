//! TLS at the listener: the certificate of the server, which may be replaced while it runs, and those of clients.

mod client_verifier;
mod files;
mod peer;

pub use files::{TlsError, TlsFiles};
pub(crate) use peer::PeerCertificate;

use crate::issuer::ClockHandle;
use crate::workers::{Worker, Workers};
use arc_swap::ArcSwap;
use client_verifier::{Anchors, ProofOfPossession};
use files::{Content, Digest};
use jeton_proto::time::Clock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The one protocol that is spoken over TLS (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// TLS as the listener speaks it: versions 1.2 and 1.3, and a request for a certificate that no client has to answer.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    clock: ClockHandle,
    inner: ArcSwap<Inner>,
    /// What could not be used at the last look, so that it is told once.
    refused: Mutex<Option<Digest>>,
}

/// What was made of the files at one time.
#[derive(Debug)]
struct Inner {
    config: Arc<ServerConfig>,
    anchors: Option<Anchors>,
    digest: Digest,
}

/// What became of a look at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// They are as they were.
    Unchanged,
    /// New connections have what is in them now.
    Replaced,
    /// What is in them cannot be used; new connections have what was in them before.
    Kept,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let inner = ArcSwap::from_pointee(Inner::of(&files, &files.read()?)?);
        if files::is_open_to_all(&files.key) {
            tracing::warn!(key = ?files.key, "every user of this machine can read the private key; run: chmod o-r on it");
        }
        Ok(Self { files, clock: ClockHandle(clock), inner, refused: Mutex::new(None) })
    }

    /// Reads the files again, and has new connections use them when they hold something else that can be used.
    pub fn reload(&self) -> Reload {
        let content = match self.files.read() {
            Ok(content) => content,
            // Files that cannot be read are one thing, whatever is in them.
            Err(error) => return self.keep(Digest::default(), &error),
        };
        let digest = content.digest();
        if digest == self.inner.load().digest {
            *self.refused() = None;
            return Reload::Unchanged;
        }
        match Inner::of(&self.files, &content) {
            Ok(inner) => {
                *self.refused() = None;
                self.inner.store(Arc::new(inner));
                tracing::info!(certificate = ?self.files.certificate, "the certificate was replaced");
                Reload::Replaced
            }
            Err(error) => self.keep(digest, &error),
        }
    }

    fn keep(&self, digest: Digest, error: &TlsError) -> Reload {
        let told = self.refused().replace(digest);
        if told != Some(digest) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the new certificate cannot be used; the one before it stays");
        }
        Reload::Kept
    }

    fn refused(&self) -> MutexGuard<'_, Option<Digest>> {
        // Nothing panics while it is held.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files held something that cannot be used at the last look.
    pub fn is_refused(&self) -> bool {
        self.refused().is_some()
    }

    /// Looks at the files again and again.
    pub(crate) async fn watch(self: Arc<Self>, workers: Workers) {
        loop {
            tokio::time::sleep(self.files.poll_interval).await;
            let tls = Arc::clone(&self);
            // A file system that hangs holds a thread for that, and no connection.
            let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
            if reloaded.is_err_and(|error| error.is_panic()) {
                workers.panicked(Worker::Certificate);
            }
        }
    }

    /// Makes the connection, and gives the certificate that the client has proven to have.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<PeerCertificate>)> {
        let config = Arc::clone(&self.inner.load().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificate = PeerCertificate::of(stream.get_ref().1, self);
        Ok((stream, certificate))
    }
}

impl Inner {
    fn of(files: &TlsFiles, content: &Content) -> Result<Self, TlsError> {
        let digest = content.digest();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = content.certificate_and_key(files)?;
        let anchors = content.client_anchors(files)?;
        let anchors = anchors.map(|roots| Anchors::new(roots, &provider)).transpose();
        let anchors = anchors.map_err(|source| files.unusable_client_ca(source))?;
        // It finds out a key that is not the one of the certificate.
        let certified = CertifiedKey::from_der(chain, key, &provider);
        let certified = certified.map_err(|source| files.unusable_pair(source))?;
        let config = server_config(certified, provider).map_err(|source| files.unusable_pair(source))?;
        Ok(Self { config: Arc::new(config), anchors, digest })
    }
}

fn server_config(
    certified: CertifiedKey,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = Arc::new(ProofOfPossession::new(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
