use super::metric::{LeaseOutcome, METRICS, REASONS, StoreOperation, Unusable};
use super::*;
use crate::error::{TokenError, TokenErrorKind};
use crate::http::ExchangeError;
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::token_response::MalformedAnswer;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");

/// What a recorder saw: name and labels beside server and client, and the value.
type Seen = BTreeMap<String, DebugValue>;

fn seen(snapshotter: &Snapshotter) -> Seen {
    let shown = |key: &metrics::Key| {
        let labels: Vec<_> = key.labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!(labels[..2], [("server", "as.example:8443"), ("client_id", "billing")], "{key}");
        let more: Vec<_> = labels[2..].iter().map(|(name, value)| format!("{name}={value}")).collect();
        [key.name().to_owned()].into_iter().chain(more).collect::<Vec<_>>().join(" ")
    };
    let all = snapshotter.snapshot().into_vec().into_iter();
    all.map(|(key, _, _, value)| (shown(key.key()), value)).collect()
}

fn with_recorder(test: impl FnOnce(&Telemetry, &Snapshotter)) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let telemetry = Telemetry::new("as.example:8443", "billing");
    metrics::with_local_recorder(&recorder, || test(&telemetry, &snapshotter));
}

fn counter(seen: &Seen, name: &str) -> u64 {
    match seen.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name} is {other:?}"),
    }
}

fn gauge(seen: &Seen, name: &str) -> f64 {
    match seen.get(name) {
        Some(DebugValue::Gauge(value)) => value.0,
        other => panic!("{name} is {other:?}"),
    }
}

fn samples(seen: &Seen, name: &str) -> Vec<f64> {
    match seen.get(name) {
        Some(DebugValue::Histogram(values)) => values.iter().map(|value| value.0).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

/// Everything that can happen, each thing once.
fn tell_everything(telemetry: &Telemetry) {
    telemetry.credential(&credential(Some(Duration::from_secs(90)), Rotation::Due));
    let key = telemetry.key();
    key.hit();
    key.publish(Some(Duration::from_secs(60)));
    for from in ServedFrom::ALL {
        telemetry.served(from, Duration::from_secs(10));
    }
    for reason in REASONS {
        for outcome in MintOutcome::ALL {
            telemetry.mint_began(reason).ended(outcome, Duration::from_millis(250));
        }
    }
    drop(telemetry.waiting());
    key.backing_off(Some(Duration::from_secs(30)));
    key.backup_left(Some(Duration::from_secs(600)));
    telemetry.breaker(Phase::Open);
    telemetry.rejected();
    telemetry.quota_refused();
    telemetry.clock_stepped();
    telemetry.clock_skew(-1.5);
    telemetry.store_up(false);
    for kind in StoreFaultKind::ALL {
        telemetry.store_fault(kind);
    }
    for operation in StoreOperation::ALL {
        telemetry.store_asked(operation, Duration::from_millis(2));
    }
    for why in Unusable::ALL {
        telemetry.store_unusable(why);
    }
    for outcome in LeaseOutcome::ALL {
        telemetry.lease(outcome);
    }
    for reason in REASONS {
        telemetry.adopted(reason);
    }
}

/// The rows of the table in the page whose first column is called `first`.
fn rows(page: &str, first: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let table = page.lines().skip_while(|line| !line.starts_with(&format!("| {first} |"))).skip(2);
    table.take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn names(cell: &str) -> Vec<&str> {
    cell.split(", ").map(|name| name.trim_matches('`')).filter(|name| !name.is_empty()).collect()
}

fn credential(age: Option<Duration>, rotation: Rotation) -> CredentialStatus {
    CredentialStatus { generation: 3, since: None, age, is_previous: false, rotation }
}

#[test]
fn r4_3_age_generation_and_rank_of_the_credential_are_shown_once_it_is_read() {
    with_recorder(|telemetry, snapshotter| {
        telemetry.credential(&credential(None, Rotation::NotDue));
        assert!(!seen(snapshotter).keys().any(|name| name.contains("credential")));
        telemetry.credential(&credential(Some(Duration::from_secs(90)), Rotation::Due));
        let seen = seen(snapshotter);
        for (name, expected) in
            [("age_seconds", 90.0), ("generation", 3.0), ("is_previous", 0.0), ("rotation_due", 1.0)]
        {
            let found = gauge(&seen, &format!("jeton_client_credential_{name}"));
            assert!((found - expected).abs() < f64::EPSILON, "{name}: {found}");
        }
    });
}

#[test]
fn the_table_for_operators_has_the_metrics_of_the_code_and_no_others() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let written: Vec<_> = rows(&page, "name").iter().map(|row| row[..5].join("; ")).collect();
    let known: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (unit, labels) = (metric.unit.as_str(), labels.join(", "));
            format!("`{}`; {kind}; {unit}; {labels}; {}", metric.name, metric.meaning)
        })
        .collect();
    assert_eq!(written, known);
    for row in rows(&page, "name") {
        assert!(row.len() == 6 && !row[5].is_empty(), "{row:?} says what to alert on, or that nothing is");
    }
}

#[test]
fn the_values_of_labels_are_written_down() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let known = [
        ("source", ServedFrom::ALL.map(ServedFrom::label).to_vec()),
        ("reason", REASONS.map(metric::reason_label).to_vec()),
        ("outcome", MintOutcome::ALL.map(MintOutcome::label).to_vec()),
        ("end", LeaseOutcome::ALL.map(LeaseOutcome::label).to_vec()),
        ("fault", StoreFaultKind::ALL.map(StoreFaultKind::label).to_vec()),
        ("cause", Unusable::ALL.map(Unusable::label).to_vec()),
        ("operation", StoreOperation::ALL.map(StoreOperation::label).to_vec()),
    ];
    let rows = rows(&page, "label");
    let written: Vec<_> = rows.iter().map(|row| (row[0].trim_matches('`'), names(&row[1]))).collect();
    assert_eq!(written, known);
}

#[test]
fn what_is_emitted_is_in_the_table_with_its_labels_and_all_of_the_table_is_emitted() {
    with_recorder(|telemetry, snapshotter| {
        tell_everything(telemetry);
        telemetry.publish();
        let mut emitted = BTreeSet::new();
        for (key, unit, meaning, value) in snapshotter.snapshot().into_vec() {
            let metric = METRICS.iter().find(|metric| metric.name == key.key().name()).unwrap();
            let labels: Vec<_> = key.key().labels().map(Label::key).collect();
            assert_eq!(labels, [&["server", "client_id"], metric.labels].concat(), "{}", metric.name);
            assert_eq!((unit, meaning.as_deref()), (Some(metric.unit), Some(metric.meaning)));
            let kind = match value {
                DebugValue::Counter(_) => Kind::Counter,
                DebugValue::Gauge(_) => Kind::Gauge,
                DebugValue::Histogram(_) => Kind::Histogram,
            };
            assert_eq!(kind, metric.kind, "{}", metric.name);
            emitted.insert(metric.name);
        }
        assert_eq!(emitted, METRICS.iter().map(|metric| metric.name).collect());
    });
}

#[test]
fn hits_are_told_once_with_one_sample_of_the_life_left() {
    with_recorder(|telemetry, snapshotter| {
        let (key, other) = (telemetry.key(), telemetry.key());
        for _ in 0..1000 {
            key.hit();
        }
        other.hit();
        assert!(seen(snapshotter).is_empty(), "a hit does not call the recorder");
        for key in [&key, &other, &key] {
            key.publish(Some(Duration::from_secs(90)));
        }
        let first = seen(snapshotter);
        assert_eq!(counter(&first, "jeton_client_tokens_served_total source=hand"), 1001);
        assert_eq!(samples(&first, "jeton_client_token_life_left_seconds source=hand"), [90.0, 90.0]);
        key.hit();
        drop(key);
        assert_eq!(counter(&seen(snapshotter), "jeton_client_tokens_served_total source=hand"), 1);
    });
}

#[test]
fn a_recorder_that_is_installed_late_sees_the_hits_and_the_gauges() {
    let telemetry = Telemetry::new("as.example:8443", "billing");
    let key = telemetry.key();
    key.hit();
    let (waiting, minting) = (telemetry.waiting(), telemetry.mint_began(MintReason::Needed));
    telemetry.breaker(Phase::HalfOpen);
    telemetry.clock_skew(2.5);
    key.backing_off(Some(Duration::from_secs(4)));
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        key.publish(None);
        telemetry.publish();
        let late = seen(&snapshotter);
        assert_eq!(counter(&late, "jeton_client_tokens_served_total source=hand"), 1);
        for (name, value) in [
            ("jeton_client_waiters", 1.0),
            ("jeton_client_mints_under_way reason=needed", 1.0),
            ("jeton_client_breaker_state", 1.0),
            ("jeton_client_clock_skew_seconds", 2.5),
            ("jeton_client_keys_backing_off", 1.0),
            ("jeton_client_backoff_seconds", 4.0),
        ] {
            assert!((gauge(&late, name) - value).abs() < f64::EPSILON, "{name}: {late:?}");
        }
        assert_eq!(counter(&late, "jeton_client_rejected_tokens_total"), 0, "there before anything happens");
        drop((waiting, minting));
        let after = seen(&snapshotter);
        // Nothing goes below zero, although the recorder saw no beginning.
        assert!(gauge(&after, "jeton_client_waiters").abs() < f64::EPSILON);
        assert!(gauge(&after, "jeton_client_mints_under_way reason=needed").abs() < f64::EPSILON);
    });
}

#[test]
fn waiters_and_requests_are_counted_down_however_they_end() {
    with_recorder(|telemetry, snapshotter| {
        let waiting: Vec<_> = (0..3).map(|_| telemetry.waiting()).collect();
        let minting = telemetry.mint_began(MintReason::Forced);
        assert!((gauge(&seen(snapshotter), "jeton_client_waiters") - 3.0).abs() < f64::EPSILON);
        drop(waiting);
        // As when the runtime shuts down, or the task panics.
        drop(minting);
        let after = seen(snapshotter);
        assert!(gauge(&after, "jeton_client_waiters").abs() < f64::EPSILON);
        assert!(gauge(&after, "jeton_client_mints_under_way reason=forced").abs() < f64::EPSILON);
        assert_eq!(counter(&after, "jeton_client_mints_total reason=forced outcome=lost"), 1);
        assert!(!after.contains_key("jeton_client_mint_seconds outcome=lost"));
        telemetry.mint_began(MintReason::Early).ended(MintOutcome::Granted, Duration::from_millis(1500));
        let ended = seen(snapshotter);
        assert_eq!(counter(&ended, "jeton_client_mints_total reason=early outcome=granted"), 1);
        assert_eq!(samples(&ended, "jeton_client_mint_seconds outcome=granted"), [1.5]);
    });
}

#[test]
fn a_key_that_ends_takes_its_trouble_along() {
    with_recorder(|telemetry, snapshotter| {
        let (key, other) = (telemetry.key(), telemetry.key());
        key.backup_left(Some(Duration::from_secs(20)));
        other.backup_left(Some(Duration::from_secs(500)));
        let both = seen(snapshotter);
        assert!((gauge(&both, "jeton_client_keys_on_backup") - 2.0).abs() < f64::EPSILON);
        assert!((gauge(&both, "jeton_client_backup_left_seconds") - 20.0).abs() < f64::EPSILON);
        drop(key);
        let one = seen(snapshotter);
        assert!((gauge(&one, "jeton_client_keys_on_backup") - 1.0).abs() < f64::EPSILON);
        assert!((gauge(&one, "jeton_client_backup_left_seconds") - 500.0).abs() < f64::EPSILON);
    });
}

#[test]
fn every_error_has_an_outcome_that_names_who_has_to_act() {
    let server = || "as.example".to_owned();
    let refused = |error, status| TokenErrorKind::Refused {
        server: server(),
        client_id: "billing".to_owned(),
        error,
        description: None,
        status,
    };
    let malformed = |status| TokenErrorKind::Malformed {
        server: server(),
        fault: MalformedAnswer::Empty { status },
        status,
    };
    let unreachable = |fault| TokenErrorKind::Unreachable { server: server(), fault };
    for (kind, outcome) in [
        (refused(ErrorCode::InvalidClient, 400), MintOutcome::CredentialRefused),
        (refused(ErrorCode::InvalidScope, 400), MintOutcome::CredentialRefused),
        (malformed(401), MintOutcome::CredentialRefused),
        (refused(ErrorCode::InvalidRequest, 400), MintOutcome::RequestRefused),
        (refused(ErrorCode::Other("slow_down".into()), 429), MintOutcome::Throttled),
        (malformed(429), MintOutcome::Throttled),
        (refused(ErrorCode::TemporarilyUnavailable, 503), MintOutcome::ServerError),
        (malformed(502), MintOutcome::Malformed),
        (unreachable(ExchangeError::TimedOut), MintOutcome::TimedOut),
        (unreachable(ExchangeError::Connect("refused".into())), MintOutcome::Unreachable),
        (unreachable(ExchangeError::BodyTooLarge { limit: 1 }), MintOutcome::Malformed),
        (TokenErrorKind::Redirected { server: server(), status: 302 }, MintOutcome::Redirected),
        (TokenErrorKind::ExpiredToken { server: server() }, MintOutcome::ExpiredToken),
        (TokenErrorKind::NoRuntime, MintOutcome::NotSent),
        (TokenErrorKind::FlightLost, MintOutcome::Lost),
    ] {
        let error = TokenError::new(kind);
        assert_eq!(MintOutcome::of(&error), outcome, "{error}");
    }
}

#[test]
fn t34_a_label_is_cut() {
    let long = "a".repeat(10_000);
    let telemetry = Telemetry::new("as.example", &long);
    assert_eq!(telemetry.shared.client_id.len(), MAX_LABEL_CHARS);
}
