//! What a server counts of itself, for Prometheus and OpenTelemetry. Counting is an addition or two; all text is made when
//! it is asked for.

mod export;
mod exposition;
mod families;
mod listener;
mod otlp;
mod table;

pub(crate) use export::{Destination, Exporter};
pub(crate) use families::Families;
pub(crate) use listener::serve;

use crate::audit::AuditCounts;
use crate::counters::{CounterValues, RequestCounts};
use crate::inquiry_counters::InquiryCounterValues;
use crate::keyring::KeyCounts;
use crate::workers::Worker;
use families::Durations;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use table::LATENCY_BOUNDS_US;
pub(crate) use table::OUTCOMES;

const NO_METHOD: &str = "none";

/// The counts of a server.
#[derive(Debug)]
pub struct Metrics {
    granted_seconds: Histogram,
    refused_seconds: Histogram,
    connections_opened: AtomicU64,
    connections_ended: AtomicU64,
    handshakes_failed: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            granted_seconds: Histogram::default(),
            refused_seconds: Histogram::default(),
            connections_opened: AtomicU64::new(0),
            connections_ended: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
        }
    }
}

/// What is not counted, and is looked at when the metrics are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) counts: CounterValues,
    pub(crate) requests: RequestCounts,
    pub(crate) inquiries: InquiryCounterValues,
    pub(crate) registry_readable: bool,
    pub(crate) registry_writable: bool,
    pub(crate) clients: Option<u64>,
    pub(crate) spent_assertions: u64,
    pub(crate) assertions_spent_alone: Option<u64>,
    pub(crate) signing_keys: KeyCounts,
    pub(crate) audit: Option<AuditCounts>,
    pub(crate) certificate_refused: Option<bool>,
    /// In the order of [`Worker::ALL`].
    pub(crate) worker_panics: [u64; Worker::COUNT],
    pub(crate) otlp_exports_failed: Option<u64>,
    pub(crate) started_at_unix_seconds: u64,
}

impl Metrics {
    /// Takes note of how long a token took that was granted; [`Counters`](crate::Counters) count it.
    pub(crate) fn time_granted(&self, took: Duration) {
        self.granted_seconds.record(took);
    }

    /// The same of a refusal.
    pub(crate) fn time_refused(&self, took: Duration) {
        self.refused_seconds.record(took);
    }

    /// Counts a connection for as long as it is there.
    pub(crate) fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections_opened.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    pub(crate) fn count_failed_handshake(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it as it is now.
    pub(crate) fn families(&self, gauges: &Gauges) -> Families {
        let counts = &gauges.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut families = Families::default();
        families.begin(&table::TOKEN_REQUESTS);
        for (outcome, row) in OUTCOMES.iter().zip(&gauges.requests) {
            for (index, count) in row.iter().enumerate() {
                let method = ClientAuthMethod::ALL.get(index).map_or(NO_METHOD, |method| method.as_str());
                families.sample(&[outcome, method], *count);
            }
        }
        families.begin(&table::TOKEN_REQUEST_SECONDS);
        for (outcome, histogram) in [("granted", &self.granted_seconds), ("refused", &self.refused_seconds)] {
            families.durations(&[outcome], histogram.durations());
        }
        families.begin(&table::TOKEN_REQUESTS_LIMITED);
        for (limit, count) in [
            ("client_requests", counts.limited_client),
            ("failures", counts.limited_failures),
            ("mint_per_call", counts.limited_mint_per_call),
        ] {
            families.sample(&[limit], count);
        }
        families.single(&table::MINTED_PER_CALL, counts.minted_per_call);
        families.single(&table::SAME_TOKEN, counts.same_token);
        tell_inquiries(&mut families, &gauges.inquiries);
        // Ended ones first: a connection in between is counted as open, and never less than none are.
        let ended = read(&self.connections_ended);
        let opened = read(&self.connections_opened);
        families.single(&table::CONNECTIONS_OPEN, opened.saturating_sub(ended));
        families.single(&table::CONNECTIONS, opened);
        families.single(&table::CONNECTIONS_REFUSED, counts.connections_refused);
        families.single(&table::TLS_HANDSHAKE_FAILURES, read(&self.handshakes_failed));
        families.single_of(&table::TLS_CERTIFICATE_REFUSED, gauges.certificate_refused.map(u64::from));
        families.single(&table::SPENT_ASSERTIONS, gauges.spent_assertions);
        families.single_of(&table::ASSERTIONS_SPENT_ALONE, gauges.assertions_spent_alone);
        families.begin(&table::SIGNING_KEYS);
        let KeyCounts { announced, active, retired } = gauges.signing_keys;
        for (state, count) in [("announced", announced), ("active", active), ("retired", retired)] {
            families.sample(&[state], count);
        }
        families.single_of(&table::AUDIT_RECORDS, gauges.audit.map(|counts| counts.written));
        families.single_of(&table::AUDIT_RECORDS_LOST, gauges.audit.map(|counts| counts.lost));
        families.single(&table::REGISTRY_READABLE, u64::from(gauges.registry_readable));
        families.single(&table::REGISTRY_WRITABLE, u64::from(gauges.registry_writable));
        families.single_of(&table::CLIENTS, gauges.clients);
        families.begin(&table::WORKER_PANICS);
        for (worker, panics) in Worker::ALL.iter().zip(gauges.worker_panics) {
            families.sample(&[worker.name()], panics);
        }
        families.single_of(&table::OTLP_EXPORTS_FAILED, gauges.otlp_exports_failed);
        families.single(&table::START_TIME, gauges.started_at_unix_seconds);
        families.begin(&table::BUILD_INFO);
        families.sample(&[env!("CARGO_PKG_VERSION")], 1);
        families
    }
}

fn tell_inquiries(families: &mut Families, counts: &InquiryCounterValues) {
    for (metric, samples) in [
        (
            &table::INTROSPECTIONS,
            &[
                ("active", counts.introspected_active),
                ("inactive", counts.introspected_inactive),
                ("refused", counts.introspection_refused),
            ][..],
        ),
        (
            &table::REVOCATIONS,
            &[
                ("revoked", counts.revoked),
                ("nothing", counts.revoked_nothing),
                ("refused", counts.revocation_refused),
                ("unavailable", counts.revocation_unavailable),
                ("share_used", counts.revocation_share_used),
            ],
        ),
        (&table::REVOCATION_PAGES, &[("sent", counts.feed_sent), ("unchanged", counts.feed_unchanged)]),
    ] {
        families.begin(metric);
        for (outcome, count) in samples {
            families.sample(&[*outcome], *count);
        }
    }
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long things took, in fixed buckets.
#[derive(Debug)]
struct Histogram {
    /// How many were within each bound and not within the one before; the last has those beyond all bounds.
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let index = LATENCY_BOUNDS_US.iter().position(|bound| took_us <= *bound);
        if let Some(bucket) = self.buckets.get(index.unwrap_or(LATENCY_BOUNDS_US.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    fn durations(&self) -> Durations {
        Durations {
            bounds_us: &LATENCY_BOUNDS_US,
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
