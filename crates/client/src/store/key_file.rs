//! The keys of a store, in a file that is made on first use.

use super::seal::{InvalidStoreKey, KeyRing, StoreKey, new_version};
use jeton_proto::secret::Secret;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The first line that is no comment. A later format has another number.
const FORMAT: &str = "jeton-keys 1";
const HEAD: &str =
    "# The keys of a token cache. Who has them and the cache has the tokens: keep them secret.\n";
/// The longest file that is read: room for more than a hundred keys.
const MAX_FILE_BYTES: u64 = 16 * 1024;
/// How long a key is.
const HEX_DIGITS: usize = 64;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const OTHERS: u32 = 0o077;
/// How often the file is looked for again, that was there when it was to be made and not when it was to be read.
const TRIES: u32 = 3;

/// Why a key file cannot be used. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is a link, and where that leads may change.
    #[error("the key file {} is a symbolic link: name the file that it leads to", .0.display())]
    Link(PathBuf),
    /// It is a directory, a device, or something else again.
    #[error("the key file {} is no file: name another one, or move it away", .0.display())]
    NoFile(PathBuf),
    /// It belongs to another user, who has the keys in it too.
    #[error("the key file {} belongs to user {owner}, not to {user}: name one of your own", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Its group or others may read or write it.
    #[error("the key file {} has mode {mode:03o} and is open to others: run `chmod 600` on it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not what was once written, or no key file at all. The error tells nothing of what stands there.
    #[error(
        "the key file {} is damaged: {what}; restore it, or remove it to begin with new keys and an empty cache",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// It cannot be made or read.
    #[error("the key file {} cannot be {step}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// No keys can be made.
    #[error("no keys for the key file {}: {error}", .path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: InvalidStoreKey,
    },
}

impl KeyRing {
    /// The keys in the file `path`, which is made with new keys if it is not there, readable by its owner alone. Several
    /// processes that make it at once end with the same keys. Blocks for as long as the file system takes.
    ///
    /// ```text
    /// # Lines like this one, and empty ones, mean nothing.
    /// jeton-keys 1
    /// seal 5f1c…   the key that records are sealed with
    /// names 90aa…  the key that their names are made with
    /// older 77e0…  another key that opens records; none, or several
    /// ```
    ///
    /// Each key is 64 hexadecimal digits. To replace the sealing key without losing a token, put a
    /// new key (`openssl rand -hex 32`) in as `older`; when every process has read that, make it `seal` and the
    /// previous one `older`; when every process has read that too, and the last token of before has expired, leave
    /// the previous one out. Write each version to a file beside it and rename that into its place. `names` stays.
    ///
    /// # Errors
    /// When the file cannot be made or read, is a symbolic link or no file, belongs to another user, is open to others, or
    /// is damaged. A file that is there is never changed.
    pub fn from_key_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let place = Place::of(path.as_ref())?;
        for _ in 0..TRIES {
            if let Some(text) = place.read()? {
                return parse(&text).map_err(|wrong| place.wrong(wrong));
            }
            place.make()?;
        }
        Err(place.failed("read")(io::Error::from(ErrorKind::NotFound)))
    }
}

/// The directory of the file, and its name there.
struct Place {
    path: PathBuf,
    directory: OwnedFd,
    name: PathBuf,
}

impl Place {
    fn of(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |step, error| KeyFileError::Io { path: path.to_path_buf(), step, error };
        let Some(name) = path.file_name() else {
            return Err(KeyFileError::NoFile(path.to_path_buf()));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| failed("made", error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty());
        let directory = directory.map_err(|errno| failed("reached", errno.into()))?;
        Ok(Self { path: path.to_path_buf(), directory, name: PathBuf::from(name) })
    }

    fn failed(&self, step: &'static str) -> impl Fn(io::Error) -> KeyFileError {
        move |error| KeyFileError::Io { path: self.path.clone(), step, error }
    }

    fn damaged(&self, what: impl Into<String>) -> KeyFileError {
        KeyFileError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn wrong(&self, wrong: Wrong) -> KeyFileError {
        match wrong {
            Wrong::Text(what) => self.damaged(what),
            Wrong::Keys(error) => KeyFileError::Keys { path: self.path.clone(), error },
        }
    }

    /// What is in the file; `None` if it is not there.
    fn read(&self) -> Result<Option<Zeroizing<String>>, KeyFileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => return Err(KeyFileError::Link(self.path.clone())),
            Err(errno) => return Err(self.failed("opened")(errno.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.failed("looked at")(errno.into()))?;
        self.is_ours(&stat)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(self.failed("read"))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(self.damaged(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(self.damaged("it is no text")),
        }
    }

    fn is_ours(&self, stat: &Stat) -> Result<(), KeyFileError> {
        let path = || self.path.clone();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(KeyFileError::NoFile(path()));
        }
        let (owner, user) = (stat.st_uid, rustix::process::geteuid().as_raw());
        // What root has put there, root could read anyway.
        if owner != user && owner != 0 {
            return Err(KeyFileError::Owner { path: path(), owner, user });
        }
        #[allow(clippy::useless_conversion, reason = "the type differs from system to system")]
        let mode = u32::from(Mode::from_raw_mode(stat.st_mode).as_raw_mode());
        if mode & OTHERS == 0 { Ok(()) } else { Err(KeyFileError::Mode { path: path(), mode }) }
    }

    /// Makes the file with new keys, whole or not at all, unless another process has made it in the meantime.
    fn make(&self) -> Result<(), KeyFileError> {
        let no_keys = |error| KeyFileError::Keys { path: self.path.clone(), error };
        let text = new_text().map_err(no_keys)?;
        let apart = new_version().ok_or_else(|| no_keys(InvalidStoreKey::NoRandom))?;
        let mut beside = self.name.clone().into_os_string();
        for byte in apart.bytes() {
            beside.push(format!("{byte:02x}"));
        }
        let beside = PathBuf::from(beside);
        let made = self.write(&beside, &text).and_then(|()| {
            // Unlike a rename, a link replaces nothing.
            match rustix::fs::linkat(&self.directory, &beside, &self.directory, &self.name, AtFlags::empty())
            {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        });
        let removed = rustix::fs::unlinkat(&self.directory, &beside, AtFlags::empty());
        made.and_then(|()| Ok(removed?))
            .and_then(|()| Ok(rustix::fs::fsync(&self.directory)?))
            .map_err(self.failed("made"))
    }

    fn write(&self, beside: &Path, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.directory, beside, flags, PRIVATE_FILE)?);
        // A mask may have taken even our own permissions.
        rustix::fs::fchmod(&file, PRIVATE_FILE)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

fn new_text() -> Result<Zeroizing<String>, InvalidStoreKey> {
    // Room for all of it, so that no copy stays behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(512));
    text.push_str(HEAD);
    text.push_str(FORMAT);
    text.push('\n');
    for purpose in ["seal", "names"] {
        let key = StoreKey::generate()?.to_hex();
        let _written = writeln!(text, "{purpose} {}", key.expose());
    }
    Ok(text)
}

enum Wrong {
    Text(String),
    Keys(InvalidStoreKey),
}

fn parse(text: &str) -> Result<KeyRing, Wrong> {
    let wrong = |line: usize, what: &str| Wrong::Text(format!("line {line} {what}"));
    let lines = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        Some((_, FORMAT)) => {}
        Some((line, _)) => return Err(wrong(line, &format!("is not `{FORMAT}`"))),
        None => return Err(Wrong::Text("it is empty".to_owned())),
    }
    let (mut seal, mut names, mut older) = (None, None, Vec::new());
    for (number, line) in lines {
        let (purpose, key) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // Nothing but hexadecimal digits: 43 of 64 would be a key in base64, another one.
        let key = Some(key.trim()).filter(|key| key.len() == HEX_DIGITS);
        let key = key.and_then(|key| StoreKey::parse(&Secret::from(key)).ok());
        let key = key.ok_or_else(|| wrong(number, "has no key of 64 hexadecimal digits"))?;
        let before = match purpose {
            "seal" => seal.replace(key),
            "names" => names.replace(key),
            "older" => {
                older.push(key);
                None
            }
            _ => return Err(wrong(number, "is none of `seal`, `names` and `older`")),
        };
        if before.is_some() {
            return Err(wrong(number, "has a second key where one may be"));
        }
    }
    let missing = |what: &str| Wrong::Text(format!("it has no line `{what}`"));
    let ring = KeyRing::new(&seal.ok_or_else(|| missing("seal"))?).map_err(Wrong::Keys)?;
    let ring = ring.with_name_key(&names.ok_or_else(|| missing("names"))?).map_err(Wrong::Keys)?;
    older.iter().try_fold(ring, KeyRing::with_older).map_err(Wrong::Keys)
}

#[cfg(test)]
mod tests;
