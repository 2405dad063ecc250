//! What an issuer said of itself, in a file of the cache directory. Nothing in it is secret, but a secret is sent where it points: only
//! what this user has written is believed.

use aws_lc_rs::digest::{Context, SHA256};
use jeton::Timestamp;
use jeton::discovery::AuthorizationServerMetadata;
use jeton::http::TlsRoots;
use jeton_proto::wire::metadata::MAX_METADATA_BYTES;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The longest file that is read: what a document may have, and room for the rest.
const MAX_FILE_BYTES: u64 = MAX_METADATA_BYTES as u64 + 1024;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const OTHERS: u32 = 0o077;
/// How much of the hash is in the name.
const NAME_BYTES: usize = 16;

/// The file of an issuer.
pub(super) struct KeptMetadata {
    dir: OwnedFd,
    issuer: String,
    name: String,
}

/// What is in it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When the issuer said it.
    pub(super) fetched_at: Timestamp,
    /// When the issuer was asked last.
    pub(super) asked_at: Timestamp,
    pub(super) metadata: AuthorizationServerMetadata,
}

impl KeptMetadata {
    /// The file of `issuer` in the directory, as who trusts `roots` knows it. `None` where the directory is none of this user's own, which
    /// the token cache tells.
    pub(super) fn of(dir: &Path, issuer: &str, roots: &TlsRoots) -> Option<Self> {
        let dir = opened(dir).inspect_err(|error| {
            tracing::debug!(%error, "what the issuer says is not kept");
        });
        Some(Self { dir: dir.ok()?, issuer: issuer.to_owned(), name: name(issuer, roots) })
    }

    /// What is in it. A file that is damaged, or of another issuer, is none.
    pub(super) fn read(&self) -> Option<Record> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty()).ok()?);
        let stat = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return None;
        }
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        let time = |name: &str| Some(Timestamp::from_unix_seconds(value.get(name)?.as_u64()?));
        let document = serde_json::to_vec(value.get("metadata")?).ok()?;
        let metadata = AuthorizationServerMetadata::parse(&document, &self.issuer).ok()?;
        Some(Record { fetched_at: time("fetched_at")?, asked_at: time("asked_at")?, metadata })
    }

    /// Puts it in the place of what is there, whole or not at all. Where that cannot be, the issuer is asked again the next time.
    pub(super) fn write(&self, record: &Record) {
        let value = json!({
            "fetched_at": record.fetched_at.as_unix_seconds(),
            "asked_at": record.asked_at.as_unix_seconds(),
            "metadata": record.metadata,
        });
        if let Err(error) = self.replace(value.to_string().as_bytes()) {
            tracing::debug!(%error, "what the issuer says is not kept");
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // Nobody else writes there at the same time, and what a killed process with this number has left is written over.
        let beside = format!("{}.{}", self.name, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&self.dir, &beside, flags, PRIVATE_FILE)
            .map_err(io::Error::from)
            .and_then(|fd| {
                // A mask may have taken even our own permissions.
                rustix::fs::fchmod(&fd, PRIVATE_FILE)?;
                let mut file = File::from(fd);
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| Ok(rustix::fs::renameat(&self.dir, &beside, &self.dir, &self.name)?));
        if written.is_err() {
            let _gone = rustix::fs::unlinkat(&self.dir, &beside, AtFlags::empty());
        }
        written
    }
}

/// The directory, made if it is not there; of this user and for nobody else, as the token cache wants it.
fn opened(path: &Path) -> io::Result<OwnedFd> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned());
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without the slash at its end, which would follow a link.
    let path: std::path::PathBuf = path.components().collect();
    let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&dir)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("the directory belongs to another user"));
    }
    #[allow(clippy::useless_conversion, reason = "the type differs from system to system")]
    let mode = u32::from(Mode::from_raw_mode(stat.st_mode).as_raw_mode());
    if mode & OTHERS == 0 { Ok(dir) } else { Err(refused("the directory is open to others")) }
}

/// What was learned from a server that other authorities vouched for is another thing.
fn name(issuer: &str, roots: &TlsRoots) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&(issuer.len() as u64).to_be_bytes());
    context.update(issuer.as_bytes());
    match roots {
        TlsRoots::Platform => context.update(b"platform"),
        TlsRoots::Only(pem) => {
            context.update(b"only");
            context.update(pem);
        }
    }
    let hash = context.finish();
    let mut name = "issuer-".to_owned();
    for byte in hash.as_ref().iter().take(NAME_BYTES) {
        let _infallible = write!(name, "{byte:02x}");
    }
    name
}
