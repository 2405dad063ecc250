//! Where a secret comes from: one grammar for all secrets, in which a secret itself cannot be written.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::settings::Environment;
use jeton::Secret;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest secret that is read, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Forms that name a source elsewhere, and are told from a secret with a colon in it by these names.
const FOREIGN_FORMS: [&str; 10] =
    ["cmd", "exec", "systemd", "aws", "awssm", "vault", "bao", "keyring", "op", "gcp"];

const FORMS: &str = "the forms are env:NAME, file:PATH and - for standard input";

/// A place from which a secret is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// A variable of the environment.
    Environment(String),
    /// A file; one line break at its end is not part of the secret.
    File(PathBuf),
    /// Standard input, to its end; one line break at its end is not part of the secret.
    StandardInput,
}

impl FromStr for SecretSource {
    type Err = InvalidSecretSource;

    fn from_str(text: &str) -> Result<Self, InvalidSecretSource> {
        match text.split_once(':') {
            None if text == "-" => Ok(Self::StandardInput),
            None => Err(InvalidSecretSource::Literal),
            Some(("env" | "file", "")) => Err(InvalidSecretSource::Empty),
            Some(("env", name)) => Ok(Self::Environment(name.to_owned())),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some((form, _)) => Err(FOREIGN_FORMS
                .iter()
                .find(|known| **known == form)
                .map_or(InvalidSecretSource::Literal, |form| InvalidSecretSource::Form(form))),
        }
    }
}

impl SecretSource {
    /// Reads the secret.
    pub(crate) fn read(&self, environment: &Environment) -> Result<Secret<String>, Failure> {
        let fault = |what: &str| Failure::new(ExitCode::Configuration, format!("{self}: {what}"));
        let bytes = match self {
            Self::Environment(name) => {
                let value = environment.text(name)?.ok_or_else(|| fault("it is not set, or empty"))?;
                return Ok(Secret::new(value));
            }
            Self::File(path) => read_file(path).map_err(|error| fault(&error.to_string()))?,
            Self::StandardInput => {
                if io::stdin().is_terminal() {
                    output::note("reading the secret from standard input, to its end");
                }
                read_bounded(io::stdin().lock()).map_err(|error| fault(&error.to_string()))?
            }
        };
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| fault("it is not utf-8 text"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        Ok(Secret::from(text))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the secret in the environment variable {name}"),
            Self::File(path) => write!(f, "the secret file {}", path.display()),
            Self::StandardInput => f.write_str("the secret from standard input"),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Secret<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if metadata.permissions().mode() & 0o004 != 0 {
        output::note(&format!(
            "warning: every user of this machine can read the secret file {0}; run: chmod o-r {0}",
            path.display()
        ));
    }
    read_bounded(file)
}

fn read_bounded(source: impl Read) -> io::Result<Secret<Vec<u8>>> {
    // Room for the whole of it, so that no copy stays behind where the vector grew.
    let mut bytes = Vec::with_capacity(MAX_SECRET_BYTES + 1);
    let read = source.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    if read? > MAX_SECRET_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_SECRET_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Why a text names no source. The text is not told again: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSecretSource {
    /// Perhaps the secret itself.
    #[error(
        "it must say where the secret is, not what it is: every user of the machine can read command lines; {FORMS}"
    )]
    Literal,
    /// A form for which there is no code.
    #[error("secrets cannot be read by {0}: here; {FORMS}")]
    Form(&'static str),
    /// `env:` or `file:` and nothing behind it.
    #[error("the name or path is missing; {FORMS}")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SecretSource, InvalidSecretSource> {
        text.parse()
    }

    #[test]
    fn the_grammar_has_three_forms() {
        assert_eq!(parse("env:A"), Ok(SecretSource::Environment("A".to_owned())));
        assert_eq!(parse("file:/a:b"), Ok(SecretSource::File(PathBuf::from("/a:b"))));
        assert_eq!(parse("-"), Ok(SecretSource::StandardInput));
        assert_eq!(parse("file:"), Err(InvalidSecretSource::Empty));
        assert_eq!(parse("cmd:pass show x"), Err(InvalidSecretSource::Form("cmd")));
    }

    #[test]
    fn r4_2_a_literal_is_refused_and_not_told_again() {
        for literal in ["canary", "canary:canary", "", "ENV:canary"] {
            let message = parse(literal).unwrap_err().to_string();
            assert!(message.contains("env:NAME") && !message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn t32_one_line_break_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            SecretSource::File(path.clone()).read(&Environment::default())
        };
        for (content, expected) in
            [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s ", " s ")]
        {
            assert_eq!(read(content.as_bytes()).unwrap().expose(), expected);
        }
        for bad in [&b""[..], b"\n", b"\xff", &vec![b'a'; MAX_SECRET_BYTES + 1]] {
            assert_eq!(read(bad).unwrap_err().code(), ExitCode::Configuration);
        }
        let absent = SecretSource::File(dir.path().join("absent"));
        assert!(absent.read(&Environment::default()).unwrap_err().lines().contains("absent"));
        let directory = SecretSource::File(dir.path().to_owned());
        assert!(directory.read(&Environment::default()).unwrap_err().lines().contains("directory"));
    }
}
