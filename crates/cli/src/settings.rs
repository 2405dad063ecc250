//! Settings from three layers: flags win over the environment, and the environment over the settings file.

mod cache;
mod client;
mod faults;
mod file;
mod profile;
mod secrets;
mod section;
mod server;

pub(crate) use cache::{CacheKeys, CachePlace, CacheSettings, Kept, RedisSettings};
pub(crate) use client::{ClientSettings, Material, NetworkSettings, Proof, ServerSettings, timeout};
pub(crate) use faults::Faults;
pub use faults::settings_faults;
pub(crate) use profile::{ClientLayers, ProfileName, ProfileSummary};
pub(crate) use secrets::{ReadAhead, Secrets};
pub(crate) use section::CLIENT_VARIABLES;
pub(crate) use server::{Keeping, ListenAddress};

use crate::args::GlobalArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use file::SettingsFile;
use jeton::credentials::Environment;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;

/// The names of one setting in the three layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    /// In the settings file.
    pub(crate) file: &'static str,
    /// In the environment.
    pub(crate) environment: &'static str,
    /// On the command line.
    pub(crate) flag: &'static str,
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// The settings file, with the place in it.
    File { path: PathBuf, line: usize, column: usize, name: &'static str },
}

impl Origin {
    /// What relative paths from here are relative to.
    fn directory(&self) -> &Path {
        match self {
            Self::File { path, .. } => path.parent().unwrap_or(Path::new("")),
            Self::Flag(_) | Self::Environment(_) => Path::new(""),
        }
    }

    /// The failure of a value from here.
    pub(crate) fn fault(&self, what: &dyn fmt::Display) -> Failure {
        let code = match self {
            Self::Flag(_) => ExitCode::Usage,
            Self::Environment(_) | Self::File { .. } => ExitCode::Configuration,
        };
        let failure = Failure::new(code, format!("{self}: {what}"));
        match self {
            Self::File { line, column, .. } => failure.at(*line, *column),
            Self::Flag(_) | Self::Environment(_) => failure,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(name) => f.write_str(name),
            Self::File { path, line, column, name } => {
                write!(f, "{}:{line}:{column}: {name}", path.display())
            }
        }
    }
}

/// A value, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T: AsRef<str>> Found<T> {
    /// Reads the text as a value of its type.
    pub(crate) fn parse<P>(&self) -> Result<P, Failure>
    where
        P: FromStr,
        P::Err: fmt::Display,
    {
        self.value.as_ref().parse().map_err(|error: P::Err| self.origin.fault(&error))
    }

    /// The text as a path; one in the settings file is relative to the directory of that file.
    pub(crate) fn path(&self) -> PathBuf {
        self.origin.directory().join(self.value.as_ref())
    }
}

/// The one variable that holds a secret itself.
pub(crate) const CLIENT_SECRET_VARIABLE: &str = section::CLIENT_SECRET.name.environment;

/// The settings file and the environment; the flags come with each question.
#[derive(Debug)]
pub(crate) struct Layers {
    file: SettingsFile,
    environment: Environment,
}

const CONFIG: Name = Name { file: "", environment: "JETON_CONFIG", flag: "--config" };

impl Layers {
    /// Reads the settings file that is named, or the one in its usual place if there is one.
    pub(crate) fn load(args: &GlobalArgs, environment: Environment) -> Result<Self, Failure> {
        let path = Self::path(args.config.as_deref(), &environment)?;
        let file = path.as_deref().map(SettingsFile::read).transpose()?.unwrap_or_default();
        Ok(Self { file, environment })
    }

    /// The settings file that is named, or the one in its usual place if there is one.
    pub(crate) fn path(flag: Option<&Path>, environment: &Environment) -> Result<Option<PathBuf>, Failure> {
        let named = match flag {
            Some(path) => Some(path.to_owned()),
            None => environment.text(CONFIG.environment)?.map(PathBuf::from),
        };
        match named {
            Some(path) => Ok(Some(path)),
            None => Ok(default_path(environment)?.filter(|path| path.exists())),
        }
    }

    /// That nothing is wrong with the settings file outside of its profiles. Of a profile that is told when it is chosen, so that
    /// a fault in one does not stop the others.
    pub(crate) fn sound(&self) -> Result<(), Failure> {
        match self.file.faults.iter().find(|fault| fault.profile.is_none()) {
            Some(fault) => Err(fault.failure.clone()),
            None => Ok(()),
        }
    }

    /// Where the settings file is, if there is one.
    pub(crate) fn settings_file(&self) -> Option<&Path> {
        self.file.path()
    }

    /// What is wrong in the settings file: in the table of a profile, or outside of all of them.
    pub(crate) fn faults_in_file(&self, profile: Option<&ProfileName>) -> impl Iterator<Item = &Failure> {
        let faults = self.file.faults.iter().filter(move |fault| fault.profile.as_ref() == profile);
        faults.map(|fault| &fault.failure)
    }

    /// That there is no settings file, where one is wanted.
    pub(crate) fn no_settings_file(&self) -> Failure {
        let hint = match default_path(&self.environment) {
            Ok(Some(path)) => format!("write {}, or name a file by --config or JETON_CONFIG", path.display()),
            Ok(None) | Err(_) => "name a file by --config or JETON_CONFIG".to_owned(),
        };
        let message = "there is no settings file, and so there are no profiles";
        Failure::new(ExitCode::Configuration, message).hint(hint)
    }

    /// A setting that is one text.
    fn text(
        &self,
        name: &Name,
        flag: Option<&str>,
        in_file: Option<&Spanned<String>>,
    ) -> Result<Option<Found<String>>, Failure> {
        if let Some(value) = flag {
            return Ok(Some(found(value.to_owned(), Origin::Flag(name.flag))));
        }
        if let Some(value) = self.environment.text(name.environment)? {
            return Ok(Some(found(value, Origin::Environment(name.environment))));
        }
        Ok(in_file.map(|spanned| self.in_file(name, spanned)))
    }

    fn in_file<T: Clone>(&self, name: &Name, spanned: &Spanned<T>) -> Found<T> {
        found(spanned.get_ref().clone(), self.file.origin(name.file, spanned.span()))
    }
}

fn found<T>(value: T, origin: Origin) -> Found<T> {
    Found { value, origin }
}

/// That a setting without a default is not there.
fn missing(what: &str, name: &Name) -> Failure {
    Failure::new(ExitCode::Configuration, format!("{what} is not set")).hint(format!(
        "give {}, set {}, or write {} in the settings file",
        name.flag, name.environment, name.file
    ))
}

/// `$XDG_CONFIG_HOME/jeton/jeton.toml`, or `~/.config/jeton/jeton.toml`.
fn default_path(environment: &Environment) -> Result<Option<PathBuf>, Failure> {
    let config_home = base_directory(environment, "XDG_CONFIG_HOME", ".config")?;
    Ok(config_home.map(|dir| dir.join("jeton/jeton.toml")))
}

/// A base directory of this user: what `variable` names, or `in_home` in the home directory.
fn base_directory(
    environment: &Environment,
    variable: &str,
    in_home: &str,
) -> Result<Option<PathBuf>, Failure> {
    let absolute = |name| -> Result<Option<PathBuf>, Failure> {
        let path = environment.text(name)?.map(PathBuf::from);
        Ok(path.filter(|path| path.is_absolute()))
    };
    match absolute(variable)? {
        Some(path) => Ok(Some(path)),
        None => Ok(absolute("HOME")?.map(|home| home.join(in_home))),
    }
}

#[cfg(test)]
mod tests;
