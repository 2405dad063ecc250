//! How the values get from one image of the program to the next: in a file that is in memory alone and has no name.

use super::HANDOVER_VARIABLE;
use crate::core_dump;
use crate::output;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use zeroize::Zeroizing;

/// What the file is called where open files are shown.
const NAME: &str = "jeton-secrets";

/// The most that is handed over, in bytes: far more than secrets take, and less than the system allows an environment to take.
const MAX_BYTES: usize = 1024 * 1024;

/// The file can be emptied and no more, and is known by that.
const SEALS: SealFlags = SealFlags::GROW.union(SealFlags::SEAL);

const THIS_PROGRAM: &str = "/proc/self/exe";

/// Replaces this image by another one of the same program that has these variables in a file and not in its environment. Returns when
/// that is not possible, as without `/proc`.
pub(super) fn replace_this_image(secrets: Vec<(OsString, OsString)>) {
    if let Err(error) = try_to_replace(secrets) {
        tracing::debug!(%error, "the secrets stay in the environment of this process");
    }
}

fn try_to_replace(secrets: Vec<(OsString, OsString)>) -> io::Result<()> {
    // A failed execution leaves signals changed, so what can be looked at before is.
    drop(File::open(THIS_PROGRAM)?);
    let file = file_with(&secrets)?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(THIS_PROGRAM);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    for (name, value) in secrets {
        command.env_remove(name);
        drop(Zeroizing::new(value.into_vec()));
    }
    command.env(HANDOVER_VARIABLE, file.as_raw_fd().to_string());
    Err(core_dump::allowed_for(|| command.exec()))
}

/// A file that stays open across an execution, with the variables in it. The program has no other threads yet that could start one.
fn file_with(secrets: &[(OsString, OsString)]) -> io::Result<File> {
    let length: usize = secrets.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if length > MAX_BYTES {
        return Err(io::Error::other(format!("secrets of more than {MAX_BYTES} bytes are not handed over")));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    for (name, value) in secrets {
        for part in [name, value] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
    }
    let flags = MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know of files that cannot be executed, and some later ones want no others.
    let file = memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| memfd_create(NAME, flags))?;
    let mut file = File::from(file);
    file.write_all(&text)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// The variables in the file that `number` tells of, which is empty afterwards. A number that tells of anything else is told to the
/// person and passed over: whoever sets it could have set the variables.
pub(super) fn receive(number: &OsStr) -> Vec<(OsString, OsString)> {
    match try_to_receive(number) {
        Ok(secrets) => {
            carry_the_name_on();
            secrets
        }
        Err(error) => {
            output::note(&format!("warning: {HANDOVER_VARIABLE} is passed over: {error}"));
            Vec::new()
        }
    }
}

fn try_to_receive(number: &OsStr) -> io::Result<Vec<(OsString, OsString)>> {
    let number = number.to_str().and_then(|number| number.parse::<u16>().ok());
    let number = number.ok_or_else(|| io::Error::other("it is no file descriptor"))?;
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    // Looked at before it is opened: opening a device or a pipe may do something.
    let is_ours = std::fs::read_link(&path)? == Path::new(&format!("/memfd:{NAME} (deleted)"));
    let foreign = || io::Error::other("it is not of this program");
    if !is_ours {
        return Err(foreign());
    }
    let mut file = File::options().read(true).write(true).open(&path)?;
    if !fcntl_get_seals(&file)?.contains(SEALS) {
        return Err(foreign());
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES.min(length_of(&file)?) + 1));
    let read = (&mut file).take(MAX_BYTES as u64).read_to_end(&mut text);
    // The descriptor itself cannot be closed without unsafe code, and is inherited by what this process starts.
    file.set_len(0)?;
    read?;
    Ok(pairs(&text))
}

fn length_of(file: &File) -> io::Result<usize> {
    Ok(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX))
}

/// Name and value in turn, each ended by NUL.
fn pairs(text: &[u8]) -> Vec<(OsString, OsString)> {
    let mut parts = text.split_inclusive(|byte| *byte == 0).filter_map(|part| part.strip_suffix(&[0]));
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()));
    }
    pairs
}

/// The system calls a process after the file that was executed, which here is `exe`.
fn carry_the_name_on() {
    let name = std::env::args_os().next();
    let name = name.as_deref().and_then(|name| Path::new(name).file_name()).unwrap_or(OsStr::new("jeton"));
    if let Ok(name) = CString::new(name.as_bytes()) {
        let _named = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::RawFd;

    fn variables() -> Vec<(OsString, OsString)> {
        [("A", "canary"), ("EMPTY", ""), ("ODD", "a=b\n \u{e9}")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    fn receive(number: RawFd) -> io::Result<Vec<(OsString, OsString)>> {
        try_to_receive(OsStr::new(&number.to_string()))
    }

    #[test]
    fn what_is_handed_over_is_read_once() {
        let file = file_with(&variables()).unwrap();
        assert_eq!(receive(file.as_raw_fd()).unwrap(), variables());
        assert_eq!(file.metadata().unwrap().len(), 0, "it is gone from the file");
        assert_eq!(receive(file.as_raw_fd()).unwrap(), []);
    }

    #[test]
    fn what_is_too_long_stays_where_it_is() {
        let long = [("A".into(), "x".repeat(MAX_BYTES).into())];
        assert!(file_with(&long).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn a_forged_number_is_passed_over() {
        let other = tempfile::tempfile().unwrap();
        let unsealed = File::from(memfd_create(NAME, MemfdFlags::ALLOW_SEALING).unwrap());
        (&unsealed).write_all(b"A\0b\0").unwrap();
        for number in [other.as_raw_fd(), unsealed.as_raw_fd(), 9999] {
            assert!(receive(number).is_err());
        }
        for text in ["", "-1", "3x", "99999999999999999999"] {
            assert!(try_to_receive(OsStr::new(text)).is_err(), "{text}");
        }
        assert_eq!(unsealed.metadata().unwrap().len(), 4, "what is not ours is left alone");
    }

    #[test]
    fn half_a_pair_is_nothing() {
        assert_eq!(pairs(b"A\0b\0C\0d").len(), 1);
        assert_eq!(pairs(b"A\0b"), []);
    }
}
