//! The command that `--exec` runs against the sandbox.

use super::stage::Stage;
use crate::core_dump;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::secret_variables::HANDOVER_VARIABLE;
use crate::settings::CLIENT_VARIABLES;
use jeton::Secret;
use jeton::store::StoreKey;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long the command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `command` by `sh -c`, with the sandbox in its environment, and gives its exit code. An interrupt ends it.
pub(super) async fn run(
    command: &str,
    stage: &Stage,
    interrupt: &mut Interrupt,
) -> Result<std::process::ExitCode, Failure> {
    let group = Group::fitting();
    let cache = CacheVariables::of(stage)?;
    let mut child = spawn(command, stage, &cache, group).map_err(|error| cannot("be started", &error))?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = interrupt.wait() => {
            group.signal(&child, Signal::TERM);
            match tokio::time::timeout(GRACE, child.wait()).await {
                Ok(status) => status,
                Err(_elapsed) => {
                    group.signal(&child, Signal::KILL);
                    child.wait().await
                }
            }
        }
    };
    Ok(code(status.map_err(|error| cannot("be waited for", &error))?).into())
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Other, format!("the command cannot {what}: {error}"))
}

fn spawn(command: &str, stage: &Stage, cache: &CacheVariables, group: Group) -> std::io::Result<Child> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).kill_on_drop(true);
    // Settings of the person would be mixed with those of the sandbox.
    for variable in CLIENT_VARIABLES {
        shell.env_remove(variable);
    }
    shell.env_remove(HANDOVER_VARIABLE);
    shell.env("JETON_CONFIG", "/dev/null");
    shell.envs(variables(stage));
    shell.envs([
        ("JETON_CACHE", OsStr::new("off")),
        ("JETON_CACHE_DIR", cache.dir.as_os_str()),
        ("JETON_CACHE_KEYS", OsStr::new("env:JETON_SANDBOX_CACHE_KEY")),
        ("JETON_SANDBOX_CACHE_KEY", OsStr::new(cache.key.expose())),
    ]);
    if group == Group::Own {
        shell.process_group(0);
    }
    core_dump::allowed_for(|| shell.spawn())
}

/// The variables that say where the sandbox is.
pub(super) fn variables(stage: &Stage) -> [(&'static str, &str); 10] {
    [
        ("JETON_TOKEN_URL", &stage.token_url),
        ("JETON_CLIENT_ID", stage.client_id),
        ("JETON_CLIENT_SECRET", stage.client_secret.expose()),
        ("JETON_SCOPES", &stage.scope),
        ("JETON_ISSUER", &stage.issuer),
        ("JETON_API_URL", &stage.orders_url),
        ("TOKEN_URL", &stage.token_url),
        ("CLIENT_ID", stage.client_id),
        ("CLIENT_SECRET", stage.client_secret.expose()),
        ("API_URL", &stage.orders_url),
    ]
}

/// What the command keeps tokens with, should it want to: nothing of it is in the home of the person.
struct CacheVariables {
    dir: PathBuf,
    key: Secret<String>,
}

impl CacheVariables {
    fn of(stage: &Stage) -> Result<Self, Failure> {
        let key = StoreKey::generate().map_err(|error| Failure::of(ExitCode::Other, &error))?;
        Ok(Self { dir: stage.cache_dir(), key: key.to_hex() })
    }
}

/// Which processes a signal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// The command and all that it started: it has a process group of its own.
    Own,
    /// The command alone: it shares the group of this process, without which it could not read from the terminal.
    /// Ctrl-c reaches it and all that it started by itself.
    Shared,
}

impl Group {
    fn fitting() -> Self {
        if std::io::stdin().is_terminal() { Self::Shared } else { Self::Own }
    }

    fn signal(self, child: &Child, signal: Signal) {
        // No id: it has ended and been waited for.
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(pid) = id.and_then(Pid::from_raw) else {
            return;
        };
        let _already_gone = match self {
            Self::Own => kill_process_group(pid, signal),
            Self::Shared => kill_process(pid, signal),
        };
    }
}

/// The exit code as a shell gives it: that of the command, or 128 and the number of the signal that killed it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(ExitCode::Other.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
    }
}
