use super::table::{METRICS, Metric};
use super::*;
use std::collections::BTreeMap;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");

fn gauges() -> Gauges {
    Gauges {
        counts: CounterValues { limited_failures: 4, ..CounterValues::default() },
        inquiries: InquiryCounterValues { revocation_unavailable: 9, ..InquiryCounterValues::default() },
        registry_readable: true,
        clients: Some(3),
        spent_assertions: 7,
        assertions_spent_alone: Some(6),
        signing_keys: KeyCounts { announced: 1, active: 2, retired: 0 },
        audit: Some(AuditCounts { written: 5, lost: 2 }),
        certificate_refused: Some(false),
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
    metrics.count_granted(basic, Duration::from_micros(50));
    metrics.count_granted(basic, Duration::from_micros(51));
    metrics.count_granted(None, Duration::from_secs(3600));
    metrics.count_refused(&ErrorCode::InvalidScope, Some(ClientAuthMethod::PrivateKeyJwt), Duration::ZERO);
    metrics.count_refused(&ErrorCode::Other("x".into()), None, Duration::ZERO);
    let open = metrics.connection();
    drop(metrics.connection());
    metrics.count_failed_handshake();
    let text = metrics.text(&gauges());
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
        (r#"jeton_server_introspections_total{outcome="active"}"#, "0"),
        ("jeton_server_connections_open", "1"),
        ("jeton_server_connections_total", "2"),
        ("jeton_server_tls_handshake_failures_total", "1"),
        ("jeton_server_audit_records_lost_total", "2"),
        ("jeton_server_clients", "3"),
        ("jeton_server_spent_assertions", "7"),
        ("jeton_server_assertions_spent_alone_total", "6"),
        (r#"jeton_server_signing_keys{state="active"}"#, "2"),
        (r#"jeton_server_signing_keys{state="retired"}"#, "0"),
        (r#"jeton_server_token_requests_limited_total{limit="failures"}"#, "4"),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}: {text}");
    }
    drop(open);
}

#[test]
fn what_a_server_does_not_have_is_not_told() {
    let text = Metrics::default().text(&Gauges::default());
    for absent in ["audit", "clients ", "tls_certificate", "assertions_spent_alone"] {
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
    for outcome in OUTCOMES {
        assert!(page.contains(&format!("`{outcome}`")), "{outcome}");
    }
    let text = Metrics::default().text(&gauges());
    for Metric { name, .. } in METRICS {
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
    }
}
