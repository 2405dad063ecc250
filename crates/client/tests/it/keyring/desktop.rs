//! A session bus with GNOME Keyring on it, in a directory of their own. Both end when this is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const POLLS: u32 = 200;
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Without any program that the bus would start by itself.
const BUS_SETTINGS: &str = r#"<busconfig>
  <type>session</type>
  <listen>unix:path=DIRECTORY/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

pub(crate) struct Desktop {
    directory: TempDir,
    pub(crate) bus: String,
    daemon: Child,
    keyring: Option<Child>,
}

impl Desktop {
    pub(crate) fn with_keyring() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let settings = directory.path().join("bus.conf");
        let path = directory.path().to_str().unwrap();
        fs::write(&settings, BUS_SETTINGS.replace("DIRECTORY", path)).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1", "--config-file"])
            .arg(&settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is missing: run `cargo xtask setup`");
        let mut bus = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut bus).unwrap();
        let mut desktop = Self { bus: bus.trim().to_owned(), directory, daemon, keyring: None };
        desktop.start_keyring();
        desktop
    }

    fn start_keyring(&mut self) {
        let mut keyring = self
            .command("gnome-keyring-daemon")
            .args(["--unlock", "--components=secrets", "--foreground"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon is missing: run `cargo xtask setup`");
        keyring.stdin.take().unwrap().write_all(b"the password of the login").unwrap();
        self.keyring = Some(keyring);
        for _ in 0..POLLS {
            let default = self.ask("ReadAlias", "string:default");
            if String::from_utf8_lossy(&default.stdout).contains("/collection/") {
                return;
            }
            sleep(POLL_PAUSE);
        }
        panic!("gnome-keyring-daemon does not come up on {}", self.bus);
    }

    /// Where the bus and the keyring keep what is theirs.
    pub(crate) fn directory(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Stores the entry of the tests as a person would, with further attributes.
    pub(crate) fn store(&self, secret: &[u8], further: &[(&str, &str)]) {
        let attributes = [("service", "id.example.com"), ("username", "billing")];
        let mut store = self.command("secret-tool");
        store.args(["store", "--label=jeton"]).stdin(Stdio::piped());
        for (name, value) in attributes.iter().chain(further) {
            store.args([name, value]);
        }
        let mut store = store.spawn().expect("secret-tool is missing: run `cargo xtask setup`");
        store.stdin.take().unwrap().write_all(secret).unwrap();
        assert!(store.wait().unwrap().success());
    }

    /// Locks the keyring, as when the screen is.
    pub(crate) fn lock(&self) {
        let locked = self.ask("Lock", "array:objpath:/org/freedesktop/secrets/collection/login");
        assert!(locked.status.success(), "{locked:?}");
    }

    pub(crate) fn end_keyring(&mut self) {
        if let Some(mut keyring) = self.keyring.take() {
            keyring.kill().unwrap();
            keyring.wait().unwrap();
        }
    }

    fn ask(&self, method: &str, argument: &str) -> Output {
        let method = format!("org.freedesktop.Secret.Service.{method}");
        self.command("dbus-send")
            .args(["--session", "--print-reply", "--dest=org.freedesktop.secrets"])
            .args(["/org/freedesktop/secrets", &method, argument])
            .output()
            .expect("dbus-send is missing: run `cargo xtask setup`")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, self.directory.path());
        }
        command
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.end_keyring();
        let _ended_meanwhile = self.daemon.kill();
        let _reaped = self.daemon.wait();
    }
}
