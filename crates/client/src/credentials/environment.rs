//! The variables of the environment, taken once, and what a source finds around it.

use super::source::{SourceFault, SourceFaultKind};
use crate::http::PlainHttp;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// The variables of the environment, taken once: what they are later on does not matter.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<OsString, OsString>,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable; an empty one counts as not set.
    ///
    /// # Errors
    /// When the value is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, SourceFault> {
        let value = self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty());
        value
            .map(|value| value.to_str().map(str::to_owned))
            .map(|text| {
                text.ok_or_else(|| SourceFault::new(SourceFaultKind::Malformed, name, "it is not utf-8 text"))
            })
            .transpose()
    }

    /// All of them.
    #[cfg(unix)]
    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self { variables: variables.map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Secrets may be in it.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// What a source finds around it when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub environment: Environment,
    /// What relative paths are relative to; empty for the working directory.
    pub directory: PathBuf,
    /// The variables that hold secrets, which commands are not to have.
    pub withheld_variables: Vec<String>,
    /// The hosts that secret managers may be asked at over plain http, besides this machine.
    pub plain_http: PlainHttp,
    /// Which certificate authorities secret managers are trusted by.
    #[cfg(any(feature = "reqwest", feature = "redis"))]
    pub tls_roots: crate::http::TlsRoots,
}
