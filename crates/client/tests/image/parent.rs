//! The process that starts the child, and is what it talks to.

use crate::canary::{Canary, Mask};
use crate::child::{self, Part, Way};
use crate::server::Server;
use std::process::Command;

/// What the child found that did its part, one line a hit.
pub(crate) fn run(part: Part, way: Way) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (secret, token) = (Canary::random(43), Canary::random(600));
    let server = runtime.block_on(Server::start(token.text()));
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["the_child", "--exact", "--nocapture", "--test-threads=1"]);
    child
        .env(child::PART, part.name())
        .env(child::WAY, way.name())
        .env(child::SECRET, Mask::hide(secret.text()));
    child.env(child::DIRECTORY, dir.path()).env(child::PLAIN, &server.plain).env(child::TLS, &server.tls);
    child.env(child::CA_PEM, &server.ca_pem);
    child.env(child::NEEDLES, Mask::hide_all(&[secret.needles("secret"), token.needles("token")].concat()));
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains(child::SEARCHED),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(server.was_given(secret.text()), "the secret was used");
    said.lines().filter_map(|line| line.strip_prefix(child::HIT)).map(str::to_owned).collect()
}
