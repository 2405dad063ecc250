//! Other processes: the same test once more, which finds out that it is to play another part.

use rustix::process::{Pid, Signal};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Set in a child; names the directory that it works in.
const CHILD: &str = "JETON_TEST_STORE_CHILD";
/// What the lines begin with that a child says to its parent, among those of the test harness.
const MARK: &str = "@ ";

/// Where this process is to work, if it is a child.
pub(super) fn is_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Tells the parent. Behind what the harness has begun to write.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{MARK}{line}\n").unwrap();
    out.flush().unwrap();
}

/// A child process; it is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `test`, named by its path, again to work in `directory`.
    pub(super) fn start(test: &str, directory: &Path) -> Self {
        Self::under("true", test, directory)
    }

    /// The same after these commands of a shell, such as limits.
    pub(super) fn under(commands: &str, test: &str, directory: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{commands} && exec \"$0\" \"$@\"")]);
        command.arg(std::env::current_exe().unwrap()).args([
            test,
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(CHILD, directory).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// What it says next; `None` when it has ended.
    pub(super) fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.strip_prefix(MARK) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    /// Waits until it has ended, and holds that it ended well.
    pub(super) fn ends_well(mut self) -> Vec<String> {
        let said: Vec<String> = std::iter::from_fn(|| self.hears()).collect();
        assert!(self.child.wait().unwrap().success(), "{said:?}");
        said
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is neither killed nor waited for twice.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}
