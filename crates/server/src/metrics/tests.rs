use super::table::{Kind, METRICS, Metric};
use super::*;
use crate::counters::Counters;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::ErrorCode;
use std::collections::BTreeMap;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");

fn gauges(counters: &Counters) -> Gauges {
    Gauges {
        requests: counters.requests(),
        counts: CounterValues { limited_failures: 4, ..CounterValues::default() },
        inquiries: InquiryCounterValues {
            revocation_unavailable: 9,
            revocation_share_used: 11,
            ..InquiryCounterValues::default()
        },
        registry_readable: true,
        registry_writable: true,
        clients: Some(3),
        spent_assertions: 7,
        assertions_spent_alone: Some(6),
        signing_keys: KeyCounts { announced: 1, active: 2, retired: 0 },
        audit: Some(AuditCounts { written: 5, lost: 2 }),
        certificate_refused: Some(false),
        worker_panics: Worker::ALL.map(|worker| worker as u64 * 10),
        otlp_exports_failed: Some(8),
        started_at_unix_seconds: 1_700_000_000,
    }
}

/// The samples by what stands before the value.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap()).collect()
}

#[test]
fn what_is_counted_is_told() {
    let metrics = Arc::new(Metrics::default());
    let basic = Some(ClientAuthMethod::ClientSecretBasic);
    let counters = Counters::default();
    for (method, took) in [
        (basic, Duration::from_micros(50)),
        (basic, Duration::from_micros(51)),
        (None, Duration::from_secs(3600)),
    ] {
        counters.count_granted(method);
        metrics.time_granted(took);
    }
    counters.count_refused(&ErrorCode::InvalidScope, None, Some(ClientAuthMethod::PrivateKeyJwt));
    counters.count_refused(&ErrorCode::Other("x".into()), None, None);
    (0..2).for_each(|_| metrics.time_refused(Duration::ZERO));
    let open = metrics.connection();
    drop(metrics.connection());
    metrics.count_failed_handshake();
    let text = metrics.families(&gauges(&counters)).text();
    let samples = samples(&text);
    for (name, value) in [
        (r#"jeton_server_token_requests_total{outcome="granted",method="client_secret_basic"}"#, "2"),
        (r#"jeton_server_token_requests_total{outcome="granted",method="none"}"#, "1"),
        (r#"jeton_server_token_requests_total{outcome="invalid_scope",method="private_key_jwt"}"#, "1"),
        (r#"jeton_server_token_requests_total{outcome="other",method="none"}"#, "1"),
        (r#"jeton_server_token_requests_total{outcome="invalid_client",method="none"}"#, "0"),
        (r#"jeton_server_token_request_seconds_bucket{outcome="granted",le="0.00005"}"#, "1"),
        (r#"jeton_server_token_request_seconds_bucket{outcome="granted",le="0.0001"}"#, "2"),
        (r#"jeton_server_token_request_seconds_bucket{outcome="granted",le="10"}"#, "2"),
        (r#"jeton_server_token_request_seconds_bucket{outcome="granted",le="+Inf"}"#, "3"),
        (r#"jeton_server_token_request_seconds_sum{outcome="granted"}"#, "3600.000101"),
        (r#"jeton_server_token_request_seconds_count{outcome="refused"}"#, "2"),
        (r#"jeton_server_revocations_total{outcome="unavailable"}"#, "9"),
        (r#"jeton_server_revocations_total{outcome="share_used"}"#, "11"),
        (r#"jeton_server_introspections_total{outcome="active"}"#, "0"),
        ("jeton_server_connections_open", "1"),
        ("jeton_server_connections_total", "2"),
        ("jeton_server_tls_handshake_failures_total", "1"),
        ("jeton_server_audit_records_lost_total", "2"),
        ("jeton_server_registry_writable", "1"),
        ("jeton_server_clients", "3"),
        ("jeton_server_spent_assertions", "7"),
        ("jeton_server_assertions_spent_alone_total", "6"),
        (r#"jeton_server_signing_keys{state="active"}"#, "2"),
        (r#"jeton_server_signing_keys{state="retired"}"#, "0"),
        (r#"jeton_server_token_requests_limited_total{limit="failures"}"#, "4"),
        (r#"jeton_server_worker_panics_total{worker="registry"}"#, "0"),
        (r#"jeton_server_worker_panics_total{worker="revocations"}"#, "20"),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}: {text}");
    }
    drop(open);
}

#[test]
fn what_a_server_does_not_have_is_not_told() {
    let text = Metrics::default().families(&Gauges::default()).text();
    for absent in ["audit", "clients ", "tls_certificate", "assertions_spent_alone", "otlp"] {
        assert!(!text.contains(&format!("jeton_server_{absent}")), "{text}");
    }
    assert!(text.contains("jeton_server_registry_readable 0\n"));
}

#[test]
fn the_page_for_operators_has_every_metric_and_value() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, page) = page.split_once("## Metrics of the server").unwrap();
    let page = page.split("\n## ").next().unwrap();
    for Metric { name, kind, labels, meaning } in METRICS {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        let row = format!(
            "| `{name}` | {kind} | {labels}{}| {meaning} |",
            if labels.is_empty() { "" } else { " " }
        );
        assert!(page.contains(&row), "{row}");
    }
    let told = page.lines().filter(|line| line.starts_with("| `jeton_server_")).count();
    assert_eq!(told, METRICS.len(), "the page has a metric that is not there");
    for value in OUTCOMES.into_iter().chain(Worker::ALL.map(Worker::name)) {
        assert!(page.contains(&format!("`{value}`")), "{value}");
    }
    let text = Metrics::default().families(&gauges(&Counters::default())).text();
    for Metric { name, .. } in METRICS {
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
    }
}

/// The samples of what is sent by OTLP, written as Prometheus has them.
fn samples_of_otlp(request: &serde_json::Value) -> BTreeMap<String, String> {
    let mut samples = BTreeMap::new();
    for metric in request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap() {
        let name = metric["name"].as_str().unwrap();
        let data = ["sum", "gauge", "histogram"].iter().find_map(|form| metric.get(form)).unwrap();
        for point in data["dataPoints"].as_array().unwrap() {
            let mut labels: Vec<_> = point["attributes"].as_array().unwrap().iter().map(label).collect();
            let mut put = |suffix: &str, labels: &[String], value: &serde_json::Value| {
                let labels =
                    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(samples.insert(format!("{name}{suffix}{labels}"), value), None);
            };
            if let Some(number) = point.get("asInt") {
                put("", &labels, number);
                continue;
            }
            put("_sum", &labels, &point["sum"]);
            put("_count", &labels, &point["count"]);
            let mut bounds: Vec<_> = point["explicitBounds"]
                .as_array()
                .unwrap()
                .iter()
                .map(serde_json::Value::to_string)
                .collect();
            bounds.push("+Inf".to_owned());
            let counts = point["bucketCounts"].as_array().unwrap();
            assert_eq!(counts.len(), bounds.len());
            let mut total = 0_u64;
            for (bound, count) in bounds.iter().zip(counts) {
                total += count.as_str().unwrap().parse::<u64>().unwrap();
                let bound = if bound == "+Inf" { bound.clone() } else { decimal(bound) };
                labels.push(format!("le=\"{bound}\""));
                put("_bucket", &labels, &total.to_string().into());
                labels.pop();
            }
        }
    }
    samples
}

fn label(attribute: &serde_json::Value) -> String {
    format!("{}={}", attribute["key"].as_str().unwrap(), attribute["value"]["stringValue"])
}

/// A number as Rust writes it: `1` for `1.0`, and `0.00005` for `5e-5`.
fn decimal(number: &str) -> String {
    number.parse::<f64>().unwrap().to_string()
}

#[test]
fn both_forms_tell_the_same() {
    let metrics = Arc::new(Metrics::default());
    let counters = Counters::default();
    counters.count_granted(Some(ClientAuthMethod::PrivateKeyJwt));
    counters.count_granted(None);
    counters.count_refused(&ErrorCode::InvalidScope, None, None);
    metrics.time_granted(Duration::from_micros(51));
    metrics.time_granted(Duration::from_secs(3600));
    metrics.time_refused(Duration::from_millis(70));
    let _open = metrics.connection();
    let families = metrics.families(&gauges(&counters));
    let teller = otlp::Teller { instance_id: None, started_at: Timestamp::from_unix_seconds(5) };
    let request = otlp::request(&families, &teller, Timestamp::from_unix_seconds(6));
    let request = serde_json::from_str(&request).unwrap();
    let text = families.text();
    let numbers = |value: &str| decimal(value);
    let of_text: BTreeMap<_, _> =
        samples(&text).into_iter().map(|(name, value)| (name.to_owned(), numbers(value))).collect();
    let of_otlp: BTreeMap<_, _> =
        samples_of_otlp(&request).into_iter().map(|(name, value)| (name, numbers(&value))).collect();
    assert_eq!(of_text, of_otlp);

    let told = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    assert_eq!(told.len(), METRICS.len());
    for (metric, Metric { name, kind, meaning, .. }) in told.iter().zip(METRICS) {
        assert_eq!((metric["name"].as_str(), metric["description"].as_str()), (Some(*name), Some(*meaning)));
        let form = match kind {
            Kind::Counter => "sum",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(metric[form]["dataPoints"].is_array(), "{metric}");
    }
}

#[test]
fn a_span_of_time_does_not_end_before_it_begins() {
    let teller = otlp::Teller { instance_id: None, started_at: Timestamp::from_unix_seconds(1_700_000_000) };
    for (now, told) in [(1_700_000_060, "1700000060000000000"), (1, "1700000000000000000")] {
        let families = Metrics::default().families(&Gauges::default());
        let request = otlp::request(&families, &teller, Timestamp::from_unix_seconds(now));
        assert!(request.contains(&format!(r#""timeUnixNano":"{told}""#)), "{request}");
        assert!(request.contains(r#""startTimeUnixNano":"1700000000000000000""#), "{request}");
    }
}
