//! The same metrics as the JSON of OTLP 1.x (`ExportMetricsServiceRequest`), by the JSON encoding that its specification has.
//! Pure.

use super::families::{Durations, Families, Family, Sample, Value as Measured};
use super::table::{Kind, Metric};
use jeton_proto::time::Timestamp;
use serde_json::{Value, json};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: each number counts from the start of the server.
const CUMULATIVE: u8 = 2;

/// Who tells.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    /// `service.instance.id`: what tells this process from others, and from the one before it.
    pub(super) instance_id: Option<String>,
    pub(super) started_at: Timestamp,
}

/// The body of the request that tells all metrics as they are `now`.
pub(super) fn request(families: &Families, teller: &Teller, now: Timestamp) -> String {
    let span = Span {
        start: nanoseconds(teller.started_at),
        // A clock that was set back must not make a span of time end before it begins.
        end: nanoseconds(now.max(teller.started_at)),
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut resource = vec![attribute("service.name", "jeton"), attribute("service.version", version)];
    resource.extend(teller.instance_id.as_deref().map(|id| attribute("service.instance.id", id)));
    let metrics: Vec<_> = families.iter().map(|family| metric(family, &span)).collect();
    let request = json!({
        "resourceMetrics": [{
            "resource": { "attributes": resource },
            "scopeMetrics": [{ "scope": { "name": "jeton-server", "version": version }, "metrics": metrics }],
        }],
    });
    request.to_string()
}

/// What the numbers are about, as nanoseconds since the Unix epoch.
struct Span {
    start: String,
    end: String,
}

fn metric(family: &Family, span: &Span) -> Value {
    let Family { metric: Metric { name, kind, meaning, .. }, samples } = family;
    let points: Vec<_> = samples.iter().map(|sample| point(&family.metric, sample, span)).collect();
    let (form, data) = match kind {
        Kind::Counter => (
            "sum",
            json!({ "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points }),
        ),
        Kind::Gauge => ("gauge", json!({ "dataPoints": points })),
        Kind::Histogram => {
            ("histogram", json!({ "aggregationTemporality": CUMULATIVE, "dataPoints": points }))
        }
    };
    // A count has no unit here: those who translate to Prometheus would make a ratio of the unit `1`.
    let unit = if name.ends_with("_seconds") { "s" } else { "" };
    json!({ "name": name, "description": meaning, "unit": unit, form: data })
}

fn point(metric: &Metric, Sample { labels, value }: &Sample, span: &Span) -> Value {
    let attributes: Vec<_> =
        metric.labels.iter().zip(labels).map(|(label, value)| attribute(label, value)).collect();
    match value {
        Measured::Number(number) => json!({
            "attributes": attributes,
            "startTimeUnixNano": span.start,
            "timeUnixNano": span.end,
            // A signed number of 64 bits, unlike the counts below.
            "asInt": i64::try_from(*number).unwrap_or(i64::MAX).to_string(),
        }),
        Measured::Durations(durations) => {
            let Durations { bounds_us, counts, sum_us } = durations;
            json!({
                "attributes": attributes,
                "startTimeUnixNano": span.start,
                "timeUnixNano": span.end,
                "count": durations.count().to_string(),
                "sum": seconds(*sum_us),
                "bucketCounts": counts.iter().map(u64::to_string).collect::<Vec<_>>(),
                "explicitBounds": bounds_us.iter().map(|bound| seconds(*bound)).collect::<Vec<_>>(),
            })
        }
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

/// As proto3 has numbers of 64 bits in JSON: in a string.
fn nanoseconds(at: Timestamp) -> String {
    at.as_unix_millis().saturating_mul(1_000_000).to_string()
}
