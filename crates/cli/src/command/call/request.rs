//! The request that the command line describes.

use crate::args::CallArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::ClientSettings;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use jeton::http::EndpointUrl;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};

/// The longest body that is sent, in bytes.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// The request, without the token.
pub(super) fn build(
    args: &CallArgs,
    url: &EndpointUrl,
    settings: &ClientSettings,
) -> Result<Request<Bytes>, Failure> {
    let usage = |what: &str| Failure::new(ExitCode::Usage, what);
    // Methods are case-sensitive, and all that are in use are upper case.
    let method = Method::from_bytes(args.method.to_ascii_uppercase().as_bytes());
    let mut request = Request::builder()
        .method(method.map_err(|_| usage("the method is not one of http, such as GET or POST"))?)
        .uri(url.as_str())
        .body(Bytes::new())
        .map_err(|_| usage("the url cannot be asked: it is too long, or has no host"))?;
    *request.headers_mut() = headers(&args.headers)?;
    if let Some(data) = &args.data {
        let body = body(data, settings)?;
        if !request.headers().contains_key(CONTENT_TYPE) {
            request.headers_mut().insert(CONTENT_TYPE, content_type(&body));
        }
        *request.body_mut() = body;
    }
    Ok(request)
}

fn headers(fields: &[String]) -> Result<HeaderMap, Failure> {
    let usage = |what: &str| Failure::new(ExitCode::Usage, format!("--header: {what}"));
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = field.split_once(':').ok_or_else(|| usage("a field is written NAME: VALUE"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| usage("the name of a field has a character that is not allowed"))?;
        if name == AUTHORIZATION {
            return Err(usage("the Authorization field carries the token, and is set by this command"));
        }
        let value = HeaderValue::from_bytes(value.trim().as_bytes())
            .map_err(|_| usage("the value of a field has a character that is not allowed"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn body(data: &str, settings: &ClientSettings) -> Result<Bytes, Failure> {
    match data.strip_prefix('@').unwrap_or(data) {
        "-" if settings.takes_standard_input() => {
            let message = "the client secret and the body cannot both come from standard input";
            Err(Failure::new(ExitCode::Usage, message))
        }
        "-" => read("standard input", io::stdin().lock()),
        path if data.starts_with('@') => {
            let file = File::open(path)
                .map_err(|error| Failure::new(ExitCode::Other, format!("{path}: {error}")))?;
            read(path, file)
        }
        text => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn read(name: &str, source: impl Read) -> Result<Bytes, Failure> {
    let fault = |what: String| Failure::new(ExitCode::Other, format!("{name}: {what}"));
    let mut body = Vec::new();
    let read = source.take(MAX_BODY_BYTES + 1).read_to_end(&mut body);
    if read.map_err(|error| fault(error.to_string()))? as u64 > MAX_BODY_BYTES {
        return Err(fault(format!("it is longer than {MAX_BODY_BYTES} bytes, the most that is sent")));
    }
    Ok(Bytes::from(body))
}

fn content_type(body: &[u8]) -> HeaderValue {
    let is_json = matches!(serde_json::from_slice(body), Ok(Value::Object(_) | Value::Array(_)));
    HeaderValue::from_static(if is_json { "application/json" } else { "application/x-www-form-urlencoded" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &[&str]) -> Result<HeaderMap, Failure> {
        headers(&fields.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn header_fields_are_split_at_the_first_colon() {
        let headers = parsed(&["X-Trace: a:b", "Accept:text/plain", "X-Trace: c"]).unwrap();
        assert_eq!(headers["accept"], "text/plain");
        assert_eq!(headers.get_all("x-trace").iter().collect::<Vec<_>>(), ["a:b", "c"]);
    }

    #[test]
    fn header_fields_that_cannot_be_sent_are_refused_without_telling_their_value() {
        for bad in ["canary", "a b: canary", "x: canary\r\ny: z", ": canary", "authorization: Bearer canary"]
        {
            let failure = parsed(&[bad]).unwrap_err();
            assert_eq!(failure.code(), ExitCode::Usage);
            assert!(!failure.lines().contains("canary"), "{}", failure.lines());
        }
    }

    #[test]
    fn the_content_type_follows_the_data() {
        for (body, expected) in [("{\"a\":1}", "application/json"), ("[]", "application/json")] {
            assert_eq!(content_type(body.as_bytes()), expected);
        }
        for form in ["a=1", "1", "\"text\"", ""] {
            assert_eq!(content_type(form.as_bytes()), "application/x-www-form-urlencoded");
        }
    }
}
