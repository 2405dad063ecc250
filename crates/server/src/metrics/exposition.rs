//! The text format of Prometheus, version 0.0.4. Pure.

use super::families::{Durations, Families, Sample, Value};
use super::table::Metric;
use std::fmt::Write as _;

/// The text of all metrics.
pub(super) fn text(families: &Families) -> String {
    let mut text = String::new();
    for family in families.iter() {
        let Metric { name, kind, meaning, .. } = &family.metric;
        let _infallible = write!(text, "# HELP {name} {meaning}\n# TYPE {name} {}\n", kind.as_str());
        for Sample { labels, value } in &family.samples {
            let mut lines = Lines { text: &mut text, metric: &family.metric, labels };
            match value {
                Value::Number(number) => lines.add("", None, &number.to_string()),
                Value::Durations(durations) => lines.add_histogram(durations),
            }
        }
    }
    text
}

/// The lines of one sample.
struct Lines<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    labels: &'a [&'static str],
}

impl Lines<'_> {
    fn add_histogram(&mut self, durations: &Durations) {
        let mut total = 0;
        for (bound_us, count) in durations.bounds_us.iter().zip(&durations.counts) {
            total += count;
            self.add("_bucket", Some(&seconds(*bound_us)), &total.to_string());
        }
        let total = durations.count().to_string();
        self.add("_bucket", Some("+Inf"), &total);
        self.add("_sum", None, &seconds(durations.sum_us));
        self.add("_count", None, &total);
    }

    fn add(&mut self, suffix: &str, bound: Option<&str>, value: &str) {
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let labels = self.metric.labels.iter().copied().zip(self.labels.iter().copied());
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
