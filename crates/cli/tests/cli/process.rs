//! The program as a process, in a home of its own, ended when the test ends.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A home directory without settings, in which programs run that see nothing of the real environment.
pub(crate) struct Home {
    dir: TempDir,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where programs in this home put temporary files.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join(".local/share/jeton")
    }

    /// Writes a file and gives its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a file for its owner alone and gives its path.
    pub(crate) fn write_secret(&self, name: &str, content: &str) -> String {
        let path = self.write(name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The program, not started yet.
    pub(crate) fn jeton(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jeton"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("TMPDIR", self.tmp())
            .current_dir(self.path());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        finish(self.jeton(args))
    }

    /// Runs the program with these variables to its end.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.jeton(args);
        command.envs(variables.iter().copied());
        finish(command)
    }

    /// Runs the program with this standard input to its end.
    pub(crate) fn run_reading(&self, input: &str, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.jeton(args);
        command.envs(variables.iter().copied()).stdin(Stdio::piped());
        let mut running = Running::start(command);
        running.child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        running.end()
    }
}

impl Ended {
    /// The result as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// That it failed with this code, said nothing on stdout, and these words on stderr.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        assert_eq!(self.stdout, "", "stdout stays empty on failure: {self}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {self}");
        }
    }

    /// That it ended well, and what it said on stdout.
    #[track_caller]
    pub(crate) fn done(&self) -> &str {
        assert_eq!(self.code, 0, "{self}");
        &self.stdout
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Ended {
    command.stdin(Stdio::null());
    Running::start(command).end()
}

/// A program that runs, and is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a command and reads both of its streams.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Some(drain(child.stdout.take().unwrap()));
        let stderr = Some(drain(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let status = wait(&mut self.child);
        let read = |stream: &mut Option<JoinHandle<String>>| stream.take().unwrap().join().unwrap();
        Ended {
            code: status.code().unwrap_or(-1),
            stdout: read(&mut self.stdout),
            stderr: read(&mut self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A server that runs, and is killed when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) issuer: String,
    /// What it said when it started.
    pub(crate) announcement: String,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Server {
    /// Starts `jeton serve` on a free port.
    pub(crate) fn start(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Self {
        let mut command = home.jeton(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(args).envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut server = Self { child, issuer: String::new(), announcement: String::new(), stderr: None };
        while !server.announcement.contains("\nclients ") {
            let bytes = stderr.read_line(&mut server.announcement).unwrap();
            assert!(bytes > 0, "it ended: {}", server.announcement);
        }
        server.stderr = Some(stderr);
        let line = server.announcement.lines().find(|line| line.starts_with("issuer ")).unwrap();
        server.issuer = line.split_whitespace().last().unwrap().to_owned();
        server
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/oauth/token", self.issuer)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and gives its exit code and what it said since it started.
    pub(crate) fn end(mut self) -> (i32, String) {
        self.signal(Signal::TERM);
        let mut said = String::new();
        self.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (wait(&mut self.child).code().unwrap_or(-1), said)
    }

    /// Stops to read what it says: its next line finds nobody.
    pub(crate) fn stop_listening(&mut self) {
        self.stderr = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A server with one client, and what is needed to ask it.
pub(crate) struct Registered {
    pub(crate) home: Home,
    pub(crate) server: Server,
    pub(crate) secret: String,
}

impl Registered {
    /// A server, and the client `billing` with the scopes `a` and `b`.
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let server = Server::start(&home, &[], &[]);
        let added = home.run(&["client", "add", "billing", "--scope", "a b"]);
        let secret = added.done().trim_end().to_owned();
        Self { home, server, secret }
    }

    /// The variables that say all that the program needs.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("JETON_TOKEN_URL", self.server.token_url()),
            ("JETON_CLIENT_ID", "billing".to_owned()),
            ("JETON_CLIENT_SECRET", self.secret.clone()),
        ]
    }

    /// Runs the program with these variables.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_with(&[], args)
    }

    /// Runs the program with these variables and others, which win.
    pub(crate) fn run_with(&self, others: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.home.jeton(args);
        command.envs(self.variables()).envs(others.iter().copied());
        finish(command)
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the program did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(child: &mut Child) {
    let _already_ended = child.kill();
    let _already_waited_for = child.wait();
}
