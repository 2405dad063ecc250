//! `client_secret_jwt`, `private_key_jwt`, and assertions that somebody else made (RFC 7523).

use crate::methods::part;
use crate::support::{Behaviour, Endpoint, InMemory, VirtualClock, key, refusal, secs};
use base64::Engine as _;
use jeton::credentials::{AssertionSettings, Reread, SecretFuture, SecretReading};
use jeton::{
    ClientAuthMethod, Clock as _, Secret, SecretSource, TokenKey, TokenManager, TokenManagerBuilder,
};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::{Algorithm, UnverifiedJws};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TOKEN_URL: &str = "https://as.example/token";

fn builder(endpoint: &Arc<Endpoint>) -> TokenManagerBuilder {
    TokenManager::builder(TOKEN_URL, "billing")
        .clock(VirtualClock::new())
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
}

fn parameters(endpoint: &Endpoint) -> BTreeMap<String, String> {
    let body = endpoint.last_body.lock().unwrap().clone();
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

/// The assertion of the last request, which has nothing of any other method beside it.
fn assertion(endpoint: &Endpoint) -> String {
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), None);
    let parameters = parameters(endpoint);
    assert_eq!(parameters["client_assertion_type"], ASSERTION_TYPE);
    assert_eq!(parameters["client_id"], "billing");
    assert!(!parameters.contains_key("client_secret"));
    parameters["client_assertion"].clone()
}

/// A new key as PEM, and its public half.
fn new_key(algorithm: Algorithm) -> (Secret<String>, SigningKey) {
    let key = SigningKey::generate(algorithm).unwrap();
    let der = key.to_pkcs8().unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.expose());
    (Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")), key)
}

#[tokio::test(start_paused = true)]
async fn r4_1_private_key_jwt_says_who_asks_whom_and_is_signed() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let (endpoint, (pem, public)) = (Endpoint::granting(60), new_key(algorithm));
        let manager = builder(&endpoint).private_key(pem).issuer("https://as.example").build().unwrap();
        let now = VirtualClock::new().now().as_unix_seconds();
        manager.token(&key()).await.unwrap();
        let assertion = assertion(&endpoint);
        let verified = UnverifiedJws::parse(&assertion).unwrap();
        verified.verify(&public.public_jwk().verification_key().unwrap()).unwrap();
        assert_eq!(part(&assertion, 0), json!({ "alg": algorithm.as_str(), "typ": "JWT" }));
        let claims = part(&assertion, 1);
        assert_eq!(claims["iss"], "billing");
        assert_eq!(claims["sub"], "billing");
        assert_eq!(claims["aud"], "https://as.example", "the issuer, as one string");
        assert_eq!(claims["iat"], now);
        assert_eq!(claims["exp"], now + 60);
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
    }
}

#[tokio::test(start_paused = true)]
async fn t19_every_attempt_has_an_assertion_of_its_own() {
    let (endpoint, (pem, _)) =
        (Endpoint::new(refusal(503, "temporarily_unavailable")), new_key(Algorithm::Es256));
    let exchange = Recording { endpoint: Arc::clone(&endpoint), bodies: Arc::default() };
    let bodies = Arc::clone(&exchange.bodies);
    let manager = builder(&endpoint).exchange(Arc::new(exchange)).private_key(pem).build().unwrap();
    manager.token(&key()).await.unwrap_err();
    endpoint.set(Behaviour::Grant { expires_in: 1 });
    for _ in 0..5 {
        tokio::time::sleep(secs(40)).await;
        manager.token(&key()).await.unwrap();
    }
    let bodies = bodies.lock().unwrap();
    assert!(bodies.len() >= 7, "{} requests", bodies.len());
    let ids = bodies.iter().map(|body| {
        let mut pairs = form_urlencoded::parse(body.as_bytes());
        let (_, assertion) = pairs.find(|(name, _)| name == "client_assertion").unwrap();
        part(&assertion, 1)["jti"].as_str().unwrap().to_owned()
    });
    assert_eq!(ids.collect::<HashSet<_>>().len(), bodies.len());
}

/// Keeps every body.
struct Recording {
    endpoint: Arc<Endpoint>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl jeton::http::HttpExchange for Recording {
    fn exchange(
        &self,
        request: http::Request<bytes::Bytes>,
        limits: jeton::http::ExchangeLimits,
    ) -> jeton::http::ExchangeFuture<'_> {
        self.bodies.lock().unwrap().push(String::from_utf8(request.body().to_vec()).unwrap());
        Box::pin(async move { InMemory(Arc::clone(&self.endpoint)).exchange(request, limits).await })
    }
}

#[tokio::test(start_paused = true)]
async fn the_audience_is_what_is_set_else_the_issuer_else_the_token_url() {
    let settings = || AssertionSettings::default().audience("https://audience.example");
    for (issuer, assertion_settings, expected) in [
        (None, None, TOKEN_URL),
        (Some("https://issuer.example"), None, "https://issuer.example"),
        (Some("https://issuer.example"), Some(settings()), "https://audience.example"),
    ] {
        let (endpoint, (pem, _)) = (Endpoint::granting(60), new_key(Algorithm::EdDsa));
        let mut builder = builder(&endpoint).private_key(pem);
        if let Some(issuer) = issuer {
            builder = builder.issuer(issuer);
        }
        if let Some(settings) = assertion_settings {
            builder = builder.assertion(settings);
        }
        builder.build().unwrap().token(&key()).await.unwrap();
        assert_eq!(part(&assertion(&endpoint), 1)["aud"], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn r4_1_client_secret_jwt_sends_no_secret() {
    let endpoint = Endpoint::granting(60);
    let secret = "canary-secret-of-more-than-thirty-two-bytes";
    let manager = builder(&endpoint)
        .client_secret(Secret::from(secret))
        .auth_method(ClientAuthMethod::ClientSecretJwt)
        .assertion(AssertionSettings::default().key_id("one"))
        .build()
        .unwrap();
    manager.token(&key()).await.unwrap();
    let assertion = assertion(&endpoint);
    assert_eq!(part(&assertion, 0), json!({ "alg": "HS256", "kid": "one", "typ": "JWT" }));
    assert!(!endpoint.last_body.lock().unwrap().contains("canary"));
}

/// A token of the platform, which is another one every time it is read.
struct Projected(Mutex<u32>);

impl SecretSource for Projected {
    fn read(&self) -> SecretFuture<'_> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        let text = Secret::new(format!("aGVhZGVy.cGF5bG9hZA{count}.c2lnbmF0dXJl"));
        Box::pin(async move { Ok(SecretReading::new(text)) })
    }

    fn reread(&self) -> Reread {
        Reread::BeforeEachRequest
    }
}

#[tokio::test(start_paused = true)]
async fn r4_1_an_assertion_of_the_platform_is_sent_as_it_is_now() {
    let endpoint = Endpoint::granting(60);
    let source = Arc::new(Projected(Mutex::new(0)));
    let manager = builder(&endpoint).client_assertion_source(source).build().unwrap();
    for number in 1..4 {
        manager.token(&TokenKey::scope(&format!("scope-{number}")).unwrap()).await.unwrap();
        assert_eq!(assertion(&endpoint), format!("aGVhZGVy.cGF5bG9hZA{number}.c2lnbmF0dXJl"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_signs_from_the_next_request_on_and_one_that_is_none_changes_nothing() {
    let (endpoint, (first, _), (second, public)) =
        (Endpoint::granting(60), new_key(Algorithm::Es256), new_key(Algorithm::Es256));
    let manager = builder(&endpoint).private_key(first).build().unwrap();
    manager.token(&key()).await.unwrap();
    let error = manager.replace_credential(Secret::from("canary: no key")).unwrap_err().to_string();
    assert!(error.contains("private key") && !error.contains("canary"), "{error}");
    manager.token(&TokenKey::default()).await.unwrap();
    manager.replace_credential(second).unwrap();
    manager.token(&TokenKey::scope("another").unwrap()).await.unwrap();
    let assertion = assertion(&endpoint);
    let verified = UnverifiedJws::parse(&assertion).unwrap();
    verified.verify(&public.public_jwk().verification_key().unwrap()).unwrap();
}
