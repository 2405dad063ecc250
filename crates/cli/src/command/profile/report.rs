//! What was found out of profiles.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::ProfileSummary;
use jeton::{CachedToken, Timestamp};
use jeton_proto::credential::is_rotation_due;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What was found out.
pub(super) struct Report {
    pub(super) settings_file: PathBuf,
    /// What is wrong outside of the profiles.
    pub(super) faults: Vec<Failure>,
    pub(super) profiles: Vec<ProfileReport>,
}

/// What was found out of one profile.
pub(super) struct ProfileReport {
    pub(super) summary: ProfileSummary,
    /// What is wrong with its settings and its secret.
    pub(super) faults: Vec<Failure>,
    pub(super) secret: SecretReport,
    pub(super) server: ServerReport,
}

/// What is known of a secret.
pub(super) enum SecretReport {
    /// It was not looked at: the settings are wrong, or it was not there.
    Unread,
    /// Standard input holds one secret, so it was left to a check of this profile alone.
    LeftInStandardInput,
    /// It was read, and is there since then, as far as that is known.
    Read { place: String, since: Option<Timestamp>, due_after: Duration },
}

impl SecretReport {
    /// Since when the secret is there, as far as that is known.
    pub(super) const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Read { since, .. } => *since,
            Self::Unread | Self::LeftInStandardInput => None,
        }
    }

    /// Whether it ought to be replaced, as far as that is known.
    pub(super) fn rotation_due(&self, now: Timestamp) -> Option<bool> {
        match self {
            Self::Read { since, due_after, .. } => since.map(|since| is_rotation_due(since, *due_after, now)),
            Self::Unread | Self::LeftInStandardInput => None,
        }
    }
}

/// What the server did.
pub(super) enum ServerReport {
    NotAsked,
    Granted(Arc<CachedToken>),
    Failed {
        failure: Failure,
        /// The code of RFC 6749 §5.2, if the server gave one.
        error: Option<String>,
    },
}

/// How a check ended, the worst first: what settings are wrong has to be mended before a server's answer says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// The settings, or the secret.
    Faulty,
    /// The server refused the credential, or what was asked for.
    Refused,
    /// The server, or the place of a secret, cannot be reached or cannot answer now.
    Unreachable,
    /// For another reason.
    Failed,
    Ok,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Faulty => "faulty",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Ok => "ok",
        }
    }

    /// How the command ends.
    pub(super) const fn exit_code(self) -> ExitCode {
        match self {
            Self::Faulty => ExitCode::Configuration,
            Self::Refused => ExitCode::CredentialRefused,
            Self::Unreachable => ExitCode::ServerUnreachable,
            Self::Failed => ExitCode::Other,
            Self::Ok => ExitCode::Done,
        }
    }

    const fn of(failure: &Failure) -> Self {
        match failure.code() {
            ExitCode::Done => Self::Ok,
            ExitCode::Other | ExitCode::Usage | ExitCode::Different => Self::Failed,
            ExitCode::CredentialRefused => Self::Refused,
            ExitCode::ServerUnreachable => Self::Unreachable,
            ExitCode::Configuration => Self::Faulty,
        }
    }
}

impl Report {
    /// The worst of all.
    pub(super) fn status(&self) -> Status {
        let whole = if self.faults.is_empty() { Status::Ok } else { Status::Faulty };
        self.profiles.iter().map(ProfileReport::status).fold(whole, Status::min)
    }
}

impl ProfileReport {
    pub(super) fn status(&self) -> Status {
        let server = match &self.server {
            ServerReport::NotAsked | ServerReport::Granted(_) => Status::Ok,
            ServerReport::Failed { failure, .. } => Status::of(failure),
        };
        // The place of a secret may be one that cannot be reached.
        self.faults.iter().map(Status::of).fold(server, Status::min)
    }
}
