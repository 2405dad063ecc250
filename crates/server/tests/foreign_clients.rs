//! Programs of other authors as clients of the server and as readers of its tokens, in the form in which anyone would
//! write them (R5.9): curl, Authlib over requests and over httpx, openid-client, joserfc and oauth4webapi.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../testdata/foreign/programs.rs"]
mod programs;

use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_server::{Config, Counters, Listen, Registry, ServeError, Server};
use programs::{node, python};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const RUN_TIMEOUT: Duration = Duration::from_secs(60);
const RUN_POLL_PAUSE: Duration = Duration::from_millis(5);
const AUDIENCE: &str = "https://api.example";

/// The server, with one client that may have the scopes `a` and `b`.
struct Running {
    issuer: String,
    secret: Secret<String>,
    counters: Arc<Counters>,
    metrics: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
    data_dir: TempDir,
}

impl Running {
    /// With the client `worker`.
    fn start(signing_algorithm: Algorithm) -> Self {
        Self::with_client("worker", signing_algorithm)
    }

    fn with_client(client_id: &str, signing_algorithm: Algorithm) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let settings =
            ClientSettings { allowed_scope: "a b".parse().unwrap(), ..ClientSettings::new(client_id) };
        let secret = Registry::open(data_dir.path()).unwrap().add(settings).unwrap();
        let server = Server::bind(Config {
            listen: Listen::Localhost { port: 0 },
            metrics_listen: Some(Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()])),
            default_audience: Some(AUDIENCE.to_owned()),
            signing_algorithms: vec![signing_algorithm],
            ..Config::new(data_dir.path())
        });
        let server = server.unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            issuer: server.issuer().to_owned(),
            secret,
            counters: server.counters(),
            metrics: server.metrics_addrs()[0],
            stop,
            serving: tokio::spawn(server.serve(async { stopped.await.unwrap_or(()) })),
            data_dir,
        }
    }

    fn token_url(&self) -> String {
        format!("{}/oauth/token", self.issuer)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        self.data_dir.close().unwrap();
    }
}

/// Runs a program to its end. What it prints fits into a pipe.
async fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}: run `cargo xtask setup`"));
    let run_until = Instant::now() + RUN_TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > run_until {
            child.kill().unwrap();
            panic!("{command:?} did not end: {:?}", child.wait_with_output());
        }
        tokio::time::sleep(RUN_POLL_PAUSE).await;
    }
    child.wait_with_output().unwrap()
}

/// Whether the program succeeded, and the one line of JSON that it answered.
async fn ask(command: Command) -> (bool, Value) {
    let Output { status, stdout, stderr } = run(command).await;
    let answer = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout:?}: {}", String::from_utf8_lossy(&stderr)));
    (status.success(), answer)
}

/// What curl shows of the last answer.
struct Shown {
    status: u16,
    head: String,
    body: Value,
}

async fn curl(server: &Running, arguments: &[&str]) -> Shown {
    let mut command = Command::new("curl");
    command.args(["-q", "--noproxy", "*", "--max-time", "30", "--silent", "--show-error", "--include"]);
    command.args(arguments).arg(server.token_url());
    let Output { status, stdout, stderr } = run(command).await;
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    let (before, body) = text.rsplit_once("\r\n\r\n").unwrap();
    let head = before.rsplit_once("\r\n\r\n").map_or(before, |(_, head)| head).to_ascii_lowercase();
    Shown {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")),
        head,
    }
}

#[tokio::test]
async fn curl_gets_a_token() {
    let server = Running::start(Algorithm::Es256);
    let user = format!("worker:{}", server.secret.expose());
    let in_body = format!("client_secret={}", server.secret.expose());
    let grant = "grant_type=client_credentials";
    for (arguments, scope) in [
        (&["-u", &user, "-d", grant][..], "a b"),
        (&["-u", &user, "-d", grant, "--data-urlencode", "scope=b a"], "a b"),
        (&["-u", &user, "-d", grant, "--data", "scope=a"], "a"),
        (&["-d", grant, "-d", "client_id=worker", "--data-urlencode", &in_body, "-d", "scope=b"], "b"),
        (&["-u", &user, "-d", grant, "--http1.0"], "a b"),
        (&["-u", &user, "-d", grant, "-H", "Expect: 100-continue"], "a b"),
        (&["-u", &user, "-d", grant, "-H", "Transfer-Encoding: chunked"], "a b"),
        (&["-u", &user, "-d", grant, "-4"], "a b"),
    ] {
        let shown = curl(&server, arguments).await;
        assert_eq!(shown.status, 200, "{arguments:?}: {}", shown.body);
        assert!(shown.head.contains("\r\ncache-control: no-store\r\n"), "{}", shown.head);
        assert_eq!((&shown.body["token_type"], &shown.body["scope"]), (&json!("Bearer"), &json!(scope)));
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_what_curl_gets_wrong_is_refused_by_name() {
    let server = Running::start(Algorithm::Es256);
    let user = format!("worker:{}", server.secret.expose());
    let in_body = format!("client_secret={}", server.secret.expose());
    let grant = "grant_type=client_credentials";
    let as_json = json!({ "grant_type": "client_credentials", "scope": "a" }).to_string();
    let json_type = "Content-Type: application/json";
    for (arguments, status, error) in [
        (&["-u", "worker:wrong", "-d", grant][..], 401, "invalid_client"),
        (&["-u", "nobody:wrong", "-d", grant], 401, "invalid_client"),
        (&["-d", grant, "-d", "client_id=worker", "-d", "client_secret=wrong"], 401, "invalid_client"),
        (&["-d", grant], 401, "invalid_client"),
        (&["--oauth2-bearer", "token", "-d", grant], 401, "invalid_client"),
        (&["-u", &user, "-d", grant, "-d", &in_body, "-d", "client_id=worker"], 400, "invalid_request"),
        (&["-u", &user, "-d", grant, "-d", grant], 400, "invalid_request"),
        (&["-u", &user, "-d", "scope=a"], 400, "invalid_request"),
        (&["-u", &user, "-F", grant], 400, "invalid_request"),
        (&["-u", &user, "-H", json_type, "-d", &as_json], 400, "invalid_request"),
        (&["-u", &user, "-d", grant, "--data", "scope=admin"], 400, "invalid_scope"),
        (&["-u", &user, "-d", "grant_type=password"], 400, "unsupported_grant_type"),
        (&["-u", &user, "-G", "-d", grant], 405, "invalid_request"),
        (&["-u", &user], 405, "invalid_request"),
    ] {
        let shown = curl(&server, arguments).await;
        assert_eq!((shown.status, &shown.body["error"]), (status, &json!(error)), "{arguments:?}");
        assert!(shown.body["error_description"].is_string(), "{arguments:?}: {}", shown.body);
        assert!(shown.head.contains("\r\ncache-control: no-store\r\n"), "{}", shown.head);
        assert_eq!(status == 401, shown.head.contains("\r\nwww-authenticate: basic "), "{}", shown.head);
        assert_eq!(status == 405, shown.head.contains("\r\nallow: post\r\n"), "{}", shown.head);
    }
    assert_eq!(server.counters.values().granted, 0);
    server.stop().await;
}

/// A client library behind one of the programs.
#[derive(Clone, Copy, Debug)]
enum Library {
    AuthlibRequests,
    AuthlibHttpx,
    OpenidClient,
}

impl Library {
    const ALL: [Self; 3] = [Self::AuthlibRequests, Self::AuthlibHttpx, Self::OpenidClient];

    async fn ask(self, server: &Running, client: (&str, &str), arguments: &[&str]) -> (bool, Value) {
        let (mut command, place) = match self {
            Self::AuthlibRequests => (python("authlib_client.py"), server.token_url()),
            Self::AuthlibHttpx => (python("httpx_client.py"), server.token_url()),
            Self::OpenidClient => (node("openid_client.mjs"), server.issuer.clone()),
        };
        command.args([&place, client.0]).args(arguments).env("CLIENT_SECRET", client.1);
        ask(command).await
    }

    /// How the library names a refused credential: openid-client goes by the challenge, not by the body.
    fn invalid_client(self) -> &'static str {
        match self {
            Self::AuthlibRequests | Self::AuthlibHttpx => "invalid_client",
            Self::OpenidClient => "OAUTH_WWW_AUTHENTICATE_CHALLENGE",
        }
    }
}

#[tokio::test]
async fn client_libraries_get_a_token_by_header_and_by_body() {
    let server = Running::start(Algorithm::Es256);
    let client = ("worker", server.secret.expose().as_str());
    let mut granted = 0;
    for library in Library::ALL {
        for method in ["client_secret_basic", "client_secret_post"] {
            let arguments = ["--auth-method", method, "--scope", "b"];
            let (succeeded, answer) = library.ask(&server, client, &arguments).await;
            assert!(succeeded, "{library:?} {method}: {answer}");
            let token = &answer["token"];
            assert_eq!(token["access_token"].as_str().unwrap().split('.').count(), 3, "{library:?}");
            assert_eq!((&token["expires_in"], &token["scope"]), (&json!(3600), &json!("b")), "{library:?}");
            granted += 1;
            assert_eq!(server.counters.values().granted, granted, "{library:?}");
        }
    }
    assert_eq!(server.counters.values().refused(), 0);
    server.stop().await;
}

#[tokio::test]
async fn client_libraries_understand_the_refusals() {
    let server = Running::start(Algorithm::Es256);
    for library in Library::ALL {
        let (succeeded, answer) = library.ask(&server, ("worker", "wrong"), &[]).await;
        assert!(!succeeded, "{library:?}: {answer}");
        assert_eq!(answer["error"], library.invalid_client(), "{library:?}: {answer}");
        let client = ("worker", server.secret.expose().as_str());
        let (succeeded, answer) = library.ask(&server, client, &["--scope", "admin"]).await;
        assert!(!succeeded, "{library:?}: {answer}");
        assert_eq!(answer["error"], "invalid_scope", "{library:?}: {answer}");
        assert!(answer["error_description"].as_str().unwrap().contains("scope"), "{library:?}: {answer}");
    }
    let counted = server.counters.values();
    assert_eq!((counted.granted, counted.refused()), (0, 6));
    server.stop().await;
}

#[tokio::test]
async fn t14_a_client_id_with_reserved_characters_is_known_by_header_and_by_body() {
    let odd = "team:a+b %41&c=d";
    let server = Running::with_client(odd, Algorithm::Es256);
    let client = (odd, server.secret.expose().as_str());
    let (succeeded, answer) = Library::OpenidClient.ask(&server, client, &[]).await;
    assert!(succeeded, "{answer}");
    for library in Library::ALL {
        let arguments = ["--auth-method", "client_secret_post"];
        let (succeeded, answer) = library.ask(&server, client, &arguments).await;
        assert!(succeeded, "{library:?}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_metrics_are_read_by_the_parser_of_prometheus_client() {
    let server = Running::start(Algorithm::Es256);
    access_token(&server).await;
    let text = curl_text(&format!("http://{}/metrics", server.metrics)).await;
    let mut command = python("prometheus_parser.py");
    let mut parser = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let parsed = parser.wait_with_output().unwrap();
    assert!(parsed.status.success(), "{text}");
    let families: Vec<Value> = serde_json::from_slice(&parsed.stdout).unwrap();
    assert!(families.len() > 10 && families.iter().all(|family| family["type"] != "unknown"), "{families:?}");
    let samples = |name: &str| {
        let family = families.iter().find(|family| family["name"] == name).unwrap();
        family["samples"].as_array().unwrap().clone()
    };
    let granted = json!({"outcome": "granted", "method": "client_secret_basic"});
    let requests = samples("jeton_server_token_requests");
    assert!(requests.iter().any(|sample| sample[1] == granted && sample[2] == 1.0), "{requests:?}");
    let latencies = samples("jeton_server_token_request_seconds");
    let of_infinity = json!({"outcome": "granted", "le": "+Inf"});
    assert!(latencies.iter().any(|sample| sample[1] == of_infinity && sample[2] == 1.0), "{latencies:?}");
    assert_eq!(samples("jeton_server_clients")[0][2], 1.0);
    // The one listener has nothing of the other.
    assert!(!curl_text(&format!("{}/metrics", server.issuer)).await.contains("jeton_server_"));
    assert_eq!(curl_text(&format!("http://{}/oauth/token", server.metrics)).await, "");
    server.stop().await;
}

async fn curl_text(url: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--max-time", "30", url]);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8(ended.stdout).unwrap()
}

async fn joserfc(server: &Running, token: &str, issuer: &str, audience: &str) -> (bool, Value) {
    let mut command = python("joserfc_verifier.py");
    command.args([&format!("{}/oauth/jwks", server.issuer), issuer, audience]).env("ACCESS_TOKEN", token);
    ask(command).await
}

async fn oauth4webapi(server: &Running, token: &str, audience: &str) -> (bool, Value) {
    let mut command = node("oauth4webapi_verifier.mjs");
    command.args([&server.issuer, audience]).env("ACCESS_TOKEN", token);
    ask(command).await
}

async fn access_token(server: &Running) -> String {
    let user = format!("worker:{}", server.secret.expose());
    let shown = curl(server, &["-u", &user, "-d", "grant_type=client_credentials", "-d", "scope=b"]).await;
    shown.body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn joserfc_verifies_our_tokens_in_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let server = Running::start(algorithm);
        let token = access_token(&server).await;
        let (succeeded, answer) = joserfc(&server, &token, &server.issuer, AUDIENCE).await;
        assert!(succeeded, "{algorithm}: {answer}");
        let header = &answer["header"];
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!(algorithm.as_str())));
        assert!(header["kid"].is_string(), "{header}");
        let claims = &answer["claims"];
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(server.issuer), &json!(AUDIENCE)));
        for (name, value) in [("sub", "worker"), ("client_id", "worker"), ("scope", "b")] {
            assert_eq!(claims[name], value, "{claims}");
        }
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);

        for (token, issuer, audience, error) in [
            (&token, &*server.issuer, "https://other.example", "invalid_claim"),
            (&token, "https://other.example", AUDIENCE, "invalid_claim"),
            (&forged(&token), &*server.issuer, AUDIENCE, "bad_signature"),
        ] {
            let (succeeded, answer) = joserfc(&server, token, issuer, audience).await;
            assert!(!succeeded && answer["error"] == error, "{algorithm}: {answer}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn oauth4webapi_takes_our_tokens_for_those_of_rfc_9068_in_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let server = Running::start(algorithm);
        let token = access_token(&server).await;
        let (succeeded, answer) = oauth4webapi(&server, &token, AUDIENCE).await;
        assert!(succeeded, "{algorithm}: {answer}");
        assert_eq!(answer["claims"]["client_id"], "worker", "{answer}");
        for (token, audience, error) in [
            (&token, "https://other.example", "unexpected JWT \"aud\""),
            (&forged(&token), AUDIENCE, "signature verification failed"),
        ] {
            let (succeeded, answer) = oauth4webapi(&server, token, audience).await;
            let told = answer["error_description"].as_str().unwrap();
            assert!(!succeeded && told.contains(error), "{algorithm}: {answer}");
        }
        server.stop().await;
    }
}

/// The token with another scope and the old signature.
fn forged(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
    let greedy = payload.replace(r#""scope":"b""#, r#""scope":"a""#);
    assert_ne!(payload, greedy);
    parts[1] = URL_SAFE_NO_PAD.encode(greedy);
    parts.join(".")
}
