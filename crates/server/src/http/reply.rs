//! The answers, header by header.

use super::Answer;
use crate::endpoint::{IssuedToken, TokenRefusal};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use jeton_proto::secret::{Secret, wiped_bytes};
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::json_text::needs_no_escape;

/// What stands around a token.
const BEFORE_TOKEN: &str = "{\"access_token\":\"";
const BEHIND_TOKEN: &[u8] = b"\",\"token_type\":\"Bearer\",\"expires_in\":";
const BEFORE_SCOPE: &[u8] = b",\"scope\":";

/// How long an answer is beside its token. A token that has so much room is not copied for the answer.
pub(crate) const fn bytes_beside_token(scope: Option<&str>) -> usize {
    let longest_number_bytes = 20;
    let fixed_bytes = BEFORE_TOKEN.len() + BEHIND_TOKEN.len() + longest_number_bytes + 1;
    match scope {
        Some(scope) => fixed_bytes + BEFORE_SCOPE.len() + scope.len() + 2,
        None => fixed_bytes,
    }
}

/// A token (RFC 6749 §5.1). The answer is written around the token where it lies, and is wiped in its place.
pub(super) fn token(issued: IssuedToken) -> Answer {
    let scope = issued.granted.scope();
    let room_bytes = bytes_beside_token(scope);
    let mut json = with_room(issued.access_token, room_bytes);
    json.insert_str(0, BEFORE_TOKEN);
    let mut json = json.into_bytes();
    json.extend_from_slice(BEHIND_TOKEN);
    push_number(&mut json, issued.expires_in.as_secs());
    if let Some(scope) = scope {
        json.extend_from_slice(BEFORE_SCOPE);
        push_text(&mut json, scope);
    }
    json.push(b'}');
    uncached(StatusCode::OK, wiped_bytes(json))
}

/// A token as it stands between the quotes of a JSON string, with so much room behind it that it need not move.
fn with_room(token: Secret<String>, room_bytes: usize) -> String {
    let text = token.expose();
    if needs_no_escape(text) && text.capacity() - text.len() >= room_bytes {
        return token.into_exposed();
    }
    // Of a token that is none of ours. Six bytes are the longest escape of one.
    let mut json = Vec::with_capacity(6 * text.len() + 2 + room_bytes);
    push_text(&mut json, text);
    let mut json = String::from_utf8(json).unwrap_or_default();
    json.pop();
    json.remove(0);
    json
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
    if needs_no_escape(text) {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        json.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    let mut rest = number;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        (rest, begin) = (rest / 10, at);
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Authentication, Granted};
    use http_body_util::BodyExt as _;
    use jeton_proto::wire::client_auth::ClientAuthMethod;
    use std::time::Duration;

    #[test]
    fn numbers_are_written_in_decimal_digits() {
        for number in [0, 7, 10, 3_600, 4_294_967_296, u64::MAX] {
            let mut out = b"x".to_vec();
            push_number(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }

    async fn answered(token: &str, room_bytes: usize, scope: Option<&str>) -> (bool, serde_json::Value) {
        let mut text = String::with_capacity(token.len() + room_bytes);
        text.push_str(token);
        let begin = text.as_ptr();
        let issued = IssuedToken {
            access_token: Secret::new(text),
            expires_in: Duration::from_secs(60),
            granted: Granted::new("worker", scope.map(str::to_owned), "").into(),
            jwt_id: String::new(),
            authentication: Authentication { method: ClientAuthMethod::ClientSecretBasic, credential: None },
        };
        let body = super::token(issued).into_body().collect().await.unwrap().to_bytes();
        (body.as_ptr() == begin, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_token_is_answered_where_it_lies_when_there_is_room() {
        for (token, scope, room_bytes, in_its_place) in [
            ("ey.token", Some("orders:read \"\\"), 200, true),
            ("ey.token", Some("read"), bytes_beside_token(Some("read")), true),
            ("ey.token", None, bytes_beside_token(None), true),
            ("ey.token", Some("read"), bytes_beside_token(Some("read")) - 1, false),
            ("a\"b\u{1}\u{7f}é", None, 200, false),
        ] {
            let (same, json) = answered(token, room_bytes, scope).await;
            assert_eq!((same, &json["access_token"]), (in_its_place, &token.into()));
            assert_eq!((&json["expires_in"], &json["token_type"]), (&60.into(), &"Bearer".into()));
            assert_eq!(json.get("scope").and_then(serde_json::Value::as_str), scope);
        }
    }

    #[test]
    fn texts_are_escaped_as_json_wants_it() {
        for text in ["", "plain ~", "\"", "\\", "a\nb", "\0", "\u{7f}", "é\u{2028}😀"] {
            let mut json = b"  ".to_vec();
            push_text(&mut json, text);
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
