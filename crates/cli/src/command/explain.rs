//! `jeton explain`: what became of one token request, and why, from the audit log of the server.

use super::audit::files;
use crate::args::ExplainArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Layers;
use jeton_proto::issuance::Rule;
use jeton_server::audit::find_request;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// A record is written at most a moment after the answer.
const LOOKS: usize = 4;
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// Explains the request.
pub(crate) fn run(args: &ExplainArgs, layers: &Layers) -> Result<(), Failure> {
    let record = find(args, layers)?;
    let rule = member(&record, "rule").and_then(Rule::parse);
    match args.output.output {
        Format::Text => output::result(text(&record, rule)),
        Format::Json => output::json(&document(record, rule)),
    }
}

fn find(args: &ExplainArgs, layers: &Layers) -> Result<Value, Failure> {
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(LOOK_PAUSE);
        }
        let files = files(&args.files, &args.place, layers)?;
        let found = find_request(&files, &args.request_id);
        let found = found.map_err(|error| {
            Failure::new(ExitCode::Other, format!("the audit log cannot be read: {error}"))
        })?;
        if let Some(record) = found {
            return Ok(record);
        }
    }
    let message = "the audit log has no token request with this id";
    Err(Failure::new(ExitCode::Other, message).hint(
        "the id is in the header X-Request-Id of the answer of a token request; older records may be in files that were moved \
         away, which --file names",
    ))
}

fn text(record: &Value, rule: Option<Rule>) -> String {
    let mut lines = vec![("answer", answer(record))];
    if let Some(rule) = rule {
        lines.push(("rule", rule.id().to_owned()));
        lines.push(("clause", rule.rfc().to_owned()));
        lines.push(("what", rule.explanation().to_owned()));
        lines.push(("to do", rule.advice().to_owned()));
    }
    for (label, name) in [
        ("reason", "reason"),
        ("client", "client_id"),
        ("method", "method"),
        ("scope", "scope"),
        ("audience", "audience"),
        ("token id", "jti"),
        ("peer", "peer"),
        ("time", "time"),
    ] {
        if let Some(value) = member(record, name) {
            lines.push((label, value.to_owned()));
        }
    }
    if let Some(micros) = record.get("duration_us").and_then(Value::as_u64) {
        lines.push(("took", format!("{micros} us")));
    }
    output::labelled(&lines)
}

fn answer(record: &Value) -> String {
    let expires_in = record.get("expires_in").and_then(Value::as_u64);
    match expires_in {
        Some(seconds) => format!("a token for {seconds} s"),
        None => format!("the error {}", member(record, "error").unwrap_or_default()),
    }
}

fn document(mut record: Value, rule: Option<Rule>) -> Value {
    if let (Some(members), Some(rule)) = (record.as_object_mut(), rule) {
        members.insert("clause".to_owned(), json!(rule.rfc()));
        members.insert("explanation".to_owned(), json!(rule.explanation()));
        members.insert("advice".to_owned(), json!(rule.advice()));
    }
    record
}

fn member<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record.get(name).and_then(Value::as_str)
}
