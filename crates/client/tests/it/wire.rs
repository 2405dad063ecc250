//! The conversation with a token endpoint over real sockets: what is sent, and what hostile answers lead to.

use crate::support::socket::{RawScript, Server, ask, builder, raw, text, token_endpoint};
use crate::support::{key, millis, secs};
use http::Response;
use http_body_util::Full;
use jeton::BuildError;
use jeton::{
    BasicEncoding, ClientAuthMethod, Fault, Secret, TokenError, TokenErrorKind, TokenKey, TokenManager,
};
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[tokio::test]
async fn a_token_is_fetched_over_a_real_socket_once() {
    let server = token_endpoint(3600).await;
    let manager = builder(&server.url("/oauth/token")).build().unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key()).await.unwrap().access_token().to_owned() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "token-1");
    }
    assert_eq!(server.requests(), 1);
}

type Seen = Arc<Mutex<Vec<(Option<String>, String, String)>>>;

/// What a server saw: `Authorization`, `Content-Type`, body.
async fn recording() -> (Server, Seen) {
    let seen = Seen::default();
    let recorder = Arc::clone(&seen);
    let server = Server::start(move |_, request, body| {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let content_type = header("content-type").unwrap_or_default();
        let body = String::from_utf8(body.to_vec()).unwrap();
        recorder.lock().unwrap().push((header("authorization"), content_type, body));
        text(200, r#"{"access_token":"a","token_type":"Bearer","expires_in":60}"#)
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn r4_1_the_credential_goes_into_the_header_or_the_body_and_never_both() {
    let (server, seen) = recording().await;
    let odd = || Secret::from("s:+%& =é");
    let builder = || TokenManager::builder(server.url("/token"), "a:b").client_secret(odd());
    builder().build().unwrap().token(&key()).await.unwrap();
    let post = builder().auth_method(ClientAuthMethod::ClientSecretPost).build().unwrap();
    post.token(&key()).await.unwrap();
    let raw = TokenManager::builder(server.url("/token"), "ab")
        .client_secret(odd())
        .basic_encoding(BasicEncoding::Raw);
    raw.build().unwrap().token(&TokenKey::default()).await.unwrap();
    assert!(matches!(builder().basic_encoding(BasicEncoding::Raw).build(), Err(BuildError::Credential(_))));

    let seen = seen.lock().unwrap();
    let form = "application/x-www-form-urlencoded";
    let scoped = "grant_type=client_credentials&scope=orders%3Aread";
    assert_eq!(seen[0].0.as_deref(), Some("Basic YSUzQWI6cyUzQSUyQiUyNSUyNislM0QlQzMlQTk="));
    assert_eq!((seen[0].1.as_str(), seen[0].2.as_str()), (form, scoped));
    assert_eq!(seen[1].0, None);
    assert_eq!(seen[1].2, format!("{scoped}&client_id=a%3Ab&client_secret=s%3A%2B%25%26+%3D%C3%A9"));
    assert_eq!(seen[2].0.as_deref(), Some("Basic YWI6czorJSYgPcOp"));
    assert_eq!(seen[2].2, "grant_type=client_credentials");
}

#[tokio::test]
async fn resource_audience_and_parameters_are_sent_and_reserved_names_refused() {
    let (server, seen) = recording().await;
    let manager = builder(&server.url("/token")).build().unwrap();
    let key = TokenKey::default().with_resource("https://b").with_resource("https://a").with_audience("api");
    manager.token(&key.clone().with_parameter("tenant", "7")).await.unwrap();
    let error = manager.token(&key.with_parameter("client_secret", "x")).await.unwrap_err();
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Caller, false));
    assert_eq!(
        seen.lock().unwrap()[0].2,
        "grant_type=client_credentials&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb&audience=api&tenant=7"
    );
}

#[tokio::test]
async fn t17_no_redirect_is_followed_and_nothing_reaches_the_other_host() {
    let other = token_endpoint(3600).await;
    for status in [300, 301, 302, 303, 307, 308] {
        let location = other.url("/token");
        let server = Server::start(move |_, _, _| {
            Response::builder().status(status).header("location", &*location).body(Full::default()).unwrap()
        })
        .await;
        let error = ask(&server.url("/token")).await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::Redirected { status: seen, .. } if *seen == status));
        assert_eq!((error.fault(), server.requests()), (Fault::Caller, 1));
    }
    let refresh = Server::start(|_, _, _| {
        let body = r#"{"access_token":"a","token_type":"Bearer"}"#;
        Response::builder().header("refresh", "0; url=http://x/").body(Full::new(body.into())).unwrap()
    })
    .await;
    let error = ask(&refresh.url("/token")).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Redirected { .. }));
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn r4_4_plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let error = builder("http://token.example.com/token").build().unwrap_err();
    assert!(error.to_string().contains("plain http to token.example.com"), "{error}");
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused() {
    let url = "http://localhost:1/token";
    let without_secret = TokenManager::builder(url, "x").build().unwrap_err();
    assert_eq!(without_secret, BuildError::ClientSecret);
    let empty_secret = TokenManager::builder(url, "x").client_secret(Secret::from("")).build().unwrap_err();
    assert_eq!(empty_secret, BuildError::ClientSecret);
    assert_eq!(
        TokenManager::builder(url, "").client_secret(Secret::from("x")).build().unwrap_err(),
        BuildError::ClientId
    );
    let too_short = builder(url).request_timeout(secs(0)).build().unwrap_err();
    assert_eq!(too_short, BuildError::Timeout { name: "request_timeout" });
    let unread =
        builder(url).tls_roots(jeton::http::TlsRoots::Only(b"nothing".to_vec())).build().unwrap_err();
    assert!(unread.to_string().contains("no PEM certificate"), "{unread}");
}

/// What a malformed answer leads to, and within which time.
async fn fault_of(status: u16, body: impl Into<bytes::Bytes>) -> TokenError {
    let body = body.into();
    let server = Server::start(move |_, _, _| text(status, body.clone())).await;
    let asked = Instant::now();
    let error = ask(&server.url("/token")).await.unwrap_err();
    assert!(asked.elapsed() < secs(5) && server.requests() <= 3, "{error}");
    error
}

#[tokio::test]
async fn r3_8_malformed_answers_say_what_was_wrong() {
    for (status, body, expected) in [
        (200, "", "no body"),
        (200, "<html>hello</html>", "neither JSON nor form-encoded"),
        (400, "<html>bad</html>", "neither JSON nor form-encoded"),
        (200, r#"{"access_token":"a"#, "ends in the middle of its JSON object"),
        (200, r#"{"access_token":x}"#, "line 1, column"),
        (200, r#"{"access_token":"a b","token_type":"Bearer"}"#, "not visible ASCII"),
        (200, r#"{"access_token":"a","token_type":"mac"}"#, "not Bearer"),
        (200, r#"{"token_type":"Bearer"}"#, "neither `access_token` nor `error`"),
        (502, "Bad Gateway", "status 502"),
    ] {
        let error = fault_of(status, body).await;
        assert!(error.to_string().contains(expected), "{body}: {error}");
        assert_eq!(error.fault(), Fault::Server);
    }
}

#[tokio::test]
async fn t15_an_error_is_read_from_the_body_under_any_status() {
    for status in [200, 400, 401, 403, 500] {
        let error = fault_of(status, r#"{"error":"invalid_client","error_description":"no\nsuch é"}"#).await;
        assert_eq!(error.fault(), Fault::Credential);
        assert!(error.to_string().contains("invalid_client (no?such ?)"), "{error}");
    }
}

#[tokio::test]
async fn r3_7_a_huge_answer_is_cut_off() {
    let error = fault_of(200, vec![b' '; 64 << 20]).await;
    assert!(error.to_string().contains("longer than 262144 bytes"), "{error}");
    let chunked = RawScript {
        bytes: [
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            &b"10000\r\n"
                .iter()
                .copied()
                .chain(std::iter::repeat_n(b' ', 0x10000))
                .chain(*b"\r\n")
                .collect::<Vec<_>>()
                .repeat(100),
        ]
        .concat(),
        drip: None,
        stay_open: true,
    };
    let error = ask(&format!("http://{}/token", raw(chunked).await)).await.unwrap_err();
    assert!(error.to_string().contains("longer than 262144 bytes"), "{error}");
}

async fn raw_fault(bytes: &[u8], drip: bool, stay_open: bool) -> TokenError {
    let script = RawScript { bytes: bytes.to_vec(), drip: drip.then(|| millis(300)), stay_open };
    let asked = Instant::now();
    let error = ask(&format!("http://{}/token", raw(script).await)).await.unwrap_err();
    assert!(asked.elapsed() < secs(4), "{error} after {:?}", asked.elapsed());
    error
}

#[tokio::test]
async fn r3_7_slow_silent_and_broken_servers_hang_nobody() {
    let drip = raw_fault(b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{}", true, true).await;
    assert!(drip.to_string().contains("no answer within the time allowed"), "{drip}");
    let silent = raw_fault(b"", false, true).await;
    assert!(silent.to_string().contains("no answer within the time allowed"), "{silent}");
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":",
        b"\x16\x03\x01 this is no http",
        b"HTTP/1.1 200 OK\r\nbad header\0: x\r\n\r\n",
    ] {
        let error = raw_fault(bytes, false, false).await;
        assert!(error.is_retryable(), "{error}");
        assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_clear_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&format!("http://{address}/token")).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Server);
    let message = error.to_string();
    assert!(message.contains(&address.to_string()) && message.contains("cannot connect"), "{message}");
}
