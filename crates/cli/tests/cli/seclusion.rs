//! What the rest of the machine sees of a running program: no core dump, no memory, no secret in its environment or its arguments.

use crate::api::Api;
use crate::process::{Home, Running, eventually, finish};
use crate::stub::{SECRET, grant};
use rustix::process::{Signal, geteuid};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A user that nothing belongs to.
const NOBODY: u32 = 65534;
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee1f";

/// A token endpoint that answers when it is told to.
struct Slow {
    api: Api,
    go: Arc<AtomicBool>,
}

impl Slow {
    fn new() -> Self {
        let go = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&go);
        let api = Api::start(move |_, _| {
            while !told.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            grant("canary-token", 3600)
        });
        Self { api, go }
    }

    /// What the program needs to ask this endpoint.
    fn variables(&self) -> [(&'static str, String); 2] {
        [("JETON_TOKEN_URL", self.api.url("/token")), ("JETON_CLIENT_ID", "billing".to_owned())]
    }

    /// Starts `command`, and waits until it waits for the answer.
    fn waiting(&self, command: Command) -> Running {
        let running = Running::start(command);
        eventually("a token request", || !self.api.asked().is_empty());
        running
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.go.store(true, Ordering::SeqCst);
    }
}

/// The same command from a shell that allows core dumps.
fn with_core_dumps(program: &Command, home: &Home) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\""]).arg(program.get_program());
    shell.args(program.get_args()).env_clear().current_dir(home.path());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

fn of_process(running: &Running, file: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(format!("/proc/{}/{file}", running.child.id()))
}

/// What root sees; who is not root sees nothing.
#[track_caller]
fn assert_unseen(running: &Running, file: &str, values: &[&str]) {
    let seen = match of_process(running, file) {
        Ok(seen) => String::from_utf8_lossy(&seen).into_owned(),
        Err(error) => {
            assert!(error.kind() == ErrorKind::PermissionDenied && !geteuid().is_root(), "{error}");
            return;
        }
    };
    assert!(!seen.is_empty());
    for value in values {
        assert!(!seen.contains(value), "{value} is in {file}: {seen}");
    }
}

#[test]
fn t34_a_program_that_is_killed_leaves_no_core_dump() {
    for signal in [Signal::ABORT, Signal::TRAP, Signal::QUIT] {
        let (home, slow) = (Home::new(), Slow::new());
        let mut token = home.jeton(&["token", "--no-cache"]);
        token.envs(slow.variables()).env("JETON_CLIENT_SECRET", SECRET);
        let mut running = slow.waiting(with_core_dumps(&token, &home));
        let limits = String::from_utf8(of_process(&running, "limits").unwrap()).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        running.signal(signal);
        let status = running.child.wait().unwrap();
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false));
        let left = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("core")));
    }
}

#[test]
fn t34_another_process_of_the_same_user_reads_neither_memory_nor_environment() {
    let (home, slow) = (Home::new(), Slow::new());
    // Root reads everything, so root looks as somebody else.
    let program = home.path().join("jeton");
    std::fs::copy(env!("CARGO_BIN_EXE_jeton"), &program).unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(home.path());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let mut token = as_nobody(&program, &["token", "--no-cache"]);
    token.envs(slow.variables()).env("JETON_CLIENT_SECRET", SECRET);
    let running = slow.waiting(token);
    for file in ["environ", "mem", "maps", "fd/0"] {
        let read = as_nobody(Path::new("cat"), &[&format!("/proc/{}/{file}", running.child.id())]);
        finish(read).failed(1, &["Permission denied"]);
    }
    let own = as_nobody(Path::new("cat"), &["/proc/self/environ"]);
    finish(own).done();
    slow.go.store(true, Ordering::SeqCst);
    assert_eq!(running.end().done(), "canary-token\n");
}

#[test]
fn t34_secrets_leave_the_environment_and_the_token_still_comes() {
    let (home, slow) = (Home::new(), Slow::new());
    let other_key = KEY.replace('0', "4");
    let name_key = KEY.replace('1', "5");
    home.write(".config/jeton/jeton.toml", "cache_name_key = \"env:NAME_KEY\"\n");
    let mut token = home.jeton(&["token", "--cache-key", "env:FIRST_KEY", "--cache-key=env:OTHER_KEY"]);
    let keys = [("FIRST_KEY", KEY), ("OTHER_KEY", &other_key), ("NAME_KEY", &name_key)];
    token.envs(slow.variables()).envs(keys).env("JETON_CLIENT_SECRET", SECRET).env("PLAIN", "plain");
    let running = slow.waiting(token);
    assert_unseen(&running, "environ", &[SECRET, KEY, &other_key, &name_key]);
    assert_unseen(&running, "cmdline", &[SECRET, KEY]);
    assert_eq!(of_process(&running, "comm").unwrap(), b"jeton\n", "it is found under its name");
    slow.go.store(true, Ordering::SeqCst);
    let ended = running.end();
    assert_eq!((ended.done(), ended.stderr.as_str()), ("canary-token\n", ""));
    let sent = slow.api.asked()[0].field("authorization").unwrap().to_owned();
    assert_eq!(sent, "Basic YmlsbGluZzpjYW5hcnktc2VjcmV0LW9mLXRoZS1jbGllbnQ=");
    // And what was sealed with those keys is opened with them.
    let mut again = home.jeton(&["token", "--client-secret", "env:SOME_SECRET"]);
    again.envs(slow.variables()).envs(keys).env("SOME_SECRET", SECRET);
    again.env("JETON_CACHE_KEYS", "env:FIRST_KEY env:OTHER_KEY");
    assert_eq!(finish(again).done(), "canary-token\n");
    assert_eq!(slow.api.asked().len(), 1);
}

#[test]
fn what_is_read_once_is_not_read_before_secrets_leave_the_environment() {
    let (home, slow) = (Home::new(), Slow::new());
    slow.go.store(true, Ordering::SeqCst);
    let [url, id] = slow.variables();
    let variables = [(url.0, url.1.as_str()), (id.0, id.1.as_str()), ("KEY", KEY)];
    let args = ["token", "--client-secret", "-", "--cache-key", "env:KEY"];
    assert_eq!(home.run_reading(SECRET, &variables, &args).done(), "canary-token\n");
    let settings = "cache = \"off\"\nscopes = [\"from-a-pipe\"]\n";
    let args = ["token", "--config", "/dev/stdin", "--client-secret", "env:OWN"];
    let variables = [variables[0], variables[1], ("OWN", SECRET)];
    assert_eq!(home.run_reading(settings, &variables, &args).done(), "canary-token\n");
    assert!(slow.api.asked()[1].body.contains("from-a-pipe"), "{:?}", slow.api.asked());
}

#[test]
fn t34_a_forged_descriptor_of_secrets_is_passed_over() {
    let (home, slow) = (Home::new(), Slow::new());
    slow.go.store(true, Ordering::SeqCst);
    for forged in ["0", "7", "x", ""] {
        let mut token = home.jeton(&["token", "--no-cache"]);
        token.envs(slow.variables()).env("JETON_CLIENT_SECRET", SECRET).env("JETON_SECRETS_FD", forged);
        let ended = finish(token);
        assert_eq!(ended.done(), "canary-token\n");
        assert!(ended.stderr.contains("JETON_SECRETS_FD is passed over"), "{ended}");
    }
}

#[test]
fn what_the_sandbox_runs_has_the_core_limit_of_the_person_and_not_their_secret() {
    let home = Home::new();
    let script = "ulimit -S -c; ulimit -H -c; env; cat /proc/self/environ";
    let mut sandbox = home.jeton(&["sandbox", "--quiet", "--no-proof", "--exec", script]);
    sandbox.env("JETON_CLIENT_SECRET", SECRET).stdin(Stdio::null());
    let ended = finish(with_core_dumps(&sandbox, &home));
    let said = ended.done();
    let mut lines = said.lines();
    assert_eq!(lines.next(), lines.next(), "the soft limit is what it was: {said}");
    assert!(said.contains("JETON_CLIENT_SECRET=") && !said.contains(SECRET), "{said}");
}
