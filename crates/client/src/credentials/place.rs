//! The names of places that secrets are read from: one grammar for all of them, in which a secret itself cannot be written.

use super::command::CommandLine;
#[cfg(unix)]
use super::command::CommandSource;
use super::environment::Surroundings;
use super::file::FileSource;
use super::source::{SecretSource, SourceFault};
use super::standard_input::StandardInputSource;
use super::systemd::{self, SystemdSource};
use super::variable::VariableSource;
#[cfg(feature = "vault")]
use super::vault::VaultPlace;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A place from which a secret is read, as it is named in settings and on command lines.
///
/// | form | what is there | read again |
/// |---|---|---|
/// | `env:NAME` | a variable of the environment | when it is refused |
/// | `file:PATH` | a file; one line break at its end is not part of the secret | before each token request |
/// | `-` | standard input, to its end | never: it is kept |
/// | `cmd:PROGRAM ARGUMENT …` | what a command prints, see [`CommandLine`] | each period |
/// | `systemd:NAME` | a credential of the unit, see [`SystemdSource`] | before each token request |
/// | `vault:MOUNT/PATH#FIELD?OPTION=VALUE&…`, or `bao:…` | a secret in `HashiCorp` Vault or `OpenBao`, with the feature `vault` | each period |
/// | `aws:SECRET_ID#MEMBER?OPTIONS` | a secret in AWS Secrets Manager, with the feature `aws` | each period |
/// | `keyring:SERVICE/USER` | an entry of the system's keyring, with the feature `keyring` | each period |
///
/// ```
/// use jeton::credentials::SecretPlace;
///
/// let place: SecretPlace = "file:/run/secrets/client-secret".parse()?;
/// assert_eq!(place.to_string(), "the secret file /run/secrets/client-secret");
/// assert!("s3cr3t".parse::<SecretPlace>().is_err(), "a secret itself is refused");
/// # Ok::<(), jeton::credentials::InvalidPlace>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// A variable of the environment.
    Environment(String),
    /// A file; one line break at its end is not part of the secret.
    File(PathBuf),
    /// Standard input, to its end; one line break at its end is not part of the secret.
    StandardInput,
    /// What a command prints; one line break at its end is not part of the secret.
    Command(CommandLine),
    /// A credential that systemd handed to the service.
    Systemd(String),
    /// A secret in `HashiCorp` Vault or `OpenBao`.
    #[cfg(feature = "vault")]
    Vault(Box<VaultPlace>),
    /// A secret in AWS Secrets Manager.
    #[cfg(feature = "aws")]
    Aws(super::aws::AwsPlace),
    /// An entry of the keyring of the operating system.
    #[cfg(feature = "keyring")]
    Keyring(super::keyring::KeyringPlace),
}

/// Why a text names no place. The text is not told again: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Perhaps the secret itself.
    #[error(
        "it must say where the secret is, not what it is: others can read command lines and settings; {FORMS}"
    )]
    Literal,
    /// A form for which this build has no code.
    #[error("this build cannot read secrets by {form}: it was built without the feature {feature}")]
    NotBuilt {
        /// The form, without its colon.
        form: &'static str,
        /// The Cargo feature that brings it.
        feature: &'static str,
    },
    /// A form that other programs have.
    #[error("secrets cannot be read by {form}: here; {FORMS}")]
    NotSupported {
        /// The form, without its colon.
        form: &'static str,
    },
    /// The form is known, and what stands behind it is not as it wants it.
    #[error("{form}: {what}")]
    Form {
        /// The form, without its colon.
        form: &'static str,
        /// What is wrong, and how it is written.
        what: String,
    },
}

const FORMS: &str = "the forms are env:NAME, file:PATH, - for standard input, cmd:PROGRAM ARGUMENT ..., systemd:NAME, \
     vault:MOUNT/PATH#FIELD, aws:SECRET_ID#MEMBER and keyring:SERVICE/USER";

/// Forms that name a source elsewhere, and are told from a secret with a colon in it by these names.
const FOREIGN_FORMS: [&str; 20] = [
    "akv", "awskms", "awssm", "azure", "base64", "bw", "doppler", "exec", "fd", "gcp", "gcpsm", "http",
    "https", "k8s", "keychain", "op", "pass", "sops", "ssm", "stdin",
];

impl FromStr for SecretPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let Some((form, rest)) = text.split_once(':') else {
            return if text == "-" { Ok(Self::StandardInput) } else { Err(InvalidPlace::Literal) };
        };
        match form {
            "env" => variable(rest),
            "file" => file(rest),
            "cmd" => rest.parse().map(Self::Command),
            "systemd" => match systemd::check_name(rest) {
                Ok(()) => Ok(Self::Systemd(rest.to_owned())),
                Err(what) => Err(InvalidPlace::form("systemd", what)),
            },
            #[cfg(feature = "vault")]
            "vault" | "bao" => rest.parse().map(|place| Self::Vault(Box::new(place))),
            #[cfg(not(feature = "vault"))]
            "vault" => Err(InvalidPlace::NotBuilt { form: "vault", feature: "vault" }),
            #[cfg(not(feature = "vault"))]
            "bao" => Err(InvalidPlace::NotBuilt { form: "bao", feature: "vault" }),
            #[cfg(feature = "aws")]
            "aws" => rest.parse().map(Self::Aws),
            #[cfg(not(feature = "aws"))]
            "aws" => Err(InvalidPlace::NotBuilt { form: "aws", feature: "aws" }),
            #[cfg(feature = "keyring")]
            "keyring" => rest.parse().map(Self::Keyring),
            #[cfg(not(feature = "keyring"))]
            "keyring" => Err(InvalidPlace::NotBuilt { form: "keyring", feature: "keyring" }),
            other => Err(FOREIGN_FORMS
                .iter()
                .find(|foreign| **foreign == other)
                .map_or(InvalidPlace::Literal, |form| InvalidPlace::NotSupported { form })),
        }
    }
}

fn variable(name: &str) -> Result<SecretPlace, InvalidPlace> {
    match name {
        "" => Err(InvalidPlace::form("env", "the name is missing; write env:NAME")),
        name if name.contains(['=', '\0']) => {
            Err(InvalidPlace::form("env", "no variable has a name with = or nul in it; write env:NAME"))
        }
        name => Ok(SecretPlace::Environment(name.to_owned())),
    }
}

fn file(path: &str) -> Result<SecretPlace, InvalidPlace> {
    match path {
        "" => Err(InvalidPlace::form("file", "the path is missing; write file:PATH")),
        path if path.contains('\0') => {
            Err(InvalidPlace::form("file", "no path has nul in it; write file:PATH"))
        }
        path => Ok(SecretPlace::File(PathBuf::from(path))),
    }
}

impl InvalidPlace {
    /// That what stands behind the colon of `form` is not as it wants it.
    pub(super) fn form(form: &'static str, what: impl fmt::Display) -> Self {
        Self::Form { form, what: what.to_string() }
    }
}

impl SecretPlace {
    /// The source that reads this place. Reads nothing yet.
    ///
    /// # Errors
    /// When what it needs is not around: the variable of systemd, or a platform that has it.
    pub fn open(&self, surroundings: &Surroundings) -> Result<Arc<dyn SecretSource>, SourceFault> {
        Ok(match self {
            Self::Environment(name) => Arc::new(VariableSource::new(&surroundings.environment, name)),
            Self::File(path) => Arc::new(FileSource::new(surroundings.directory.join(path))),
            Self::StandardInput => Arc::new(StandardInputSource::new()),
            #[cfg(unix)]
            Self::Command(line) => Arc::new(CommandSource::new(line.clone(), surroundings)),
            #[cfg(not(unix))]
            Self::Command(line) => return Err(super::command::unusable(line)),
            Self::Systemd(name) => Arc::new(SystemdSource::open(&surroundings.environment, name)?),
            #[cfg(feature = "vault")]
            Self::Vault(place) => place.open(surroundings)?,
            #[cfg(feature = "aws")]
            Self::Aws(place) => place.open(surroundings)?,
            #[cfg(feature = "keyring")]
            Self::Keyring(place) => place.open(surroundings)?,
        })
    }

    /// Whether it takes standard input, which holds one secret.
    #[must_use]
    pub fn reads_standard_input(&self) -> bool {
        match self {
            Self::StandardInput => true,
            Self::Environment(_) | Self::File(_) | Self::Command(_) | Self::Systemd(_) => false,
            #[cfg(feature = "vault")]
            Self::Vault(place) => place.places().any(Self::reads_standard_input),
            #[cfg(feature = "aws")]
            Self::Aws(_) => false,
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => false,
        }
    }

    /// The variables of the environment that hold its secret, and which no other program is to have.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        match self {
            Self::Environment(name) => vec![name],
            Self::File(_) | Self::StandardInput | Self::Command(_) | Self::Systemd(_) => Vec::new(),
            #[cfg(feature = "vault")]
            Self::Vault(place) => place.variables(),
            #[cfg(feature = "aws")]
            Self::Aws(_) => Vec::new(),
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => Vec::new(),
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the secret in the environment variable {name}"),
            Self::File(path) => write!(f, "the secret file {}", path.display()),
            Self::StandardInput => f.write_str("the secret from standard input"),
            Self::Command(line) => write!(f, "the secret from {line}"),
            Self::Systemd(name) => f.write_str(&systemd::place(name)),
            #[cfg(feature = "vault")]
            Self::Vault(place) => place.fmt(f),
            #[cfg(feature = "aws")]
            Self::Aws(place) => place.fmt(f),
            #[cfg(feature = "keyring")]
            Self::Keyring(place) => place.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SecretPlace, InvalidPlace> {
        text.parse()
    }

    #[test]
    fn each_form_names_its_place() {
        for (text, place, told) in [
            ("env:A", SecretPlace::Environment("A".to_owned()), "the secret in the environment variable A"),
            ("file:/a:b", SecretPlace::File("/a:b".into()), "the secret file /a:b"),
            ("-", SecretPlace::StandardInput, "the secret from standard input"),
            (
                "cmd:pass show canary",
                SecretPlace::Command("pass show canary".parse().unwrap()),
                "the secret from the command pass",
            ),
            ("systemd:a.b", SecretPlace::Systemd("a.b".to_owned()), "the systemd credential a.b"),
        ] {
            assert_eq!(parse(text), Ok(place.clone()), "{text}");
            assert_eq!(place.to_string(), told);
            assert_eq!(place.reads_standard_input(), text == "-");
            assert_eq!(place.variables(), if text == "env:A" { vec!["A"] } else { vec![] });
            assert!(!format!("{place:?}").contains("canary"), "{place:?}");
        }
    }

    #[test]
    fn what_a_form_lacks_is_told() {
        for (text, told) in [
            ("env:", "env: the name is missing"),
            ("env:A=canary", "env: no variable has a name with ="),
            ("file:", "file: the path is missing"),
            ("file:canary\0", "file: no path has nul"),
            ("cmd:", "cmd: the program is missing"),
            ("cmd: \t", "cmd: the program is missing"),
            ("systemd:", "systemd: the name is missing"),
            ("systemd:canary/..", "systemd: a name has at most"),
            ("systemd:..", "systemd: a name has at most"),
            ("exec:canary", "secrets cannot be read by exec: here; the forms are env:NAME"),
            ("https://canary", "secrets cannot be read by https: here; the forms are"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(told) && !error.contains("canary"), "{text:?}: {error}");
        }
    }

    #[cfg(all(feature = "aws", feature = "keyring"))]
    #[test]
    fn the_forms_of_features_are_known_where_they_are_built() {
        for (text, told) in [
            ("aws:prod/billing#key", "the member key of the AWS secret prod/billing"),
            ("keyring:id.example.com/app", "the keyring entry of service id.example.com and user app"),
        ] {
            let place = parse(text).unwrap();
            assert_eq!(place.to_string(), told);
            assert!(!place.reads_standard_input() && place.variables().is_empty());
        }
        for (text, told) in [("aws:", "aws: the name"), ("keyring:canary", "keyring: it takes a service")] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(told) && !error.contains("canary"), "{text:?}: {error}");
        }
    }

    #[test]
    fn r4_2_a_literal_is_refused_and_not_told_again() {
        for literal in
            ["canary", "canary:canary", "", ":", ":canary", "ENV:canary", "--canary", "env", " env:A"]
        {
            let error = parse(literal).unwrap_err();
            assert_eq!(error, InvalidPlace::Literal, "{literal:?}");
            let message = error.to_string();
            assert!(message.contains("env:NAME") && !message.contains("canary"), "{message}");
        }
    }
}
