//! Counters, gauges and histograms through the `metrics` facade.
//!
//! The application chooses the recorder and may install it at any time, so nothing of the recorder's is kept here: every
//! handle is resolved where it is used, which is never the hit path. Labels are the server, the client and closed sets;
//! no scope, no token, no words of the server's.

mod hits;
mod levels;
mod metric;
#[cfg(test)]
mod tests;

pub(crate) use metric::{LeaseOutcome, MintOutcome, ServedFrom, StoreOperation, Unusable};

use crate::credentials::{CredentialStatus, Rotation};
use crate::store::StoreFaultKind;
use hits::{HitCounter, HitCounters};
use jeton_proto::breaker::Phase;
use jeton_proto::lifecycle::MintReason;
use levels::Levels;
use metric::{Kind, Metric};
use metrics::{Label, SharedString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most characters of a client id that become a label's value.
const MAX_LABEL_CHARS: usize = 255;

/// What one manager tells of itself. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SharedString,
    client_id: SharedString,
    hits: HitCounters,
    next_key: AtomicU64,
    /// Held while a gauge is set, so that the last one to change a level is the last one to set it.
    levels: Mutex<Levels>,
}

impl Telemetry {
    /// `server` is host and port of the token endpoint.
    pub(crate) fn new(server: &str, client_id: &str) -> Self {
        let shared = Shared {
            server: label_value(server),
            client_id: label_value(client_id),
            hits: HitCounters::default(),
            next_key: AtomicU64::new(0),
            levels: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What one key tells of itself.
    pub(crate) fn key(&self) -> KeyTelemetry {
        let id = self.shared.next_key.fetch_add(1, Ordering::Relaxed);
        KeyTelemetry { hits: self.shared.hits.counter(), id, shared: Arc::clone(&self.shared) }
    }

    /// Describes every metric to the recorder of the moment, and shows it the gauges and the counters that have counted
    /// nothing. The hits of the keys are published by [`KeyTelemetry::publish`].
    pub(crate) fn publish(&self) {
        for metric in metric::METRICS {
            describe(metric);
        }
        let shared = &*self.shared;
        shared.count(&metric::TOKENS_SERVED, &[ServedFrom::Hand.label()], 0);
        for metric in [&metric::REJECTED_TOKENS, &metric::QUOTA_REFUSALS, &metric::CLOCK_STEPS] {
            shared.count(metric, &[], 0);
        }
        let mut levels = shared.levels();
        for reason in metric::REASONS {
            let under_way = *levels.under_way(reason);
            shared.show_under_way(reason, under_way);
        }
        shared.set(&metric::WAITERS, &[], float(levels.waiters));
        shared.set(&metric::BREAKER_STATE, &[], metric::breaker_value(levels.breaker));
        if let Some(seconds) = levels.skew_seconds {
            shared.set(&metric::CLOCK_SKEW, &[], seconds);
        }
        shared.show_trouble(&levels);
        if let Some(up) = levels.store_up {
            shared.set(&metric::STORE_UP, &[], if up { 1.0 } else { 0.0 });
            for kind in StoreFaultKind::ALL {
                shared.count(&metric::STORE_FAULTS, &[kind.label()], 0);
            }
            for why in Unusable::ALL {
                shared.count(&metric::STORE_UNUSABLE, &[why.label()], 0);
            }
            for outcome in LeaseOutcome::ALL {
                shared.count(&metric::LEASES, &[outcome.label()], 0);
            }
            for reason in metric::REASONS {
                shared.count(&metric::ADOPTED, &[metric::reason_label(reason)], 0);
            }
        }
    }

    /// A token was given out off the hit path.
    pub(crate) fn served(&self, from: ServedFrom, life_left: Duration) {
        self.shared.served(from, 1, Some(life_left));
    }

    /// A token request begins. Dropped without an end, it counts as lost.
    pub(crate) fn mint_began(&self, reason: MintReason) -> Minting {
        let shared = Arc::clone(&self.shared);
        shared.change_under_way(reason, |count| count.saturating_add(1));
        Minting { shared, reason, outcome: MintOutcome::Lost, took: None }
    }

    /// What is known of the credential in force. Its age is not told before it was read.
    pub(crate) fn credential(&self, status: &CredentialStatus) {
        let shared = &*self.shared;
        let truth = |is_true| if is_true { 1.0 } else { 0.0 };
        let Some(age) = status.age else { return };
        // Held, so that of two that tell at the same time the numbers of one are shown.
        let _levels = shared.levels();
        shared.set(&metric::CREDENTIAL_AGE, &[], age.as_secs_f64());
        shared.set(&metric::CREDENTIAL_GENERATION, &[], float(status.generation));
        shared.set(&metric::CREDENTIAL_IS_PREVIOUS, &[], truth(status.is_previous));
        shared.set(&metric::ROTATION_DUE, &[], truth(status.rotation == Rotation::Due));
    }

    /// A caller waits, until what this gives is dropped.
    pub(crate) fn waiting(&self) -> Waiting {
        self.shared.change_waiters(|count| count.saturating_add(1));
        Waiting { shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn breaker(&self, phase: Phase) {
        let mut levels = self.shared.levels();
        levels.breaker = phase;
        self.shared.set(&metric::BREAKER_STATE, &[], metric::breaker_value(phase));
    }

    /// An API refused a token.
    pub(crate) fn rejected(&self) {
        self.shared.count(&metric::REJECTED_TOKENS, &[], 1);
    }

    /// The request quota kept a token request back.
    pub(crate) fn quota_refused(&self) {
        self.shared.count(&metric::QUOTA_REFUSALS, &[], 1);
    }

    /// The wall clock stepped.
    pub(crate) fn clock_stepped(&self) {
        self.shared.count(&metric::CLOCK_STEPS, &[], 1);
    }

    /// The shared store works, or this process goes on without it.
    pub(crate) fn store_up(&self, up: bool) {
        let mut levels = self.shared.levels();
        levels.store_up = Some(up);
        self.shared.set(&metric::STORE_UP, &[], if up { 1.0 } else { 0.0 });
    }

    /// The shared store did not do what it was asked for.
    pub(crate) fn store_fault(&self, kind: StoreFaultKind) {
        self.shared.count(&metric::STORE_FAULTS, &[kind.label()], 1);
    }

    /// The shared store was asked, and took so long.
    pub(crate) fn store_asked(&self, operation: StoreOperation, took: Duration) {
        self.shared.record(&metric::STORE_TIME, &[operation.label()], took);
    }

    /// What the shared store holds cannot be used.
    pub(crate) fn store_unusable(&self, why: Unusable) {
        self.shared.count(&metric::STORE_UNUSABLE, &[why.label()], 1);
    }

    /// A lease ended.
    pub(crate) fn lease(&self, outcome: LeaseOutcome) {
        self.shared.count(&metric::LEASES, &[outcome.label()], 1);
    }

    /// A token of another process was taken.
    pub(crate) fn adopted(&self, reason: MintReason) {
        self.shared.count(&metric::ADOPTED, &[metric::reason_label(reason)], 1);
    }

    /// The server's clock is ahead of ours by `seconds`, or behind where that is negative.
    pub(crate) fn clock_skew(&self, seconds: f64) {
        let mut levels = self.shared.levels();
        levels.skew_seconds = Some(seconds);
        self.shared.set(&metric::CLOCK_SKEW, &[], seconds);
    }
}

/// What one key tells of itself. Dropped, it publishes its last hits and takes its trouble out of the gauges.
#[derive(Debug)]
pub(crate) struct KeyTelemetry {
    hits: HitCounter,
    /// Tells keys apart within the manager, and never leaves it.
    id: u64,
    shared: Arc<Shared>,
}

impl KeyTelemetry {
    /// Counts a token in hand that was given out. Costs a load and a store of the thread's own: it is for the hit path.
    #[allow(clippy::inline_always, reason = "it is a part of the hit path")]
    #[inline(always)]
    pub(crate) fn hit(&self) {
        self.hits.hit();
    }

    /// Publishes the hits since the last time. `life_left` is that of the token in hand, now: call this before a new
    /// token takes its place.
    pub(crate) fn publish(&self, life_left: Option<Duration>) {
        let hits = self.hits.unpublished();
        if hits > 0 {
            self.shared.served(ServedFrom::Hand, hits, life_left);
        }
    }

    /// The server is left alone for `pause`; `None` when it may be asked again.
    pub(crate) fn backing_off(&self, pause: Option<Duration>) {
        let mut levels = self.shared.levels();
        levels.change(self.id, |trouble| trouble.pause = pause);
        self.shared.show_trouble(&levels);
    }

    /// The key lives on a token whose renewal failed, with so much left; `None` when it does not, or no longer.
    pub(crate) fn backup_left(&self, left: Option<Duration>) {
        let mut levels = self.shared.levels();
        levels.change(self.id, |trouble| trouble.backup_left = left);
        self.shared.show_trouble(&levels);
    }
}

impl Drop for KeyTelemetry {
    fn drop(&mut self) {
        self.publish(None);
        let mut levels = self.shared.levels();
        if levels.forget(self.id) {
            self.shared.show_trouble(&levels);
        }
    }
}

/// A token request that is under way.
#[derive(Debug)]
pub(crate) struct Minting {
    shared: Arc<Shared>,
    reason: MintReason,
    outcome: MintOutcome,
    took: Option<Duration>,
}

impl Minting {
    /// The request ended so, after `took`.
    pub(crate) fn ended(mut self, outcome: MintOutcome, took: Duration) {
        self.outcome = outcome;
        self.took = Some(took);
    }
}

impl Drop for Minting {
    fn drop(&mut self) {
        let (reason, outcome) = (metric::reason_label(self.reason), self.outcome.label());
        self.shared.count(&metric::MINTS, &[reason, outcome], 1);
        if let Some(took) = self.took {
            self.shared.record(&metric::MINT_TIME, &[outcome], took);
        }
        self.shared.change_under_way(self.reason, |count| count.saturating_sub(1));
    }
}

/// A caller that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.change_waiters(|count| count.saturating_sub(1));
    }
}

impl Shared {
    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_waiters(&self, change: impl FnOnce(u64) -> u64) {
        let mut levels = self.levels();
        levels.waiters = change(levels.waiters);
        self.set(&metric::WAITERS, &[], float(levels.waiters));
    }

    fn change_under_way(&self, reason: MintReason, change: impl FnOnce(u64) -> u64) {
        let mut levels = self.levels();
        let under_way = levels.under_way(reason);
        *under_way = change(*under_way);
        self.show_under_way(reason, *under_way);
    }

    fn show_under_way(&self, reason: MintReason, count: u64) {
        self.set(&metric::MINTS_UNDER_WAY, &[metric::reason_label(reason)], float(count));
    }

    fn show_trouble(&self, levels: &Levels) {
        let (backing_off, on_backup) = (levels.backing_off(), levels.on_backup());
        self.set(&metric::KEYS_BACKING_OFF, &[], float(backing_off.keys));
        self.set(&metric::BACKOFF, &[], backing_off.seconds);
        self.set(&metric::KEYS_ON_BACKUP, &[], float(on_backup.keys));
        self.set(&metric::BACKUP_LEFT, &[], on_backup.seconds);
    }

    /// One sample of the life that was left stands for all `count`: recorders keep every sample, one by one, and a hit
    /// path makes a hundred million in a second.
    fn served(&self, from: ServedFrom, count: u64, life_left: Option<Duration>) {
        let source = [from.label()];
        self.count(&metric::TOKENS_SERVED, &source, count);
        if let Some(left) = life_left {
            self.record(&metric::TOKEN_LIFE_LEFT, &source, left);
        }
    }

    fn count(&self, metric: &Metric, values: &[&'static str], count: u64) {
        metrics::counter!(metric.name, self.labels(metric, values)).increment(count);
    }

    fn set(&self, metric: &Metric, values: &[&'static str], value: f64) {
        metrics::gauge!(metric.name, self.labels(metric, values)).set(value);
    }

    fn record(&self, metric: &Metric, values: &[&'static str], value: Duration) {
        metrics::histogram!(metric.name, self.labels(metric, values)).record(value.as_secs_f64());
    }

    fn labels(&self, metric: &Metric, values: &[&'static str]) -> Vec<Label> {
        let own = [(metric::SERVER, &self.server), (metric::CLIENT_ID, &self.client_id)];
        let own = own.into_iter().map(|(name, value)| Label::new(name, value.clone()));
        let closed = metric.labels.iter().zip(values);
        own.chain(closed.map(|(&name, &value)| Label::from_static_parts(name, value))).collect()
    }
}

fn describe(metric: &Metric) {
    let (name, unit, meaning) = (metric.name, metric.unit, metric.meaning);
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, unit, meaning),
        Kind::Gauge => metrics::describe_gauge!(name, unit, meaning),
        Kind::Histogram => metrics::describe_histogram!(name, unit, meaning),
    }
}

fn label_value(text: &str) -> SharedString {
    let cut: String = text.chars().take(MAX_LABEL_CHARS).collect();
    SharedString::from_shared(cut.into())
}

#[allow(clippy::cast_precision_loss, reason = "no manager has 2^52 callers")]
fn float(count: u64) -> f64 {
    count as f64
}
