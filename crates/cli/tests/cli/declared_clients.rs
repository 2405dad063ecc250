//! Clients as a directory of files has them: `jeton apply`, `jeton drift` and `jeton serve --clients`.

use crate::process::{Home, Server, eventually};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;

fn ids(home: &Home) -> Vec<String> {
    let listed = home.run(&["client", "list", "--output", "json"]).json();
    listed["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["client_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn files_are_planned_applied_and_compared() {
    let home = Home::new();
    home.write("clients/a.toml", "client_id = 'a'\nscope = 'x'\n");
    home.write("clients/b.toml", "[[client]]\nclient_id = 'b'\n[[client]]\nclient_id = 'c'\n");
    let apply = |more: &[&str]| home.run(&[&["apply", "clients"], more].concat());
    apply(&["--plan"]).failed(1, &["there is no data directory"]);
    home.run(&["client", "add", "own"]).done();
    let plan = apply(&["--plan"]);
    assert_eq!(plan.code, 6, "{plan}");
    assert!(plan.stdout.contains("+ a\n") && plan.stdout.contains("    scope: \"x\"\n"), "{plan}");
    assert_eq!(ids(&home), ["own"], "a plan changes nothing");
    apply(&[]).done();
    assert_eq!(ids(&home), ["a", "b", "c", "own"]);
    assert_eq!(apply(&["--plan"]).done(), "");
    assert_eq!(home.run(&["drift", "clients"]).done(), "");

    let updated = home.run(&["client", "update", "a", "--scope", "x y"]);
    updated.done();
    assert!(updated.stderr.contains("managed by files"), "{updated}");
    std::fs::remove_file(home.path().join("clients/b.toml")).unwrap();
    let drift = home.run(&["drift", "clients", "--output", "json"]);
    assert_eq!(drift.code, 6, "{drift}");
    let actions: Vec<_> = drift.json()["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["client_id"].clone(), change["action"].clone()))
        .collect();
    assert_eq!(
        actions,
        [("a", "update"), ("b", "remove"), ("c", "remove")].map(|(id, action)| (json!(id), json!(action)))
    );
    let applied = apply(&[]);
    assert_eq!(applied.done(), "~ a\n    scope: \"x y\" -> \"x\"\n");
    assert!(applied.stderr.contains("client b is in no file any more"), "{applied}");
    assert_eq!(apply(&["--prune"]).done(), "- b\n- c\n");
    assert_eq!(ids(&home), ["a", "own"]);
    home.run(&["audit", "verify"]).done();
}

#[test]
fn every_fault_is_told_and_nothing_is_changed() {
    let home = Home::new();
    home.run(&["client", "add", "by-hand"]).done();
    home.write("clients/a.toml", "client_id = 'a'\nscopes = 'x'\n\nstatus = 'off'\n");
    home.write("clients/b.toml", "client_id = 'b'\n");
    home.run(&["apply", "clients"])
        .failed(5, &["a.toml:2: there is no key scopes", "a.toml:4: status", "2 faults"]);
    home.write("clients/a.toml", "client_id = 'by-hand'\n");
    home.run(&["apply", "clients"]).failed(5, &["a.toml:1: there is a client by-hand", "--adopt"]);
    home.run(&["drift", "absent"]).failed(5, &["absent: the directory cannot be read"]);
    assert_eq!(ids(&home), ["by-hand"]);
    home.run(&["apply", "clients", "--adopt"]).done();
    assert_eq!(ids(&home), ["b", "by-hand"]);
    home.run(&["apply", "clients", "--manager", "other"]).failed(5, &["is managed by files"]);
}

#[test]
fn a_digest_in_a_file_lets_its_secret_in() {
    let home = Home::new();
    let server = Server::start(&home, &[("JETON_LOG", "off")], &[]);
    let hash = home.run_reading("a-secret-of-ours\n", &[], &["client", "hash", "--secret", "-"]);
    let digest = hash.done().trim_end().to_owned();
    assert!(!digest.contains("a-secret-of-ours"));
    home.write(
        "clients/a.toml",
        &format!("client_id = 'a'\nsecret_digests = [{{ name = 'ours', digest = '{digest}' }}]\n"),
    );
    home.run(&["apply", "clients"]).done();
    let url = server.token_url();
    let secret = [("JETON_CLIENT_SECRET", "a-secret-of-ours")];
    home.run_with(&secret, &["token", "--no-cache", "--token-url", &url, "--client-id", "a"]).done();
}

#[test]
fn a_running_server_follows_its_files() {
    let home = Home::new();
    let clients = home.path().join("clients");
    home.write("clients/a.toml", "client_id = 'a'\n");
    let dir = clients.to_str().unwrap();
    let server = Server::start(&home, &[], &["--clients", dir, "--unnamed-clients", "remove"]);
    assert!(server.announcement.contains("clients         1"), "{}", server.announcement);
    home.write("clients/b.toml", "client_id = 'b'\n");
    eventually("the client b", || ids(&home) == ["a", "b"]);
    home.write("clients/b.toml", "client_id = 'b'\nscope = 7\n");
    // Two looks and more, of which each would tell the fault.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(ids(&home), ["a", "b"]);
    std::fs::remove_file(clients.join("b.toml")).unwrap();
    eventually("the end of b", || ids(&home) == ["a"]);
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("the files of clients cannot be applied").count(), 1, "{said}");
    assert!(said.contains("b.toml:2: scope: invalid type"), "{said}");
}

#[test]
fn an_application_that_is_killed_has_changed_all_or_nothing() {
    let home = Home::new();
    let write = |seconds: u32| {
        let client = |at| format!("[[client]]\nclient_id = 'c-{at}'\ntoken_lifetime_seconds = {seconds}\n");
        let clients: Vec<_> = (0..400).map(client).collect();
        home.write("clients/all.toml", &clients.concat());
    };
    write(100);
    home.run(&["apply", "clients"]).done();
    let (mut before, mut made, mut not_made) = (100, 0, 0);
    for round in 0..30_u32 {
        let seconds = 101 + round;
        write(seconds);
        let mut apply = home.jeton(&["apply", "clients"]);
        let mut child =
            apply.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before the first read to after the commit, spread so that no two are alike.
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 30) * 8));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = home.run(&["client", "list", "--output", "json"]).json();
        let clients = listed["clients"].as_array().unwrap();
        let lifetimes: std::collections::BTreeSet<_> =
            clients.iter().map(|client| client["token_lifetime_seconds"].as_u64().unwrap()).collect();
        assert_eq!((clients.len(), lifetimes.len()), (400, 1), "round {round}: {lifetimes:?}");
        let now = *lifetimes.first().unwrap();
        assert!(now == before || now == u64::from(seconds), "round {round}");
        *(if now == before { &mut not_made } else { &mut made }) += 1;
        before = now;
    }
    assert!(not_made > 0, "no kill came before the commit ({made} after it)");
    home.run(&["apply", "clients"]).done();
}

#[test]
fn a_disk_without_room_leaves_the_registry_as_it_was() {
    let home = Home::new();
    home.write("clients/a.toml", "client_id = 'a'\n");
    home.run(&["apply", "clients"]).done();
    let clients: Vec<_> = (0..5000).map(|at| format!("[[client]]\nclient_id = 'c-{at}'\n")).collect();
    let clients = clients.concat();
    home.write("clients/many.toml", &clients);
    // Files of this process can have 200 blocks of 512 bytes; what goes beyond fails as on a full disk.
    let mut limited = home.jeton(&[]);
    let program = limited.get_program().to_owned();
    limited = {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" apply clients"]).arg(program);
        shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.env("HOME", home.path()).env("TMPDIR", home.tmp()).current_dir(home.path());
        shell
    };
    crate::process::finish(limited).failed(5, &["its disk is full, read-only or fails"]);
    assert_eq!(ids(&home), ["a"]);
    home.run(&["apply", "clients"]).done();
    assert_eq!(ids(&home).len(), 5001);
}
