//! What all metrics are at one moment. Each form in which they are told is made of this, so that none lacks one.

use super::exposition;
use super::table::Metric;

/// All metrics of one moment, in the order in which they are told.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<Family>);

/// A metric and its samples.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) metric: Metric,
    pub(super) samples: Vec<Sample>,
}

/// One time series of a metric.
#[derive(Debug)]
pub(super) struct Sample {
    /// The values of the metric's labels.
    pub(super) labels: Vec<&'static str>,
    pub(super) value: Value,
}

/// What a time series is at the moment.
#[derive(Debug)]
pub(super) enum Value {
    Number(u64),
    Durations(Durations),
}

/// How long things took, in buckets.
#[derive(Debug)]
pub(super) struct Durations {
    /// The upper bounds of the buckets, in microseconds, rising.
    pub(super) bounds_us: &'static [u64],
    /// How many are in each bucket alone, and at last how many are beyond all bounds.
    pub(super) counts: Vec<u64>,
    pub(super) sum_us: u64,
}

impl Durations {
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Families {
    /// Begins a metric; its samples follow.
    pub(super) fn begin(&mut self, metric: &Metric) {
        self.0.push(Family { metric: *metric, samples: Vec::new() });
    }

    /// A metric with one sample and no labels.
    pub(super) fn single(&mut self, metric: &Metric, value: u64) {
        self.begin(metric);
        self.sample(&[], value);
    }

    /// The same, where there is something to tell.
    pub(super) fn single_of(&mut self, metric: &Metric, value: Option<u64>) {
        if let Some(value) = value {
            self.single(metric, value);
        }
    }

    /// A sample of the metric that was begun last.
    pub(super) fn sample(&mut self, labels: &[&'static str], value: u64) {
        self.put(labels, Value::Number(value));
    }

    /// A histogram of the metric that was begun last.
    pub(super) fn durations(&mut self, labels: &[&'static str], durations: Durations) {
        self.put(labels, Value::Durations(durations));
    }

    fn put(&mut self, labels: &[&'static str], value: Value) {
        if let Some(family) = self.0.last_mut() {
            family.samples.push(Sample { labels: labels.to_vec(), value });
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.iter()
    }

    /// All of it in the text format of Prometheus, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        exposition::text(self)
    }
}
