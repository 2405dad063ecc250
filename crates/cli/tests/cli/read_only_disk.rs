//! `jeton serve` and the commands beside it on a disk that is read-only: from the start, or from some moment on.

use crate::process::{Ended, Home, Server, eventually, finish};
use crate::revocation::{Caller, ISSUER, add_billing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::Algorithm;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/disk/read_only.c");
/// What the registry says of such a disk.
const READ_ONLY: &str = "its disk is read-only";

/// Programs on a disk that turns read-only beneath them, and writable again.
struct Disk {
    home: Home,
    shim: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let home = Home::new();
        let shim = home.path().join("read_only.so");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).args([SHIM, "-ldl"]).status();
        assert!(compiled.is_ok_and(|ended| ended.success()), "this wants a C compiler: install cc");
        Self { home, shim }
    }

    fn switch(&self) -> PathBuf {
        self.home.path().join("read-only")
    }

    fn turns_read_only(&self) {
        std::fs::write(self.switch(), "").unwrap();
    }

    fn turns_writable(&self) {
        std::fs::remove_file(self.switch()).unwrap();
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", text(&self.shim)),
            ("READ_ONLY_SWITCH", text(&self.switch())),
            ("READ_ONLY_DIR", text(&self.home.data_dir())),
        ]
    }

    fn server(&self) -> Server {
        let variables = self.variables();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start(&self.home, &variables, &ISSUER)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.home.jeton(args);
        command.envs(self.variables());
        finish(command)
    }
}

/// The client `signer`, which proves itself by a key; where that is.
fn add_signer(home: &Home) -> String {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let der = STANDARD.encode(key.to_pkcs8().unwrap().expose());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let keys = home.write("keys.json", &json!({ "keys": [key.public_jwk().to_json()] }).to_string());
    home.run(&["client", "add", "signer", "--scope", "a", "--jwks", &keys]).done();
    format!("file:{}", home.write_secret("signer.pem", &pem))
}

/// How a token request by that key ends.
fn sign(home: &Home, caller: &Caller, key: &str) -> Ended {
    let url = format!("http://{}/oauth/token", caller.address);
    home.run(&[
        "token",
        "--no-cache",
        "--token-url",
        &url,
        "--client-id",
        "signer",
        "--private-key",
        key,
        "--assertion-audience",
        ISSUER[1],
    ])
}

fn clients(listed: &Ended) -> Vec<String> {
    let listed: Value = serde_json::from_str(listed.done()).unwrap();
    let clients = listed["clients"].as_array().unwrap().iter();
    clients.map(|client| client["client_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn t40_a_disk_that_turns_read_only_costs_no_token_and_nothing_that_was_acknowledged() {
    let disk = Disk::new();
    let (secret, key) = (add_billing(&disk.home), add_signer(&disk.home));
    let mut server = disk.server();
    let caller = Caller::of(&server, &secret);
    let tokens: Vec<_> = (0..3).map(|_| caller.token()).collect();
    assert_eq!(caller.revoke(&tokens[0]), Some(200));
    sign(&disk.home, &caller, &key).done();
    disk.turns_read_only();
    for _ in 0..2 {
        assert!(caller.is_active(&caller.token()), "tokens go on");
        sign(&disk.home, &caller, &key).done();
        assert_eq!(caller.revoke(&tokens[1]), Some(503), "what is not on the disk is not acknowledged");
        assert!(caller.is_active(&tokens[1]) && !caller.is_active(&tokens[0]));
        assert_eq!(caller.get("/readyz"), 200);
    }
    for change in [
        &["client", "add", "half"][..],
        &["client", "rotate", "billing", "--overlap", "1h"],
        &["client", "disable", "billing"],
        &["keys", "rotate"],
    ] {
        disk.run(change).failed(5, &[READ_ONLY, "try again"]);
    }
    let list = ["client", "list", "--output", "json"];
    assert_eq!(clients(&disk.run(&list)), ["billing", "signer"], "what is there can be read");
    disk.run(&["keys", "list"]).done();
    disk.turns_writable();
    assert_eq!(caller.revoke(&tokens[1]), Some(200), "it goes on by itself");
    disk.run(&["client", "add", "whole"]).done();
    eventually("the log", || {
        // Each of the two rounds, the two requests before and those to come: none was lost.
        let log = std::fs::read_to_string(disk.home.data_dir().join("audit.jsonl")).unwrap();
        log.contains("\"client_added\"") && log.matches("\"token_granted\"").count() == 8
    });
    disk.run(&["audit", "verify"]).done();
    server.signal(Signal::KILL);
    server.child.wait().unwrap();
    let server = Server::start(&disk.home, &[], &ISSUER);
    let caller = Caller::of(&server, &secret);
    let active: Vec<_> = tokens.iter().map(|token| caller.is_active(token)).collect();
    assert_eq!(active, [false, false, true], "nothing that was acknowledged is lost");
    assert_eq!(clients(&disk.home.run(&list)), ["billing", "signer", "whole"]);
}

/// A real file system for the data directory, which nobody may have open for writing when it is made read-only.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: PathBuf) -> Self {
        std::fs::create_dir_all(&place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs"])
            .arg(&place)
            .status();
        assert!(mounted.unwrap().success(), "a file system cannot be mounted: this wants root");
        Self(place)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(mounted.unwrap().success(), "{options} failed");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A server ends, the disk is made read-only, and the next one starts on it.
fn starts_on_a_read_only_disk(end: Signal) {
    let home = Home::new();
    let disk = Mounted::at(home.data_dir());
    let (secret, key) = (add_billing(&home), add_signer(&home));
    let mut server = Server::start(&home, &[], &ISSUER);
    let caller = Caller::of(&server, &secret);
    let tokens: Vec<_> = (0..2).map(|_| caller.token()).collect();
    assert_eq!(caller.revoke(&tokens[0]), Some(200));
    server.signal(end);
    server.child.wait().unwrap();
    disk.remount("ro");
    let mut server = Server::start(&home, &[], &ISSUER);
    let caller = Caller::of(&server, &secret);
    assert!(caller.is_active(&caller.token()) && !caller.is_active(&tokens[0]));
    assert_eq!(caller.revoke(&tokens[1]), Some(503));
    // What was used before cannot be known, so all that is from before is refused, and told when to come again.
    sign(&home, &caller, &key).failed(4, &["temporarily_unavailable", "ask again in"]);
    assert_eq!(caller.get("/readyz"), 200);
    home.run(&["client", "add", "half"]).failed(5, &[READ_ONLY]);
    home.run(&["client", "list"]).done();
    disk.remount("rw");
    eventually("the revocation", || caller.revoke(&tokens[1]) == Some(200));
    home.run(&["client", "add", "whole"]).done();
    server.signal(Signal::KILL);
    server.child.wait().unwrap();
    let server = Server::start(&home, &[], &ISSUER);
    let caller = Caller::of(&server, &secret);
    assert!(tokens.iter().all(|token| !caller.is_active(token)));
    assert_eq!(clients(&home.run(&["client", "list", "--output", "json"])), ["billing", "signer", "whole"]);
    home.run(&["audit", "verify"]).done();
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn t40_a_server_that_was_ended_starts_on_a_read_only_disk_and_goes_on_when_it_is_writable() {
    starts_on_a_read_only_disk(Signal::TERM);
}

#[test]
fn t40_a_server_that_was_killed_starts_on_a_read_only_disk_and_goes_on_when_it_is_writable() {
    starts_on_a_read_only_disk(Signal::KILL);
}

#[test]
fn a_read_only_disk_without_a_registry_starts_nothing_and_says_why() {
    let home = Home::new();
    let disk = Mounted::at(home.data_dir());
    disk.remount("ro");
    home.run(&["serve", "--listen", "127.0.0.1:0"]).failed(
        5,
        &["cannot be written", "the directory must have room and be writable", "Read-only file system"],
    );
}
