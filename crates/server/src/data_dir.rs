//! Files that only their owner may read, made whole or not at all.

use jeton_proto::secret::Secret;
use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The longest private file that is read, in bytes.
const MAX_PRIVATE_FILE_BYTES: u64 = 64 * 1024;

/// Makes the directory and its parents, for the owner alone, where they are missing.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), PrivateFileError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let metadata = created
        .and_then(|()| std::fs::metadata(dir))
        .map_err(|source| PrivateFileError::Directory { path: dir.to_owned(), source })?;
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(PrivateFileError::WritableByOthers { path: dir.to_owned() });
    }
    Ok(())
}

/// The private file at `path`; `None` when there is nothing. The file is looked at without opening it: closing a file
/// would take the locks from every database connection that this process has to it (POSIX advisory locks).
pub(crate) fn private_file(path: &Path) -> Result<Option<Metadata>, PrivateFileError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => check_private(path, &metadata).map(|()| Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PrivateFileError::Read { path: path.to_owned(), source }),
    }
}

/// The content of a private file; `None` when there is no such file.
pub(crate) fn read_private(path: &Path) -> Result<Option<Secret<Vec<u8>>>, PrivateFileError> {
    let file = match open_private(path) {
        Ok(file) => file,
        Err(PrivateFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // Room for the whole of it, so that no copy stays behind where the vector grew.
    let mut content = Vec::with_capacity(usize::try_from(MAX_PRIVATE_FILE_BYTES).unwrap_or(0) + 1);
    let read = file.take(MAX_PRIVATE_FILE_BYTES + 1).read_to_end(&mut content);
    let content = Secret::new(content);
    match read {
        Ok(bytes) if bytes as u64 <= MAX_PRIVATE_FILE_BYTES => Ok(Some(content)),
        Ok(_) => Err(PrivateFileError::TooLong { path: path.to_owned() }),
        Err(source) => Err(PrivateFileError::Read { path: path.to_owned(), source }),
    }
}

/// The content of the file at `path`, which is made with `content` where there is none.
///
/// Several processes may do this at once: one of them makes the file, whole, and all of them get its content.
pub(crate) fn read_or_create_private<E: From<PrivateFileError>>(
    path: &Path,
    content: impl FnOnce() -> Result<Secret<Vec<u8>>, E>,
) -> Result<Secret<Vec<u8>>, E> {
    if let Some(found) = read_private(path)? {
        return Ok(found);
    }
    let content = content()?;
    create_private(path, |temporary| {
        let written = OpenOptions::new().write(true).open(temporary);
        let written = written.and_then(|mut file| file.write_all(content.expose()));
        written.map_err(|source| PrivateFileError::Write { path: path.to_owned(), source })
    })?;
    let gone = || PrivateFileError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
    Ok(read_private(path)?.ok_or_else(gone)?)
}

/// Removes a private file for good.
pub(crate) fn remove_private(path: &Path) -> Result<(), PrivateFileError> {
    let removed = std::fs::remove_file(path).and_then(|()| match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    removed.map_err(|source| PrivateFileError::Write { path: path.to_owned(), source })
}

/// Makes the file at `path`: `fill` is given the path of an empty private file, which gets its name when it is whole
/// and closed. Where the name is taken by then, the file that has it stays.
pub(crate) fn create_private<E: From<PrivateFileError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let write_error = |source| PrivateFileError::Write { path: path.to_owned(), source };
    let temporary = temporary_name(path).map_err(write_error)?;
    // Closed at once: nobody can have it open when it gets its name.
    drop(private_options().write(true).create_new(true).mode(0o600).open(&temporary).map_err(write_error)?);
    let filled = fill(&temporary).and_then(|()| Ok(link_into_place(&temporary, path).map_err(write_error)?));
    let removed = std::fs::remove_file(&temporary);
    filled?;
    removed.map_err(write_error)?;
    if let Some(parent) = path.parent() {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(write_error)?;
    }
    Ok(())
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the random source failed"))?;
    Ok(path.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(random))))
}

/// Links the file to its name, which fails, and is meant to, where the name is taken.
fn link_into_place(temporary: &Path, path: &Path) -> io::Result<()> {
    File::open(temporary)?.sync_all()?;
    match std::fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// For reading alone: keys may lie on a file system that cannot be written.
fn open_private(path: &Path) -> Result<File, PrivateFileError> {
    let read_error = |source| PrivateFileError::Read { path: path.to_owned(), source };
    let file = private_options().read(true).open(path).map_err(read_error)?;
    check_private(path, &file.metadata().map_err(read_error)?)?;
    Ok(file)
}

pub(crate) fn check_private(path: &Path, metadata: &Metadata) -> Result<(), PrivateFileError> {
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile { path: path.to_owned() });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(PrivateFileError::OpenToOthers { path: path.to_owned() });
    }
    Ok(())
}

/// Never through a symbolic link, and never waiting for a named pipe.
pub(crate) fn private_options() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.custom_flags(flags.bits().cast_signed());
    options
}

/// Why the data directory or a private file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The directory cannot be made or read.
    #[error("the data directory {} cannot be used; create it for this user or choose another one", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others could replace the files in the directory.
    #[error("the directory {0} can be written by others; run: chmod go-w {0}", .path.display())]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{} cannot be read; it must be a file of this user, not a link", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{} cannot be written; the directory must have room and be writable for this user", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is something else at the place of the file.
    #[error("{} is not a regular file but a link, a directory or a device; move it away", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others may read or write the file.
    #[error("{0} is open to others than its owner; run: chmod 600 {0}", .path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// The file is longer than any key.
    #[error("{} is longer than {MAX_PRIVATE_FILE_BYTES} bytes, so it is no key", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn create(path: &Path, content: &[u8]) -> Result<Secret<Vec<u8>>, PrivateFileError> {
        read_or_create_private(path, || Ok(Secret::new(content.to_vec())))
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn t31_the_first_content_stays_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("a/b");
        create_private_dir(&private).unwrap();
        let path = private.join("key");
        assert_eq!(create(&path, b"first").unwrap().expose(), b"first");
        assert_eq!(create(&path, b"second").unwrap().expose(), b"first");
        assert_eq!((mode(&private), mode(&path)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&private).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn t31_of_many_who_create_at_once_all_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let contents: Vec<_> = std::thread::scope(|scope| {
            let creators: Vec<_> = (0..16_u8)
                .map(|id| {
                    scope.spawn({
                        let path = &path;
                        move || create(path, &[id; 4096])
                    })
                })
                .collect();
            creators.into_iter().map(|creator| creator.join().unwrap().unwrap().expose().clone()).collect()
        });
        assert!(contents.iter().all(|content| content == &contents[0]));
    }

    #[test]
    fn t31_links_open_files_and_long_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (key, link) = (dir.path().join("key"), dir.path().join("link"));
        create(&key, b"content").unwrap();
        symlink(&key, &link).unwrap();
        assert!(matches!(read_private(&link), Err(PrivateFileError::Read { .. })));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let message = read_private(&key).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
        let long = dir.path().join("long");
        create(&long, &vec![0; 70_000]).unwrap_err();
        assert!(matches!(read_private(&long), Err(PrivateFileError::TooLong { .. })));
        assert!(matches!(read_private(dir.path()), Err(PrivateFileError::NotAFile { .. })));
        assert!(read_private(&dir.path().join("absent")).unwrap().is_none());
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let message = create_private_dir(dir.path()).unwrap_err().to_string();
        assert!(message.contains("chmod go-w"), "{message}");
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(create_private_dir(&file.join("sub")), Err(PrivateFileError::Directory { .. })));
    }
}
