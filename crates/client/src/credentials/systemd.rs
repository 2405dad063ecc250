//! A secret that systemd handed to the service.

use super::environment::Environment;
use super::file::FileSource;
use super::source::{Reread, SecretFuture, SecretSource, SourceFault, SourceFaultKind};
use std::path::PathBuf;

/// The variable by which systemd tells where the credentials of a service are.
pub(super) const DIRECTORY_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The longest name of a credential, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A credential of the unit, as `LoadCredential=`, `LoadCredentialEncrypted=` or `SetCredential=` name it (systemd.exec(5)). It is
/// a file, and read as one; systemd does not change it while the service runs.
#[derive(Debug)]
pub struct SystemdSource {
    file: FileSource,
}

impl SystemdSource {
    /// The credential `name` of the service whose environment this is.
    ///
    /// # Errors
    /// When `name` is none that systemd takes, and when the process was started without credentials.
    pub fn open(environment: &Environment, name: &str) -> Result<Self, SourceFault> {
        let place = place(name);
        let fault = |kind, what: &str| SourceFault::new(kind, &place, what);
        check_name(name).map_err(|what| fault(SourceFaultKind::Unusable, what))?;
        let directory = environment.text(DIRECTORY_VARIABLE)?.ok_or_else(|| {
            let what = format!(
                "this process was not started by systemd with credentials; write LoadCredential={name}:PATH in the unit"
            );
            fault(SourceFaultKind::Absent, &what)
        })?;
        let absent = format!("the unit has none of that name; write LoadCredential={name}:PATH in it");
        let path = PathBuf::from(directory).join(name);
        Ok(Self { file: FileSource::named(path, place, Some(absent)) })
    }
}

impl SecretSource for SystemdSource {
    fn read(&self) -> SecretFuture<'_> {
        self.file.read()
    }

    fn reread(&self) -> Reread {
        self.file.reread()
    }
}

/// How a credential is called, for people.
pub(super) fn place(name: &str) -> String {
    format!("the systemd credential {name}")
}

/// A name that could be a path would lead out of the directory.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is missing; write systemd:NAME");
    }
    let fits = name.len() <= MAX_NAME_BYTES
        && name.chars().all(|c| matches!(c, '!'..='~') && !matches!(c, '/' | ':'));
    if fits && !matches!(name, "." | "..") {
        Ok(())
    } else {
        Err(
            "a name has at most 255 printable characters of ascii, and no slash, colon or space; write systemd:NAME",
        )
    }
}

#[cfg(test)]
mod tests;
