//! The text format of Prometheus, version 0.0.4. Pure.

use super::table::Metric;
use std::fmt::Write as _;

/// A text that grows by whole metrics.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    metric: Option<Metric>,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub(super) fn begin(&mut self, metric: &Metric) {
        let Metric { name, kind, meaning, .. } = metric;
        let _infallible = write!(self.text, "# HELP {name} {meaning}\n# TYPE {name} {}\n", kind.as_str());
        self.metric = Some(*metric);
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

    /// A sample, with the values of the metric's labels.
    pub(super) fn sample(&mut self, values: &[&str], value: u64) {
        self.line("", values, None, &value.to_string());
    }

    /// The lines of a histogram. `counts` are those of each bucket alone, and at last of what is beyond all bounds.
    pub(super) fn histogram(&mut self, values: &[&str], bounds_us: &[u64], counts: &[u64], sum_us: u64) {
        let mut total = 0;
        for (bound_us, count) in bounds_us.iter().zip(counts) {
            total += count;
            self.line("_bucket", values, Some(&seconds(*bound_us)), &total.to_string());
        }
        let total: u64 = counts.iter().sum();
        self.line("_bucket", values, Some("+Inf"), &total.to_string());
        self.line("_sum", values, None, &seconds(sum_us));
        self.line("_count", values, None, &total.to_string());
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: &str) {
        let Some(metric) = &self.metric else { return };
        self.text.push_str(metric.name);
        self.text.push_str(suffix);
        let labels = metric.labels.iter().copied().zip(values.iter().copied());
        let mut mark = '{';
        for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            // The values are our own names and numbers, in which nothing needs an escape.
            let _infallible = write!(self.text, "{mark}{label}=\"{value}\"");
            mark = ',';
        }
        if mark == ',' {
            self.text.push('}');
        }
        let _infallible = writeln!(self.text, " {value}");
    }
}

/// Microseconds as a decimal number of seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
