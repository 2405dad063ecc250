//! How a new secret gets to whoever asked for it: on stdout, or in a file that was not there before.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use jeton::Secret;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Where a secret goes. The file is made before the secret: one that cannot be written down would be lost.
pub(super) struct Handover<'a> {
    file: Option<NewFile<'a>>,
    format: Format,
    /// What is left undone when the secret cannot be handed over, such as "no client was added".
    undone: &'static str,
}

impl<'a> Handover<'a> {
    pub(super) fn prepare(
        path: Option<&'a Path>,
        format: Format,
        undone: &'static str,
    ) -> Result<Self, Failure> {
        let file = path.map(|path| NewFile::create(path, undone)).transpose()?;
        Ok(Self { file, format, undone })
    }

    /// Hands the secret over; in JSON as a member of `document`. When this fails, nobody has the secret.
    pub(super) fn hand_over(&mut self, secret: &Secret<String>, document: &mut Value) -> Result<(), Failure> {
        if let Some(fields) = document.as_object_mut() {
            let (name, value) = match &self.file {
                Some(file) => ("client_secret_file", file.path.to_string_lossy().into_owned()),
                None => ("client_secret", secret.expose().clone()),
            };
            fields.insert(name.to_owned(), Value::String(value));
            // Zero: it does not expire (RFC 7591 §3.2.1).
            fields.insert("client_secret_expires_at".to_owned(), json!(0));
        }
        if let Some(file) = &mut self.file {
            return file.keep(secret, self.undone);
        }
        let printed = match self.format {
            Format::Text => output::line(secret.expose()),
            Format::Json => output::json(document),
        };
        printed.map_err(|_| {
            let message = format!("the secret cannot be written to stdout, so {}", self.undone);
            Failure::new(ExitCode::Other, message)
        })
    }

    /// Says where the secret is, after what else is to be said.
    pub(super) fn tell(&self, document: &Value) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        output::note(&format!("the secret is in {}", file.path.display()));
        match self.format {
            Format::Text => Ok(()),
            Format::Json => output::json(document),
        }
    }
}

/// A file that was not there before; it is removed again unless it is kept.
struct NewFile<'a> {
    path: &'a Path,
    file: File,
    kept: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path, undone: &str) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match file {
            Ok(file) => Ok(Self { path, file, kept: false }),
            Err(error) => {
                let message = format!("the secret file {} cannot be made: {error}", path.display());
                Err(Failure::new(ExitCode::Other, message)
                    .hint(format!("{undone}; name a file that is not there yet")))
            }
        }
    }

    fn keep(&mut self, secret: &Secret<String>, undone: &str) -> Result<(), Failure> {
        let written = self.file.write_all(secret.expose().as_bytes());
        let written = written.and_then(|()| self.file.write_all(b"\n")).and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            let message = format!("the secret file {} cannot be written: {error}", self.path.display());
            Failure::new(ExitCode::Other, message).hint(undone)
        })?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _already_gone = std::fs::remove_file(self.path);
        }
    }
}
