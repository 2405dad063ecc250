//! What a token costs: CPU time for each request to `/oauth/token`, beside a bare hyper server that checks a secret by
//! SHA-256, signs with ES256 and answers as many bytes.
//!
//! Both run as processes of their own, one thread each for requests, on the same core; the load comes from another
//! core over kept connections. CPU time is read from `/proc/PID/task/*/schedstat`, so that other work on the machine does
//! not count; they take turns of some 40 ms each, so that a machine that becomes slower does so for both. Beside them runs
//! npm `oidc-provider`, with the same client and ES256, for a tenth of the requests.
//!
//! Then the same with `private_key_jwt`, beside a bare server that verifies the assertion and signs.
//!
//! `--program PATH` puts the program `jeton` at that path, as people run it, in the place of the library. `--quick`
//! measures an eighth; `--memory TOKENS` instead issues so many tokens and tells how the resident memory grew.

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

mod assertions;
mod bare;
mod load;
mod process;

use assertions::Signing;
use jeton_proto::issuance::{ClientCredentials, ClientKeys, ClientSettings};
use jeton_server::{Config, Listen, Registry, RequestRate, Server, Throttling};
use load::{Connections, Requests};
use process::ServerProcess;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const CLIENT_ID: &str = "orders-worker";
const SCOPE: &str = "orders:read orders:write";
const ISSUER: &str = "http://localhost:8080";
/// A turn has so many requests: whole batches of all connections, in a tenth of it too.
const REQUESTS_PER_TURN: usize = 960;
const WARM_UP_REQUESTS: usize = 2_000;
const TARGET_RATIO: f64 = 1.2;
/// The same for `private_key_jwt`, beside a bare server that verifies and signs.
const TARGET_ASSERTION_RATIO: f64 = 1.3;
/// How much more CPU time `oidc-provider` is to need at least.
const TARGET_FACTOR: f64 = 6.0;
/// How much the memory may grow after the first tenth of the tokens.
const TARGET_GROWTH: f64 = 0.05;

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
        ["--serve", "bare-assertions", point] => {
            process::serve(|announce, ended| bare::serve_assertions(point, announce, ended));
        }
        ["--memory", tokens] | ["--bench", "--memory", tokens] | ["--memory", tokens, "--bench"] => {
            measure_memory(tokens.parse().expect("a number of tokens"));
        }
        _ => {
            let turns = if arguments.contains(&"--quick") { 13 } else { 104 };
            let program = arguments.iter().skip_while(|argument| **argument != "--program").nth(1);
            measure(turns, program.map(Path::new));
            measure_assertions(turns / 2);
        }
    }
}

async fn serve_jeton(data_dir: &str, announce: impl FnOnce(u16), ended: impl Future<Output = ()> + Send) {
    let listen = Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()]);
    let issuer = Some(ISSUER.to_owned());
    // The limit is on, and wide enough for one client that asks as fast as it can.
    let client_requests = RequestRate::new(100_000, 100_000).unwrap();
    let throttling = Throttling { client_requests, ..Throttling::default() };
    let server = Server::bind(Config { listen, issuer, throttling, ..Config::new(data_dir) }).unwrap();
    announce(server.local_addrs()[0].port());
    server.serve(ended).await.unwrap();
}

fn measure(turns: usize, program: Option<&Path>) {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_client(dir.path());
    let jeton = match program {
        Some(program) => ServerProcess::program(program, dir.path()),
        None => ServerProcess::start(&["jeton", dir.path().to_str().unwrap()]),
    };
    let bare = ServerProcess::start(&["bare", &secret]);
    let foreign = ServerProcess::oidc_provider(CLIENT_ID, &secret, SCOPE);
    process::use_core(1);
    let contender = |name, server: ServerProcess, path, share| {
        let mut connections = Connections::open(server.port(), path, CLIENT_ID, &secret);
        connections.run(WARM_UP_REQUESTS);
        Contender { name, server, connections, share, requests: 0, cpu: Duration::ZERO, wall: Duration::ZERO }
    };
    let mut contenders = [
        contender("jeton", jeton, "/oauth/token", 1),
        contender("bare hyper", bare, "/oauth/token", 1),
        contender("oidc-provider", foreign, "/token", 10),
    ];
    let answer_bytes = contenders.each_ref().map(|contender| contender.connections.answer_bytes());
    println!("an answer of jeton has {} bytes, one of bare hyper {}", answer_bytes[0], answer_bytes[1]);
    for _ in 0..turns {
        contenders.iter_mut().for_each(Contender::take_turn);
    }
    report(&contenders);
}

fn measure_assertions(turns: usize) {
    let dir = tempfile::tempdir().unwrap();
    let signing = Rc::new(RefCell::new(Signing::new()));
    let settings = ClientSettings { allowed_scope: SCOPE.parse().unwrap(), ..ClientSettings::new(CLIENT_ID) };
    let keys = Some(ClientKeys::Inline(signing.borrow().jwks()));
    let credentials = ClientCredentials { keys, ..ClientCredentials::default() };
    Registry::open(dir.path()).unwrap().add_with(settings, credentials).unwrap();
    let jeton = ServerProcess::start(&["jeton", dir.path().to_str().unwrap()]);
    let bare = ServerProcess::start(&["bare-assertions", &signing.borrow().point()]);
    process::use_core(1);
    let contender = |name, server: ServerProcess| {
        let signing = Rc::clone(&signing);
        let make = Box::new(move || signing.borrow_mut().request("/oauth/token"));
        let mut connections = Connections::sending(server.port(), Requests::New(make));
        connections.run(WARM_UP_REQUESTS);
        let (cpu, wall) = (Duration::ZERO, Duration::ZERO);
        Contender { name, server, connections, share: 1, requests: 0, cpu, wall }
    };
    let mut contenders = [contender("jeton", jeton), contender("bare hyper", bare)];
    for _ in 0..turns {
        contenders.iter_mut().for_each(Contender::take_turn);
    }
    println!("POST /oauth/token, private_key_jwt, ES256, kept connections, one core");
    contenders.iter().for_each(Contender::tell);
    let ratio = contenders[0].cpu_us() / contenders[1].cpu_us();
    let verdict = if ratio <= TARGET_ASSERTION_RATIO { "within" } else { "OVER" };
    println!("  jeton / bare hyper {ratio:.3}, {verdict} the limit of {TARGET_ASSERTION_RATIO}");
}

/// Issues `tokens` tokens, and tells how the memory of the server grew after the first tenth of them.
fn measure_memory(tokens: usize) {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_client(dir.path());
    let server = ServerProcess::start(&["jeton", dir.path().to_str().unwrap()]);
    process::use_core(1);
    let mut connections = Connections::open(server.port(), "/oauth/token", CLIENT_ID, &secret);
    let mut after_first = None;
    for tenth in 1..=10 {
        connections.run(tokens / 10);
        let kib = server.resident_kib();
        println!("  {:>9} tokens   {kib:>7} KiB resident", tokens / 10 * tenth);
        after_first.get_or_insert(kib);
    }
    let before = after_first.unwrap() as f64;
    let growth = server.resident_kib() as f64 / before - 1.0;
    let verdict = if growth <= TARGET_GROWTH { "within" } else { "OVER" };
    println!(
        "  grew by {:.1} % after the first tenth, {verdict} the limit of {:.0} %",
        growth * 100.0,
        TARGET_GROWTH * 100.0
    );
}

struct Contender {
    name: &'static str,
    server: ServerProcess,
    connections: Connections,
    /// It has one in so many of the requests of a turn.
    share: usize,
    requests: usize,
    cpu: Duration,
    wall: Duration,
}

impl Contender {
    fn take_turn(&mut self) {
        let requests = REQUESTS_PER_TURN / self.share;
        let cpu_before = self.server.cpu_time();
        self.wall += self.connections.run(requests);
        self.cpu += self.server.cpu_time().saturating_sub(cpu_before);
        self.requests += requests;
    }

    fn tell(&self) {
        let per_second = self.requests as f64 / self.wall.as_secs_f64();
        println!(
            "  {:<13} {:7.2} us CPU a request   {per_second:8.0} requests/s   {:>7} KiB   ({} requests)",
            self.name,
            self.cpu_us(),
            self.server.resident_kib(),
            self.requests
        );
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }
}

fn report(contenders: &[Contender; 3]) {
    println!("POST /oauth/token, Basic, ES256, kept connections, one core");
    contenders.iter().for_each(Contender::tell);
    let [jeton, bare, foreign] = contenders;
    let ratio = jeton.cpu_us() / bare.cpu_us();
    let verdict = if ratio <= TARGET_RATIO { "within" } else { "OVER" };
    println!("  jeton / bare hyper {ratio:.3}, {verdict} the limit of {TARGET_RATIO}");
    let factor = foreign.cpu_us() / jeton.cpu_us();
    let verdict = if factor >= TARGET_FACTOR { "reached" } else { "MISSED" };
    println!("  oidc-provider / jeton {factor:.1}, the aim of {TARGET_FACTOR} is {verdict}");
}

fn add_client(data_dir: &Path) -> String {
    let settings = ClientSettings { allowed_scope: SCOPE.parse().unwrap(), ..ClientSettings::new(CLIENT_ID) };
    Registry::open(data_dir).unwrap().add(settings).unwrap().expose().clone()
}
