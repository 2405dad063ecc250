//! The answer of the API, as it is shown.

use crate::args::CallArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format, harmless};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jeton_proto::wire::challenge::parse_challenges;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

/// Tells the status on stderr and the body on stdout.
pub(super) fn show(answer: &Response<Bytes>, args: &CallArgs) -> Result<(), Failure> {
    let status = answer.status();
    output::note(&format!("HTTP {}", told(status)));
    note_redirect(answer);
    if args.fail && (status.is_client_error() || status.is_server_error()) {
        let failure = Failure::new(ExitCode::Other, format!("the api answered {}", told(status)));
        return Err(match challenge(answer.headers()) {
            Some(challenge) => failure.hint(challenge),
            None => failure,
        });
    }
    if let Some(challenge) = challenge(answer.headers()) {
        output::note(&format!("hint: {challenge}"));
    }
    match args.output.output {
        Format::Json => output::json(&document(answer)),
        Format::Text => output::result(text(answer, args)),
    }
}

fn told(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
}

fn note_redirect(answer: &Response<Bytes>) {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection());
    if let Some(location) = location {
        output::note(&format!(
            "hint: the api points to {}, which is not followed: the token would go along; call it if it is meant",
            harmless(&String::from_utf8_lossy(location.as_bytes()))
        ));
    }
}

/// What the API wants, in the words of RFC 6750 §3.
fn challenge(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
    let challenges = parse_challenges(fields);
    let bearer = challenges.iter().find(|challenge| challenge.is_scheme("bearer"))?;
    let mut text = format!("the api says {}", bearer.parameter("error").unwrap_or("that it wants a token"));
    if let Some(description) = bearer.parameter("error_description") {
        let _infallible = write!(text, " ({description})");
    }
    if let Some(scope) = bearer.parameter("scope") {
        let _infallible = write!(text, "; ask for --scope \"{scope}\"");
    }
    Some(harmless(&text))
}

fn text(answer: &Response<Bytes>, args: &CallArgs) -> Vec<u8> {
    let mut text = Vec::new();
    if args.include {
        text.extend_from_slice(format!("HTTP {}\n", told(answer.status())).as_bytes());
        for (name, value) in answer.headers() {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        text.push(b'\n');
    }
    text.extend_from_slice(answer.body());
    if io::stdout().is_terminal() && text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text
}

/// The body as a JSON value if it is JSON, as text if it is text, and as `body_base64` otherwise.
fn document(answer: &Response<Bytes>) -> Value {
    let mut headers = Map::new();
    for name in answer.headers().keys() {
        let values = answer.headers().get_all(name).iter();
        let values =
            values.map(|value| Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()));
        headers.insert(name.as_str().to_owned(), Value::Array(values.collect()));
    }
    let (name, body) = body(answer);
    let mut document = json!({ "status": answer.status().as_u16(), "headers": headers });
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), body);
    }
    document
}

fn body(answer: &Response<Bytes>) -> (&'static str, Value) {
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let says_json = media_type.eq_ignore_ascii_case("application/json") || media_type.ends_with("+json");
    if says_json && let Ok(value) = serde_json::from_slice(answer.body()) {
        return ("body", value);
    }
    match std::str::from_utf8(answer.body()) {
        Ok(text) => ("body", Value::String(text.to_owned())),
        Err(_) => ("body_base64", Value::String(STANDARD.encode(answer.body()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content_type: &str, body: &'static [u8]) -> Response<Bytes> {
        let answer = Response::builder().header(CONTENT_TYPE, content_type);
        answer.body(Bytes::from_static(body)).unwrap()
    }

    #[test]
    fn a_document_has_the_body_as_what_it_is() {
        let body = |content_type, body| document(&answer(content_type, body));
        assert_eq!(body("application/json; charset=utf-8", b"{\"a\":1}")["body"]["a"], 1);
        assert_eq!(body("application/problem+json", b"[1]")["body"][0], 1);
        assert_eq!(body("application/json", b"{broken")["body"], "{broken");
        assert_eq!(body("text/plain", b"{\"a\":1}")["body"], "{\"a\":1}");
        assert_eq!(body("text/plain", b"\xff\xfe")["body_base64"], "//4=");
        assert_eq!(body("text/plain", b"")["headers"]["content-type"][0], "text/plain");
    }

    #[test]
    fn a_challenge_is_told_with_what_to_do() {
        let told = |field: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(field));
            challenge(&headers)
        };
        assert_eq!(
            told("Bearer error=\"insufficient_scope\", scope=\"orders:write\"").unwrap(),
            "the api says insufficient_scope; ask for --scope \"orders:write\""
        );
        assert_eq!(told("Bearer realm=\"x\"").unwrap(), "the api says that it wants a token");
        assert_eq!(told("Basic realm=\"x\""), None);
    }
}
