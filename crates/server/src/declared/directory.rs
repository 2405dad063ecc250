//! The files of a directory: which there are, and what is in them.

use super::client::{DeclaredClients, FileFault, Place};
use super::reader;
use jeton_proto::wire::error_response::printable;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most files of a directory.
const MAX_FILES: usize = 100_000;
/// The most bytes of all files together.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// More faults are not told.
const MAX_FAULTS: usize = 100;

impl DeclaredClients {
    /// Reads every file `NAME.toml` of `dir`, but for hidden ones, and checks all of them.
    ///
    /// # Errors
    /// Everything that is wrong, up to 100 faults, in the order of the files and lines.
    pub fn read(dir: &Path) -> Result<Self, Vec<FileFault>> {
        let files = files(dir).map_err(|error| vec![fault_of(dir, &error)])?;
        let (mut clients, mut faults) = (Vec::new(), Vec::new());
        let mut left_bytes = MAX_BYTES;
        for path in files {
            let name = name_of(&path);
            let text = match read_text(&path, left_bytes) {
                Ok(text) => text,
                Err(error) => {
                    let what = format!("it cannot be read: {error}");
                    faults.push(FileFault { place: Place { file: name, line: 0 }, what });
                    continue;
                }
            };
            left_bytes = left_bytes.saturating_sub(text.len() as u64);
            match reader::read(&name, &text, dir) {
                Ok(found) => clients.extend(found),
                Err(found) => faults.extend(found),
            }
        }
        let whole = DeclaredClients::new(clients);
        match whole {
            Ok(clients) if faults.is_empty() => Ok(clients),
            Ok(_) => Err(bounded(faults)),
            Err(more) => {
                faults.extend(more);
                Err(bounded(faults))
            }
        }
    }
}

fn bounded(mut faults: Vec<FileFault>) -> Vec<FileFault> {
    faults.sort();
    faults.truncate(MAX_FAULTS);
    faults
}

/// What tells a directory that has changed from one that has not, without reading its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, [i64; 5])>);

impl Fingerprint {
    /// Of the files as they are now.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let marks = files(dir)?.into_iter().map(|path| {
            let metadata = fs::metadata(&path)?;
            Ok((path, marks(&metadata)))
        });
        marks.collect::<io::Result<_>>().map(Self)
    }
}

fn marks(metadata: &Metadata) -> [i64; 5] {
    [
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size().cast_signed(),
        metadata.ino().cast_signed(),
        metadata.dev().cast_signed(),
    ]
}

/// The files, in the order of their names.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        if found.len() >= MAX_FILES {
            return Err(io::Error::other(format!("it has more than {MAX_FILES} files")));
        }
        found.push(path);
    }
    found.sort();
    Ok(found)
}

/// The text of a file that has at most so many bytes.
pub(super) fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    // A named pipe would keep this waiting.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(most_bytes.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > most_bytes {
        return Err(io::Error::other(
            "it is too long: a set of keys has 16 KiB, and all files together 256 MiB at most",
        ));
    }
    Ok(text)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| printable(&name.to_string_lossy())).unwrap_or_default()
}

fn fault_of(dir: &Path, error: &io::Error) -> FileFault {
    let place = Place { file: printable(&dir.to_string_lossy()), line: 0 };
    FileFault { place, what: format!("the directory cannot be read: {error}") }
}
