//! Tokens that are kept in Redis, for several machines.

use crate::process::{Ended, eventually, finish};
use crate::stub::Stub;
use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PASSWORD: &str = "canary-password-of-redis";

/// A redis-server at a socket of its own, killed when this is dropped.
struct Redis {
    child: Child,
    dir: TempDir,
}

impl Redis {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--requirepass", PASSWORD]);
        command.arg("--unixsocket").arg(dir.path().join("socket")).arg("--dir").arg(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("redis-server: {error}; `cargo xtask test` installs what the tests need")
        });
        let redis = Self { child, dir };
        eventually("the start of redis", || UnixStream::connect(redis.socket()).is_ok());
        redis
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The variables by which a command keeps its tokens here.
    fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("JETON_CACHE", self.url()),
            ("JETON_CACHE_PASSWORD", "env:REDIS_PASSWORD".to_owned()),
            ("REDIS_PASSWORD", PASSWORD.to_owned()),
            ("JETON_CACHE_KEYS", "env:REDIS_KEY".to_owned()),
            ("REDIS_KEY", "1".repeat(64)),
        ]
    }

    fn run(&self, stub: &Stub, others: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = stub.command(args);
        command.envs(self.variables()).envs(others.iter().copied());
        finish(command)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited_for = self.child.wait();
    }
}

#[test]
fn r2_1_machines_that_share_a_redis_live_on_one_token() {
    let (stub, redis) = (Stub::new(Duration::from_millis(200), 3600), Redis::start());
    let tokens: HashSet<String> = std::thread::scope(|scope| {
        let ask = || redis.run(&stub, &[], &["token"]).done().to_owned();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((tokens.len(), stub.requests()), (1, 1));
    let login = redis.run(&stub, &[], &["login", "--output", "json"]);
    assert_eq!((&login.json()["source"], &login.json()["kept_in"]), (&"cache".into(), &redis.url().into()));
    assert!(!stub.home.path().join(".cache").exists() && !stub.key_file().exists());
    assert_ne!(redis.run(&stub, &[("REDIS_KEY", &"2".repeat(64))], &["token"]).done(), "canary-token-0\n");
    let other_secret = redis.run(&stub, &[("JETON_CLIENT_SECRET", "another")], &["token"]);
    assert_eq!(other_secret.done(), "canary-token-2\n");
    for args in [&["cache", "list"][..], &["cache", "clear", "--all"], &["logout"]] {
        redis.run(&stub, &[], args).failed(5, &["JETON_CACHE: ", "redis cannot be listed"]);
    }
}

#[test]
fn a_redis_that_does_not_work_costs_a_warning() {
    let (stub, redis) = (Stub::quick(), Redis::start());
    let warned = |ended: Ended, words: &[&str]| {
        assert!(ended.done().starts_with("canary-token-"), "{ended}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
        for word in words.iter().chain(&["warning: the token cache is not used", "--no-cache"]) {
            assert!(ended.stderr.contains(word), "{word:?} is missing: {ended}");
        }
        assert!(!ended.stderr.contains("canary"), "{ended}");
    };
    warned(redis.run(&stub, &[("REDIS_PASSWORD", "canary-wrong")], &["token"]), &["WRONGPASS", &redis.url()]);
    let pid = rustix::process::Pid::from_child(&redis.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let begun = Instant::now();
    warned(redis.run(&stub, &[], &["token"]), &["did not answer in time", &redis.url()]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    std::fs::remove_file(redis.socket()).unwrap();
    warned(redis.run(&stub, &[], &["token"]), &["cannot be reached", &redis.url()]);
}

#[test]
fn settings_of_a_redis_that_are_wrong_are_told() {
    let stub = Stub::quick();
    let run = |variables: &[(&str, &str)]| {
        let ended = stub.run_with(variables, &["token"]);
        assert!(!ended.stderr.contains("canary"), "{ended}");
        ended
    };
    let (key, keys) = (("K", &*"1".repeat(64)), ("JETON_CACHE_KEYS", "env:K"));
    let at = |url| ("JETON_CACHE", url);
    run(&[at("redis://127.0.0.1:1")]).failed(5, &["JETON_CACHE", "wants keys", "--cache-key"]);
    run(&[at("redis://u:canary@127.0.0.1:1"), key, keys]).failed(5, &["a password is not written in a url"]);
    run(&[at("redis://[canary"), key, keys]).failed(5, &["JETON_CACHE: it is file, off, or"]);
    run(&[at("redis://127.0.0.1:1/x"), key, keys]).failed(5, &["JETON_CACHE", "database"]);
    let password = ("JETON_CACHE_PASSWORD", "canary");
    run(&[at("redis://127.0.0.1:1"), key, keys, password]).failed(5, &["JETON_CACHE_PASSWORD", "file:PATH"]);
    let user = ("JETON_CACHE_USER", "u");
    run(&[at("redis://127.0.0.1:1"), key, keys, user]).failed(5, &["a user but no password"]);
    let ca_file = ("JETON_CACHE_CA_FILE", "absent.pem");
    run(&[at("rediss://127.0.0.1:1"), key, keys, ca_file]).failed(5, &["JETON_CACHE_CA_FILE", "absent.pem"]);
    assert_eq!(stub.requests(), 0);
}
