//! The two files of a journal.
//!
//! A header of 96 bytes: magic 16, whether all is in it 1, zeros 7, begun 8, known since 8, boot 40, check 16. Then records
//! of 32 bytes: key 16, end 8, check 8. Times are milliseconds, numbers little-endian, checks the beginning of a SHA-256.

use super::{GENERATION, MAX_RECORDS, SpentKey};
use crate::data_dir::private_options;
use aws_lc_rs::digest::{SHA256, digest};
use jeton_proto::time::Timestamp;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The length of a boot id as Linux writes it.
pub(super) const BOOT_ID_BYTES: usize = 36;
const FILES: [&str; 2] = ["spent-assertions.0.journal", "spent-assertions.1.journal"];
const MAGIC: &[u8; 16] = b"jeton spent 1\n\0\0";
const HEADER_BYTES: usize = 96;
const WHOLE_OFFSET: u64 = 16;
const RECORD_BYTES: usize = 32;

/// What the header of a file tells of its beginning.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) at: Timestamp,
    /// Everything used is in the journal of assertions that were made at this time or later.
    pub(super) known_since: Timestamp,
    pub(super) boot_id: Option<String>,
}

/// Whether everything that was spent while a file was written is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Partial = 0,
    Whole = 1,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    turn: usize,
    pub(super) begun: Begun,
    pub(super) content: Content,
    pub(super) records: Vec<(SpentKey, Timestamp)>,
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct GenerationFile {
    data_dir: PathBuf,
    turn: usize,
    begun: Begun,
    file: File,
    records: u64,
}

impl GenerationFile {
    /// Begins the journal anew with these records.
    pub(super) fn begin(
        data_dir: &Path,
        begun: Begun,
        records: &[(SpentKey, Timestamp)],
    ) -> io::Result<Self> {
        let other = written_anew(data_dir, 1, &begun, Content::Partial)?;
        let file = written_anew(data_dir, 0, &begun, Content::Partial)?;
        let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
        for record in records {
            bytes.extend_from_slice(&encoded(*record));
        }
        file.write_all_at(&bytes, HEADER_BYTES as u64)?;
        // Only now, so that whoever is killed before leaves nothing behind that would be believed.
        other.write_all_at(&[Content::Whole as u8], WHOLE_OFFSET)?;
        file.write_all_at(&[Content::Whole as u8], WHOLE_OFFSET)?;
        Ok(Self { data_dir: data_dir.to_owned(), turn: 0, begun, file, records: records.len() as u64 })
    }

    /// Goes on with a file that was found.
    pub(super) fn resume(data_dir: &Path, found: Found) -> io::Result<Self> {
        let file = open(&path(data_dir, found.turn))?;
        let records = found.records.len() as u64;
        Ok(Self { data_dir: data_dir.to_owned(), turn: found.turn, begun: found.begun, file, records })
    }

    /// Writes a record, in the other file when this one's time is over.
    pub(super) fn append_at(&mut self, record: (SpentKey, Timestamp), now: Timestamp) -> io::Result<()> {
        // The other file may hold what can be used again by now, and this one must not be kept for ever.
        if self.begun.at.saturating_since(now) >= GENERATION {
            return Err(io::Error::other("the clock was set back"));
        }
        if now.saturating_since(self.begun.at) >= GENERATION {
            self.turn = usize::from(self.turn == 0);
            self.begun.at = now;
            self.file = written_anew(&self.data_dir, self.turn, &self.begun, Content::Whole)?;
            self.records = 0;
        }
        if self.records >= MAX_RECORDS {
            return Err(io::Error::other("the journal has too many records"));
        }
        // At its place, so that what was written by half is written over.
        let offset = HEADER_BYTES as u64 + self.records * RECORD_BYTES as u64;
        self.file.write_all_at(&encoded(record), offset)?;
        self.records += 1;
        Ok(())
    }

    /// Lets every write fail, as a full disk does.
    #[cfg(test)]
    pub(super) fn fail_from_now_on(&mut self) {
        self.file = private_options().read(true).open(path(&self.data_dir, self.turn)).unwrap();
    }

    /// Leaves a mark that not all is in it. The byte has its place on the disk already, and where even that cannot be
    /// written, an empty file or none says the same.
    ///
    /// # Errors
    /// When nothing of that could be done, as on a disk that is read-only: the file is believed by whoever finds it.
    pub(super) fn disown(&self) -> io::Result<()> {
        let marked = self.file.write_all_at(&[Content::Partial as u8], WHOLE_OFFSET);
        let emptied = marked.or_else(|_| self.file.set_len(0));
        emptied.or_else(|_| {
            (0..FILES.len()).try_for_each(|turn| match std::fs::remove_file(path(&self.data_dir, turn)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            })
        })
    }
}

/// Opens a private file for reading and writing, and makes it where there is none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    private_options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The files that there are.
pub(super) fn read(data_dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for turn in 0..FILES.len() {
        let file = match private_options().read(true).open(path(data_dir, turn)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let most = HEADER_BYTES as u64 + MAX_RECORDS * RECORD_BYTES as u64;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        found.push(decoded(turn, &bytes));
    }
    Ok(found)
}

fn path(data_dir: &Path, turn: usize) -> PathBuf {
    let [first, second] = FILES;
    data_dir.join(if turn == 0 { first } else { second })
}

fn written_anew(data_dir: &Path, turn: usize, begun: &Begun, content: Content) -> io::Result<File> {
    let file = open(&path(data_dir, turn))?;
    file.set_len(0)?;
    file.write_all_at(&header(begun, content), 0)?;
    Ok(file)
}

fn header(begun: &Begun, content: Content) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[content as u8, 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&begun.at.as_unix_millis().to_le_bytes());
    header.extend_from_slice(&begun.known_since.as_unix_millis().to_le_bytes());
    header.extend_from_slice(begun.boot_id.as_deref().unwrap_or_default().as_bytes());
    header.resize(HEADER_BYTES - 16, 0);
    // The mark is changed alone, so it is not under the check.
    let check = digest(&SHA256, header.split_at(MAGIC.len() + 1).1);
    header.extend(check.as_ref().iter().take(16));
    header
}

fn decoded(turn: usize, bytes: &[u8]) -> Found {
    let nothing = Begun { at: Timestamp::EPOCH, known_since: Timestamp::EPOCH, boot_id: None };
    let Some((begun, content, rest)) = decoded_header(bytes) else {
        return Found { turn, begun: nothing, content: Content::Partial, records: Vec::new() };
    };
    let (chunks, rest) = rest.as_chunks::<RECORD_BYTES>();
    let records: Vec<_> = chunks.iter().map_while(decoded_record).collect();
    // The last record may be cut off: the process was killed before it answered that request.
    let unreadable = chunks.len() - records.len() + usize::from(!rest.is_empty());
    let content = if unreadable <= 1 { content } else { Content::Partial };
    Found { turn, begun, content, records }
}

fn decoded_header(bytes: &[u8]) -> Option<(Begun, Content, &[u8])> {
    let (found, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let number = |at: usize| Some(u64::from_le_bytes(found.get(at..at + 8)?.try_into().ok()?));
    let boot_id = found.get(40..40 + BOOT_ID_BYTES).and_then(|text| std::str::from_utf8(text).ok())?;
    let begun = Begun {
        at: Timestamp::from_unix_millis(number(24)?),
        known_since: Timestamp::from_unix_millis(number(32)?),
        boot_id: (!boot_id.starts_with('\0')).then(|| boot_id.to_owned()),
    };
    let content =
        [Content::Whole, Content::Partial].into_iter().find(|content| header(&begun, *content) == found)?;
    Some((begun, content, rest))
}

fn encoded((key, usable_until): (SpentKey, Timestamp)) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let end = usable_until.as_unix_millis().to_le_bytes();
    let check = digest(&SHA256, &[key.as_bytes().as_slice(), &end].concat());
    let bytes = key.as_bytes().iter().chain(&end).chain(check.as_ref());
    for (to, from) in record.iter_mut().zip(bytes) {
        *to = *from;
    }
    record
}

fn decoded_record(record: &[u8; RECORD_BYTES]) -> Option<(SpentKey, Timestamp)> {
    let (key, rest) = record.split_first_chunk::<16>()?;
    let (end, _) = rest.split_first_chunk::<8>()?;
    let decoded = (SpentKey(*key), Timestamp::from_unix_millis(u64::from_le_bytes(*end)));
    (encoded(decoded) == *record).then_some(decoded)
}
