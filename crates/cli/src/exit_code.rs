//! How the program ends.

/// The exit codes; scripts may rely on them. They are told in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// Done.
    Done,
    /// What is none of the others.
    Other,
    /// The command line is wrong.
    Usage,
    /// The authorization server refused the credential, or what is registered for it.
    CredentialRefused,
    /// A server cannot be reached, or cannot answer now.
    ServerUnreachable,
    /// The settings are wrong: the file, the environment, or what they point to.
    Configuration,
    /// The clients are not what the files say.
    Different,
}

impl ExitCode {
    /// The number that the process ends with.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::CredentialRefused => 3,
            Self::ServerUnreachable => 4,
            Self::Configuration => 5,
            Self::Different => 6,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// The exit codes as the help tells them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed for another reason than those below
  2  the command line is wrong
  3  the authorization server refused the credential, or the scope or resource asked for
  4  a server cannot be reached or cannot answer now
  5  the settings are wrong: the file, the environment, or what they point to
  6  the clients of the server are not what the files say (apply --plan, drift)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_every_code() {
        for code in [
            ExitCode::Done,
            ExitCode::Other,
            ExitCode::Usage,
            ExitCode::CredentialRefused,
            ExitCode::ServerUnreachable,
            ExitCode::Configuration,
            ExitCode::Different,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", code.number())));
        }
    }
}
