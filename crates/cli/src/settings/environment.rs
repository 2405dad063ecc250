//! The variables of the environment, taken once.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// The variables of the environment.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: HashMap<OsString, OsString>,
}

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable; an empty one counts as not set.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        let value = self.variables.get(std::ffi::OsStr::new(name));
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Failure::new(ExitCode::Configuration, format!("{name}: it is not utf-8 text"))),
        }
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
