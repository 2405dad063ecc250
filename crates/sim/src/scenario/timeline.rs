//! What happened, for a reader: steps, requests and calls in the order of their times, with what repeats told once.

use super::duration::shown;
use super::log::{Call, Log, Request, RequestEnd};
use super::step::{Action, CallForm};
use std::fmt::Write as _;
use std::time::Duration;

/// A line to be, and what it counts as when the next one is like it.
struct Entry {
    at_ms: u64,
    kind: String,
    text: String,
}

/// What happened, line by line.
pub(super) fn lines(log: &Log) -> Vec<String> {
    let note =
        |(at_ms, text): &(u64, String)| Entry { at_ms: *at_ms, kind: String::new(), text: text.clone() };
    let broken = |(at_ms, what): &(u64, String)| Entry {
        at_ms: *at_ms,
        kind: what.clone(),
        text: format!("BROKEN: {what}"),
    };
    let mut entries: Vec<Entry> = log.notes.iter().map(note).collect();
    entries.extend(log.requests.iter().map(of_request));
    entries.extend(log.calls.iter().map(of_call));
    entries.extend(log.closings.iter().map(|closing| Entry {
        at_ms: closing.ended_ms,
        kind: format!("closed {}", closing.given_up),
        text: format!("closed; {} requests given up", closing.given_up),
    }));
    entries.extend(log.broken.iter().map(broken));
    entries.sort_by_key(|entry| entry.at_ms);
    let mut lines = Vec::new();
    for run in entries.chunk_by(|first, second| !first.kind.is_empty() && first.kind == second.kind) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let mut line = format!("{:>14}  {}", shown(first.at_ms), first.text);
        if run.len() > 1 {
            let _written = write!(line, ", and {} more like it until {}", run.len() - 1, shown(last.at_ms));
        }
        lines.push(line);
    }
    lines
}

fn of_request(request: &Request) -> Entry {
    let end = match request.end {
        RequestEnd::UnderWay => "under way".to_owned(),
        RequestEnd::Token { number } => format!("token {number}"),
        RequestEnd::Answered { status } => format!("status {status}"),
        RequestEnd::Failed { how } => how.to_owned(),
        RequestEnd::Abandoned => "given up by the client".to_owned(),
    };
    let took = shown(request.ended_ms - request.sent_ms);
    let text =
        format!("  request of manager {} for \"{}\": {end} after {took}", request.manager, request.scope);
    let word = match request.end {
        RequestEnd::Token { .. } => "token".to_owned(),
        RequestEnd::UnderWay
        | RequestEnd::Answered { .. }
        | RequestEnd::Failed { .. }
        | RequestEnd::Abandoned => end,
    };
    Entry { at_ms: request.sent_ms, kind: format!("request {word}"), text }
}

fn of_call(call: &Call) -> Entry {
    let took_ms = call.answered_ms - call.asked_ms;
    let took = if took_ms == 0 { "at once".to_owned() } else { format!("after {}", shown(took_ms)) };
    let kind = format!("call {} {} {}", call.name, call.outcome.shown(), took_ms == 0);
    let text = format!("    {}: {} {took}", call.name, call.outcome.shown());
    Entry { at_ms: call.asked_ms, kind, text }
}

/// What a step does, in words.
pub(super) fn note(action: &Action) -> String {
    let span = |span: &Duration| shown(crate::clock::millis(*span));
    match action {
        Action::Server(behaviour) => format!("the server changes: {:?}", behaviour.does),
        Action::Latency(latency) => format!("the server answers after {}", span(latency)),
        Action::Call(call) => called(call),
        Action::Cancel(name) => format!("the calls of \"{name}\" are cancelled"),
        Action::Reject(judged) => format!("an API rejects token {}", judged.token),
        Action::Accept(judged) => format!("an API accepts token {}", judged.token),
        Action::Prefetch(scope) => format!("\"{scope}\" is fetched ahead"),
        Action::Clock(step) => format!("the wall clock is set by {:+} ms", step.0),
        Action::Suspend(slept) => format!("the machine sleeps for {}", span(slept)),
        Action::ClientSecret(_) => "the client is given another secret".to_owned(),
        Action::SourceSecret(_) => "the source holds another secret".to_owned(),
        Action::ServerSecret(_) => "the server takes another secret".to_owned(),
        Action::Close(within) => format!("the manager is closed within {}", span(within)),
        Action::Store(is) => format!("the store is {is:?}"),
        Action::StoreLatency(latency) => format!("the store answers after {}", span(latency)),
        Action::StoreLoses(loss) => format!("the store loses {loss:?}"),
        Action::Hold(hold) => format!("manager {} is held for {}", hold.manager, span(&hold.span.0)),
        Action::Kill(manager) => format!("manager {manager} is killed"),
    }
}

fn called(call: &CallForm) -> String {
    let scopes = match (&call.scope, call.scopes) {
        (_, Some(count)) => format!(" for {count} scopes"),
        (Some(scope), None) => format!(" for \"{scope}\""),
        (None, None) => String::new(),
    };
    let every = match (call.every, call.until) {
        (Some(every), Some(until)) => format!(" every {} until {}", span_of(every.0), span_of(until.0)),
        (_, None) | (None, _) => String::new(),
    };
    format!("{} callers of \"{}\" begin{scopes}{every}", call.callers, call.name)
}

fn span_of(span: Duration) -> String {
    shown(crate::clock::millis(span))
}
