//! The names of places that secrets are read from: one grammar for all of them, in which a secret itself cannot be written.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place from which a secret is read, as it is named in settings and on command lines.
///
/// | form | what is there |
/// |---|---|
/// | `env:NAME` | a variable of the environment |
/// | `file:PATH` | a file; one line break at its end is not part of the secret |
/// | `-` | standard input, to its end |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// A variable of the environment.
    Environment(String),
    /// A file; one line break at its end is not part of the secret.
    File(PathBuf),
    /// Standard input, to its end; one line break at its end is not part of the secret.
    StandardInput,
}

/// Why a text names no place. The text is not told again: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Perhaps the secret itself.
    #[error(
        "it must say where the secret is, not what it is: every user of the machine can read command lines; {FORMS}"
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
    /// The form is known, and what stands behind it is not as it wants it.
    #[error("{form}: {what}")]
    Form {
        /// The form, without its colon.
        form: &'static str,
        /// What is wrong, and how it is written.
        what: String,
    },
}

const FORMS: &str = "the forms are env:NAME, file:PATH and - for standard input";

impl FromStr for SecretPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let wrong = |form, what: &str| InvalidPlace::Form { form, what: what.to_owned() };
        match text.split_once(':') {
            None if text == "-" => Ok(Self::StandardInput),
            None => Err(InvalidPlace::Literal),
            Some(("env", "")) => Err(wrong("env", "the name is missing; write env:NAME")),
            Some(("env", name)) => Ok(Self::Environment(name.to_owned())),
            Some(("file", "")) => Err(wrong("file", "the path is missing; write file:PATH")),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(_) => Err(InvalidPlace::Literal),
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the secret in the environment variable {name}"),
            Self::File(path) => write!(f, "the secret file {}", path.display()),
            Self::StandardInput => f.write_str("the secret from standard input"),
        }
    }
}
