//! A command, run and ended in time.

use super::line::CommandLine;
use crate::credentials::content;
use crate::credentials::environment::Surroundings;
use crate::credentials::place::SecretPlace;
use crate::credentials::source::{
    Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind,
};
use crate::sync::{Mutex, lock};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

/// How long a command may take, by default.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a command that was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// What a command prints to its standard output: text of at most 64 KiB, of which one line break at the end is not part of the
/// secret.
///
/// The command is run by no shell. It has nothing on its standard input, what it says on standard error is dropped, since
/// secrets may be in it, and it is in a process group of its own, so that it cannot ask at a terminal. After 10 s, or with more
/// output than a secret has, it is killed together with the processes that it started. Its environment is that of the surroundings
/// without the variables that are withheld, and its working directory is their directory.
///
/// It is started anew for each read, on a thread of the runtime for blocking work; standard Rust is used for it, and not what
/// tokio has, which would catch a signal in the whole process and needs a runtime with I/O.
pub struct CommandSource {
    prepared: Arc<Prepared>,
}

struct Prepared {
    line: CommandLine,
    place: SecretPlace,
    variables: Vec<(OsString, OsString)>,
    directory: PathBuf,
    within: Duration,
}

impl CommandSource {
    /// The command, which is not started yet.
    #[must_use]
    pub fn new(line: CommandLine, surroundings: &Surroundings) -> Self {
        let withheld = |name: &std::ffi::OsStr| {
            surroundings.withheld_variables.iter().any(|withheld| withheld.as_str() == name)
        };
        let variables = surroundings.environment.variables().filter(|(name, _)| !withheld(name));
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let place = SecretPlace::Command(line.clone());
        let directory = surroundings.directory.clone();
        Self { prepared: Arc::new(Prepared { line, place, variables, directory, within: WITHIN }) }
    }
}

impl SecretSource for CommandSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            let group = Arc::new(Group::default());
            let run = {
                let (prepared, group) = (Arc::clone(&self.prepared), Arc::clone(&group));
                move || prepared.run(&group)
            };
            let Ok(runtime) = Handle::try_current() else {
                return run();
            };
            let _given_up = EndedWhenDropped(group);
            let ran = runtime.spawn_blocking(run).await;
            ran.unwrap_or_else(|_lost| Err(self.prepared.given_up()))
        })
    }

    fn reread(&self) -> Reread {
        Reread::Periodically
    }
}

/// What the environment holds may be secret.
impl fmt::Debug for CommandSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSource").field("line", &self.prepared.line).finish_non_exhaustive()
    }
}

impl Prepared {
    fn run(&self, group: &Group) -> Result<SecretReading, SourceFault> {
        let deadline = Instant::now() + self.within;
        let mut child = group.begin(|| self.spawn()).ok_or_else(|| self.given_up())??;
        let output = self.output(&mut child, deadline);
        let ended = output.and_then(|output| match group.wait(&mut child, deadline) {
            Some(status) => Ok((output, status)),
            None => Err(self.too_late()),
        });
        let (output, status) = ended.inspect_err(|_| group.end(&mut child))?;
        self.check(status)?;
        content::secret(&self.place, &output).map(SecretReading::new)
    }

    fn spawn(&self) -> Result<Child, SourceFault> {
        let mut command = Command::new(self.line.program());
        command.args(self.line.arguments()).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        let command =
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                self.fault(SourceFaultKind::Absent, "there is no such program, neither in PATH nor as a path")
            }
            io::ErrorKind::PermissionDenied => {
                self.fault(SourceFaultKind::Denied, "the user of this process may not run it")
            }
            _ => self.fault(SourceFaultKind::Unusable, format!("it cannot be started: {error}")),
        })
    }

    /// What it prints until it closes its standard output.
    fn output(&self, child: &mut Child, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
        let Some(stdout) = child.stdout.as_mut() else { return Ok(Zeroizing::default()) };
        content::read_until(&self.place, stdout, deadline)?.ok_or_else(|| self.too_late())
    }

    fn check(&self, status: ExitStatus) -> Result<(), SourceFault> {
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => return Ok(()),
            (Some(code), _) => format!("it failed with exit status {code}"),
            (None, Some(signal)) => format!("it was ended by signal {signal}"),
            (None, None) => "it failed".to_owned(),
        };
        Err(self.fault(SourceFaultKind::Denied, format!("{how}; run it by hand to see what it says")))
    }

    fn too_late(&self) -> SourceFault {
        let what = format!(
            "it did not end within {} s and was killed; a command cannot ask for anything at a terminal",
            self.within.as_secs()
        );
        self.fault(SourceFaultKind::Unreachable, what)
    }

    fn given_up(&self) -> SourceFault {
        self.fault(SourceFaultKind::Unreachable, "it was given up before it ended")
    }

    fn fault(&self, kind: SourceFaultKind, what: impl fmt::Display) -> SourceFault {
        SourceFault::new(kind, &self.place, what)
    }
}

/// The process group of a command.
#[derive(Default)]
struct Group {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    NotBegun,
    /// Its leader was not reaped yet, so that its number belongs to nobody else.
    Running(Pid),
    Over,
}

/// A command for whose secret nobody waits any more is ended.
struct EndedWhenDropped(Arc<Group>);

impl Drop for EndedWhenDropped {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        match *state {
            State::NotBegun => *state = State::Over,
            State::Running(leader) => kill(leader),
            State::Over => {}
        }
    }
}

impl Group {
    /// `None` when it was given up before.
    fn begin(
        &self,
        spawn: impl FnOnce() -> Result<Child, SourceFault>,
    ) -> Option<Result<Child, SourceFault>> {
        let mut state = lock(&self.state);
        match *state {
            State::NotBegun => {}
            State::Running(_) | State::Over => return None,
        }
        let child = spawn();
        *state = match &child {
            Ok(child) => State::Running(Pid::from_child(child)),
            Err(_) => State::Over,
        };
        Some(child)
    }

    /// The end of the leader, unless it does not come in time.
    fn wait(&self, child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            {
                let mut state = lock(&self.state);
                if let Ok(Some(status)) = child.try_wait() {
                    *state = State::Over;
                    return Some(status);
                }
            }
            if deadline <= Instant::now() {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Kills all of it.
    fn end(&self, child: &mut Child) {
        {
            let state = lock(&self.state);
            if let State::Running(leader) = *state {
                kill(leader);
            }
        }
        if self.wait(child, Instant::now() + GONE_WITHIN).is_none() {
            // It sleeps in the kernel, and is left to itself.
            *lock(&self.state) = State::Over;
        }
    }
}

fn kill(leader: Pid) {
    // One that is gone already is no fault.
    let _gone = kill_process_group(leader, Signal::KILL);
}

#[cfg(test)]
mod tests;
