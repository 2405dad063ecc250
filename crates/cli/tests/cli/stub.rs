//! A client of a token endpoint that counts its requests.

use crate::api::Api;
use crate::process::{Ended, Home, Running, finish};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A home, and a token endpoint whose tokens are numbered.
pub(crate) struct Stub {
    pub(crate) home: Home,
    pub(crate) api: Api,
}

pub(crate) const SECRET: &str = "canary-secret-of-the-client";

/// What a token endpoint answers.
pub(crate) fn grant(token: &str, expires_in: u64) -> (String, String) {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#);
    ("200 OK\r\ncontent-type: application/json".to_owned(), body)
}

impl Stub {
    /// An endpoint that takes `delay` for each token, and gives it so many seconds.
    pub(crate) fn new(delay: Duration, expires_in: u64) -> Self {
        let api = Api::start(move |number, _| {
            std::thread::sleep(delay);
            grant(&format!("canary-token-{number}"), expires_in)
        });
        Self { home: Home::new(), api }
    }

    /// One whose tokens live for an hour.
    pub(crate) fn quick() -> Self {
        Self::new(Duration::ZERO, 3600)
    }

    /// The program with all that it needs, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_at(&self.api.url("/token"), args)
    }

    /// As `command`, for another token endpoint.
    pub(crate) fn command_at(&self, token_url: &str, args: &[&str]) -> Command {
        let mut command = self.home.jeton(args);
        command
            .env("JETON_TOKEN_URL", token_url)
            .env("JETON_CLIENT_ID", "canary-client-id")
            .env("JETON_CLIENT_SECRET", SECRET)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        finish(self.command(args))
    }

    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        finish(command)
    }

    /// Runs it in a shell after `before`, such as `umask 000`.
    pub(crate) fn run_after(&self, before: &str, args: &[&str]) -> Ended {
        let program = self.command(args);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(program.get_program());
        shell.args(program.get_args()).env_clear().current_dir(self.home.path());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        finish(shell)
    }

    /// As many at the same time.
    pub(crate) fn run_together(&self, processes: usize, args: &[&str]) -> Vec<Ended> {
        let running: Vec<_> = (0..processes).map(|_| Running::start(self.command(args))).collect();
        running.into_iter().map(Running::end).collect()
    }

    pub(crate) fn requests(&self) -> usize {
        self.api.asked().len()
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.home.path().join(".cache/jeton")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.home.path().join(".local/state/jeton/cache.key")
    }

    /// The files of the records.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.cache_dir()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().len() == 64).collect()
    }
}
