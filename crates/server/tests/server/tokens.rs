//! What is granted, and what the tokens say.

use super::{Answer, FORM, Running, add_worker, assert_never_cached, basic};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::jose::access_token::VerifiedClaims;
use jeton_proto::jose::jwk::JwkSet;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::{Clock as _, Timestamp};
use jeton_proto::verification::{Expectations, decide};
use jeton_proto::wire::metadata::{AuthorizationServerMetadata, well_known_urls};
use jeton_server::{Config, Listen, Registry, SystemClock};
use std::collections::HashSet;
use std::time::Duration;

async fn verify(server: &Running, answer: &Answer, audience: &str) -> VerifiedClaims {
    let jwks = JwkSet::parse(server.get("/oauth/jwks").await.body.as_bytes()).unwrap();
    let expectations = Expectations::new(server.issuer.as_str(), [audience]).unwrap();
    decide(answer.json()["access_token"].as_str().unwrap(), &jwks, &expectations, SystemClock.now()).unwrap()
}

#[tokio::test]
async fn a_token_is_granted_by_header_and_by_body() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let by_header = format!("{FORM}{}", basic("worker", secret.expose()));
    let by_header = server.post(&by_header, "grant_type=client_credentials&scope=b").await;
    let by_body = server.request_token("worker", &secret, "&scope=b").await;
    let with_id_in_both = format!("{FORM}{}", basic("worker", secret.expose()));
    let with_id_in_both =
        server.post(&with_id_in_both, "grant_type=client_credentials&client_id=worker&scope=b").await;
    let mut jwt_ids = HashSet::new();
    for answer in [by_header, by_body, with_id_in_both] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_never_cached(&answer);
        let json = answer.json();
        assert_eq!(
            (&json["token_type"], &json["expires_in"], &json["scope"]),
            (&"Bearer".into(), &3600.into(), &"b".into())
        );
        assert_eq!(json.as_object().unwrap().len(), 4, "no refresh token and nothing else");
        let claims = verify(&server, &answer, &server.issuer).await;
        assert_eq!((claims.subject(), claims.client_id()), ("worker", "worker"));
        assert_eq!(claims.scope(), Some(&"b".parse().unwrap()));
        assert_eq!(claims.expires_at().saturating_since(claims.issued_at()), Duration::from_hours(1));
        assert!(SystemClock.now().saturating_since(claims.issued_at()) < Duration::from_secs(5));
        assert_eq!(claims.jwt_id().len(), 22);
        assert!(jwt_ids.insert(claims.jwt_id().to_owned()), "every token has its own id");
    }
    let counted = server.counters.values();
    assert_eq!((counted.granted, counted.refused(), counted.requests()), (3, 0, 3));
    server.stop().await;
}

#[tokio::test]
async fn audience_and_lifetime_are_those_of_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ClientSettings {
        audiences: vec!["https://a.example".to_owned(), "https://b.example".to_owned()],
        token_lifetime: Duration::from_hours(24),
        ..ClientSettings::new("worker")
    };
    let secret = Registry::open(dir.path()).unwrap().add(settings).unwrap();
    let longest_token_lifetime = Duration::from_hours(2);
    let listen = Listen::Localhost { port: 0 };
    let server = Running::with(Config { listen, longest_token_lifetime, ..Config::new(dir.path()) });
    let answer = server.request_token("worker", &secret, "").await;
    assert_eq!(answer.json()["expires_in"], 7200);
    assert_eq!(answer.json().get("scope"), None);
    assert_eq!(verify(&server, &answer, "https://a.example").await.audience(), ["https://a.example"]);
    let both = "&resource=https://b.example&resource=https://a.example";
    let answer = server.request_token("worker", &secret, both).await;
    assert_eq!(verify(&server, &answer, "https://a.example").await.audience().len(), 2);
    let answer = server.request_token("worker", &secret, "&resource=https://c.example").await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_target".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn what_is_kept_for_the_usual_grant_is_for_no_other_and_ends_with_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let settings = |client_id: &str, default: &str| ClientSettings {
        allowed_scope: "a b".parse().unwrap(),
        default_scope: Some(default.parse().unwrap()),
        audiences: vec!["https://a.example".to_owned(), "https://b.example".to_owned()],
        ..ClientSettings::new(client_id)
    };
    let one = registry.add(settings("one", "a")).unwrap();
    let other = registry.add(settings("other", "a b")).unwrap();
    let server = Running::start(dir.path());
    let granted = async |client_id: &str, parameters: &str| {
        let secret = if client_id == "one" { &one } else { &other };
        let answer = server.request_token(client_id, secret, parameters).await;
        let audience =
            if parameters.contains("b.example") { "https://b.example" } else { "https://a.example" };
        let claims = verify(&server, &answer, audience).await;
        assert_eq!((claims.subject(), claims.audience()), (client_id, &[audience.to_owned()][..]));
        assert_eq!(answer.json()["scope"], claims.scope().unwrap().to_string());
        claims.scope().unwrap().to_string()
    };
    for _ in 0..2 {
        for (client_id, parameters, scope) in [
            ("one", "", "a"),
            ("other", "", "a b"),
            ("one", "&scope=b", "b"),
            ("other", "&scope=a", "a"),
            ("one", "&resource=https://b.example", "a"),
            ("other", "&scope=b+a&resource=https://b.example", "a b"),
            ("one", "&scope=a+b", "a b"),
        ] {
            assert_eq!(granted(client_id, parameters).await, scope, "{client_id}{parameters}");
        }
    }
    let change = |record: &mut jeton_server::ClientRecord| {
        record.settings.default_scope = Some("b".parse().unwrap());
        Ok(())
    };
    registry.update("one", change).unwrap();
    let begun = std::time::Instant::now();
    while granted("one", "").await != "b" {
        assert!(begun.elapsed() < Duration::from_secs(2), "a change is seen within a second");
    }
    assert_eq!((granted("one", "").await, granted("other", "").await), ("b".to_owned(), "a b".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn every_algorithm_signs_and_older_keys_stay_published() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let mut tokens = Vec::new();
    for signing_algorithm in Algorithm::ALL {
        let listen = Listen::Localhost { port: 0 };
        // The issuer stays the same over the restarts, as it does in life.
        let issuer = Some("https://id.example.com".to_owned());
        let server = Running::with(Config {
            listen,
            issuer,
            signing_algorithms: vec![signing_algorithm],
            ..Config::new(dir.path())
        });
        tokens.push(server.request_token("worker", &secret, "").await);
        for answer in &tokens {
            verify(&server, answer, "https://id.example.com").await;
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn errors_are_those_of_rfc_6749_section_5_2() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let authenticated = format!("{FORM}{}", basic("worker", secret.expose()));
    for (body, error) in [
        ("grant_type=password&username=u&password=p", "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x", "unsupported_grant_type"),
        ("grant_type=refresh_token&refresh_token=x", "unsupported_grant_type"),
        ("grant_type=urn:ietf:params:oauth:grant-type:device_code", "unsupported_grant_type"),
        ("", "invalid_request"),
        ("scope=a", "invalid_request"),
        ("grant_type=client_credentials&scope=a+c", "invalid_scope"),
        ("grant_type=client_credentials&scope=%22", "invalid_scope"),
        ("grant_type=client_credentials&audience=worker", "invalid_target"),
    ] {
        let answer = server.post(&authenticated, body).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{body}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
    let counted = server.counters.values();
    assert_eq!((counted.unsupported_grant_type, counted.invalid_request, counted.invalid_scope), (4, 2, 2));
    assert_eq!((counted.invalid_target, counted.granted), (1, 0));
    server.stop().await;
}

#[tokio::test]
async fn the_metadata_leads_to_the_endpoints() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    assert_eq!(server.issuer, format!("http://localhost:{}", server.address.port()));
    for url in well_known_urls(&server.issuer).unwrap() {
        let answer = server.get(url.strip_prefix(&server.issuer).unwrap()).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let metadata = AuthorizationServerMetadata::parse(answer.body.as_bytes(), &server.issuer).unwrap();
        assert_eq!(metadata.token_endpoint, format!("{}/oauth/token", server.issuer));
        assert_eq!(metadata.jwks_uri.unwrap(), format!("{}/oauth/jwks", server.issuer));
        assert_eq!(metadata.grant_types_supported.unwrap(), ["client_credentials"]);
    }
    let jwks = server.get("/oauth/jwks").await;
    assert_eq!(jwks.header("content-type"), Some("application/jwk-set+json"));
    for private in ["\"d\"", "\"p\"", "\"q\""] {
        assert!(!jwks.body.contains(private), "no private member in {}", jwks.body);
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!((server.get(path).await.status, server.get(path).await.body.as_str()), (200, "ok\n"));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_clock_of_the_configuration_dates_the_tokens() {
    struct Stopped;
    impl jeton_proto::time::Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_millis(1_900_000_000_999)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let listen = Listen::Localhost { port: 0 };
    let server =
        Running::with(Config { listen, clock: std::sync::Arc::new(Stopped), ..Config::new(dir.path()) });
    let answer = server.request_token("worker", &secret, "").await;
    let jwks = JwkSet::parse(server.get("/oauth/jwks").await.body.as_bytes()).unwrap();
    let expectations = Expectations::new(server.issuer.as_str(), [server.issuer.as_str()]).unwrap();
    let at = |seconds| {
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        decide(&token, &jwks, &expectations, Timestamp::from_unix_seconds(seconds))
    };
    assert_eq!(at(1_900_000_000).unwrap().expires_at(), Timestamp::from_unix_seconds(1_900_003_600));
    assert!(at(1_900_003_700).is_err());
    server.stop().await;
}
