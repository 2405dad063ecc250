//! The metrics as they are sent by OTLP: read by a parser of others, and sent to collectors that are of no use.

use super::foreign_programs::ForeignServer;
use super::log::{Log, logging_to};
use super::{Answer, Running, add_worker};
use jeton_proto::secret::Secret;
use jeton_server::{Config, Listen, Server};
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const WAIT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(50);
const FAILED: &str = "jeton_server_otlp_exports_failed_total";
const WARNING: &str = "the metrics cannot be exported; it is tried again at each interval";
const RECOVERY: &str = "the metrics are exported again";

/// A server that exports each second, and where its metrics are had.
struct Exporting {
    server: Running,
    metrics: SocketAddr,
    secret: Secret<String>,
    _dir: TempDir,
}

impl Exporting {
    fn start(endpoint: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret = add_worker(dir.path());
        let server = Server::bind(Config {
            listen: Listen::Localhost { port: 0 },
            metrics_listen: Some(Listen::Localhost { port: 0 }),
            otlp_endpoint: Some(endpoint),
            otlp_interval: Duration::from_secs(1),
            ..Config::new(dir.path())
        });
        let server = server.unwrap();
        let metrics = server.metrics_addrs()[0];
        Self { server: Running::serving(server), metrics, secret, _dir: dir }
    }

    /// The text for Prometheus.
    async fn text(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        super::read_to_end(&mut stream).await
    }

    async fn failures(&self) -> u64 {
        let text = self.text().await;
        let line = text.lines().find_map(|line| line.strip_prefix(FAILED)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }

    async fn token(&self) -> Answer {
        self.server.request_token("worker", &self.secret, "").await
    }
}

async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            sleep(POLL_PAUSE).await;
        }
    };
    timeout(WAIT, waiting).await.expect("it does not come to that");
}

#[tokio::test]
async fn a_parser_of_others_reads_every_metric_that_is_sent() {
    let collector = ForeignServer::otlp_receiver();
    let exporting = Exporting::start(collector.url(""));
    assert_eq!(exporting.token().await.status, 200);
    until(async || !collector.seen().is_empty()).await;
    let text = exporting.text().await;
    assert_eq!(exporting.token().await.status, 200);
    exporting.server.stop().await;

    let seen = collector.seen();
    assert!(seen.iter().all(|request| request.get("error").is_none()), "{seen:?}");
    let last = seen.last().unwrap();
    let resource = &last["resource"];
    assert_eq!(resource["service.name"], "jeton");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["service.instance.id"].as_str().unwrap().len(), 36);
    assert_eq!(seen[0]["resource"], *resource);
    let metrics = last["metrics"].as_array().unwrap();
    let told: Vec<_> =
        metrics.iter().map(|metric| (metric["name"].as_str().unwrap(), form(metric))).collect();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    assert_eq!(told, families.collect::<Vec<_>>());
    for point in metrics.iter().flat_map(|metric| metric["points"].as_array().unwrap()) {
        let at = |name: &str| point[name].as_u64().unwrap();
        assert!(at("start") > 0 && at("start") <= at("time"), "{point}");
    }
    let requests =
        metrics.iter().find(|metric| metric["name"] == "jeton_server_token_requests_total").unwrap();
    let labels = json!({ "outcome": "granted", "method": "client_secret_post" });
    let points = requests["points"].as_array().unwrap();
    let point = points.iter().find(|point| point["attributes"] == labels).unwrap();
    assert_eq!(point["value"], 2, "the last export has all");
}

/// What Prometheus calls this kind of metric.
fn form(metric: &Value) -> &str {
    let (cumulative, monotonic) = (&metric["cumulative"], &metric["monotonic"]);
    match metric["form"].as_str().unwrap() {
        "sum" => {
            assert!(cumulative == true && monotonic == true, "{metric}");
            "counter"
        }
        "histogram" => {
            assert!(cumulative == true && metric["unit"] == "s", "{metric}");
            "histogram"
        }
        other => other,
    }
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_once_and_tokens_go_on() {
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let log = Log::default();
    let _logging = logging_to(&log);
    let exporting = Exporting::start(format!("http://{away}"));
    until(async || exporting.failures().await >= 2).await;
    assert_eq!(exporting.token().await.status, 200);
    exporting.server.stop().await;
    assert_eq!(log.text().matches(WARNING).count(), 1, "{}", log.text());
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_no_token_and_no_end() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let log = Log::default();
    let _logging = logging_to(&log);
    let exporting = Exporting::start(format!("http://{}", collector.local_addr().unwrap()));
    let (mut asked, _) = timeout(WAIT, collector.accept()).await.unwrap().unwrap();
    assert_eq!(timeout(WAIT, asked.read_u8()).await.unwrap().unwrap(), b'P');
    assert_eq!(exporting.token().await.status, 200);
    timeout(WAIT, exporting.server.stop()).await.unwrap();
    let text = log.text();
    assert_eq!(text.matches(WARNING).count(), 1, "{text}");
    assert!(text.contains("it took too long"), "{text}");
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_once_and_so_is_that_it_takes_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/secret-path", listener.local_addr().unwrap());
    let (tell, mut asked) = mpsc::unbounded_channel();
    let collecting = tokio::spawn(async move {
        for status in
            ["500 Internal Server Error", "307 Temporary Redirect\r\nLocation: /elsewhere", "200 OK"]
        {
            tell.send(answer(&listener, status).await).unwrap();
        }
        loop {
            tell.send(answer(&listener, "200 OK").await).unwrap();
        }
    });
    let log = Log::default();
    let _logging = logging_to(&log);
    let exporting = Exporting::start(endpoint);
    assert_eq!(exporting.token().await.status, 200);
    until(async || log.text().contains(RECOVERY)).await;
    assert_eq!(exporting.failures().await, 2);
    exporting.server.stop().await;
    collecting.abort();
    while let Ok(line) = asked.try_recv() {
        assert_eq!(line, "POST /secret-path/v1/metrics HTTP/1.1", "a redirect was followed");
    }
    let text = log.text();
    assert_eq!((text.matches(WARNING).count(), text.matches(RECOVERY).count()), (1, 1), "{text}");
    let ours = text.lines().filter(|line| line.contains("jeton_server::"));
    assert_eq!(ours.filter(|line| line.contains("secret-path")).count(), 0, "{text}");
}

/// Takes one request, answers it with an empty body, and says what its first line was.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    let head = loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.unwrap();
        assert_ne!(length, 0, "the request was cut off");
        received.extend_from_slice(&chunk[..length]);
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break String::from_utf8(received[..end].to_vec()).unwrap();
        }
    };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut missing =
        (head.len() + 4 + length.unwrap().parse::<usize>().unwrap()).saturating_sub(received.len());
    while missing > 0 {
        let mut chunk = [0; 4096];
        missing -= stream.read(&mut chunk).await.unwrap();
    }
    stream
        .write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    head.lines().next().unwrap().to_owned()
}
