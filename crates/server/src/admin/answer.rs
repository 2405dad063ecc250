//! Answers, which nobody is to keep.

use crate::http::Answer;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

/// An answer with this JSON.
pub(super) fn of(status: StatusCode, body: &Value, content_type: HeaderValue) -> Answer {
    with_bytes(status, Bytes::from(body.to_string()), content_type)
}

/// An answer with this JSON, which is not of a problem.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    of(status, body, HeaderValue::from_static("application/json"))
}

/// An answer with these bytes.
pub(super) fn with_bytes(status: StatusCode, body: Bytes, content_type: HeaderValue) -> Answer {
    let mut answer = bare(status);
    *answer.body_mut() = Full::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
