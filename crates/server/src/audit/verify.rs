//! Whether an audit log is as it was written.

use super::chain::{Break, Head, Line, is_beginning};
use super::files::{MAX_LINE_BYTES, first_sequence};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// What became of the files of a log that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The files, in the order of their lines.
    pub files: Vec<PathBuf>,
    /// How many lines hold together.
    pub lines: u64,
    /// The number of the first line; `None` when there is no line. One above 1 follows lines that are elsewhere.
    pub first_sequence: Option<u64>,
    /// The last line that holds together. Kept elsewhere, it shows later whether anything up to it was changed.
    pub head: Option<Head>,
    /// What was left of a line when its writer was killed: a loss of one record, and no tampering.
    pub torn: Option<Torn>,
    /// Whether the digest that was asked for is one of a line that holds together.
    pub contains: bool,
    /// Where the log was tampered with or damaged; what is behind that was not looked at.
    pub fault: Option<LogFault>,
}

/// The rest of a line that was being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// In which file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u64,
    /// How long the rest is, in bytes.
    pub bytes: usize,
}

/// Where a log does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {what}", .file.display())]
pub struct LogFault {
    /// In which file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub what: Break,
}

/// Reads the files of one log, in whatever order they are named, and checks every line.
///
/// `digest` is one that was kept from an earlier look: no line up to the one that has it was changed or removed since.
pub fn verify(paths: &[PathBuf], digest: Option<&str>) -> io::Result<Verdict> {
    let mut files = paths
        .iter()
        // What has no line that can be read is told where it stands last.
        .map(|path| Ok((first_sequence(path).map_err(named(path))?.unwrap_or(u64::MAX), path.clone())))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let files: Vec<_> = files.into_iter().map(|(_, path)| path).collect();
    let mut chain = Chain { wanted: digest.map(str::to_owned), ..Chain::default() };
    let mut verdict = Verdict {
        files,
        lines: 0,
        first_sequence: None,
        head: None,
        torn: None,
        contains: false,
        fault: None,
    };
    for (index, path) in verdict.files.iter().enumerate() {
        let mut reader = BufReader::with_capacity(1024 * 1024, File::open(path).map_err(named(path))?);
        match chain.read(&mut reader).map_err(named(path))? {
            FileEnd::Whole => {}
            // Only the last line of all can be one that was being written.
            FileEnd::Torn { line, bytes } if index + 1 == verdict.files.len() => {
                verdict.torn = Some(Torn { file: path.clone(), line, bytes });
            }
            FileEnd::Torn { line, .. } => {
                verdict.fault = Some(LogFault { file: path.clone(), line, what: Break::Form });
                break;
            }
            FileEnd::Broken { line, what } => {
                verdict.fault = Some(LogFault { file: path.clone(), line, what });
                break;
            }
        }
    }
    (verdict.lines, verdict.contains) = (chain.lines, chain.contains);
    (verdict.first_sequence, verdict.head) = (chain.first_sequence, chain.head);
    Ok(verdict)
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What was seen of a chain.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) lines: u64,
    first_sequence: Option<u64>,
    pub(super) head: Option<Head>,
    wanted: Option<String>,
    contains: bool,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileEnd {
    Whole,
    Torn { line: u64, bytes: usize },
    Broken { line: u64, what: Break },
}

impl Chain {
    pub(super) fn read(&mut self, reader: &mut impl BufRead) -> io::Result<FileEnd> {
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            let Some(whole) = bytes.strip_suffix(b"\n") else {
                let torn = is_beginning(&bytes) && (bytes.len() as u64) < MAX_LINE_BYTES;
                let end = FileEnd::Torn { line, bytes: bytes.len() };
                return Ok(if torn { end } else { FileEnd::Broken { line, what: Break::Form } });
            };
            if let Err(what) = self.add(whole) {
                return Ok(FileEnd::Broken { line, what });
            }
        }
        Ok(FileEnd::Whole)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Break> {
        let line = Line::parse(bytes).ok_or(Break::Form)?;
        // The first line of all is taken at its word about what is before it, except that nothing is before line 1.
        let start = if line.sequence == 1 { Head::START } else { line.before() };
        let head = self.head.unwrap_or(start).follow(&line)?;
        self.head = Some(head);
        self.contains |= self.wanted.as_deref() == Some(head.digest());
        self.first_sequence.get_or_insert(line.sequence);
        self.lines += 1;
        Ok(())
    }
}
