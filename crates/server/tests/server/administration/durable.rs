//! What was acknowledged is so, and what was not is nowhere half.

use super::{Administered, add_client, assert_problem, config};
use crate::Running;
use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_server::{Config, Listen, Registry, Server};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const DATA_DIR: &str = "JETON_TEST_KILLED_ADMINISTRATION";
const LISTENING: &str = "listening at ";

#[tokio::test]
async fn what_was_acknowledged_outlives_a_server_that_is_killed() {
    if let Ok(data_dir) = std::env::var(DATA_DIR) {
        return serve_until_killed(Path::new(&data_dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = add_client(dir.path(), "root", "jeton:admin");
    for round in 0..3 {
        let mut server = Killable::start(dir.path());
        let form = format!("grant_type=client_credentials&client_id=root&client_secret={}", root.expose());
        let token = server
            .ask(
                server.addresses[0],
                "POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
                &form,
            )
            .await;
        let token = token.json()["access_token"].as_str().unwrap().to_owned();
        let authorized = |line: String| {
            format!("{line} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n")
        };
        let admin = server.addresses[1];
        let id = format!("c-{round}");
        let added = server
            .ask(
                admin,
                &authorized("POST /admin/clients".to_owned()),
                &json!({ "client_id": id }).to_string(),
            )
            .await;
        assert_eq!(added.status, 201, "{added:?}");
        if round > 0 {
            let before = format!("DELETE /admin/clients/c-{}", round - 1);
            assert_eq!(server.ask(admin, &authorized(before), "").await.status, 204);
        }
        // With SIGKILL, so that nothing of it has a chance to put anything in order.
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let there = Registry::open(dir.path()).unwrap().list().unwrap().clients;
        let there: Vec<_> = there.iter().map(|client| client.settings.client_id.clone()).collect();
        assert_eq!(there, [id, "root".to_owned()]);
    }
}

/// This test again as a process of its own.
struct Killable {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Killable {
    fn start(data_dir: &Path) -> Self {
        let test = "administration::durable::what_was_acknowledged_outlives_a_server_that_is_killed";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(DATA_DIR, data_dir);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find_map(|line| Some(line.split_once(LISTENING)?.1.to_owned()));
        let said = said.expect("the server did not start");
        let addresses = said.split(' ').map(|address| address.parse().unwrap()).collect();
        Self { child, addresses }
    }

    async fn ask(&self, address: SocketAddr, head: &str, body: &str) -> crate::Answer {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = format!("Host: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{length}{body}").as_bytes()).await.unwrap();
        crate::Answer::parse(&crate::read_to_end(&mut stream).await)
    }
}

async fn serve_until_killed(data_dir: &Path) {
    let issuer = Some("http://localhost:1".to_owned());
    let server = Server::bind(Config { issuer, ..config(data_dir) }).unwrap();
    let mut said = std::io::stdout();
    writeln!(said, "{LISTENING}{} {}", server.local_addrs()[0], server.admin_addrs()[0]).unwrap();
    server.serve(std::future::pending()).await.unwrap();
}

/// A disk that can be filled. It is let go when this is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn at(place: &'a Path) -> Self {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(place).status();
        assert!(mounted.unwrap().success(), "mount wants root");
        Self(place)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_half_done_and_all_goes_on_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::at(place.path());
    let dir = tempfile::tempdir_in(place.path()).unwrap();
    let api = Administered::with(config(dir.path()), dir).await;
    let secret = api.add(json!({ "client_id": "before" })).await;
    let ballast = place.path().join("ballast");
    let mut filling = std::fs::File::create(&ballast).unwrap();
    while filling.write_all(&[0; 4096]).is_ok() {}
    // SQLite may have a page left, so that a few are added yet; each that was acknowledged is there.
    let mut added = Vec::new();
    let refused = loop {
        let id = format!("full-{}", added.len());
        let answer = api
            .ask(
                "POST",
                "/admin/clients",
                "",
                Some(json!({ "client_id": id, "labels": { "x": "y".repeat(200) } })),
            )
            .await;
        if answer.status != 201 {
            break (id, answer);
        }
        added.push(id);
        assert!(added.len() < 2000, "the disk does not become full");
    };
    assert_problem(&refused.1, 503, "unavailable");
    assert_eq!(refused.1.header("retry-after"), Some("1"));
    assert_eq!(api.token_status("before", &secret).await, 200);
    assert_eq!(api.get("/admin/clients/before").await.status, 200);
    std::fs::remove_file(&ballast).unwrap();
    drop(filling);
    for id in &added {
        assert_eq!(api.get(&format!("/admin/clients/{id}")).await.status, 200, "{id}");
    }
    let again = api.ask("POST", "/admin/clients", "", Some(json!({ "client_id": refused.0 }))).await;
    assert_eq!(again.status, 201, "nothing of it was there: {again:?}");
    api.server.stop().await;
}

#[tokio::test]
async fn a_hundred_thousand_clients_are_paged_with_little_memory() {
    const CLIENTS: usize = 99_990;
    let api = Administered::start().await;
    add_many(api.dir.path(), CLIENTS);
    let server = Running::with(Config { listen: Listen::Localhost { port: 0 }, ..config(api.dir.path()) });
    let before_kib = resident_kib();
    let (mut seen, mut last, mut after) = (0, String::new(), String::new());
    loop {
        let page = api.get(&format!("/admin/clients?limit=100{after}")).await.json();
        for client in page["clients"].as_array().unwrap() {
            let id = client["client_id"].as_str().unwrap().to_owned();
            assert!(id > last, "{id} after {last}");
            last = id;
            seen += 1;
        }
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, CLIENTS + 1);
    let grown_kib = resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 24 * 1024, "paging took {grown_kib} KiB");
    server.stop().await;
    api.server.stop().await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// By a declaration of all of them, since one commit for each would take minutes.
fn add_many(data_dir: &Path, clients: usize) {
    use jeton_server::{
        Adoption, DeclaredClient, DeclaredClients, DeclaredSecrets, Place, PlanTerms, Unnamed,
    };
    let declared = (0..clients).map(|at| DeclaredClient {
        settings: ClientSettings::new(format!("client-{at:06}")),
        status: None,
        credentials: ClientCredentials::default(),
        secrets: DeclaredSecrets::InRegistry,
        place: Place { file: "many.toml".to_owned(), line: at },
    });
    let terms =
        PlanTerms { manager: "files".to_owned(), adoption: Adoption::Refused, unnamed: Unnamed::Kept };
    Registry::open(data_dir).unwrap().apply(&DeclaredClients::new(declared).unwrap(), &terms).unwrap();
}
