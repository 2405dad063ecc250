//! This test again as a process of its own, with an environment of its own: what the environment says is the
//! process's, and not for the tests beside it.

use super::evidence::{METHODS, ask, holds_the_secret};
use jeton::http::TlsRoots;
use std::io::Write as _;
use std::path::Path;
use tokio::process::Command;

const URL: &str = "JETON_TEST_TLS_URL";
const ROOTS: &str = "JETON_TEST_TLS_ROOTS";
const OUTCOME: &str = "outcome: ";

/// Whether this process is the child. Then it has asked for a token as it was told, and is done.
pub(super) async fn is_child() -> bool {
    let Ok(url) = std::env::var(URL) else { return false };
    let roots =
        std::env::var(ROOTS).map_or(TlsRoots::Platform, |path| TlsRoots::Only(std::fs::read(path).unwrap()));
    let mut said = std::io::stdout();
    for method in METHODS {
        match ask(&url, roots.clone(), method).await {
            Ok(token) => writeln!(said, "{OUTCOME}{token}").unwrap(),
            Err(error) => writeln!(said, "{OUTCOME}{error} {error:?}").unwrap(),
        }
    }
    let exchange = jeton::http::ReqwestExchange::new(&roots, std::time::Duration::from_secs(1));
    writeln!(said, "{exchange:?}").unwrap();
    true
}

/// The test of this name as a child, with nothing in its environment but this.
pub(super) struct Child {
    command: Command,
}

impl Child {
    pub(super) fn of(test: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env_clear();
        Self { command }
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn roots(self, file: &Path) -> Self {
        self.env(ROOTS, file)
    }

    /// What asking there for a token by each method led to; all that is said has nothing secret in it.
    pub(super) async fn ask(mut self, url: &str) -> Vec<String> {
        let output = self.command.env(URL, url).output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success() && said[0].contains(" 1 passed"), "{said:?}");
        for stream in &said {
            assert!(!stream.contains("canary-proxy") && !holds_the_secret(stream.as_bytes()), "{stream}");
        }
        let outcomes: Vec<_> =
            said[0].split(OUTCOME).skip(1).map(|text| text.lines().next().unwrap().to_owned()).collect();
        assert_eq!(outcomes.len(), METHODS.len(), "{said:?}");
        outcomes
    }

    /// As [`Self::ask`], where all of it is granted.
    pub(super) async fn granted(self, url: &str) {
        assert_eq!(self.ask(url).await, ["granted"; METHODS.len()]);
    }

    /// As [`Self::ask`], where all of it is refused with these words.
    pub(super) async fn refused(self, url: &str, words: &str) {
        for outcome in self.ask(url).await {
            assert!(
                outcome.starts_with("no token") && outcome.contains(words),
                "{words:?} is missing: {outcome}"
            );
        }
    }
}
