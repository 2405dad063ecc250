//! What a client proves itself with, where that is read from, and how it is replaced while requests are under way.
//!
//! Most callers need nothing of this but [`SecretPlace`], which names where a secret is, and the sources that it opens.

mod assertion;
#[cfg(feature = "aws")]
mod aws;
mod command;
mod content;
mod credential;
mod environment;
mod file;
mod in_force;
#[cfg(feature = "keyring")]
mod keyring;
mod look;
mod place;
mod previous;
mod repetition;
mod source;
mod standard_input;
mod status;
mod systemd;
mod variable;
#[cfg(feature = "vault")]
mod vault;
mod watch;

pub use assertion::AssertionSettings;
#[cfg(feature = "aws")]
pub use aws::AwsPlace;
pub use command::CommandLine;
#[cfg(unix)]
pub use command::CommandSource;
pub use credential::InvalidCredential;
pub use environment::{Environment, Surroundings};
pub use file::FileSource;
pub use jeton_proto::jose::assertion_key::AssertionAlgorithm;
#[cfg(feature = "keyring")]
pub use keyring::KeyringPlace;
pub use place::{InvalidPlace, SecretPlace};
pub use previous::WithPrevious;
pub use source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
pub use standard_input::StandardInputSource;
pub use status::{CredentialStatus, Rotation};
pub use systemd::SystemdSource;
pub use variable::VariableSource;
#[cfg(feature = "vault")]
pub use vault::{KvVersion, VaultPlace};

pub(crate) use credential::{Authentication, Credential, CredentialForm, Evidence};
pub(crate) use in_force::{Credentials, InForce};
