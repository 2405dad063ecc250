//! A cache that cannot be used costs no token, and what is in it tells nobody anything.

use crate::process::{Ended, Home};
use crate::stub::{SECRET, Stub};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// That there is a token, and one line which says what is the matter, where, and what to do.
#[track_caller]
fn warned(ended: &Ended, words: &[&str]) {
    assert!(ended.done().starts_with("canary-token-"), "{ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    assert!(ended.stderr.starts_with("warning: the token cache is not used: "), "{ended}");
    for word in words.iter().chain(&["--no-cache"]) {
        assert!(ended.stderr.contains(word), "{word:?} is missing: {ended}");
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_is_no_place_for_a_cache_is_told_of_and_left_alone() {
    let stub = Stub::quick();
    let place = stub.home.path().join("place");
    let at = place.to_str().unwrap();
    let run = |dir: &str| stub.run(&["token", "--cache-dir", dir]);
    std::fs::create_dir(&place).unwrap();
    chmod(&place, 0o755);
    warned(&run(at), &[at, "755", "chmod 700", "--cache-dir"]);
    std::fs::remove_dir(&place).unwrap();
    std::fs::write(&place, "mine").unwrap();
    warned(&run(at), &[at, "no directory"]);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "mine");
    std::fs::remove_file(&place).unwrap();
    let target = stub.home.path().join("target");
    std::fs::create_dir(&target).unwrap();
    chmod(&target, 0o700);
    symlink(&target, &place).unwrap();
    warned(&run(at), &[at, "symbolic link"]);
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    warned(&run("/proc/jeton"), &["/proc/jeton", "--cache-dir"]);
    warned(&run("/dev/null/jeton"), &["/dev/null/jeton"]);
    for args in [&["cache", "list", "--cache-dir", at][..], &["logout", "--cache-dir", at]] {
        stub.run(args).failed(5, &["symbolic link"]);
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_of_and_left_as_they_are() {
    let stub = Stub::quick();
    stub.run(&["token"]).done();
    let (path, told) = (stub.key_file(), stub.key_file().display().to_string());
    let good = std::fs::read_to_string(&path).unwrap();
    chmod(&path, 0o644);
    warned(&stub.run(&["token"]), &[&told, "644", "chmod 600", "--cache-key"]);
    chmod(&path, 0o600);
    std::fs::write(&path, "canary").unwrap();
    warned(&stub.run(&["token"]), &[&told, "damaged", "restore it, or remove it"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "canary");
    std::fs::write(&path, good).unwrap();
    let before = stub.requests();
    assert_eq!(stub.run(&["token"]).done(), "canary-token-0\n");
    assert_eq!(stub.requests(), before);
    let mut homeless = stub.command(&["token"]);
    homeless.env_remove("HOME");
    warned(&crate::process::finish(homeless), &["neither HOME nor XDG_STATE_HOME is set", "--cache-key"]);
    let keys = ("K", "1".repeat(64));
    let mut homeless = stub.command(&["token", "--cache-key", "env:K"]);
    homeless.env_remove("HOME").env(keys.0, keys.1);
    warned(&crate::process::finish(homeless), &["neither HOME nor XDG_CACHE_HOME is set", "--cache-dir"]);
}

#[test]
fn t31_a_full_disk_costs_a_warning_and_leaves_nothing_behind() {
    let stub = Stub::quick();
    let full = "trap '' XFSZ; ulimit -f 0";
    warned(&stub.run_after(full, &["token"]), &["cache.key"]);
    assert_eq!(std::fs::read_dir(stub.key_file().parent().unwrap()).unwrap().count(), 0);
    stub.run(&["token", "--scope", "a"]).done();
    let files = || std::fs::read_dir(stub.cache_dir()).unwrap().count();
    let before = files();
    let ended = stub.run_after(full, &["token", "--scope", "a b"]);
    warned(&ended, &[stub.cache_dir().to_str().unwrap()]);
    assert!(stub.records().len() == 1 && files() <= before + 1, "a lock at most");
    assert_eq!(
        stub.run_after(full, &["token", "--scope", "a"]).done(),
        "canary-token-1\n",
        "reading goes on"
    );
    let called = stub.run_after(full, &["call", "GET", &stub.api.url("/")]);
    assert!(
        called.done().contains("canary-token") && called.stderr.contains("warning: the token cache"),
        "{called}"
    );
    let login = stub.run_after(full, &["login", "--scope", "c"]);
    assert!(login.done().contains("not kept"), "{login}");
}

#[test]
fn a_cache_that_is_only_readable_is_read() {
    let stub = Stub::quick();
    stub.run(&["token"]).done();
    // Root may write it all the same, which is as good.
    chmod(&stub.cache_dir(), 0o500);
    for path in stub.records() {
        chmod(&path, 0o400);
    }
    assert_eq!(stub.run(&["token"]).done(), "canary-token-0\n");
    chmod(&stub.cache_dir(), 0o700);
}

/// The forms in which a value could be found in bytes.
fn forms(value: &str) -> Vec<String> {
    let hex = value.bytes().fold(String::new(), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    });
    let mut forms = vec![value.to_owned(), hex.to_uppercase(), hex];
    forms.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
    // In base64 a value looks different at each of three offsets; its ends depend on its neighbours.
    for offset in 0..3 {
        let padded = format!("{}{value}", "x".repeat(offset));
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            forms.push(encoded.get(4..encoded.len() - 2).unwrap().to_owned());
        }
    }
    forms
}

fn holds(bytes: &[u8], value: &str) -> bool {
    forms(value).iter().any(|form| {
        assert!(form.len() >= 8, "{form}");
        bytes.windows(form.len()).any(|window| window == form.as_bytes())
    })
}

#[test]
fn t34_the_forms_of_a_value_are_found_where_they_are() {
    let value = "canary:value of it";
    let hex = "63616e6172793a76616c7565206f66206974";
    let base64 = URL_SAFE_NO_PAD.encode(format!("ab{value}"));
    for held in [value, "x canary%3Avalue+of+it", hex, &base64] {
        assert!(holds(held.as_bytes(), value), "{held}");
    }
    assert!(!holds(b"canary-value of it", value));
}

fn dump(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        bytes.extend_from_slice(entry.file_name().as_encoded_bytes());
        bytes.push(b'\n');
        bytes.extend(std::fs::read(entry.path()).unwrap());
    }
    bytes
}

#[test]
fn t34_nothing_secret_is_in_the_cache_or_told_by_its_commands() {
    let stub = Stub::quick();
    let scope = "canary-scope:read";
    let asked = ["--scope", scope, "--log-level", "trace"];
    let mut told = String::new();
    let mut run = |args: &[&str]| {
        let ended = stub.run(&[args, &asked[..]].concat());
        ended.done();
        told += &ended.stderr;
        ended
    };
    let token = run(&["token"]).stdout.trim_end().to_owned();
    run(&["login"]);
    run(&["login", "--renew"]);
    run(&["call", "GET", &stub.api.url("/")]);
    let mut shown = String::new();
    for args in [
        &["login", "--scope", scope][..],
        &["cache", "list"],
        &["cache", "list", "--output", "json"],
        &["cache", "show", stub.records()[0].file_name().unwrap().to_str().unwrap()],
        &["logout"],
    ] {
        let ended = stub.run(&[args, &["--log-level", "trace"]].concat());
        shown += ended.done();
        told += &ended.stderr;
        stub.run(&["token", "--scope", scope]).done();
    }
    let cache = dump(&stub.cache_dir());
    assert!(cache.len() > 300 && shown.contains(scope), "{shown}");
    for secret in [SECRET, "canary-token-", "canary-client-id", scope, stub.api.url("/token").as_str()] {
        assert!(!holds(&cache, secret), "{secret} is in the cache");
    }
    let keys = std::fs::read_to_string(stub.key_file()).unwrap();
    let keys: Vec<&str> = keys.split_whitespace().filter(|word| word.len() == 64).collect();
    assert_eq!(keys.len(), 2);
    assert!(told.contains("TRACE") && token.starts_with("canary-token-"));
    for secret in [SECRET, "canary-token-", keys[0], keys[1]] {
        assert!(!holds(told.as_bytes(), secret), "{secret} is told:\n{told}");
        assert!(!holds(shown.as_bytes(), secret), "{secret} is shown:\n{shown}");
        assert!(secret.starts_with("canary") || !holds(&cache, secret));
    }
}

#[test]
fn nothing_outlives_the_sandbox_though_its_command_keeps_tokens() {
    let home = Home::new();
    let jeton = env!("CARGO_BIN_EXE_jeton");
    let exec = |command: &str| home.run(&["sandbox", "--no-proof", "--exec", command]);
    let count = format!("for i in 1 2 3; do '{jeton}' token FLAGS; done | sort -u | wc -l");
    assert_eq!(exec(&count.replace("FLAGS", "")).done().trim(), "3", "the production flow, each time");
    assert_eq!(exec(&count.replace("FLAGS", "--cache file")).done().trim(), "1");
    let mut command =
        home.jeton(&["sandbox", "--no-proof", "--exec", &format!("'{jeton}' token --cache file")]);
    command.env("JETON_CACHE_DIR", home.path().join("mine")).env("JETON_CACHE_KEYS", "env:ABSENT");
    crate::process::finish(command).done();
    let left: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"]);
    assert_eq!(std::fs::read_dir(home.tmp()).unwrap().count(), 0);
}
