//! A secret in a file, which may be swapped for another at any time.

use super::content;
use super::look::{Look, Looked};
use super::place::SecretPlace;
use super::source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
#[cfg(unix)]
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a pipe is waited for at most, by each read of it.
#[cfg(unix)]
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// A file, whose path is opened anew with each read: what was put in its place by a rename, or by a symbolic link to another
/// directory as Kubernetes does it, is seen by the next one.
///
/// One line break at the end, `\n` or `\r\n`, is not part of the secret. It is text of at most 64 KiB. A file that is empty, as
/// while somebody writes it anew in place, is a fault: one who has a secret goes on with that. What is no regular file,
/// such as a pipe that a shell made by `<(…)`, is read once and kept; it is waited for 10 s with each read. That every user of the machine can read a file is a warning.
///
/// The reads are on a thread of the runtime for blocking work: a network file system that hangs delays nobody but those who
/// wait for the secret.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<SecretFile>,
    look: Look,
}

#[derive(Debug)]
struct SecretFile {
    path: PathBuf,
    /// How it is called, for people.
    name: String,
    /// What to do when it is not there.
    absent: Option<String>,
    /// What was in it, where it can be read but once.
    kept: OnceLock<SecretReading>,
    warned: AtomicBool,
}

impl FileSource {
    /// The file at `path`; it is not opened yet. A relative path is relative to the working directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = SecretPlace::File(path.clone()).to_string();
        Self::named(path, name, None)
    }

    /// A file that people know by another name than its path.
    pub(super) fn named(path: PathBuf, name: String, absent: Option<String>) -> Self {
        let file = SecretFile { path, name, absent, kept: OnceLock::new(), warned: AtomicBool::new(false) };
        Self { file: Arc::new(file), look: Look::default() }
    }
}

impl SecretSource for FileSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            if let Some(kept) = self.file.kept.get() {
                return Ok(kept.clone());
            }
            let file = Arc::clone(&self.file);
            self.look.at(move || file.look()).await
        })
    }

    fn reread(&self) -> Reread {
        match self.file.kept.get() {
            Some(_) => Reread::WhenRefused,
            None => Reread::BeforeEachRequest,
        }
    }
}

impl SecretFile {
    fn look(&self) -> Looked {
        let file = open(&self.path).map_err(|error| self.io_fault(&error))?;
        let metadata = file.metadata().map_err(|error| self.io_fault(&error))?;
        if metadata.is_dir() {
            return Err(self.fault(SourceFaultKind::Malformed, "it is a directory"));
        }
        if !metadata.is_file() {
            let bytes = self.written(file)?;
            let secret = content::secret(&self.name, &bytes)?;
            return Ok(self.kept.get_or_init(|| SecretReading::new(secret)).clone());
        }
        let bytes = content::read_to_end(&self.name, file)?;
        if !content::is_public(&bytes) {
            self.warn_of_readers(&metadata);
        }
        let reading = SecretReading::new(content::secret(&self.name, &bytes)?);
        Ok(match metadata.modified() {
            Ok(modified) => reading.in_force_since(timestamp(modified)),
            Err(_) => reading,
        })
    }

    /// What is written to a pipe, until who writes there closes it.
    #[cfg(unix)]
    fn written(&self, mut pipe: File) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
        let written = content::read_until(&self.name, &mut pipe, Instant::now() + WRITTEN_WITHIN)?;
        written.ok_or_else(|| {
            let what = format!("nobody wrote a secret there within {} s", WRITTEN_WITHIN.as_secs());
            self.fault(SourceFaultKind::Unreachable, &what)
        })
    }

    #[cfg(not(unix))]
    fn written(&self, file: File) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
        content::read_to_end(&self.name, file)
    }

    #[cfg(unix)]
    fn warn_of_readers(&self, metadata: &Metadata) {
        use std::os::unix::fs::PermissionsExt as _;
        let readable = metadata.permissions().mode() & 0o004 != 0;
        if readable && !self.warned.swap(true, Ordering::Relaxed) {
            let path = printable(&self.path.to_string_lossy());
            tracing::warn!(
                "every user of this machine can read {}; run: chmod o-r {path}",
                printable(&self.name)
            );
        }
    }

    #[cfg(not(unix))]
    fn warn_of_readers(&self, _metadata: &Metadata) {}

    fn fault(&self, kind: SourceFaultKind, what: &str) -> SourceFault {
        SourceFault::new(kind, &self.name, what)
    }

    fn io_fault(&self, error: &io::Error) -> SourceFault {
        let fault = content::io_fault(&self.name, error);
        match (&self.absent, fault.kind()) {
            (Some(absent), SourceFaultKind::Absent) => self.fault(SourceFaultKind::Absent, absent),
            (None | Some(_), _) => fault,
        }
    }
}

/// Opened without waiting: a pipe that nobody writes to would hold the thread for ever, and with it the end of the runtime.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    loop {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => return Ok(file.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// A time before 1970 reads as 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.saturating_add(since_epoch)
}

#[cfg(test)]
mod tests;
