//! Clients that authenticate by assertions, over real sockets.

use super::{Answer, FORM, Running};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jeton_proto::issuance::{ClientCredentials, ClientKeys, ClientSettings, WorkloadTrust};
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::{self, Algorithm};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock as _, Timestamp};
use jeton_proto::wire::client_auth::JWT_BEARER;
use jeton_server::{AssertionAudience, Config, Listen, NewSecret, Registry, SecretKeeping, SystemClock};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Settings with the scopes `a` and `b`.
pub(super) fn settings(client_id: &str) -> ClientSettings {
    ClientSettings { allowed_scope: "a b".parse().unwrap(), ..ClientSettings::new(client_id) }
}

/// A private key for assertions of `algorithm`.
pub(super) fn private_key(algorithm: AssertionAlgorithm) -> AssertionKey {
    let kind = match algorithm {
        AssertionAlgorithm::Es256 => Algorithm::Es256,
        AssertionAlgorithm::EdDsa => Algorithm::EdDsa,
        AssertionAlgorithm::Rs256 | AssertionAlgorithm::Ps256 => Algorithm::Rs256,
        AssertionAlgorithm::Hs256 => panic!("no key pair signs that"),
    };
    let der = SigningKey::generate(kind).unwrap().to_pkcs8().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.expose())
    );
    let key = AssertionKey::from_text(&Secret::new(pem), Some(algorithm)).unwrap();
    let key_id = key.thumbprint();
    key.with_key_id(key_id).unwrap()
}

/// The JWK Set with the public parts of `keys`.
pub(super) fn jwks(keys: &[&AssertionKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public_jwk().unwrap()).collect::<Vec<_>>() }).to_string()
}

pub(super) fn with_keys(document: String) -> ClientCredentials {
    ClientCredentials { keys: Some(ClientKeys::Inline(document)), ..ClientCredentials::default() }
}

/// Adds a client that has this key alone.
pub(super) fn add_with_key(data_dir: &Path, client_id: &str, key: &AssertionKey) {
    Registry::open(data_dir).unwrap().add_with(settings(client_id), with_keys(jwks(&[key]))).unwrap();
}

/// An assertion of now for `audience`, with a `jti` of its own.
pub(super) fn assertion(key: &AssertionKey, client_id: &str, audience: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let jwt_id = format!("id-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let assertion = ClientAssertion {
        client_id,
        audience,
        issued_at: SystemClock.now(),
        lifetime: AssertionLifetime::default(),
        jwt_id: &jwt_id,
    };
    assertion.sign(key).unwrap().expose().clone()
}

/// The body of a token request by assertion.
pub(super) fn body(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
        JWT_BEARER.replace(':', "%3A")
    )
}

impl Running {
    /// A token request by assertion.
    pub(super) async fn assert(&self, assertion: &str) -> Answer {
        self.post(FORM, body(assertion)).await
    }
}

/// The claims of an access token, unverified.
fn claims(answer: &Answer) -> Value {
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn private_keys_of_every_algorithm_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    for algorithm in AssertionAlgorithm::ALL {
        if algorithm == AssertionAlgorithm::Hs256 {
            continue;
        }
        let key = private_key(algorithm);
        add_with_key(dir.path(), algorithm.as_str(), &key);
        let answer = server.assert(&assertion(&key, algorithm.as_str(), &server.issuer)).await;
        assert_eq!(answer.status, 200, "{algorithm}: {answer:?}");
        let claims = claims(&answer);
        assert_eq!((&claims["sub"], &claims["scope"]), (&json!(algorithm.as_str()), &json!("a b")));
        let named = format!(
            "{}&client_id={algorithm}&scope=a",
            body(&assertion(&key, algorithm.as_str(), &server.issuer))
        );
        assert_eq!(server.post(FORM, named).await.json()["scope"], "a");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_secret_signs_assertions_where_it_is_kept_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    for (client_id, keeping, status) in
        [("sealed", SecretKeeping::Sealed, 200), ("hashed", SecretKeeping::Digest, 401)]
    {
        let new = NewSecret { name: Some("first".to_owned()), keeping: Some(keeping) };
        let secret =
            registry.add_with_secret(settings(client_id), ClientCredentials::default(), &new).unwrap();
        let key = AssertionKey::from_client_secret(&secret);
        let answer = server.assert(&assertion(&key, client_id, &server.issuer)).await;
        assert_eq!(answer.status, status, "{client_id}: {answer:?}");
        assert_eq!(
            server.request_token(client_id, &secret, "").await.status,
            200,
            "the secret is good by itself"
        );
        // The next one is kept as those before it.
        let next = registry.rotate(client_id, None, std::time::Duration::from_hours(1)).unwrap();
        for secret in [&next, &secret] {
            let key = AssertionKey::from_client_secret(secret);
            assert_eq!(server.assert(&assertion(&key, client_id, &server.issuer)).await.status, status);
        }
    }
    let files =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    assert!(!files.into_iter().any(|bytes| bytes.windows(13).any(|window| window == b"jeton_secret_")));
    server.stop().await;
}

#[tokio::test]
async fn a_client_moves_from_a_secret_to_a_key_and_from_key_to_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let secret = registry.add(settings("worker")).unwrap();
    let (old, new) = (private_key(AssertionAlgorithm::Es256), private_key(AssertionAlgorithm::EdDsa));
    assert_eq!(server.assert(&assertion(&old, "worker", &server.issuer)).await.status, 401);
    let change = |keys: Option<String>, secrets: bool| {
        let change = |record: &mut jeton_server::ClientRecord| {
            record.credentials.keys = keys.clone().map(ClientKeys::Inline);
            if !secrets {
                record.credentials.secrets.clear();
            }
            Ok(())
        };
        registry.update("worker", change).unwrap();
    };
    change(Some(jwks(&[&old])), true);
    assert_eq!(server.assert(&assertion(&old, "worker", &server.issuer)).await.status, 200);
    assert_eq!(server.request_token("worker", &secret, "").await.status, 200);
    change(Some(jwks(&[&old, &new])), false);
    assert_eq!(server.assert(&assertion(&new, "worker", &server.issuer)).await.status, 200);
    assert_eq!(server.assert(&assertion(&old, "worker", &server.issuer)).await.status, 200);
    let settled = async {
        while server.request_token("worker", &secret, "").await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), settled).await.unwrap();
    change(Some(jwks(&[&new])), false);
    assert_eq!(server.assert(&assertion(&new, "worker", &server.issuer)).await.status, 200);
    let settled = async {
        while server.assert(&assertion(&old, "worker", &server.issuer)).await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), settled).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn the_token_endpoint_is_an_audience_where_that_is_set() {
    for (assertion_audience, status) in
        [(AssertionAudience::Issuer, 401), (AssertionAudience::IssuerOrTokenEndpoint, 200)]
    {
        let dir = tempfile::tempdir().unwrap();
        let listen = Listen::Localhost { port: 0 };
        let server = Running::with(Config { listen, assertion_audience, ..Config::new(dir.path()) });
        let key = private_key(AssertionAlgorithm::Es256);
        add_with_key(dir.path(), "worker", &key);
        let token_endpoint = format!("{}/oauth/token", server.issuer);
        assert_eq!(server.assert(&assertion(&key, "worker", &token_endpoint)).await.status, status);
        assert_eq!(server.assert(&assertion(&key, "worker", &server.issuer)).await.status, 200);
        assert_eq!(server.assert(&assertion(&key, "worker", "https://other.example")).await.status, 401);
        server.stop().await;
    }
}

/// A platform that gives its processes tokens.
struct Platform(SigningKey);

impl Platform {
    const ISSUER: &str = "https://k8s.example";

    fn token(&self, changes: &Value) -> String {
        let now = SystemClock.now().as_unix_seconds();
        let mut claims = json!({
            "iss": Self::ISSUER, "sub": "system:serviceaccount:prod:worker", "aud": ["https://id.example"],
            "iat": now - 1800, "exp": now + 1800, "kubernetes.io": { "namespace": "prod" },
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jws::sign(&self.0, "JWT", claims.to_string().as_bytes()).unwrap()
    }

    fn trust(&self) -> WorkloadTrust {
        WorkloadTrust {
            issuer: Self::ISSUER.to_owned(),
            keys: Some(ClientKeys::Inline(json!({ "keys": [self.0.public_jwk().to_json()] }).to_string())),
            audience: "https://id.example".to_owned(),
            subject: Some("system:serviceaccount:prod:*".to_owned()),
            claims: vec![("kubernetes.io/namespace".to_owned(), "prod".to_owned())],
        }
    }
}

#[tokio::test]
async fn a_token_of_a_trusted_platform_stands_for_a_client_while_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let platform = Platform(SigningKey::generate(Algorithm::Rs256).unwrap());
    let credentials = ClientCredentials { workloads: vec![platform.trust()], ..ClientCredentials::default() };
    Registry::open(dir.path()).unwrap().add_with(settings("worker"), credentials).unwrap();
    let ask =
        async |token: &str, client_id: &str| server.post(FORM, format!("{}{client_id}", body(token))).await;
    let token = platform.token(&json!({}));
    for _ in 0..2 {
        let answer = ask(&token, "&client_id=worker").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(claims(&answer)["sub"], "worker");
    }
    assert_eq!(ask(&token, "").await.status, 401, "a token of a platform names no client");
    assert_eq!(ask(&token, "&client_id=other").await.status, 401);
    for changes in [
        json!({ "sub": "system:serviceaccount:dev:worker" }),
        json!({ "aud": "https://other.example" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": "worker", "sub": "worker" }),
        json!({ "kubernetes.io": { "namespace": "dev" } }),
        json!({ "kubernetes.io": null }),
        json!({ "exp": Timestamp::from_unix_seconds(1).as_unix_seconds() }),
    ] {
        assert_eq!(ask(&platform.token(&changes), "&client_id=worker").await.status, 401, "{changes}");
    }
    let forger = Platform(SigningKey::generate(Algorithm::Rs256).unwrap());
    assert_eq!(ask(&forger.token(&json!({})), "&client_id=worker").await.status, 401);
    server.stop().await;
}

/// Serves these documents by their paths until the test ends.
async fn publish(documents: Vec<(&'static str, String)>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let of_task = base.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let found = documents.iter().find(|(path, _)| head.starts_with(&format!("GET {path} ")));
            let (status, body) = found.map_or(("404 Not Found", String::new()), |(_, body)| {
                ("200 OK", body.replace("{base}", &of_task))
            });
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    base
}

#[tokio::test]
async fn keys_are_fetched_from_where_the_client_and_the_platform_publish_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let key = private_key(AssertionAlgorithm::Ps256);
    let platform = SigningKey::generate(Algorithm::Rs256).unwrap();
    let base = publish(vec![
        ("/jwks", jwks(&[&key])),
        (
            "/.well-known/openid-configuration",
            r#"{"issuer":"{base}","jwks_uri":"{base}/platform"}"#.to_owned(),
        ),
        ("/platform", json!({ "keys": [platform.public_jwk().to_json()] }).to_string()),
    ])
    .await;
    let registry = Registry::open(dir.path()).unwrap();
    let keys = Some(ClientKeys::Url(format!("{base}/jwks")));
    let credentials = ClientCredentials { keys, ..ClientCredentials::default() };
    registry.add_with(settings("by-url"), credentials).unwrap();
    let answer = server.assert(&assertion(&key, "by-url", &server.issuer)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let platform = Platform(platform);
    let trust = WorkloadTrust { issuer: base.clone(), keys: None, ..platform.trust() };
    let credentials = ClientCredentials { workloads: vec![trust], ..ClientCredentials::default() };
    registry.add_with(settings("on-platform"), credentials).unwrap();
    let token = format!("{}&client_id=on-platform", body(&platform.token(&json!({ "iss": base }))));
    assert_eq!(server.post(FORM, token).await.status, 200);
    let stranger = Platform(SigningKey::generate(Algorithm::Rs256).unwrap());
    let forged = format!("{}&client_id=on-platform", body(&stranger.token(&json!({ "iss": base }))));
    assert_eq!(server.post(FORM, forged).await.status, 401);
    let keys = Some(ClientKeys::Url("http://127.0.0.1:1/jwks".to_owned()));
    let credentials = ClientCredentials { keys, ..ClientCredentials::default() };
    registry.add_with(settings("out-of-reach"), credentials).unwrap();
    let answer = server.assert(&assertion(&key, "out-of-reach", &server.issuer)).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"));
    server.stop().await;
}

#[tokio::test]
async fn the_metadata_tell_the_methods_and_their_algorithms() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let metadata = server.get("/.well-known/oauth-authorization-server").await.json();
    let methods =
        json!(["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    let algorithms = json!(["ES256", "RS256", "PS256", "EdDSA", "HS256", "Ed25519"]);
    assert_eq!(metadata["token_endpoint_auth_signing_alg_values_supported"], algorithms);
    assert!(
        metadata.get("tls_client_certificate_bound_access_tokens").is_none(),
        "without TLS there are none"
    );
    server.stop().await;
}
