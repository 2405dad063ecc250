//! A scenario file: read, and held against its rules.

use super::duration::{Span, shown};
use super::expectation::Expectations;
use super::step::{Action, Behaviour, CallForm, Given, Hold, Judged, Renew, SecretFrom, Sharing, StepForm};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

/// More of these in one scenario is a slip of the pen.
const MAX_MANAGERS: u32 = 5_000;
const MAX_CALLERS: u32 = 10_000;
const MAX_SCOPES: u32 = 5_000;
/// The scope that is asked for when none is named.
pub(super) const USUAL_SCOPE: &str = "orders:read";

const FORMAT: &str = "testdata/scenarios/README.md has the format";

/// Why a file is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}; {remedy}")]
pub struct InvalidScenario {
    /// The file.
    pub file: String,
    /// Where in it, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// A scenario that can be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) given: Given,
    pub(super) server: Behaviour,
    pub(super) steps: Vec<Timed>,
    pub(super) expect: Expectations,
}

/// What happens at a time from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    pub(super) at: Duration,
    pub(super) action: Action,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: Spanned<String>,
    given: Spanned<Given>,
    step: Vec<Spanned<StepForm>>,
    expect: Spanned<Expectations>,
}

/// A text with its name, to say where in it something is wrong.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`InvalidScenario`] says where and what is wrong, and what to do.
    pub fn read(path: &Path) -> Result<Self, InvalidScenario> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let text = fs::read_to_string(path).map_err(|error| InvalidScenario {
            file: path.display().to_string(),
            line: 1,
            what: format!("the file cannot be read: {error}"),
            remedy: "name a file of UTF-8 text".to_owned(),
        })?;
        Self::parse(&file, &text)
    }

    /// Reads `text`, which messages call `file`.
    ///
    /// # Errors
    /// As [`Scenario::read`].
    pub fn parse(file: &str, text: &str) -> Result<Self, InvalidScenario> {
        let source = Source { file, text };
        let form: File = toml::from_str(text).map_err(|error| {
            let what = error.message().trim().replace('\n', ", ");
            source.wrong(error.span().unwrap_or_default(), &what, FORMAT)
        })?;
        if form.title.get_ref().trim().is_empty() {
            return Err(source.wrong(form.title.span(), "the title is empty", "say what the scenario shows"));
        }
        let server = source.given(&form.given)?;
        let given = form.given.into_inner();
        let steps = source.steps(form.step, &given)?;
        let calls: BTreeSet<&str> = steps.iter().filter_map(|step| called(&step.action)).collect();
        if let Err((span, what, remedy)) = form.expect.get_ref().check(&calls, form.expect.span()) {
            return Err(source.wrong(span, &what, &remedy));
        }
        let mut expect = form.expect.into_inner();
        expect.number_lines(|span| source.line_of(span));
        let title = form.title.into_inner();
        Ok(Self { file: file.to_owned(), title, given, server, steps, expect })
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.title
    }
}

impl Source<'_> {
    fn line_of(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
    }

    fn wrong(&self, span: Range<usize>, what: &str, remedy: &str) -> InvalidScenario {
        let (line, file) = (self.line_of(&span), self.file.to_owned());
        InvalidScenario { file, line, what: what.to_owned(), remedy: remedy.to_owned() }
    }

    fn given(&self, given: &Spanned<Given>) -> Result<Behaviour, InvalidScenario> {
        let wrong = |what: &str, remedy: &str| self.wrong(given.span(), what, remedy);
        let form = given.get_ref();
        if form.lasts.0.is_zero() {
            return Err(wrong(
                "the scenario lasts no time",
                "give `lasts` the time of its last event, or longer",
            ));
        }
        if !(1..=MAX_MANAGERS).contains(&form.managers) {
            return Err(wrong("so many managers cannot be", &format!("give from 1 to {MAX_MANAGERS}")));
        }
        if form.renew == Renew::OnDemand && !form.prefetch.is_empty() {
            let remedy = "leave out `prefetch`, or `renew`";
            return Err(wrong("what is prefetched is kept fresh, not renewed on demand", remedy));
        }
        form.server.behaviour().map_err(|(what, remedy)| wrong(&what, &remedy))
    }

    fn steps(&self, forms: Vec<Spanned<StepForm>>, given: &Given) -> Result<Vec<Timed>, InvalidScenario> {
        let (mut steps, mut last, mut names) = (Vec::new(), Duration::ZERO, BTreeSet::new());
        for form in forms {
            let span = form.span();
            let wrong = |what: &str, remedy: &str| self.wrong(span.clone(), what, remedy);
            let form = form.into_inner();
            let at = form.at.map_or(last, |Span(at)| at);
            let action = form.action().map_err(|(what, remedy)| wrong(&what, &remedy))?;
            if at < last {
                return Err(wrong("this step is earlier than the one before it", "put the steps in order"));
            }
            if at > given.lasts.0 {
                return Err(wrong("this step comes after the end", "let `lasts` in [given] be longer"));
            }
            check_action(&action, at, given, &names).map_err(|(what, remedy)| wrong(&what, &remedy))?;
            names.extend(called(&action).map(str::to_owned));
            steps.push(Timed { at, action });
            last = at;
        }
        Ok(steps)
    }
}

/// The name of the calls that begin.
fn called(action: &Action) -> Option<&str> {
    match action {
        Action::Call(call) => Some(&call.name),
        Action::Server(_)
        | Action::Latency(_)
        | Action::Cancel(_)
        | Action::Reject(_)
        | Action::Accept(_)
        | Action::Prefetch(_)
        | Action::Clock(_)
        | Action::Suspend(_)
        | Action::ClientSecret(_)
        | Action::SourceSecret(_)
        | Action::ServerSecret(_)
        | Action::Close(_)
        | Action::Store(_)
        | Action::StoreLatency(_)
        | Action::StoreLoses(_)
        | Action::Hold(_)
        | Action::Kill(_) => None,
    }
}

/// What the form of an action alone does not tell; `names` are those of the calls before it.
fn check_action(
    action: &Action,
    at: Duration,
    given: &Given,
    names: &BTreeSet<String>,
) -> Result<(), (String, String)> {
    let wrong = |what: String, remedy: &str| Err((what, remedy.to_owned()));
    let numbers = 1..=given.managers;
    match action {
        Action::Call(call) => check_call(call, at, given, names),
        Action::Cancel(name) if !names.contains(name) => {
            wrong(format!("no call before this step is named \"{name}\""), "name one that is")
        }
        Action::SourceSecret(_) if given.secret_from == SecretFrom::Settings => {
            wrong("there is no source of secrets".to_owned(), "add `secret_from = \"source\"` to [given]")
        }
        Action::Store(_) | Action::StoreLatency(_) | Action::StoreLoses(_)
            if given.store == Sharing::None =>
        {
            wrong("there is no store".to_owned(), "add `store = \"shared\"` to [given]")
        }
        Action::Hold(Hold { manager, .. }) | Action::Kill(manager) if !numbers.contains(manager) => wrong(
            format!("there is no manager {manager}"),
            "the first is 1, and `managers` in [given] is the last",
        ),
        Action::Reject(Judged { manager: Some(manager), .. })
        | Action::Accept(Judged { manager: Some(manager), .. })
            if !numbers.contains(manager) =>
        {
            wrong(
                format!("there is no manager {manager}"),
                "the first is 1, and `managers` in [given] is the last",
            )
        }
        Action::Store(_)
        | Action::StoreLatency(_)
        | Action::StoreLoses(_)
        | Action::Hold(_)
        | Action::Kill(_)
        | Action::Cancel(_)
        | Action::SourceSecret(_)
        | Action::Server(_)
        | Action::Latency(_)
        | Action::Reject(_)
        | Action::Accept(_)
        | Action::Prefetch(_)
        | Action::Clock(_)
        | Action::Suspend(_)
        | Action::ClientSecret(_)
        | Action::ServerSecret(_)
        | Action::Close(_) => Ok(()),
    }
}

fn check_call(
    call: &CallForm,
    at: Duration,
    given: &Given,
    names: &BTreeSet<String>,
) -> Result<(), (String, String)> {
    let wrong = |what: String, remedy: &str| Err((what, remedy.to_owned()));
    if names.contains(&call.name) {
        return wrong(format!("two steps call \"{}\"", call.name), "give each its own name");
    }
    if !(1..=MAX_CALLERS).contains(&call.callers) {
        return wrong("so many callers cannot be".to_owned(), "give from 1 to 10000");
    }
    if call.scopes.is_some_and(|count| !(1..=MAX_SCOPES).contains(&count)) {
        return wrong("so many scopes cannot be".to_owned(), "give from 1 to 5000");
    }
    if call.manager.is_some_and(|manager| !(1..=given.managers).contains(&manager)) {
        return wrong(
            "there is no such manager".to_owned(),
            "the first is 1, and `managers` in [given] is the last",
        );
    }
    if call.scope.is_some() && call.scopes.is_some() {
        return wrong("both scope and scopes are given".to_owned(), "give one of them");
    }
    match (call.every, call.until) {
        (None, None) => Ok(()),
        (Some(Span(every)), Some(Span(until))) => {
            if every.is_zero() || until <= at || until > given.lasts.0 {
                let what = format!("calls from {} until {}", show(at), show(until));
                return wrong(
                    what,
                    "let `every` be longer than 0s, and `until` be after `at` and by the end",
                );
            }
            Ok(())
        }
        _ => wrong("only one of every and until is given".to_owned(), "give both, or neither"),
    }
}

fn show(span: Duration) -> String {
    shown(crate::clock::millis(span))
}
