//! A server in a process of its own, pinned to a core, and its CPU time.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that runs until this is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    port: u16,
    ends_by: EndsBy,
}

/// What lets a server end.
enum EndsBy {
    EndOfInput,
    Signal,
}

impl ServerProcess {
    /// Starts this program again, with `--serve` and `arguments`, on the first core.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--serve").args(arguments);
        Self::announced(command)
    }

    /// Starts npm `oidc-provider` on the first core, with one client, as `testdata/foreign` has it.
    pub(crate) fn oidc_provider(client_id: &str, secret: &str, scope: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let node = root.join("target/foreign/node/bin/node");
        assert!(node.exists(), "{} is missing: run `cargo xtask setup`", node.display());
        let clients =
            format!(r#"[{{"client_id":"{client_id}","client_secret":"{secret}","scope":"{scope}"}}]"#);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(node).arg(root.join("testdata/foreign/oidc_provider.mjs"));
        command.args(["--clients", &clients]).stderr(Stdio::null());
        Self::announced(command)
    }

    /// Starts the program `jeton` at this path as people run it, on the first core.
    pub(crate) fn program(jeton: &Path, data_dir: &Path) -> Self {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(jeton).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(data_dir).args(["--client-requests-per-second", "100000"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut notes = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("listening on") {
            line.clear();
            assert_ne!(notes.read_line(&mut line).unwrap(), 0, "the server says where it listens");
        }
        std::thread::spawn(move || std::io::copy(&mut notes, &mut std::io::sink()));
        let mut server = Self::announced_by(child, &line);
        server.ends_by = EndsBy::Signal;
        server
    }

    /// Starts a server whose first line ends with its port.
    fn announced(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self::announced_by(child, &line)
    }

    fn announced_by(child: Child, line: &str) -> Self {
        let port = line.trim().rsplit([' ', ':']).next().and_then(|port| port.parse().ok());
        let port = port.expect("the server says its port");
        Self { child, port, ends_by: EndsBy::EndOfInput }
    }

    /// The resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How long the threads that are there now have run.
    pub(crate) fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let run_ns = |thread: std::io::Result<std::fs::DirEntry>| {
            // A thread may have ended since.
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.filter_map(run_ns).sum())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let EndsBy::Signal = self.ends_by {
            let process = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(process.unwrap(), rustix::process::Signal::TERM).unwrap();
        }
        let ended = self.child.wait();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking(), "the server failed");
    }
}

/// Runs a server in this process: on the first core, on one thread, until the standard input ends.
pub(crate) fn serve<F: Future<Output = ()>>(server: impl FnOnce(fn(u16), Ended) -> F) {
    use_core(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (announce_end, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _end_of_input = std::io::stdin().read_to_end(&mut Vec::new());
        announce_end.send(())
    });
    let ended: Ended = Box::pin(async { end.await.unwrap_or(()) });
    runtime.block_on(server(|port| println!("{port}"), ended));
}

pub(crate) type Ended = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Pins this process to a core, where there is more than one and the system lets us.
pub(crate) fn use_core(core: usize) {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > core && cores.get() > 1) {
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &cores) {
            eprintln!("not pinned to a core: {error}");
        }
    }
}
