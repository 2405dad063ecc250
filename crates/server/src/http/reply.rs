//! The answers, header by header.

use super::Answer;
use crate::endpoint::{IssuedToken, TokenRefusal};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use jeton_proto::secret::wiped_bytes;
use jeton_proto::wire::error_response::ErrorCode;

/// A token (RFC 6749 §5.1).
pub(super) fn token(issued: &IssuedToken) -> Answer {
    let access_token = issued.access_token.expose();
    let scope = issued.scope.as_deref().filter(|scope| !scope.is_empty());
    // Room for all of it: the body holds the token, and is wiped only where it lies last.
    let mut json = Vec::with_capacity(access_token.len() + scope.map_or(0, str::len) + 128);
    json.extend_from_slice(b"{\"access_token\":");
    push_text(&mut json, access_token);
    json.extend_from_slice(b",\"token_type\":\"Bearer\",\"expires_in\":");
    json.extend_from_slice(issued.expires_in.as_secs().to_string().as_bytes());
    if let Some(scope) = scope {
        json.extend_from_slice(b",\"scope\":");
        push_text(&mut json, scope);
    }
    json.push(b'}');
    uncached(StatusCode::OK, wiped_bytes(json))
}

/// An error (RFC 6749 §5.2).
pub(super) fn refusal(refusal: &TokenRefusal) -> Answer {
    let mut json = Vec::with_capacity(256);
    json.extend_from_slice(b"{\"error\":");
    push_text(&mut json, refusal.code.as_str());
    json.extend_from_slice(b",\"error_description\":");
    push_text(&mut json, &refusal.description);
    json.push(b'}');
    let mut answer = uncached(status(refusal), json.into());
    if refusal.code == ErrorCode::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"jeton\", charset=\"UTF-8\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(after) = refusal.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    answer
}

/// What is told of a token, or that one was revoked: as secret as a token.
pub(super) fn told(body: Bytes) -> Answer {
    uncached(StatusCode::OK, body)
}

/// A document that may be kept for five minutes.
pub(super) fn document(body: &Bytes, content_type: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(body.clone()));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    answer
}

/// Whether the server is well.
pub(super) fn health(status: StatusCode) -> Answer {
    text(status, if status.is_success() { "ok\n" } else { "not ready\n" })
}

/// There is nothing at the path.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "not found; the metadata is at /.well-known/oauth-authorization-server\n")
}

/// The request cannot be told for what it is.
pub(super) fn bad_request() -> Answer {
    text(StatusCode::BAD_REQUEST, "bad request\n")
}

/// The path can be read and no more.
pub(super) fn read_method_not_allowed() -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    allow(&mut answer, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// Turns an answer into one that says which methods there are (RFC 9110 §15.5.6).
pub(super) fn allow(answer: &mut Answer, methods: HeaderValue) {
    *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    answer.headers_mut().insert(ALLOW, methods);
}

/// Lets the connection end with this answer.
pub(crate) fn close_after(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn status(refusal: &TokenRefusal) -> StatusCode {
    match refusal.code {
        _ if refusal.limit.is_some() => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidGrant
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::Other(_) => StatusCode::BAD_REQUEST,
    }
}

/// An answer of the token endpoint: JSON that nobody keeps (RFC 6749 §5.1).
fn uncached(status: StatusCode, json: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(json));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Appends a JSON string. The texts here are all but always plain ASCII; whatever is not goes the long way.
pub(crate) fn push_text(json: &mut Vec<u8>, text: &str) {
    // Counting, instead of stopping at the first, is a few instructions for 32 bytes, and a token has hundreds.
    let special =
        text.bytes().filter(|byte| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')).count();
    if special == 0 {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        json.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_json_wants_it() {
        for text in ["", "plain ~", "\"", "\\", "a\nb", "\0", "\u{7f}", "é\u{2028}😀"] {
            let mut json = b"  ".to_vec();
            push_text(&mut json, text);
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
