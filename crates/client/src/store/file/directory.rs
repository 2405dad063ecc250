//! The directory, and what is done to the files in it: never through a link.

use super::lock::{SHARDS, shard};
use crate::store::{BodyChange, RecordName, StoreFault, StoreFaultKind};
use crate::sync::{Mutex, lock};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a directory is no place for a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreDirError {
    /// It is a link, and where that leads may change.
    #[error("{} is a symbolic link: name the directory that it leads to", .0.display())]
    Link(PathBuf),
    /// It is something else.
    #[error("{} is no directory: name another place for the token cache, or move it away", .0.display())]
    NoDirectory(PathBuf),
    /// It belongs to another user, who could read and change what is in it.
    #[error("{} belongs to user {owner}, not to {user}: name a directory of your own", .path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Its group or others may read or write it.
    #[error("{} has mode {mode:03o} and is open to others: run `chmod 700` on it", .path.display())]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be made or opened.
    #[error("{} cannot be {step}: {error}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

impl StoreDirError {
    fn fault(&self) -> StoreFault {
        let kind = match self {
            Self::Link(_) | Self::NoDirectory(_) | Self::Owner { .. } | Self::Mode { .. } => {
                StoreFaultKind::Denied
            }
            Self::Io { error, .. } => kind_of(error),
        };
        StoreFault::new(kind, self.to_string())
    }
}

/// Whether what is written is to survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Without waiting for the disk: whoever wants the lease too waits for the lock meanwhile, and a disk that is busy
    /// must not make all of them go on without. What is lost with the power is one token, at most.
    Fleeting,
    /// A new token: the file and its name are on the disk when the change is told to be made.
    Lasting,
}

impl Durability {
    pub(super) fn of(body: &BodyChange) -> Self {
        match body {
            BodyChange::Keep | BodyChange::Drop => Self::Fleeting,
            BodyChange::Put { .. } => Self::Lasting,
        }
    }
}

/// The place of the directory, and the directory that is there.
pub(super) struct Directory {
    path: PathBuf,
    open: Mutex<Open>,
}

/// The directory as it was opened. Files in it are reached through it, whatever becomes of its path.
#[derive(Clone)]
pub(super) struct Open {
    path: Arc<Path>,
    fd: Arc<OwnedFd>,
    identity: (u64, u64),
}

const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const OTHERS: u32 = 0o077;
/// How many entries of a directory are looked at, records or not.
const MOST_ENTRIES: usize = 65_536;

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, StoreDirError> {
        // Also for a process that goes elsewhere later.
        let absolute = std::path::absolute(path).map_err(|error| StoreDirError::Io {
            path: path.to_path_buf(),
            step: "found",
            error,
        })?;
        // Without the slash at its end, which would follow a link.
        let path: PathBuf = absolute.components().collect();
        let open = Open::at(&path)?;
        Ok(Self { path, open: Mutex::new(open) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that is at the path now: it is made again where it was removed, and opened again where it was replaced.
    pub(super) fn current(&self) -> Result<Open, StoreFault> {
        let open = lock(&self.open).clone();
        match rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if identity(&stat) == open.identity => return Ok(open),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fault("find", &self.path, &errno.into())),
        }
        let open = Open::at(&self.path).map_err(|error| error.fault())?;
        *lock(&self.open) = open.clone();
        Ok(open)
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ from system to system"
    )]
    (stat.st_dev as u64, stat.st_ino as u64)
}

impl Open {
    fn at(path: &Path) -> Result<Self, StoreDirError> {
        let failed = |step| move |error| StoreDirError::Io { path: path.to_path_buf(), step, error };
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            // Something else is there: what, is told below.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("made")(error)),
            Ok(()) | Err(_) => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(not_a_directory(path)),
            Err(errno) => return Err(failed("opened")(errno.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed("looked at")(errno.into()))?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(StoreDirError::Owner { path: path.to_path_buf(), owner: stat.st_uid, user });
        }
        let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode();
        #[allow(clippy::useless_conversion, reason = "the type differs from system to system")]
        let mode = u32::from(mode);
        if mode & OTHERS != 0 {
            return Err(StoreDirError::Mode { path: path.to_path_buf(), mode });
        }
        Ok(Self { path: Arc::from(path), fd: Arc::new(fd), identity: identity(&stat) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lock_name(shard: u8) -> String {
        format!("lock-{shard:x}")
    }

    fn next_name(shard: u8) -> String {
        format!("next-{shard:x}")
    }

    /// The bytes of the record's file, if there is a file, and it has no more than `most`.
    pub(super) fn read(&self, name: &RecordName, most: usize) -> Result<Option<Vec<u8>>, StoreFault> {
        let file_name = name.to_string();
        let failed = |error: &io::Error| fault("read", &self.path.join(&file_name), error);
        // What is no file must not make us wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, &file_name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // Nothing, a link (for which systems have two errors), a socket: no record.
            Err(Errno::NOENT | Errno::LOOP | Errno::MLINK | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(failed(&errno.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(&errno.into()))?;
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > most {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(size + 1);
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        Ok((bytes.len() <= most).then_some(bytes))
    }

    /// Puts `bytes` in the place of the record's file, in one step. The lock must be held.
    pub(super) fn replace(
        &self,
        name: &RecordName,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), StoreFault> {
        let next = Self::next_name(shard(name));
        let file_name = name.to_string();
        let written = self.write_next(&next, bytes, durability).and_then(|()| {
            rustix::fs::renameat(&self.fd, &next, &self.fd, &file_name)?;
            Ok(())
        });
        if let Err(error) = written {
            // It has no use, and room may be what is wanting.
            let _removed = rustix::fs::unlinkat(&self.fd, &next, AtFlags::empty());
            return Err(fault("write", &self.path.join(file_name), &error));
        }
        match durability {
            Durability::Fleeting => Ok(()),
            Durability::Lasting => {
                rustix::fs::fsync(&self.fd).map_err(|errno| fault("sync", &self.path, &errno.into()))
            }
        }
    }

    fn write_next(&self, next: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
        // The lock is ours, so what is there was left by a writer that was killed.
        match rustix::fs::unlinkat(&self.fd, next, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.fd, next, flags, PRIVATE_FILE)?);
        // A mask may have taken even our own permissions.
        rustix::fs::fchmod(&file, PRIVATE_FILE)?;
        file.write_all(bytes)?;
        match durability {
            Durability::Fleeting => Ok(()),
            Durability::Lasting => file.sync_data(),
        }
    }

    /// Removes the record's file, and tells whether there was one. The lock must be held.
    pub(super) fn remove(&self, name: &RecordName) -> Result<bool, StoreFault> {
        let file_name = name.to_string();
        match rustix::fs::unlinkat(&self.fd, &file_name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(fault("remove", &self.path.join(file_name), &errno.into())),
        }
    }

    /// Removes what a writer that was killed has left. The lock must be held.
    pub(super) fn remove_leftover(&self, shard: u8) {
        let _removed = rustix::fs::unlinkat(&self.fd, Self::next_name(shard), AtFlags::empty());
    }

    /// What is in the directory, up to so many records, in no order.
    pub(super) fn list(&self, most_records: usize) -> Result<Listing, StoreFault> {
        let failed = |errno: Errno| fault("list", &self.path, &errno.into());
        let mut listing = Listing { names: Vec::new(), leftovers: Vec::new() };
        for entry in Dir::read_from(&self.fd).map_err(failed)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(failed)?;
            let Ok(file_name) = entry.file_name().to_str() else { continue };
            if listing.names.len() < most_records {
                listing.names.extend(name_of(file_name));
            }
            listing.leftovers.extend(file_name.strip_prefix("next-").and_then(shard_of));
        }
        Ok(listing)
    }

    /// Opens the lock file, and makes it if it is not there.
    pub(super) fn lock_file(&self, shard: u8) -> Result<File, StoreFault> {
        let name = Self::lock_name(shard);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, &name, flags, PRIVATE_FILE);
        opened.map(File::from).map_err(|errno| fault("lock", &self.path.join(name), &errno.into()))
    }

    /// Whether `file` is the lock file that others find.
    pub(super) fn is_lock_file(&self, file: &File, shard: u8) -> Result<bool, StoreFault> {
        let name = Self::lock_name(shard);
        let held = rustix::fs::fstat(file);
        match (held, rustix::fs::statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW)) {
            (Ok(held), Ok(there)) => Ok(identity(&held) == identity(&there)),
            (Ok(_), Err(Errno::NOENT)) => Ok(false),
            (Err(errno), _) | (Ok(_), Err(errno)) => Err(fault("lock", &self.path.join(name), &errno.into())),
        }
    }

    /// What changes when the record's file is replaced; `None` when there is none.
    pub(super) fn stamp(&self, name: &RecordName) -> Option<Stamp> {
        let stat = rustix::fs::statat(&self.fd, name.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_possible_wrap,
            reason = "the types differ from system to system"
        )]
        Some(Stamp { inode: identity(&stat).1, modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64) })
    }
}

/// What is in a directory.
pub(super) struct Listing {
    pub(super) names: Vec<RecordName>,
    /// The locks under which something was begun that is not there yet, or never will be.
    pub(super) leftovers: Vec<u8>,
}

/// What changes when a file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

fn not_a_directory(path: &Path) -> StoreDirError {
    let is_link = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    if is_link {
        StoreDirError::Link(path.to_path_buf())
    } else {
        StoreDirError::NoDirectory(path.to_path_buf())
    }
}

/// The record whose file has this name.
pub(super) fn name_of(file_name: &str) -> Option<RecordName> {
    let (pairs, rest) = file_name.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(RecordName::from_bytes(bytes))
}

fn shard_of(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [only] => digit(*only).filter(|shard| *shard < SHARDS),
        _ => None,
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What the system said, as a fault of the store.
pub(super) fn fault(verb: &str, path: &Path, error: &io::Error) -> StoreFault {
    StoreFault::new(kind_of(error), format!("cannot {verb} {}: {error}", path.display()))
}

fn kind_of(error: &io::Error) -> StoreFaultKind {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::MLINK) => StoreFaultKind::Denied,
        // Without a number it is std's, of a write that wrote nothing.
        None
        | Some(
            Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::FBIG
            | Errno::ISDIR
            | Errno::NOTEMPTY
            | Errno::EXIST,
        ) => StoreFaultKind::Unwritable,
        Some(_) => StoreFaultKind::Unreachable,
    }
}
