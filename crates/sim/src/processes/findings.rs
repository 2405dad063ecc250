//! What a trial showed.

use std::fmt;
use std::time::Duration;

/// How many faults are kept word by word.
const MOST_FAULTS: usize = 40;

/// Figures and faults of one trial.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    title: String,
    figures: Vec<(String, String)>,
    faults: Vec<String>,
    count: usize,
}

impl Findings {
    /// Nothing yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Notes a figure.
    pub fn figure(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.figures.push((name.into(), value.to_string()));
    }

    /// Notes that something does not hold.
    pub fn fault(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(what.into());
        }
    }

    /// Notes `what`, unless `holds`.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fault(what());
        }
    }

    /// Takes over the faults of `others`, and nothing else.
    pub fn take_faults(&mut self, others: Self) {
        self.count += others.count;
        let room = MOST_FAULTS.saturating_sub(self.faults.len());
        self.faults.extend(others.faults.into_iter().take(room));
    }

    /// Whether everything held.
    pub fn is_clean(&self) -> bool {
        self.count == 0
    }

    /// What did not hold, as far as it was kept.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (name, value) in &self.figures {
            writeln!(f, "  {name:<44} {value}")?;
        }
        writeln!(f, "  {:<44} {}", "faults", self.count)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  ! {fault}"))
    }
}

/// Many spans, and how they are spread.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    spans: Vec<Duration>,
}

impl Spread {
    /// Takes one more.
    pub fn add(&mut self, span: Duration) {
        self.spans.push(span);
    }

    /// Takes those of another.
    pub fn extend(&mut self, other: &Self) {
        self.spans.extend_from_slice(&other.spans);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.spans.iter().max().copied().unwrap_or_default()
    }

    /// That which so many of a thousand do not exceed.
    pub fn permille(&self, permille: usize) -> Duration {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        let rank = (spans.len() * permille).div_ceil(1000).saturating_sub(1);
        spans.get(rank).copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        write!(
            f,
            "{} spans: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            self.count(),
            ms(self.permille(500)),
            ms(self.permille(900)),
            ms(self.permille(990)),
            ms(self.longest())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_knows_its_ranks() {
        let mut spread = Spread::default();
        assert_eq!(spread.permille(990), Duration::ZERO);
        (1..=200).rev().for_each(|ms| spread.add(Duration::from_millis(ms)));
        assert_eq!(spread.permille(500), Duration::from_millis(100));
        assert_eq!(spread.permille(990), Duration::from_millis(198));
        assert_eq!((spread.longest(), spread.count()), (Duration::from_millis(200), 200));
    }

    #[test]
    fn more_faults_than_are_kept_are_counted() {
        let mut findings = Findings::new("a trial");
        assert!(findings.is_clean());
        (0..100).for_each(|number| findings.fault(format!("fault {number}")));
        assert!(!findings.is_clean());
        assert!(
            findings.to_string().contains("faults                                       100"),
            "{findings}"
        );
    }
}
