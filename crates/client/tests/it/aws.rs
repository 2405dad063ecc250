//! Client secrets in AWS Secrets Manager: the real SDK against `moto`, which answers as AWS does.

mod inside;
mod secrets_manager;

use crate::support::secs;
use inside::with_environment;
use jeton::credentials::{
    AwsPlace, Environment, Reread, SecretReading, SecretSource, SourceFault, SourceFaultKind, Surroundings,
};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Secret, TokenKey, TokenManager};
use secrets_manager::{CREDENTIALS, SecretsManager};
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Where nobody is asked, because something is missing before that.
const NOBODY: &str = "plain?endpoint=http://127.0.0.1:1";

fn opened(place: &str) -> Arc<dyn SecretSource> {
    let surroundings = Surroundings { environment: Environment::of_process(), ..Surroundings::default() };
    place.parse::<AwsPlace>().unwrap().open(&surroundings).unwrap()
}

async fn read(place: &str) -> Result<SecretReading, SourceFault> {
    opened(place).read().await
}

/// That `place` cannot be read, for this reason.
async fn check(place: &str, kind: SourceFaultKind, told: &str) {
    let fault = read(place).await.unwrap_err();
    assert_eq!(fault.kind(), kind, "{fault}");
    assert!(fault.to_string().contains(told), "{fault}");
    assert!(!fault.to_string().contains("canary"), "{fault}");
}

#[test]
fn the_current_version_is_read_and_the_one_before_it() {
    with_environment(CREDENTIALS, || async {
        let aws = SecretsManager::start();
        aws.create("plain", json!({ "SecretString": "canary-1" }));
        let source = opened(&aws.place("plain"));
        assert_eq!(source.reread(), Reread::Periodically);
        let first = source.read().await.unwrap();
        assert_eq!((first.current, first.previous), (Secret::from("canary-1"), None));
        assert!(first.since.is_some());

        aws.put("plain", "canary-2");
        let second = source.read().await.unwrap();
        assert_eq!(second.current, Secret::from("canary-2"));
        assert_eq!(second.previous, Some(Secret::from("canary-1")));

        // The same value once more is no other secret.
        aws.put("plain", "canary-2");
        let third = source.read().await.unwrap();
        assert_eq!((third.current, third.previous), (Secret::from("canary-2"), None));

        let arn = aws.arn("plain");
        assert_eq!(read(&aws.place(&arn)).await.unwrap().current, Secret::from("canary-2"));
    });
}

#[test]
fn a_member_of_an_object_is_read_by_its_name() {
    with_environment(CREDENTIALS, || async {
        let aws = SecretsManager::start();
        let object = |secret: &str| json!({ "id": "billing", "client_secret": secret, "n": 1 }).to_string();
        aws.create("prod/billing", json!({ "SecretString": object("canary-1") }));
        aws.put("prod/billing", &object("canary-2"));
        let reading = read(&aws.place("prod/billing#client_secret")).await.unwrap();
        assert_eq!(reading.current, Secret::from("canary-2"));
        assert_eq!(reading.previous, Some(Secret::from("canary-1")));

        let members = "it has client_secret, id, n";
        check(&aws.place("prod/billing"), SourceFaultKind::Malformed, members).await;
        check(&aws.place("prod/billing#secret"), SourceFaultKind::Malformed, members).await;
        check(&aws.place("prod/billing#n"), SourceFaultKind::Malformed, "the member is no text").await;
    });
}

#[test]
fn what_cannot_be_read_says_why() {
    with_environment(CREDENTIALS, || async {
        let aws = SecretsManager::start();
        check(&aws.place("nowhere"), SourceFaultKind::Absent, "none by that name").await;

        aws.create("binary", json!({ "SecretBinary": "Y2FuYXJ5" }));
        check(&aws.place("binary"), SourceFaultKind::Malformed, "it is binary").await;

        aws.create("going", json!({ "SecretString": "canary" }));
        assert!(read(&aws.place("going")).await.is_ok());
        aws.call("DeleteSecret", json!({ "SecretId": "going" }));
        check(&aws.place("going"), SourceFaultKind::Absent, "in no state to be read").await;
        aws.call("DeleteSecret", json!({ "SecretId": "going", "ForceDeleteWithoutRecovery": true }));
        check(&aws.place("going"), SourceFaultKind::Absent, "none by that name").await;

        let place = aws.place("going");
        drop(aws);
        check(&place, SourceFaultKind::Unreachable, "cannot connect").await;
    });
}

#[test]
fn without_credentials_it_is_told_where_they_were_looked_for() {
    with_environment(&[("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true")], || async {
        check(NOBODY, SourceFaultKind::Denied, "not in the environment (AWS_ACCESS_KEY_ID), a profile").await;
    });
}

#[test]
fn without_a_region_it_is_told_how_to_name_one() {
    with_environment(&[("AWS_EC2_METADATA_DISABLED", "true")], || async {
        check(NOBODY, SourceFaultKind::Unusable, "write it as aws:NAME?region=REGION").await;
    });
}

#[test]
fn a_machine_without_a_metadata_service_is_not_waited_for() {
    // Connections are taken and never answered, as where packets to the service are dropped.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    with_environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", address.as_str())], || async {
        let asked = Instant::now();
        check(NOBODY, SourceFaultKind::Unusable, "no region is known").await;
        let place = format!("{NOBODY}&region=us-east-1");
        check(&place, SourceFaultKind::Denied, "nor at the instance metadata service (EC2)").await;
        assert!(asked.elapsed() < secs(9), "{:?}", asked.elapsed());
    });
}

#[test]
fn r4_4_no_endpoint_of_the_environment_makes_aws_be_asked_over_plain_http() {
    let plain = [
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://secrets.example"),
        CREDENTIALS[0],
        CREDENTIALS[1],
        CREDENTIALS[2],
    ];
    with_environment(&plain, || async {
        check("plain", SourceFaultKind::Unusable, "plain http to secrets.example").await;
        let place: AwsPlace = "plain?endpoint=http://secrets.example".parse().unwrap();
        let fault = place.open(&Surroundings::default()).err().unwrap();
        assert!(fault.to_string().contains("plain http to secrets.example"), "{fault}");
    });
}

#[test]
fn t34_the_sdk_logs_nothing_secret_at_trace() {
    let token = ("AWS_SESSION_TOKEN", "canary-session-token");
    with_environment(&[token, CREDENTIALS[0], CREDENTIALS[1], CREDENTIALS[2]], || async {
        let aws = SecretsManager::start();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        aws.create("plain", json!({ "SecretString": "canary-1" }));
        aws.put("plain", "canary-2");
        assert_eq!(read(&aws.place("plain")).await.unwrap().current, Secret::from("canary-2"));
        tracing::trace!("the log is written");
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("the log is written"));
        assert!(!log.contains("canary"), "{log}");
    });
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, std::io::Error> {
        self.0.lock().map_err(|_| ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// A token endpoint that takes one secret alone, in the body.
#[derive(Default)]
struct Endpoint {
    secret: Mutex<String>,
    requests: AtomicUsize,
}

impl HttpExchange for Endpoint {
    fn exchange(&self, request: http::Request<bytes::Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let accepted = form_urlencoded::parse(request.body())
            .any(|(name, value)| name == "client_secret" && value == *self.secret.lock().unwrap());
        let (status, body) = if accepted {
            (200, format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":600}}"#))
        } else {
            (401, r#"{"error":"invalid_client"}"#.to_owned())
        };
        let answer = http::Response::builder().status(status).body(bytes::Bytes::from(body));
        Box::pin(async move { answer.map_err(|error| ExchangeError::Request(error.to_string())) })
    }
}

#[test]
fn a_rotated_secret_is_found_when_the_server_refuses_the_old_one() {
    with_environment(CREDENTIALS, || async {
        let aws = SecretsManager::start();
        aws.create("rotated", json!({ "SecretString": "canary-1" }));
        let endpoint = Arc::new(Endpoint::default());
        "canary-1".clone_into(&mut endpoint.secret.lock().unwrap());
        let manager = TokenManager::builder("https://as.example/token", "billing")
            .auth_method(jeton::ClientAuthMethod::ClientSecretPost)
            .exchange(Arc::clone(&endpoint) as _)
            .client_secret_source(opened(&aws.place("rotated")))
            .build()
            .unwrap();
        let token = |scope: &'static str| {
            let manager = manager.clone();
            async move {
                let token = manager.token(&TokenKey::scope(scope).unwrap()).await;
                token.map(|token| token.access_token().to_owned())
            }
        };
        assert_eq!(token("a").await.unwrap(), "token-1");

        aws.put("rotated", "canary-2");
        "canary-2".clone_into(&mut endpoint.secret.lock().unwrap());
        assert_eq!(token("b").await.unwrap(), "token-3", "the old one, then the new one");
        assert_eq!(token("c").await.unwrap(), "token-4", "the new one alone");
    });
}
