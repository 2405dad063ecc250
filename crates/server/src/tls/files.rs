//! The files that TLS is made of.

use aws_lc_rs::digest::{Context, SHA256};
use jeton_proto::secret::Secret;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest file that is read, in bytes. A bundle of all authorities of a system has a fifth of it.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Others than the owner and the group may read the file.
const READABLE_BY_ALL: u32 = 0o004;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server and, after it, those between it and an authority that clients trust, in PEM.
    pub certificate: PathBuf,
    /// The private key of the certificate, in PEM.
    pub key: PathBuf,
    /// The authorities whose certificates clients may authenticate with (`tls_client_auth`, RFC 8705 §2.1), in PEM. A
    /// client whose certificate is of none of them is connected all the same.
    pub client_ca: Option<PathBuf>,
    /// How often the files are looked at. Default 2 s.
    pub poll_interval: Duration,
}

impl TlsFiles {
    /// This certificate and key, and no authorities for clients.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let poll_interval = Duration::from_secs(2);
        Self { certificate: certificate.into(), key: key.into(), client_ca: None, poll_interval }
    }

    pub(super) fn read(&self) -> Result<Content, TlsError> {
        let client_ca = self.client_ca.as_deref().map(read).transpose()?;
        Ok(Content { certificate: read(&self.certificate)?, key: Secret::new(read(&self.key)?), client_ca })
    }

    pub(super) fn unusable_pair(&self, source: rustls::Error) -> TlsError {
        TlsError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), source }
    }

    pub(super) fn unusable_client_ca(&self, source: VerifierBuilderError) -> TlsError {
        TlsError::ClientCa { path: self.client_ca.clone().unwrap_or_default(), source }
    }
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is longer than any of its kind.
    #[error("{} is longer than {MAX_FILE_BYTES} bytes", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate in a file.
    #[error("{} has no certificate in pem that can be read: it begins with -----BEGIN CERTIFICATE-----", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no key in a file.
    #[error("{} has no private key in pem that can be read, not encrypted", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificate {} and the key {} cannot be used together: {source}", .certificate.display(), .key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The authorities for clients cannot be used.
    #[error("the authorities in {} cannot be used: {source}", .path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: VerifierBuilderError,
    },
}

/// What tells one content of the files from another.
pub(super) type Digest = [u8; 32];

/// What is in the files.
pub(super) struct Content {
    certificate: Vec<u8>,
    key: Secret<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Content {
    pub(super) fn digest(&self) -> Digest {
        let mut context = Context::new(&SHA256);
        for file in [&self.certificate, self.key.expose(), self.client_ca.as_ref().unwrap_or(&Vec::new())] {
            context.update(&(file.len() as u64).to_be_bytes());
            context.update(file);
        }
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        digest
    }

    pub(super) fn certificate_and_key(
        &self,
        files: &TlsFiles,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose());
        Ok((chain, key.map_err(|_| TlsError::NoKey { path: files.key.clone() })?))
    }

    pub(super) fn client_anchors(&self, files: &TlsFiles) -> Result<Option<RootCertStore>, TlsError> {
        let (Some(content), Some(path)) = (&self.client_ca, &files.client_ca) else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(content, path)? {
            let added = roots.add(certificate);
            added.map_err(|_| TlsError::NoCertificate { path: path.clone() })?;
        }
        Ok(Some(roots))
    }
}

fn certificates(content: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

/// Through links, which programs that renew certificates, and orchestrators, make.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content));
    match read {
        Ok(bytes) if bytes as u64 <= MAX_FILE_BYTES => Ok(content),
        Ok(_) => Err(TlsError::TooLong { path: path.to_owned() }),
        Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
    }
}

/// Whether every user of the machine may read the key.
pub(super) fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & READABLE_BY_ALL != 0)
}
