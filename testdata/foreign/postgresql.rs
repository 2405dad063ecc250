//! Starts `PostgreSQL`. Tests take this file in by its path.

#![allow(dead_code, reason = "each test takes what it needs of it")]

use jeton_proto::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that a server takes to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(20);
/// What the user `jeton` logs in with.
pub(crate) const PASSWORD: &str = "canary-database-password";
const ADMIN_PASSWORD: &str = "admin-password";

/// The password of the user `jeton`.
pub(crate) fn password() -> Secret<String> {
    Secret::from(PASSWORD)
}

/// A server of its own on a free port of 127.0.0.1, with the user and the database `jeton`. It is ended when this is dropped.
pub(crate) struct Postgres {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    programs: PathBuf,
    over_tls: bool,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        Self::begin(None)
    }

    /// With TLS besides, where it shows this certificate; both in PEM.
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> Self {
        Self::begin(Some((certificate, key)))
    }

    fn begin(tls: Option<(&str, &str)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { child: None, port: 0, dir, programs: programs(), over_tls: tls.is_some() };
        let password_file = server.dir.path().join("password");
        fs::write(&password_file, ADMIN_PASSWORD).unwrap();
        if let Some((certificate, key)) = tls {
            fs::write(server.dir.path().join("certificate.pem"), certificate).unwrap();
            fs::write(server.dir.path().join("key.pem"), key).unwrap();
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(server.dir.path().join("key.pem"), private).unwrap();
        }
        if let Some((user, group)) = other_user() {
            for path in [server.dir.path(), &password_file] {
                chown(path, Some(user), Some(group)).unwrap();
            }
            for entry in fs::read_dir(server.dir.path()).unwrap() {
                chown(entry.unwrap().path(), Some(user), Some(group)).unwrap();
            }
        }
        let mut command = server.program("initdb");
        command.args([
            "--no-sync",
            "--username=admin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        command.arg("--pwfile").arg(&password_file).arg("-D").arg(server.data());
        succeed(&mut command);
        server.restart();
        server.sql_in("postgres", &format!("CREATE ROLE jeton LOGIN PASSWORD '{PASSWORD}'"));
        server.sql_in("postgres", "CREATE DATABASE jeton OWNER jeton");
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://jeton@127.0.0.1:{}/jeton", self.port)
    }

    /// What a statement brings in the database `jeton`, as one who may do everything.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.sql_in("jeton", statement)
    }

    fn sql_in(&self, database: &str, statement: &str) -> String {
        let mut command = self.program("psql");
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "admin"]);
        command.args(["-p", &self.port.to_string(), "-d", database, "-c", statement]);
        command.env("PGPASSWORD", ADMIN_PASSWORD);
        String::from_utf8(succeed(&mut command).stdout).unwrap().trim().to_owned()
    }

    /// `kill -9` of the server; what it had begun ends by itself.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it, again at the same port and with what it has on its disk.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let patience = Instant::now() + PATIENCE;
        loop {
            if self.port == 0 || !self.answers_after_start() {
                assert!(Instant::now() < patience, "PostgreSQL does not start: {}", self.log());
                if self.port == 0 {
                    self.port =
                        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
                    continue;
                }
                // Those that it had begun may have the port or the memory still.
                thread::sleep(POLL_PAUSE);
            } else {
                return;
            }
        }
    }

    /// Whether it could be started.
    fn answers_after_start(&mut self) -> bool {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on", "-c", "max_connections=60"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.dir.path().display()));
        if self.over_tls {
            let file = |name: &str| self.dir.path().join(name).display().to_string();
            command.arg("-c").arg("ssl=on");
            command.arg("-c").arg(format!("ssl_cert_file={}", file("certificate.pem")));
            command.arg("-c").arg(format!("ssl_key_file={}", file("key.pem")));
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let patience = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let port = self.port.to_string();
            let mut probe = self.program("pg_isready");
            probe.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            if probe.status().unwrap().success() {
                self.child = Some(child);
                return true;
            }
            if Instant::now() > patience {
                end(&mut child);
                panic!("PostgreSQL does not answer: {}", self.log());
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Holds the server still with everything it has begun, until the guard is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        let parent = Pid::from_child(self.child.as_ref().unwrap());
        // The parent first, so that it begins no other.
        kill_process(parent, Signal::STOP).unwrap();
        let id = parent.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap());
        let all: Vec<Pid> = children.chain([parent]).collect();
        for pid in &all {
            let _ended = kill_process(*pid, Signal::STOP);
        }
        Frozen(all)
    }

    /// The server takes no changes any more, or does again, and closes no connection for that.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        // Whoever changes that is held by it too.
        let on = if read_only { "on" } else { "off" };
        for statement in
            [&format!("ALTER SYSTEM SET default_transaction_read_only = {on}"), "SELECT pg_reload_conf()"]
        {
            self.sql(statement);
        }
        let patience = Instant::now() + PATIENCE;
        while self.sql("SHOW default_transaction_read_only") != on {
            assert!(Instant::now() < patience, "the setting is not taken over");
            thread::sleep(POLL_PAUSE);
        }
    }

    /// A disk of its own for the records and the used assertions of jeton, which can be filled. The tables must be there.
    pub(crate) fn small_disk(&self) -> SmallDisk {
        let disk = SmallDisk { place: self.dir.path().join("disk") };
        fs::create_dir(&disk.place).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&disk.place).status();
        assert!(mounted.unwrap().success(), "a small file system cannot be mounted: this wants root");
        let tables = disk.place.join("tables");
        fs::create_dir(&tables).unwrap();
        if let Some((user, group)) = other_user() {
            chown(&tables, Some(user), Some(group)).unwrap();
        }
        self.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
        for table in ["record", "spent_assertion"] {
            self.sql(&format!("ALTER TABLE jeton.{table} SET TABLESPACE small"));
            self.sql(&format!("ALTER INDEX jeton.{table}_pkey SET TABLESPACE small"));
        }
        disk
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A program of `PostgreSQL`, which refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        if let Some((user, group)) = other_user() {
            command.uid(user).gid(group);
        }
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Processes that are held still.
pub(crate) struct Frozen(Vec<Pid>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ended = kill_process(*pid, Signal::CONT);
        }
    }
}

/// A disk of a server, which is taken away when this is dropped.
pub(crate) struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Leaves no room on it. Pages that are there have some still.
    pub(crate) fn fill(&self) {
        let mut ballast = fs::File::create(self.place.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.place.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

/// Ends a server with all that it has begun.
fn end(child: &mut Child) {
    let _ended = kill_process(Pid::from_child(child), Signal::QUIT);
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL_PAUSE);
    }
    let _ended_meanwhile = child.kill();
    let _reaped = child.wait();
}

fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// User and group to run as where this is root.
fn other_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line =
            users.lines().find_map(|line| line.strip_prefix(&format!("{name}:x:")).map(str::to_owned))?;
        let mut numbers = line.split(':');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    Some(of("postgres").or_else(|| of("nobody")).unwrap())
}

/// Where the programs are: the newest of Debian's, or those in the path.
fn programs() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.map(|entry| entry.unwrap().path().join("bin"));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&in_path).chain(debian).collect();
    dirs.retain(|dir: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| dir.join(name).exists()));
    let version = |dir: &Path| -> u32 {
        let number = dir.parent().and_then(|parent| parent.file_name()?.to_str()?.parse().ok());
        number.unwrap_or_default()
    };
    let newest = dirs.into_iter().max_by_key(|dir| version(dir));
    newest.unwrap_or_else(|| panic!("PostgreSQL is missing: run `cargo xtask setup`"))
}
