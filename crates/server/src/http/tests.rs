use super::*;
use crate::counters::CounterValues;
use crate::endpoint::{Authentication, Granted};
use ::http::header::CONTENT_TYPE;
use hyper::body::Frame;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const FORM: &str = "application/x-www-form-urlencoded";

/// Grants the scope that is asked for; `panic` panics, `wait` never answers.
struct Echo;

impl TokenEndpoint for Echo {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        let scope = call.request.scope.as_deref();
        assert_ne!(scope, Some("panic"));
        if scope == Some("later") {
            let busy = TokenRefusal::new(ErrorCode::TemporarilyUnavailable, "busy");
            return Err(TokenRefusal { retry_after: Some(Duration::from_secs(7)), ..busy });
        }
        Ok(IssuedToken {
            access_token: Secret::from("a.b.c"),
            expires_in: Duration::from_mins(1),
            granted: Granted::new("client", scope.map(str::to_owned), "").into(),
            jwt_id: String::new(),
            authentication: Authentication { method: ClientAuthMethod::ClientSecretBasic, credential: None },
        })
    }
}

fn face() -> Face<Echo> {
    let documents = Documents::new("http://localhost:8080", b"{\"keys\":[]}".to_vec()).unwrap();
    Face::new(Echo, documents, Limits { body_timeout: Duration::from_secs(5), ..Limits::default() })
}

fn post<B>(body: B) -> Request<B> {
    Request::post("/oauth/token").header("host", "x").header(CONTENT_TYPE, FORM).body(body).unwrap()
}

async fn outcome(answer: Answer) -> (u16, serde_json::Value) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn post_text(face: &Face<Echo>, body: &str) -> (u16, serde_json::Value) {
    outcome(face.answer(post(Full::new(Bytes::from(body.to_owned()))), PEER).await).await
}

#[tokio::test]
async fn a_token_is_answered_as_rfc_6749_section_5_1_wants_it() {
    let face = face();
    let (status, body) = post_text(&face, "scope=a").await;
    let expected = serde_json::json!(
        {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 60, "scope": "a"}
    );
    assert_eq!((status, body), (200, expected));
    let (_, without_scope) = post_text(&face, "").await;
    assert_eq!(without_scope.get("scope"), None);
    assert_eq!(face.counters().values(), CounterValues { granted: 2, ..CounterValues::default() });
}

#[tokio::test]
async fn t12_a_panic_is_answered_and_the_next_request_is_too() {
    let face = face();
    let (status, body) = post_text(&face, "scope=panic").await;
    assert_eq!((status, &body["error"]), (500, &"server_error".into()));
    assert_eq!(post_text(&face, "scope=a").await.0, 200);
    assert_eq!(
        face.counters().values(),
        CounterValues { granted: 1, server_error: 1, ..CounterValues::default() }
    );
}

#[tokio::test]
async fn a_body_in_pieces_is_joined_and_bounded() {
    let in_pieces = |pieces: Vec<&'static [u8]>| Pieces(pieces.into(), Poll::Ready(()));
    let answer = face().answer(post(in_pieces(vec![b"sco", b"", b"pe=a+", b"b"])), PEER).await;
    assert_eq!(outcome(answer).await.1["scope"], "a b");
    for pieces in [vec![&[b'a'; 65_537][..]], vec![&[b'a'; 40_000][..], &[b'a'; 25_537][..]]] {
        let answer = face().answer(post(in_pieces(pieces)), PEER).await;
        assert_eq!(answer.headers()["connection"], "close");
        let (status, body) = outcome(answer).await;
        assert_eq!((status, &body["error"]), (413, &"invalid_request".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn t36_a_body_that_does_not_come_is_not_waited_for() {
    let never = Pieces([&b"scope=a"[..]].into(), Poll::Pending);
    let (status, body) = outcome(face().answer(post(never), PEER).await).await;
    assert_eq!((status, &body["error"]), (408, &"invalid_request".into()));
}

#[tokio::test]
async fn t36_a_body_that_is_no_form_is_told_so() {
    let face = face();
    for (types, accepted) in [
        (&["application/x-www-form-urlencoded"][..], true),
        (&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"], true),
        (&["application/json"], false),
        (&["text/plain"], false),
        (&["multipart/form-data; boundary=x"], false),
        (&["application/x-www-form-urlencoded-not"], false),
        (&[], false),
        (&["application/x-www-form-urlencoded", "application/json"], false),
    ] {
        let mut request = post(Full::new(Bytes::from_static(b"scope=a")));
        request.headers_mut().remove(CONTENT_TYPE);
        for value in types {
            request.headers_mut().append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let (status, body) = outcome(face.answer(request, PEER).await).await;
        assert_eq!(status, if accepted { 200 } else { 400 }, "{types:?}");
        assert_eq!(body["error_description"].as_str().is_some_and(|text| text.contains("form")), !accepted);
    }
}

#[tokio::test]
async fn a_refusal_that_passes_says_after_when() {
    let answer = face().answer(post(Full::new(Bytes::from_static(b"scope=later"))), PEER).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn readiness_ends_with_the_drain_and_life_does_not() {
    let face = face();
    let get =
        |path: &'static str| Request::get(path).header("host", "x").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(face.answer(get("/readyz"), PEER).await.status(), StatusCode::OK);
    face.begin_drain();
    assert_eq!(face.answer(get("/readyz"), PEER).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(face.answer(get("/livez"), PEER).await.status(), StatusCode::OK);
}

proptest! {
    #[test]
    fn t36_no_request_makes_the_server_fail(
        body in proptest::collection::vec(prop_oneof![Just(b'&'), Just(b'='), Just(b'%'), any::<u8>()], 0..200),
        authorization in proptest::option::of(proptest::collection::vec(prop_oneof![b' '..=b'~', 0x80..=0xff_u8], 0..60)),
        method in "[A-Z]{1,7}", form in any::<bool>(), path in prop_oneof![Just("/oauth/token"), Just("/x")],
    ) {
        let mut request = Request::builder().method(method.as_str()).uri(path).header("host", "x").body(Full::new(Bytes::from(body))).unwrap();
        let content_type = if form { FORM } else { "application/json" };
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(value) = authorization {
            let mut value = [b"Basic ", value.as_slice()].concat();
            value.truncate(60);
            request.headers_mut().insert("authorization", HeaderValue::from_bytes(&value).unwrap());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(face().answer(request, PEER));
        prop_assert!(!answer.status().is_server_error(), "{answer:?}");
    }
}

/// A body that comes in pieces, then ends or is never heard of again.
struct Pieces(VecDeque<&'static [u8]>, Poll<()>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.0.pop_front(), self.1) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
            (None, Poll::Ready(())) => Poll::Ready(None),
            (None, Poll::Pending) => Poll::Pending,
        }
    }
}
