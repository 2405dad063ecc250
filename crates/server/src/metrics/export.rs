//! Sends the metrics to a collector by OTLP over HTTP, each interval and once at the end. Nothing is kept for later: all
//! numbers count from the start of the server, so that the next export has all of the one that failed.

use super::families::Families;
use super::otlp::{self, Teller};
use crate::outbound::{Outbound, OutboundError, innermost};
use crate::workers::{Worker, Workers};
use http::header::{CONNECTION, CONTENT_TYPE};
use jeton_proto::time::{Clock, Timestamp};
use jeton_proto::wire::error_response::printable;
use serde_json::Value;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use url::Url;

/// How long a collector has for its answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same at the end of the server, which waits for it.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond this an answer is not read: it is no more than a few words of what was not taken.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Where the metrics go, and when.
#[derive(Clone)]
pub(crate) struct Destination {
    url: Url,
    interval: Duration,
}

impl Destination {
    /// The place at the collector with this base URL: `https`, or `http` at loopback addresses alone.
    pub(crate) fn new(base: &str, interval: Duration) -> Option<Self> {
        let mut url = Url::parse(base).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        let complete = url.query().is_none() && url.fragment().is_none();
        if !(Outbound::reaches(&url) && plain && complete) {
            return None;
        }
        url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "metrics"]);
        Some(Self { url, interval })
    }

    /// The collector without the path, in which some have a key.
    fn collector(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Sends the metrics.
pub(crate) struct Exporter {
    destination: Destination,
    clock: Arc<dyn Clock>,
    teller: Teller,
    failed: Arc<AtomicU64>,
    outbound: Outbound,
    state: State,
}

/// How the last export went, so that a collector that is away is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Working,
    Failing,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { interval, .. } = &self.destination;
        f.debug_struct("Exporter")
            .field("collector", &self.destination.collector())
            .field("interval", interval)
            .field("teller", &self.teller)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    pub(crate) fn new(destination: Destination, clock: Arc<dyn Clock>, started_at: Timestamp) -> Self {
        Self {
            destination,
            clock,
            teller: Teller { instance_id: random_uuid(), started_at },
            failed: Arc::default(),
            outbound: Outbound::new(None),
            state: State::Working,
        }
    }

    /// The number of exports that failed, which stays readable after [`Exporter::run`] took the exporter.
    pub(crate) fn failed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failed)
    }

    /// Exports until `ending` is told or dropped, and then once more.
    pub(crate) async fn run(
        mut self,
        source: Arc<dyn Fn() -> Families + Send + Sync>,
        workers: Workers,
        mut ending: oneshot::Receiver<()>,
    ) {
        loop {
            let turn = async {
                sleep(self.destination.interval).await;
                self.export(&source(), EXPORT_TIMEOUT).await;
            };
            tokio::select! {
                // After a panic the interval is the pause.
                _ = workers.catch(Worker::Export, turn) => {}
                _ = &mut ending => break,
            }
        }
        let last = source();
        // What the metrics are of is let go of: it is to end while they are sent.
        drop(source);
        workers.catch(Worker::Export, self.export(&last, LAST_EXPORT_TIMEOUT)).await;
    }

    async fn export(&mut self, families: &Families, time: Duration) {
        let body = otlp::request(families, &self.teller, self.clock.now());
        let outcome = timeout(time, self.send(body)).await.unwrap_or(Err(ExportError::TimedOut));
        let collector = self.destination.collector();
        match (&outcome, self.state) {
            (Ok(()), State::Working) => {}
            (Ok(()), State::Failing) => tracing::info!(collector, "the metrics are exported again"),
            (Err(error), State::Working) => {
                tracing::warn!(
                    %error,
                    collector,
                    "the metrics cannot be exported; it is tried again at each interval"
                );
            }
            (Err(error), State::Failing) => {
                tracing::debug!(%error, collector, "the metrics are not exported, and were not before");
            }
        }
        if outcome.is_ok() {
            self.state = State::Working;
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.state = State::Failing;
        }
    }

    async fn send(&self, body: String) -> Result<(), ExportError> {
        let url = self.destination.url.clone();
        let client = self.outbound.client(&url).await?;
        // A connection that is kept for a minute may be ended by the collector just when the next export is sent.
        let request = client.post(url).header(CONNECTION, "close");
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let mut answer = request.send().await.map_err(exchange)?;
        if !answer.status().is_success() {
            return Err(ExportError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(exchange)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ExportError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        rejected(&body)
    }
}

/// Why an export failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the answer has the status {0}, and redirects are not followed")]
    Status(u16),
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("the collector did not take everything: {0}")]
    Rejected(String),
    #[error("it took too long")]
    TimedOut,
}

fn exchange(error: reqwest::Error) -> ExportError {
    if error.is_timeout() { ExportError::TimedOut } else { OutboundError::Exchange(innermost(error)).into() }
}

/// Whether the collector took a part only (`partialSuccess`). An answer that says nothing of it is a good one.
fn rejected(answer: &[u8]) -> Result<(), ExportError> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Ok(()) };
    let partial = answer.get("partialSuccess");
    let rejected = match partial.and_then(|partial| partial.get("rejectedDataPoints")) {
        Some(Value::String(number)) => number.parse().unwrap_or(0),
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => 0,
    };
    if rejected == 0 {
        return Ok(());
    }
    let message = partial.and_then(|partial| partial.get("errorMessage")).and_then(Value::as_str);
    Err(ExportError::Rejected(printable(message.unwrap_or("it does not say why"))))
}

/// A random UUID (RFC 9562 §5.4); none where the random source fails, without which no token is signed either.
fn random_uuid() -> Option<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let number = u128::from_be_bytes(random) & !(0xf000 << 64 | 0b11 << 62) | 0x4000 << 64 | 0b10 << 62;
    let digits = format!("{number:032x}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let _infallible = write!(text, "{digit}");
    }
    Some(text)
}

#[cfg(test)]
mod tests;
