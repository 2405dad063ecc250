//! The file of the audit log: whole lines alone, one writer at a time, a new file when one is large.
//!
//! Several processes may write to one log: a server, and the commands that administer it. Each takes the lock of the file
//! for the moment in which it writes, and reads the end of the chain when somebody else has written since.

use super::chain::{Head, Line};
use super::files::{Archive, archived, archived_name};
use super::record::{Event, Record};
use crate::data_dir::{PrivateFileError, check_private};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use rustix::fs::{Advice, OFlags};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The end of the log that is read to find its last line; longer than any two lines.
const TAIL_BYTES: u64 = 256 * 1024;
/// So many bytes are written at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often, and with which pause, the lock is asked for.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// How much of a line that was cut off is kept in the record that tells of it.
const TORN_BYTES_KEPT: usize = 512;

/// An audit log that is written to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    rotate_bytes: u64,
    open: Option<Open>,
    /// The end of the chain, once it is known.
    head: Option<Head>,
    /// What was found and mended, and is not told in the log yet.
    mended: Option<Mended>,
    lines_written: u64,
    /// Room for what is written at once.
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// How far it was read or written; more than that was written by others.
    length_bytes: u64,
    /// Whether the directory may not have its name on the disk yet.
    is_new: bool,
}

#[derive(Debug, Clone)]
enum Mended {
    CutOff { bytes: usize, kept: String },
    Damaged { moved_to: String },
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is not one for an audit log.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// Another process holds the file.
    #[error("another process holds the audit log {0}; see which by: fuser {0}", .path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the audit log {} cannot be written", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("the thread that writes the audit log cannot be started")]
    Thread(#[source] io::Error),
}

impl Journal {
    pub(super) const fn new(path: PathBuf, rotate_bytes: u64) -> Self {
        Self { path, rotate_bytes, open: None, head: None, mended: None, lines_written: 0, chunk: Vec::new() }
    }

    /// Finds the end of the log, mends it, and tells so at once: another kill must not take that with it.
    pub(super) fn prepare(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.append(&[], &mut 0, now)
    }

    /// Writes records, of which `lines` has the members one on each line, from the byte `written` on, and moves `written`
    /// past each that is in the file.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        written: &mut usize,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.lock()?;
        let appended = self.append_locked(lines, written, now);
        self.unlock();
        appended
    }

    /// Knows nothing of the file any more: it is read again before the next line.
    pub(super) fn reopen(&mut self) {
        self.open = None;
        self.head = None;
    }

    /// How many lines were written, all in all.
    pub(super) const fn lines_written(&self) -> u64 {
        self.lines_written
    }

    /// Makes sure that what was written outlives the machine.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let named = || if open.is_new { sync_directory(&self.path) } else { Ok(()) };
        let synced = open.file.sync_data().and_then(|()| named());
        if synced.is_ok() {
            // What is on the disk is read by nobody soon: its memory is for the next lines, in place of ever more of it, which is dear
            // where the machine is a virtual one.
            let _advice = rustix::fs::fadvise(&open.file, 0, None, Advice::DontNeed);
        }
        open.is_new &= synced.is_err();
        synced.map_err(|source| self.system(source))
    }

    fn append_locked(
        &mut self,
        lines: &[u8],
        written: &mut usize,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        if let Some(mended) = self.mended.clone() {
            let mut head = self.head.unwrap_or(Head::START);
            self.chunk.clear();
            head.append(&mut self.chunk, mended.record(now).members());
            self.write_chunk(head)?;
            self.mended = None;
            self.lines_written += 1;
        }
        while let Some(rest) = lines.get(*written..).filter(|rest| !rest.is_empty()) {
            let mut head = self.head.unwrap_or(Head::START);
            self.chunk.clear();
            let (mut taken, mut taken_count) = (0, 0);
            for end in memchr::memchr_iter(b'\n', rest) {
                head.append(&mut self.chunk, rest.get(taken..end).unwrap_or_default());
                (taken, taken_count) = (end + 1, taken_count + 1);
                if self.chunk.len() >= CHUNK_BYTES {
                    break;
                }
            }
            self.write_chunk(head)?;
            *written += taken;
            self.lines_written += taken_count;
        }
        Ok(())
    }

    /// Writes the lines in the chunk, after which the chain has this head, or nothing.
    fn write_chunk(&mut self, head: Head) -> Result<(), JournalError> {
        self.rotate_for(self.chunk.len() as u64)?;
        let Some(open) = &mut self.open else {
            return Err(self.system(io::ErrorKind::NotFound.into()));
        };
        if let Err(source) = open.file.write_all(&self.chunk) {
            // Half a line must not stay. Where even that fails, it is mended as one that a killed process left.
            let _mended_later = open.file.set_len(open.length_bytes);
            return Err(self.system(source));
        }
        open.length_bytes += self.chunk.len() as u64;
        self.head = Some(head);
        Ok(())
    }

    /// Gives the file another name, and begins a new one, when `more` bytes would make it too large.
    fn rotate_for(&mut self, more: u64) -> Result<(), JournalError> {
        let Some(open) = &self.open else { return Ok(()) };
        if open.length_bytes == 0 || open.length_bytes.saturating_add(more) <= self.rotate_bytes {
            return Ok(());
        }
        self.sync()?;
        let first = self.first_sequence().unwrap_or_else(|| self.head.map_or(0, |head| head.sequence()));
        self.rename(&archived_name(&self.path, Archive::Whole { first_sequence: first }))?;
        // The lock goes with the old file, and the new one has its own.
        self.open = None;
        self.lock()
    }

    fn first_sequence(&self) -> Option<u64> {
        let mut beginning = Vec::new();
        File::open(&self.path).ok()?.take(TAIL_BYTES).read_to_end(&mut beginning).ok()?;
        let end = beginning.iter().position(|byte| *byte == b'\n')?;
        Some(Line::parse(beginning.get(..end)?)?.sequence)
    }

    /// A name that is taken is left to who has it.
    fn rename(&self, to: &Path) -> Result<(), JournalError> {
        let linked = match std::fs::hard_link(&self.path, to) {
            // Whoever gave it the name was killed before the old one was gone.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_one_file(&self.path, to) => {
                Ok(())
            }
            linked => linked,
        };
        linked.and_then(|()| std::fs::remove_file(&self.path)).map_err(|source| self.system(source))?;
        sync_directory(&self.path).map_err(|source| self.system(source))
    }

    /// Takes the lock of the file that has the name now, and knows the end of the chain after that.
    fn lock(&mut self) -> Result<(), JournalError> {
        for _ in 0..LOCK_TRIES {
            let open = match self.open.take() {
                Some(open) => open,
                None => Open { file: self.open_file()?, length_bytes: 0, is_new: true },
            };
            match open.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    self.open = Some(open);
                    thread::sleep(LOCK_PAUSE);
                    continue;
                }
                Err(TryLockError::Error(source)) => return Err(self.system(source)),
            }
            // Whoever had the lock may have begun a new file.
            let named = std::fs::symlink_metadata(&self.path).map(|named| (named.dev(), named.ino()));
            let held = open.file.metadata().map_err(|source| self.system(source))?;
            if named.is_ok_and(|named| named == (held.dev(), held.ino())) {
                if let Some(archive) = self.archive_of(&held) {
                    // Half of a rotation. The lock goes with the old file.
                    self.rename(&archive)?;
                    continue;
                }
                let known = self.head.is_some() && open.length_bytes == held.len();
                self.open = Some(open);
                if known || self.read_end(held.len())? {
                    return Ok(());
                }
            }
        }
        Err(JournalError::Held { path: self.path.clone() })
    }

    /// The name for a file that is no longer written to, if the one that is held has it already.
    fn archive_of(&self, held: &Metadata) -> Option<PathBuf> {
        let first_sequence = if held.nlink() > 1 { self.first_sequence()? } else { return None };
        let archive = archived_name(&self.path, Archive::Whole { first_sequence });
        is_one_file(&self.path, &archive).then_some(archive)
    }

    fn unlock(&self) {
        if let Some(open) = &self.open {
            // A lock that cannot be given back ends with the file.
            let _ended_later = open.file.unlock();
        }
    }

    fn open_file(&self) -> Result<File, JournalError> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
        let file = options.open(&self.path).map_err(|source| self.system(source))?;
        let metadata = file.metadata().map_err(|source| self.system(source))?;
        check_private(&self.path, &metadata)?;
        Ok(file)
    }

    /// Reads where the chain ends, and cuts off what is no whole line. Whether the file can be gone on with; if not, it has
    /// another name now.
    fn read_end(&mut self, length_bytes: u64) -> Result<bool, JournalError> {
        let tail = self.read_tail(length_bytes).map_err(|source| self.system(source))?;
        let torn = tail.iter().rev().position(|byte| *byte == b'\n').unwrap_or(tail.len());
        let (whole, torn) = tail.split_at(tail.len() - torn);
        let last = whole.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        let head = match last {
            Some(last) => Line::parse(last).filter(Line::is_intact).map(|line| line.head()),
            // A file that was begun a moment ago goes on with the one before it.
            None if length_bytes < TAIL_BYTES => Some(self.head.map_or_else(|| self.archived_head(), Ok)?),
            None => None,
        };
        let Some(head) = head else {
            return self.set_aside().map(|()| false);
        };
        self.head = Some(head);
        let whole_bytes = length_bytes - torn.len() as u64;
        if !torn.is_empty() {
            let cut_off = self.open.as_ref().map_or(Ok(()), |open| open.file.set_len(whole_bytes));
            cut_off.map_err(|source| self.system(source))?;
            let kept = torn.get(..TORN_BYTES_KEPT).unwrap_or(torn);
            let kept = printable(&String::from_utf8_lossy(kept));
            tracing::warn!(path = ?self.path, bytes = torn.len(), "the last line of the audit log was cut off; it is mended");
            self.mended = Some(Mended::CutOff { bytes: torn.len(), kept });
        }
        if let Some(open) = &mut self.open {
            open.length_bytes = whole_bytes;
        }
        Ok(true)
    }

    fn read_tail(&self, length_bytes: u64) -> io::Result<Vec<u8>> {
        let mut tail = Vec::new();
        if let Some(open) = &self.open {
            let mut file = &open.file;
            file.seek(SeekFrom::Start(length_bytes.saturating_sub(TAIL_BYTES)))?;
            file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        }
        Ok(tail)
    }

    /// The end of the newest file that this one follows.
    fn archived_head(&self) -> Result<Head, JournalError> {
        let newest = archived(&self.path).map_err(|source| self.system(source))?.pop();
        let Some(newest) = newest else { return Ok(Head::START) };
        let mut before = Self::new(newest, u64::MAX);
        let tail = File::open(&before.path).and_then(|file| {
            let length_bytes = file.metadata()?.len();
            before.open = Some(Open { file, length_bytes, is_new: false });
            before.read_tail(length_bytes)
        });
        let tail = tail.map_err(|source| self.system(source))?;
        let last = tail.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        // Where it cannot be read, the first line of the new file shows that it does not follow.
        Ok(last.and_then(Line::parse).map_or(Head::START, |line| line.head()))
    }

    /// A log whose last whole line is none was not left so by a process that was killed. It is kept as it is, and another
    /// one begun: tokens do not wait for somebody to look at it.
    fn set_aside(&mut self) -> Result<(), JournalError> {
        let to = archived_name(&self.path, Archive::Damaged { mark: damage_mark(&self.path) });
        self.rename(&to)?;
        tracing::error!(path = ?self.path, moved_to = ?to, "the audit log is damaged; it is set aside, and another one begun");
        let moved_to = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.mended = Some(Mended::Damaged { moved_to });
        self.open = None;
        self.head = None;
        Ok(())
    }

    fn system(&self, source: io::Error) -> JournalError {
        JournalError::System { path: self.path.clone(), source }
    }
}

impl Mended {
    fn record(&self, now: Timestamp) -> Record {
        let record = Record::new(Event::LogResumed, now);
        match self {
            Self::CutOff { bytes, kept } => record
                .text("reason", "the line after the last whole one was cut off")
                .number("torn_bytes", *bytes as u64)
                .text("torn", kept),
            Self::Damaged { moved_to } => {
                record.text("reason", "the log was damaged and set aside").text("moved_to", moved_to)
            }
        }
    }
}

/// Makes sure that the name of the file outlives the machine.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether both names are those of one file.
fn is_one_file(one: &Path, other: &Path) -> bool {
    let inode = |path| std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

/// What tells damaged files apart: the inode, which is not used anew while the file is there.
fn damage_mark(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino())
}
