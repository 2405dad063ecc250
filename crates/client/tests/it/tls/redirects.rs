//! Answers that point elsewhere. The place is there, trusted and willing; nobody goes to it (trap T17).

use super::evidence::{METHODS, ask, holds_the_secret};
use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use jeton::{Fault, TokenError, TokenErrorKind};
use std::sync::Arc;

/// Places to be sent to: the same host in the clear, another port of it, another address, and the same server.
struct Elsewhere {
    recorders: Vec<Recorder>,
    urls: Vec<String>,
}

impl Elsewhere {
    async fn start(authority: &Authority) -> Self {
        let identity = authority.issue(&["localhost", "127.0.0.1"]);
        let in_the_clear = Recorder::plain(grant()).await;
        let over_tls = Recorder::tls(identity.server(rustls::ALL_VERSIONS), grant()).await;
        let urls = vec![
            format!("http://localhost:{}/token", in_the_clear.port()),
            format!("http://{}/token", in_the_clear.address),
            format!("https://localhost:{}/token", over_tls.port()),
            format!("https://127.0.0.1:{}/token", over_tls.port()),
            format!("//localhost:{}/token", over_tls.port()),
            "/elsewhere".to_owned(),
            "?again".to_owned(),
        ];
        Self { recorders: vec![in_the_clear, over_tls], urls }
    }

    async fn heard_nothing(&self) {
        for recorder in &self.recorders {
            assert!(recorder.connections().await.is_empty(), "somebody went where the answer pointed to");
        }
    }
}

/// A token request to a server that answers this, over TLS. Whatever it leads to goes to that server alone.
async fn answered_by(authority: &Authority, answer: &str, case: &str) -> TokenError {
    let identity = authority.issue(&["localhost"]);
    let server = Recorder::tls(identity.server(rustls::ALL_VERSIONS), answer.as_bytes().to_vec()).await;
    let url = format!("https://localhost:{}/token", server.port());
    let error = ask(&url, authority.roots(), METHODS[1]).await.expect_err(case);
    assert!(!holds_the_secret(format!("{error} {error:?}").as_bytes()), "{error:?}");
    let heard: Vec<u8> = server.connections().await.into_iter().flat_map(|seen| seen.application).collect();
    assert!(holds_the_secret(&heard), "the server that was asked got the request");
    let heard = String::from_utf8_lossy(&heard).into_owned();
    let (requests, to_it) = (heard.matches(" HTTP/1.1\r\n").count(), heard.matches("POST /token ").count());
    assert_eq!(requests, to_it, "{case}: {heard}");
    // An answer that is merely malformed is asked for again, where it came from.
    let most = if error.is_retryable() { 3 } else { 1 };
    assert!((1..=most).contains(&requests), "{case}: {heard}");
    error
}

#[tokio::test]
async fn t17_no_redirect_of_any_kind_is_followed_from_https() {
    let authority = Authority::new();
    let elsewhere = Elsewhere::start(&authority).await;
    for status in [300, 301, 302, 303, 305, 306, 307, 308, 399] {
        for location in &elsewhere.urls {
            // The answer would be a token, if a redirect had a body that counts.
            let body = r#"{"access_token":"canary","token_type":"Bearer"}"#;
            let head = format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: {}",
                body.len()
            );
            let error = answered_by(&authority, &format!("{head}\r\n\r\n{body}"), location).await;
            assert!(
                matches!(error.kind(), TokenErrorKind::Redirected { status: seen, .. } if *seen == status),
                "{status} to {location}: {error}"
            );
            assert_eq!((error.fault(), error.is_retryable()), (Fault::Caller, false));
            // Where it points to may hold anything.
            assert!(!error.to_string().contains("elsewhere"), "{error}");
        }
    }
    elsewhere.heard_nothing().await;
}

/// A status line, further fields, a body, and whether that is a redirect.
type OtherWay = (&'static str, String, String, bool);

fn other_ways(url: &str) -> Vec<OtherWay> {
    let page = format!("<html><meta http-equiv=\"refresh\" content=\"0; url={url}\"></html>");
    let way = |status, fields, is_redirect| (status, fields, String::new(), is_redirect);
    vec![
        ("200 OK", format!("refresh: 0; url={url}"), "{}".to_owned(), true),
        ("401 Unauthorized", format!("REFRESH: 0;{url}"), "{}".to_owned(), true),
        way("302 Found", format!("location: {url}\r\nlocation: {url}/2"), true),
        way("300 Multiple Choices", format!("link: <{url}>; rel=alternate"), true),
        way("307 Temporary Redirect", "x: y".to_owned(), true),
        way("304 Not Modified", format!("content-location: {url}"), true),
        way("201 Created", format!("location: {url}"), false),
        way("200 OK", format!("content-location: {url}"), false),
        way("401 Unauthorized", format!("www-authenticate: Bearer error_uri=\"{url}\""), false),
        way("426 Upgrade Required", "upgrade: h2c\r\nconnection: upgrade".to_owned(), false),
        way("407 Proxy Authentication Required", format!("proxy-authenticate: Basic realm=\"{url}\""), false),
        ("400 Bad Request", "content-type: text/html".to_owned(), page, false),
    ]
}

#[tokio::test]
async fn t17_other_ways_to_point_elsewhere_lead_nowhere() {
    let authority = Arc::new(Authority::new());
    let elsewhere = Elsewhere::start(&authority).await;
    for url in &elsewhere.urls {
        let mut asking = tokio::task::JoinSet::new();
        for (status, fields, body, is_redirect) in other_ways(url) {
            let authority = Arc::clone(&authority);
            asking.spawn(async move {
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\n{fields}\r\ncontent-length: {length}\r\n\r\n{body}");
                let error = answered_by(&authority, &answer, &fields).await;
                let is_told = matches!(error.kind(), TokenErrorKind::Redirected { .. });
                assert_eq!(is_told, is_redirect, "{status}, {fields}: {error}");
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked.unwrap();
        }
    }
    elsewhere.heard_nothing().await;
}

/// After a switch of protocols there would be no more answer to wait for, and a place to write to.
#[tokio::test]
async fn t17_a_switch_of_protocols_or_another_service_is_not_followed() {
    let authority = Authority::new();
    let elsewhere = Elsewhere::start(&authority).await;
    let identity = authority.issue(&["localhost"]);
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n".to_vec();
    let server = Recorder::tls(identity.server(rustls::ALL_VERSIONS), switch).await;
    ask(&format!("https://localhost:{}/token", server.port()), authority.roots(), METHODS[0])
        .await
        .unwrap_err();
    for connection in server.connections().await {
        let text = String::from_utf8_lossy(&connection.application).into_owned();
        assert!(text.starts_with("POST /token ") && text.matches(" HTTP/1.1\r\n").count() == 1, "{text}");
        assert!(!text.to_ascii_lowercase().contains("upgrade"), "nothing but HTTP/1.1 was asked for: {text}");
    }
    let port = elsewhere.recorders[1].port();
    let body = r#"{"access_token":"granted","token_type":"Bearer","expires_in":1}"#;
    let alternative = format!(
        "HTTP/1.1 200 OK\r\nalt-svc: h2=\":{port}\"; ma=3600; persist=1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = Recorder::tls(identity.server(rustls::ALL_VERSIONS), alternative.into_bytes()).await;
    let url = format!("https://localhost:{}/token", server.port());
    for _ in 0..3 {
        ask(&url, authority.roots(), METHODS[0]).await.unwrap();
    }
    assert_eq!(server.connections().await.len(), 3);
    elsewhere.heard_nothing().await;
}
