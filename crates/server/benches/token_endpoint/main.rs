//! What a token costs: CPU time for each request to `/oauth/token`, beside a bare hyper server that checks a secret by
//! SHA-256, signs with ES256 and answers as many bytes.
//!
//! Both run as processes of their own, one thread each for requests, on the same core; the load comes from another
//! core over kept connections. CPU time is read from `/proc/PID/stat`, so that other work on the machine does not
//! count. `--quick` measures a tenth.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its result, and fails by panicking"
)]

mod bare;
mod load;
mod process;

use jeton_proto::issuance::ClientSettings;
use jeton_server::{Config, Listen, Registry, Server};
use load::Connections;
use process::ServerProcess;
use std::path::Path;
use std::time::Duration;

const CLIENT_ID: &str = "orders-worker";
const SCOPE: &str = "orders:read orders:write";
const ISSUER: &str = "http://localhost:8080";
const ROUNDS: usize = 10;
const WARM_UP_REQUESTS: usize = 2_000;
const TARGET_RATIO: f64 = 1.25;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--serve", "jeton", data_dir] => {
            process::serve(|announce, ended| serve_jeton(data_dir, announce, ended));
        }
        ["--serve", "bare", secret] => {
            process::serve(|announce, ended| bare::serve(secret, announce, ended));
        }
        _ => measure(if arguments.contains(&"--quick") { 1_000 } else { 10_000 }),
    }
}

async fn serve_jeton(data_dir: &str, announce: impl FnOnce(u16), ended: impl Future<Output = ()> + Send) {
    let listen = Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()]);
    let issuer = Some(ISSUER.to_owned());
    let server = Server::bind(Config { listen, issuer, ..Config::new(data_dir) }).unwrap();
    announce(server.local_addrs()[0].port());
    server.serve(ended).await.unwrap();
}

fn measure(requests_per_round: usize) {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_client(dir.path());
    let jeton = ServerProcess::start(&["jeton", dir.path().to_str().unwrap()]);
    let bare = ServerProcess::start(&["bare", &secret]);
    process::use_core(1);
    let mut contenders = [("jeton", jeton), ("bare hyper", bare)].map(|(name, server)| {
        let mut connections = Connections::open(server.port(), CLIENT_ID, &secret);
        connections.run(WARM_UP_REQUESTS);
        Contender { name, server, connections, cpu: Duration::ZERO, wall: Duration::ZERO }
    });
    let answer_bytes = contenders.each_ref().map(|contender| contender.connections.answer_bytes());
    assert_eq!(answer_bytes[0], answer_bytes[1], "both answer as many bytes");
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let cpu_before = contender.server.cpu_time();
            contender.wall += contender.connections.run(requests_per_round);
            contender.cpu += contender.server.cpu_time().saturating_sub(cpu_before);
        }
    }
    report(&contenders, ROUNDS * requests_per_round, answer_bytes[0]);
}

struct Contender {
    name: &'static str,
    server: ServerProcess,
    connections: Connections,
    cpu: Duration,
    wall: Duration,
}

fn report(contenders: &[Contender; 2], requests: usize, answer_bytes: usize) {
    println!("POST /oauth/token, ES256, {requests} requests each, {answer_bytes} bytes an answer, one core");
    for Contender { name, cpu, wall, .. } in contenders {
        let cpu_us = cpu.as_secs_f64() * 1e6 / requests as f64;
        let per_second = requests as f64 / wall.as_secs_f64();
        println!("  {name:<12} {cpu_us:6.2} us CPU a request   {per_second:8.0} requests/s");
    }
    let ratio = contenders[0].cpu.as_secs_f64() / contenders[1].cpu.as_secs_f64();
    let verdict = if ratio <= TARGET_RATIO { "within" } else { "OVER" };
    println!("  ratio of CPU time {ratio:.3}, {verdict} the limit of {TARGET_RATIO}");
}

fn add_client(data_dir: &Path) -> String {
    let settings = ClientSettings { allowed_scope: SCOPE.parse().unwrap(), ..ClientSettings::new(CLIENT_ID) };
    Registry::open(data_dir).unwrap().add(settings).unwrap().expose().clone()
}
