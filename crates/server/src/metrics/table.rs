//! The names of the metrics, and what their labels take values from. `docs/operations.md` has the same table for
//! operators; a test holds one against the other.

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The values of the label `outcome` of token requests.
pub(crate) const OUTCOMES: [&str; 11] = [
    "granted",
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "temporarily_unavailable",
    "other",
];

/// The bounds of the buckets of latencies, in microseconds.
pub(super) const LATENCY_BOUNDS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

macro_rules! metrics {
    ($($constant:ident: $name:literal, $kind:ident, [$($label:literal),*], $meaning:literal;)*) => {
        $(
            pub(super) const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], meaning: $meaning };
        )*

        /// All of them, in the order in which they are told.
        #[cfg(test)]
        pub(super) const METRICS: &[Metric] = &[$($constant,)*];
    };
}

// One line a metric: its constant, name, kind, labels, meaning.
metrics! {
    TOKEN_REQUESTS: "jeton_server_token_requests_total", Counter, ["outcome", "method"], "token requests that were answered";
    TOKEN_REQUEST_SECONDS: "jeton_server_token_request_seconds", Histogram, ["outcome"], "time from the head of a token request to its answer";
    TOKEN_REQUESTS_LIMITED: "jeton_server_token_requests_limited_total", Counter, ["limit"], "token requests that a limit on callers refused, with status 429";
    MINTED_PER_CALL: "jeton_server_minted_per_call_total", Counter, [], "token requests of clients that mint per call, whatever was done about it";
    SAME_TOKEN: "jeton_server_same_token_total", Counter, [], "those of them that were answered with the token that the client had already";
    INTROSPECTIONS: "jeton_server_introspections_total", Counter, ["outcome"], "requests about a token that were answered";
    REVOCATIONS: "jeton_server_revocations_total", Counter, ["outcome"], "requests to revoke a token that were answered";
    REVOCATION_PAGES: "jeton_server_revocation_pages_total", Counter, ["outcome"], "requests for the list of revoked tokens that were answered";
    CONNECTIONS_OPEN: "jeton_server_connections_open", Gauge, [], "connections that are open, those in a TLS handshake left out";
    CONNECTIONS: "jeton_server_connections_total", Counter, [], "connections that were opened, failed TLS handshakes left out";
    CONNECTIONS_REFUSED: "jeton_server_connections_refused_total", Counter, [], "connections that were closed unheard: their address had too many";
    TLS_HANDSHAKE_FAILURES: "jeton_server_tls_handshake_failures_total", Counter, [], "TLS handshakes that failed or took too long";
    TLS_CERTIFICATE_REFUSED: "jeton_server_tls_certificate_refused", Gauge, [], "whether the files of certificate and key cannot be used, so that the ones before stay: 1 or 0";
    SPENT_ASSERTIONS: "jeton_server_spent_assertions", Gauge, [], "used client assertions that are remembered, so that each is good once";
    ASSERTIONS_SPENT_ALONE: "jeton_server_assertions_spent_alone_total", Counter, [], "assertions that this instance took without the other ones, because the database did not answer";
    SIGNING_KEYS: "jeton_server_signing_keys", Gauge, ["state"], "signing keys of all algorithms";
    AUDIT_RECORDS: "jeton_server_audit_records_total", Counter, [], "records written to the audit log";
    AUDIT_RECORDS_LOST: "jeton_server_audit_records_lost_total", Counter, [], "records that were lost because the audit log could not be written for too long";
    REGISTRY_READABLE: "jeton_server_registry_readable", Gauge, [], "whether the registry could be read at the last look: 1 or 0";
    REGISTRY_WRITABLE: "jeton_server_registry_writable", Gauge, [], "whether what was last written to the registry, a revocation or last uses, arrived there: 1 or 0";
    CLIENTS: "jeton_server_clients", Gauge, [], "clients that are registered";
    WORKER_PANICS: "jeton_server_worker_panics_total", Counter, ["worker"], "panics of what a server does beside its requests; the worker goes on after a pause";
    OTLP_EXPORTS_FAILED: "jeton_server_otlp_exports_failed_total", Counter, [], "exports of these metrics by OpenTelemetry that failed";
    START_TIME: "jeton_server_start_time_seconds", Gauge, [], "when the server started, in unix seconds";
    BUILD_INFO: "jeton_server_build_info", Gauge, ["version"], "always 1; the version is in the label";
}
