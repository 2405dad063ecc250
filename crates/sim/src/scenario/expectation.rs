//! What a scenario expects, held against what happened.

use super::duration::{Span, shown};
use super::log::{Call, Log, OUTCOMES, Outcome, Request, RequestEnd};
use crate::clock::millis;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use toml::Spanned;

/// An expectation that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The file.
    pub file: String,
    /// Where the expectation stands in it; `None` for what every scenario expects.
    pub line: Option<usize>,
    /// What happened instead.
    pub what: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// All that is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectations {
    #[serde(default)]
    calls: Vec<Spanned<OfCalls>>,
    #[serde(default)]
    requests: Vec<Spanned<OfRequests>>,
    #[serde(default)]
    close: Vec<Spanned<OfClosing>>,
    #[serde(skip)]
    lines: Lines,
}

/// The lines of the expectations, in the order of the lists above.
#[derive(Clone, Debug, Default)]
struct Lines {
    calls: Vec<usize>,
    requests: Vec<usize>,
    close: Vec<usize>,
}

/// Of the calls `of` that were asked from `from` until before `until`: every one, or so many as the counts say, are such.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCalls {
    of: String,
    #[serde(default)]
    from: Span,
    until: Option<Span>,
    get: Option<String>,
    token: Option<u64>,
    life: Option<Span>,
    says: Option<String>,
    answered_within: Option<Span>,
    takes_at_least: Option<Span>,
    retry_after_at_most: Option<Span>,
    retry_after_at_least: Option<Span>,
    exactly: Option<usize>,
    at_least: Option<usize>,
    at_most: Option<usize>,
}

/// Of the requests that were sent from `from` until before `until`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRequests {
    #[serde(default)]
    from: Span,
    until: Option<Span>,
    scope: Option<String>,
    manager: Option<u32>,
    get: Option<RequestWord>,
    exactly: Option<usize>,
    at_least: Option<usize>,
    at_most: Option<usize>,
    apart_at_least: Option<Span>,
    in_any_second_at_most: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RequestWord {
    Token,
    Answer,
    Failure,
    Abandoned,
}

/// Of every closing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfClosing {
    #[serde(default)]
    given_up: usize,
    takes_at_most: Option<Span>,
}

type Fault = (Range<usize>, String, String);

impl Expectations {
    /// Holds the expectations against the rules of the format; `calls` are the names that there are.
    ///
    /// # Errors
    /// Where, what, and what to do.
    pub(super) fn check(&self, calls: &BTreeSet<&str>, span: Range<usize>) -> Result<(), Fault> {
        let wrong = |span, what: String, remedy: &str| Err((span, what, remedy.to_owned()));
        if self.calls.is_empty() && self.requests.is_empty() && self.close.is_empty() {
            return wrong(
                span,
                "nothing is expected".to_owned(),
                "add an [[expect.calls]] or [[expect.requests]]",
            );
        }
        for each in &self.calls {
            let (span, form) = (each.span(), each.get_ref());
            if !calls.contains(&*form.of) {
                return wrong(span, format!("no step calls \"{}\"", form.of), "name the call of a step");
            }
            let known = |word: &str| word == "error" || OUTCOMES.contains(&word);
            if let Some(word) = form.get.as_deref().filter(|word| !known(word)) {
                let remedy = format!("write \"error\" or one of {}", OUTCOMES.join(", "));
                return wrong(span, format!("no call gets \"{word}\""), &remedy);
            }
            if form.is_empty() {
                let remedy = "say what they get, how soon, or how many they are";
                return wrong(span, "nothing is expected of these calls".to_owned(), remedy);
            }
        }
        for each in &self.requests {
            if each.get_ref().is_empty() {
                let remedy = "give exactly, at_least, at_most, apart_at_least or in_any_second_at_most";
                return wrong(each.span(), "nothing is expected of these requests".to_owned(), remedy);
            }
        }
        Ok(())
    }

    /// Notes where the expectations stand.
    pub(super) fn number_lines(&mut self, line_of: impl Fn(&Range<usize>) -> usize) {
        self.lines = Lines {
            calls: self.calls.iter().map(|each| line_of(&each.span())).collect(),
            requests: self.requests.iter().map(|each| line_of(&each.span())).collect(),
            close: self.close.iter().map(|each| line_of(&each.span())).collect(),
        };
    }

    /// What is not met, and what must never happen and did.
    pub(super) fn judge(&self, file: &str, log: &Log) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        let mut tell = |line: Option<usize>, what: String| {
            unmet.push(Unmet { file: file.to_owned(), line, what });
        };
        for (at_ms, what) in &log.broken {
            tell(None, format!("at {}: {what}", shown(*at_ms)));
        }
        for (each, line) in self.calls.iter().zip(&self.lines.calls) {
            each.get_ref().judge(log).into_iter().for_each(|what| tell(Some(*line), what));
        }
        for (each, line) in self.requests.iter().zip(&self.lines.requests) {
            each.get_ref().judge(log).into_iter().for_each(|what| tell(Some(*line), what));
        }
        for (each, line) in self.close.iter().zip(&self.lines.close) {
            each.get_ref().judge(log).into_iter().for_each(|what| tell(Some(*line), what));
        }
        unmet
    }
}

fn is_in(at_ms: u64, from: Span, until: Option<Span>) -> bool {
    at_ms >= millis(from.0) && until.is_none_or(|until| at_ms < millis(until.0))
}

fn window(from: Span, until: Option<Span>) -> String {
    let until = until.map_or_else(|| "the end".to_owned(), |until| shown(millis(until.0)));
    format!("from {} until {until}", shown(millis(from.0)))
}

/// What is wrong with a count, if anything.
fn miscounted(
    count: usize,
    exactly: Option<usize>,
    least: Option<usize>,
    most: Option<usize>,
) -> Option<String> {
    let wrong = [
        exactly.filter(|exactly| count != *exactly).map(|exactly| format!("exactly {exactly}")),
        least.filter(|least| count < *least).map(|least| format!("at least {least}")),
        most.filter(|most| count > *most).map(|most| format!("at most {most}")),
    ];
    wrong.into_iter().flatten().next()
}

impl OfCalls {
    fn is_empty(&self) -> bool {
        let demands = [self.get.is_some(), self.token.is_some(), self.life.is_some(), self.says.is_some()];
        let times =
            [self.answered_within, self.takes_at_least, self.retry_after_at_most, self.retry_after_at_least];
        let none = demands.iter().all(|given| !given) && times.iter().all(Option::is_none);
        none && !self.counts()
    }

    fn counts(&self) -> bool {
        self.exactly.is_some() || self.at_least.is_some() || self.at_most.is_some()
    }

    fn judge(&self, log: &Log) -> Option<String> {
        let selected: Vec<&Call> = log
            .calls
            .iter()
            .filter(|call| *call.name == *self.of && is_in(call.asked_ms, self.from, self.until))
            .collect();
        let window = window(self.from, self.until);
        let total = selected.len();
        let others: Vec<&&Call> = selected.iter().filter(|call| self.fault_of(call).is_some()).collect();
        let as_expected = total - others.len();
        if self.counts() {
            let wrong = miscounted(as_expected, self.exactly, self.at_least, self.at_most)?;
            let of = format!("of the {total} calls of \"{}\" {window}", self.of);
            return Some(format!("{of}, {as_expected} are as expected, where {wrong} should be"));
        }
        if total == 0 {
            return Some(format!("there are no calls of \"{}\" {window}", self.of));
        }
        let first = others.first()?;
        let (why, at) = (self.fault_of(first)?, shown(first.asked_ms));
        let of =
            format!("{} of the {total} calls of \"{}\" {window} are not as expected", others.len(), self.of);
        Some(format!("{of}; the first, asked at {at}, {why}"))
    }

    /// In what this call is not as expected.
    fn fault_of(&self, call: &Call) -> Option<String> {
        let got = || format!("got {}", call.outcome.shown());
        let (number, life_ms, error) = match &call.outcome {
            Outcome::Token { number, life_ms } => (Some(*number), Some(*life_ms), None),
            Outcome::Error(error) => (None, None, Some(error)),
            Outcome::Waiting | Outcome::Cancelled => (None, None, None),
        };
        let other_word = |word: &str| match word {
            "error" => error.is_none(),
            word => call.outcome.word() != word,
        };
        if let Some(word) = self.get.as_deref().filter(|word| other_word(word)) {
            return Some(format!("{}, and not \"{word}\"", got()));
        }
        if let Some(token) = self.token.filter(|token| number != Some(*token)) {
            return Some(format!("{}, and not token {token}", got()));
        }
        if let Some(life) = self.life.filter(|life| life_ms != Some(millis(life.0))) {
            let had = life_ms.map_or_else(got, |life_ms| format!("got a life of {}", shown(life_ms)));
            return Some(format!("{had}, and not a life of {}", shown(millis(life.0))));
        }
        let silent = |says: &&String| !error.is_some_and(|error| error.to_string().contains(says.as_str()));
        if let Some(says) = self.says.as_ref().filter(silent) {
            return Some(format!("{}, which does not say \"{says}\"", got()));
        }
        let took_ms = call.answered_ms - call.asked_ms;
        let slow = self.answered_within.is_some_and(|within| took_ms > millis(within.0));
        let quick = self.takes_at_least.is_some_and(|least| took_ms < millis(least.0));
        if slow || quick {
            return Some(format!("{} after {}", got(), shown(took_ms)));
        }
        let after_ms = error.and_then(jeton::TokenError::retry_after).map(millis);
        let most = self.retry_after_at_most.map(|most| millis(most.0));
        let least = self.retry_after_at_least.map(|least| millis(least.0));
        let late = most.is_some_and(|most| after_ms.is_none_or(|after| after > most));
        let soon = least.is_some_and(|least| after_ms.is_none_or(|after| after < least));
        let told =
            || after_ms.map_or_else(|| "at no time".to_owned(), |after| format!("after {}", shown(after)));
        (late || soon).then(|| format!("{}, and was told to ask again {}", got(), told()))
    }
}

impl OfRequests {
    fn is_empty(&self) -> bool {
        let counts = [self.exactly, self.at_least, self.at_most, self.in_any_second_at_most];
        counts.iter().all(Option::is_none) && self.apart_at_least.is_none()
    }

    fn judge(&self, log: &Log) -> Vec<String> {
        let mut sent_ms: Vec<u64> = log
            .requests
            .iter()
            .filter(|request| self.selects(request))
            .map(|request| request.sent_ms)
            .collect();
        sent_ms.sort_unstable();
        let window = window(self.from, self.until);
        let mut unmet = Vec::new();
        if let Some(wrong) = miscounted(sent_ms.len(), self.exactly, self.at_least, self.at_most) {
            unmet.push(format!("{} such requests {window}, where {wrong} should be", sent_ms.len()));
        }
        if let Some(apart_ms) = self.apart_at_least.map(|apart| millis(apart.0)) {
            let close = sent_ms
                .windows(2)
                .find(|pair| pair.iter().rev().copied().reduce(|b, a| b - a) < Some(apart_ms));
            if let Some([first, second]) = close {
                let (at, apart) = (shown(*second), shown(second - first));
                unmet.push(format!("the request at {at} comes only {apart} after the one before it"));
            } else if sent_ms.len() < 2 {
                unmet.push(format!("there are no two requests {window} that could be apart"));
            }
        }
        if let Some(most) = self.in_any_second_at_most {
            let (peak, at_ms) = peak(&sent_ms);
            if peak > most {
                let at = shown(at_ms);
                unmet.push(format!(
                    "{peak} requests in the second from {at} on, where at most {most} should be"
                ));
            }
        }
        unmet
    }

    fn selects(&self, request: &Request) -> bool {
        let word = match request.end {
            RequestEnd::Token { .. } => Some(RequestWord::Token),
            RequestEnd::Answered { .. } => Some(RequestWord::Answer),
            RequestEnd::Failed { .. } => Some(RequestWord::Failure),
            RequestEnd::Abandoned => Some(RequestWord::Abandoned),
            RequestEnd::UnderWay => None,
        };
        is_in(request.sent_ms, self.from, self.until)
            && self.scope.as_ref().is_none_or(|scope| *request.scope == **scope)
            && self.manager.is_none_or(|manager| request.manager == manager)
            && self.get.is_none_or(|get| word == Some(get))
    }
}

/// The most in any second, wherever it begins, and when that is; the times are in order.
fn peak(sent_ms: &[u64]) -> (usize, u64) {
    let in_second = |(index, from): (usize, &u64)| {
        let later = sent_ms.get(index..).unwrap_or_default();
        (later.partition_point(|at| *at < from + 1_000), *from)
    };
    sent_ms.iter().enumerate().map(in_second).max_by_key(|(count, _)| *count).unwrap_or_default()
}

impl OfClosing {
    fn judge(&self, log: &Log) -> Vec<String> {
        if log.closings.is_empty() {
            return vec!["no manager was closed".to_owned()];
        }
        let wrong = |closing: &&super::log::Closing| {
            let took_ms = closing.ended_ms - closing.begun_ms;
            closing.given_up != self.given_up
                || self.takes_at_most.is_some_and(|most| took_ms > millis(most.0))
        };
        let told = |closing: &super::log::Closing| {
            let took = shown(closing.ended_ms - closing.begun_ms);
            format!("closing gave up {} requests after {took}", closing.given_up)
        };
        log.closings.iter().filter(wrong).map(told).collect()
    }
}
