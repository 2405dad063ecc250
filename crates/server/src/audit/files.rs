//! The files of an audit log: the one that is written to, and those before it.

use super::chain::Line;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The longest line that is read, in bytes.
pub(super) const MAX_LINE_BYTES: u64 = 128 * 1024;

/// What a file that is no longer written to is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Archive {
    /// A part of the chain.
    Whole { first_sequence: u64 },
    /// One that could not be gone on with.
    Damaged { mark: u64 },
}

/// The name that the file at `path` has once it is no longer written to.
pub(super) fn archived_name(path: &Path, archive: Archive) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or(OsStr::new("jsonl")).to_string_lossy();
    path.with_file_name(match archive {
        Archive::Whole { first_sequence } => format!("{stem}-{first_sequence}.{extension}"),
        Archive::Damaged { mark } => format!("{stem}-damaged-{mark}.{extension}"),
    })
}

/// The files of the log at `path` that are no longer written to, oldest first.
pub(super) fn archived(path: &Path) -> io::Result<Vec<PathBuf>> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or(OsStr::new("jsonl")).to_string_lossy().into_owned();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sequence = |name: &OsStr| {
        let name = name.to_str()?.strip_prefix(&stem)?.strip_prefix('-')?;
        name.strip_suffix(&extension)?.strip_suffix('.')?.parse::<u64>().ok()
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(first_sequence) = sequence(&entry.file_name()) {
            found.push((first_sequence, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Every file of the log at `path` that is there, oldest first.
pub fn log_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = archived(path)?;
    if path.try_exists()? {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// The number of the first line, where there is one that can be read.
pub(super) fn first_sequence(path: &Path) -> io::Result<Option<u64>> {
    let mut beginning = Vec::new();
    File::open(path)?.take(MAX_LINE_BYTES).read_to_end(&mut beginning)?;
    let line = beginning.split(|byte| *byte == b'\n').next().and_then(Line::parse);
    Ok(line.map(|line| line.sequence))
}
