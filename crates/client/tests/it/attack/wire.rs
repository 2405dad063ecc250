//! Answers, URLs, proxies and connections over real sockets.

use crate::support::socket::{RawScript, Server, ask, builder, raw, text};
use crate::support::{SECRET, key, millis, secs};
use jeton::Fault;
use jeton::http::{EndpointUrl, PlainHttp};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn t24_a_401_of_any_shape_is_asked_for_once() {
    for body in ["", "<html>Unauthorized</html>", "{}", r#"{"message":"no"}"#] {
        let server = Server::start(move |_, _, _| text(401, body)).await;
        let error = ask(&server.url("/token")).await.unwrap_err();
        assert_eq!((error.fault(), error.is_retryable()), (Fault::Credential, false), "{error}");
        assert_eq!(server.requests(), 1, "a wrong secret sent again and again locks the client out");
    }
}

#[tokio::test]
async fn an_error_and_its_causes_do_not_say_one_thing_twice() {
    let address = raw(RawScript { bytes: Vec::new(), drip: None, stay_open: false }).await;
    let broken = ask(&format!("http://{address}/token")).await.unwrap_err();
    let refusing = Server::start(|_, _, _| text(400, r#"{"error":"invalid_scope"}"#)).await;
    let refused = ask(&refusing.url("/token")).await.unwrap_err();
    for error in [broken, refused] {
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            assert!(!said.contains(&next.to_string()), "{next} is said twice");
            said.push_str(&next.to_string());
            cause = next.source();
        }
    }
}

#[test]
fn r4_4_the_token_url_is_read_as_it_will_be_used() {
    let parse = |url: &str| EndpointUrl::parse(url, &PlainHttp::to_loopback());
    for url in [
        "http://localhost.evil.example/token",
        "http://x.localhost/token",
        "http://localhost./token",
        "http://localhost@evil.example/token",
        "http://evil.example\\@localhost/token",
        "http://evil.example#@localhost/token",
        "http://localhost:80@evil.example/token",
        "http://localhost%2eevil.example/token",
        "http://[::ffff:127.0.0.1]/token",
        "http://0/token",
        "http:///evil.example/token",
        "http:evil.example/token",
        "//evil.example/token",
        "file:///etc/passwd",
        "https://",
        "https://user@id.example/token",
    ] {
        assert!(parse(url).is_err(), "{url}");
    }
    for (url, host) in [
        ("http://127.1/token", "127.0.0.1"),
        ("http://0x7f000001/token", "127.0.0.1"),
        ("http://2130706433/token", "127.0.0.1"),
        ("http://localhost\\@evil.example/token", "localhost"),
        ("http://LOCALHOST:1/token", "localhost:1"),
    ] {
        assert_eq!(parse(url).unwrap().authority(), host, "{url}");
    }
}

#[tokio::test]
async fn a_token_url_that_is_taken_can_be_asked() {
    let server = Server::start(|_, _, _| text(200, r#"{"access_token":"a","token_type":"Bearer"}"#)).await;
    for character in (' '..='~').filter(|character| *character != '#') {
        for path in [format!("/a{character}b/token"), format!("/token?x=a{character}b")] {
            let url = server.url(&path);
            assert_eq!(ask(&url).await.map_err(|error| format!("{url}: {error}")).unwrap(), "a");
        }
    }
    let long = server.url(&format!("/{}", "x".repeat(70_000)));
    let refused = builder(&long).build();
    assert!(refused.is_err(), "a URL that no request can carry is refused when the manager is built");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_no_failure_and_no_second_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap_or(0);
            if count > 0 {
                *counter.lock().unwrap() += 1;
            }
            let body = r#"{"access_token":"a","token_type":"Bearer","expires_in":1}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            // It says nothing of closing, and closes.
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://{address}/token");
    let manager = builder(&url).refresh_ahead(jeton::RefreshAhead::OnDemand).build().unwrap();
    for round in 1..=3 {
        manager.token(&key()).await.unwrap();
        assert_eq!(*heads.lock().unwrap(), round);
        tokio::time::sleep(millis(1050)).await;
    }
}

/// Set in the child that the test below starts with the environment under test.
const CHILD: &str = "JETON_TEST_PROXY_CHILD";

#[test]
fn r4_4_https_goes_through_the_proxy_of_the_environment_and_plain_http_never_does() {
    if let Ok(plain_url) = std::env::var(CHILD) {
        return child(&plain_url);
    }
    let (proxy, proxy_saw) = recorder();
    let (endpoint, endpoint_saw) = recorder();
    let proxy_url = format!("http://proxy-user:canary-proxy-password@{proxy}");
    let name = "attack::wire::r4_4_https_goes_through_the_proxy_of_the_environment_and_plain_http_never_does";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(CHILD, format!("http://{endpoint}/token"));
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(variable, &proxy_url);
    }
    let output = command.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("canary"), "{said}");
    let proxied = String::from_utf8(proxy_saw.lock().unwrap().clone()).unwrap();
    assert!(proxied.starts_with("CONNECT as.example:443 "), "{proxied}");
    assert!(!proxied.contains("/token"), "the secret or the plain request went to the proxy: {proxied}");
    let direct = String::from_utf8(endpoint_saw.lock().unwrap().clone()).unwrap();
    assert!(direct.starts_with("POST /token HTTP/1.1"), "{direct}");
}

fn child(plain_url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for url in [plain_url, "https://as.example/token"] {
            let builder = builder(url).total_timeout(millis(500));
            let error = builder.build().unwrap().token(&key()).await.unwrap_err();
            said_nothing_secret(&format!("{error} {error:?}"));
        }
        let exchange = jeton::http::ReqwestExchange::new(&jeton::http::TlsRoots::Platform, secs(1)).unwrap();
        said_nothing_secret(&format!("{exchange:?}"));
    });
}

fn said_nothing_secret(text: &str) {
    assert!(!text.contains("canary"), "{text}");
}

/// A listener that keeps what it receives and closes every connection.
fn recorder() -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let saw = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&saw);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut buffer = [0; 8192];
            let count = stream.unwrap().read(&mut buffer).unwrap_or(0);
            log.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    (address, saw)
}

#[tokio::test]
async fn t34_no_secret_and_no_token_in_what_the_http_stack_says_at_trace() {
    use tracing_subscriber::util::SubscriberInitExt;
    let log = crate::secrecy::Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // For the whole process, so that records of the crate `log` are seen as well.
    subscriber.try_init().unwrap();
    let answer = r#"{"access_token":"canary-token-3","token_type":"Bearer","expires_in":60}"#;
    let server = Server::start(move |_, _, _| text(200, answer)).await;
    for method in [jeton::ClientAuthMethod::ClientSecretBasic, jeton::ClientAuthMethod::ClientSecretPost] {
        let url = server.url("/token?canary-query=1");
        let manager = builder(&url).auth_method(method).build().unwrap();
        assert_eq!(manager.token(&key()).await.unwrap().access_token(), "canary-token-3");
    }
    let said = log.text();
    assert!(said.contains("token minted") && said.contains("connect"), "the stack was heard: {said}");
    for form in crate::secrecy::forms(SECRET).iter().chain(&["canary".to_owned()]) {
        assert!(!said.contains(form), "{form} in {said}");
    }
}
