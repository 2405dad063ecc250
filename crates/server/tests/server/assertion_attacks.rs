//! Assertions that are forged, copied, used again, or made to hurt.

use super::assertions::{add_with_key, assertion, body, jwks, private_key, settings, with_keys};
use super::{Answer, FORM, Running, basic};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{ClientSettings, ClientStatus};
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Clock as _;
use jeton_server::{NewSecret, Registry, SecretKeeping, SystemClock};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Barrier;

fn now() -> u64 {
    SystemClock.now().as_unix_seconds()
}

fn claims(issuer: &str, jwt_id: &str) -> Value {
    json!({ "iss": "worker", "sub": "worker", "aud": issuer, "jti": jwt_id, "iat": now(), "exp": now() + 60 })
}

fn signed(header: &Value, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

#[tokio::test]
async fn t38_an_assertion_is_good_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let key = private_key(AssertionAlgorithm::Es256);
    add_with_key(dir.path(), "worker", &key);
    let once = assertion(&key, "worker", &server.issuer);
    assert_eq!(server.assert(&once).await.status, 200);
    for _ in 0..3 {
        assert_eq!(server.assert(&once).await.error(), "invalid_client");
    }
    // The same with a `client_id` beside it, and with another scope, is the same.
    let again = format!("{}&client_id=worker&scope=a", body(&once));
    assert_eq!(server.post(FORM, again).await.error(), "invalid_client");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t38_of_twenty_racers_with_one_assertion_exactly_one_has_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::new(Running::start(dir.path()));
    let key = private_key(AssertionAlgorithm::EdDsa);
    add_with_key(dir.path(), "worker", &key);
    assert_eq!(server.assert(&assertion(&key, "worker", &server.issuer)).await.status, 200);
    for round in 0..100 {
        let assertion = Arc::new(assertion(&key, "worker", &server.issuer));
        let barrier = Arc::new(Barrier::new(20));
        let racers: Vec<_> = (0..20)
            .map(|_| {
                let (server, assertion, barrier) =
                    (Arc::clone(&server), Arc::clone(&assertion), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    server.assert(&assertion).await.status
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for racer in racers {
            statuses.push(racer.await.unwrap());
        }
        // Those who fail again and again are told to slow down, once they were judged.
        let granted = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| matches!(**status, 401 | 429)).count();
        assert_eq!((granted, refused), (1, 19), "round {round}: {statuses:?}");
    }
    assert_eq!(server.counters.values().granted, 101);
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn t38_a_forgery_burns_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let (key, other) = (private_key(AssertionAlgorithm::Es256), private_key(AssertionAlgorithm::Es256));
    let registry = Registry::open(dir.path()).unwrap();
    add_with_key(dir.path(), "worker", &key);
    add_with_key(dir.path(), "other", &other);
    let good = assertion(&key, "worker", &server.issuer);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let named = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "kid": other.key_id() }).to_string());
    let secret = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    for forged in [
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([1; 64])),
        format!("{named}.{payload}.{signature}"),
        format!("{secret}.{payload}.{signature}"),
        format!("{header}.{payload}.{}", signature.chars().rev().collect::<String>()),
    ] {
        assert_eq!(server.assert(&forged).await.error(), "invalid_client");
    }
    // Whoever steals an assertion cannot use it at a disabled client, and cannot burn it there either.
    registry.disable("worker").unwrap();
    let refused = async {
        while server.assert(&assertion(&key, "worker", &server.issuer)).await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.unwrap();
    assert_eq!(server.assert(&good).await.error(), "invalid_client");
    registry.enable("worker").unwrap();
    assert_eq!(server.assert(&good).await.status, 200);
    assert_eq!(server.assert(&good).await.error(), "invalid_client");
    server.stop().await;
}

#[tokio::test]
async fn t35_every_refused_assertion_has_one_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let (key, stranger) = (private_key(AssertionAlgorithm::Es256), private_key(AssertionAlgorithm::Es256));
    let registry = Registry::open(dir.path()).unwrap();
    add_with_key(dir.path(), "worker", &key);
    let disabled = ClientSettings { status: ClientStatus::Disabled, ..settings("disabled") };
    registry.add_with(disabled, with_keys(jwks(&[&key]))).unwrap();
    let secret = registry.add(settings("with-secret")).unwrap();
    let issuer = server.issuer.clone();
    let used = assertion(&key, "worker", &issuer);
    assert_eq!(server.assert(&used).await.status, 200);
    let answers = [
        server.post(FORM, "grant_type=client_credentials&client_id=nobody&client_secret=x").await,
        server.assert(&assertion(&key, "nobody", &issuer)).await,
        server.assert(&assertion(&stranger, "worker", &issuer)).await,
        server.assert(&assertion(&stranger.clone().with_key_id(None).unwrap(), "worker", &issuer)).await,
        server.assert(&used).await,
        server.assert(&assertion(&key, "disabled", &issuer)).await,
        server.assert(&assertion(&key, "worker", "https://other.example")).await,
        server.assert(&assertion(&AssertionKey::from_client_secret(&secret), "with-secret", &issuer)).await,
        server.assert(&assertion(&AssertionKey::from_client_secret(&secret), "worker", &issuer)).await,
        server.assert("not.a.jws").await,
        server.post(FORM, format!("{}&client_id=other", body(&assertion(&key, "worker", &issuer)))).await,
    ];
    let [first, rest @ ..] = &answers;
    assert_eq!((first.status, first.error().as_str()), (401, "invalid_client"));
    assert!(first.header("www-authenticate").unwrap().starts_with("basic "));
    for answer in rest {
        assert_eq!((&answer.headers, &answer.body), (&first.headers, &first.body));
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_two_methods_at_once_and_half_an_assertion_are_invalid_requests() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let key = private_key(AssertionAlgorithm::Es256);
    add_with_key(dir.path(), "worker", &key);
    let good = assertion(&key, "worker", &server.issuer);
    let whole = body(&good);
    let invalid_request =
        |answer: &Answer| assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    let both = format!("{FORM}{}", basic("worker", "secret"));
    invalid_request(&server.post(&both, &whole).await);
    invalid_request(&server.post(FORM, format!("{whole}&client_id=worker&client_secret=x")).await);
    invalid_request(&server.post(FORM, format!("{whole}&client_assertion={good}")).await);
    let bare = format!("grant_type=client_credentials&client_assertion={good}");
    invalid_request(&server.post(FORM, &bare).await);
    let type_alone = whole.split("&client_assertion=").next().unwrap();
    invalid_request(&server.post(FORM, type_alone).await);
    for unknown in ["urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Asaml2-bearer", "jwt", "%0d%0a"] {
        let answer = server.post(FORM, format!("{bare}&client_assertion_type={unknown}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{unknown}");
    }
    assert_eq!(server.post(FORM, &whole).await.status, 200, "none of these has burned it");
    server.stop().await;
}

#[tokio::test]
async fn t43_hostile_assertions_are_refused_and_the_server_lives() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let (ec, rsa) =
        (SigningKey::generate(Algorithm::Es256).unwrap(), SigningKey::generate(Algorithm::Rs256).unwrap());
    let set = json!({ "keys": [ec.public_jwk().to_json(), rsa.public_jwk().to_json()] }).to_string();
    let new = NewSecret { name: None, keeping: Some(SecretKeeping::Sealed) };
    registry.add_with_secret(settings("worker"), with_keys(set.clone()), &new).unwrap();
    let jwk = rsa.public_jwk().to_json();
    let plain = claims(&server.issuer, "hostile").to_string();
    let ec_header = json!({ "alg": "ES256", "kid": ec.key_id() });
    let by_ec = |claims: &str| signed(&ec_header, claims, |input| ec.sign(input).unwrap());
    let by_hmac = |key: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        signed(&json!({ "alg": "HS256", "kid": rsa.key_id() }), &plain, |input| {
            hmac::sign(&key, input).as_ref().to_vec()
        })
    };
    let with = |changes: Value| {
        let mut claims = claims(&server.issuer, "hostile");
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        by_ec(&claims.to_string())
    };
    let mallory = SigningKey::generate(Algorithm::Es256).unwrap();
    let embedded = json!({ "alg": "ES256", "jwk": mallory.public_jwk().to_json(), "jku": "http://127.0.0.1:1/", "x5c": ["MIIB"] });
    let cases = [
        ("alg none", signed(&json!({ "alg": "none" }), &plain, |_| Vec::new())),
        (
            "alg NoNe with a signature",
            signed(&json!({ "alg": "NoNe" }), &plain, |input| ec.sign(input).unwrap()),
        ),
        ("the public key as a secret, as JSON", by_hmac(jwk.to_string().as_bytes())),
        ("the public key as a secret, its modulus", by_hmac(jwk["n"].as_str().unwrap().as_bytes())),
        ("the key set as a secret", by_hmac(set.as_bytes())),
        ("an empty secret", by_hmac(b"")),
        ("another audience", with(json!({ "aud": "https://other.example" }))),
        ("an audience more", with(json!({ "aud": [server.issuer, "https://other.example"] }))),
        ("no audience", with(json!({ "aud": [] }))),
        ("an audience in an array in an array", with(json!({ "aud": [[server.issuer]] }))),
        ("an end far ahead", with(json!({ "exp": now() + 3600 }))),
        ("an end in the past", with(json!({ "exp": now() - 31, "iat": now() - 90 }))),
        ("an end that is a text", with(json!({ "exp": (now() + 60).to_string() }))),
        ("an end that is huge", with(json!({ "exp": 1e308 }))),
        ("made long ago", with(json!({ "iat": now() - 86_400 }))),
        ("made in the future", with(json!({ "iat": now() + 3600, "exp": now() + 3660 }))),
        ("no jti", with(json!({ "jti": null }))),
        ("a huge jti", with(json!({ "jti": "x".repeat(5000) }))),
        ("another subject", with(json!({ "sub": "admin" }))),
        ("another issuer", with(json!({ "iss": "admin" }))),
        ("a duplicate member", by_ec(&plain.replacen('{', r#"{"sub":"admin","#, 1))),
        (
            "nested arrays",
            by_ec(&plain.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(3000), "]".repeat(3000)), 1)),
        ),
        ("huge", with(json!({ "x": "x".repeat(20_000) }))),
        ("keys in the header", signed(&embedded, &plain, |input| mallory.sign(input).unwrap())),
        (
            "an access token",
            signed(&json!({ "alg": "ES256", "typ": "at+jwt" }), &plain, |input| ec.sign(input).unwrap()),
        ),
        (
            "critical",
            signed(&json!({ "alg": "ES256", "crit": ["x"], "x": 1 }), &plain, |input| {
                ec.sign(input).unwrap()
            }),
        ),
        (
            "a kid that is a path",
            signed(&json!({ "alg": "ES256", "kid": "../../dev/null" }), &plain, |input| {
                ec.sign(input).unwrap()
            }),
        ),
        ("encrypted", "a.b.c.d.e".to_owned()),
        (
            "bad utf-8 after decoding",
            format!("{}.{}.{}", URL_SAFE_NO_PAD.encode([255; 9]), URL_SAFE_NO_PAD.encode([255; 9]), "AA"),
        ),
    ];
    // Whoever has proved itself is judged each time, and told to slow down only then.
    assert_eq!(server.assert(&by_ec(&claims(&server.issuer, "proof").to_string())).await.status, 200);
    for (name, hostile) in &cases {
        let answer = server.assert(hostile).await;
        let error = answer.error();
        let told = [(401, "invalid_client"), (429, "temporarily_unavailable")];
        assert!(told.contains(&(answer.status, error.as_str())), "{name}: {answer:?}");
        assert!(!answer.body.contains("hostile") && !answer.body.contains("admin"), "{name}");
    }
    assert_eq!(server.assert(&by_ec(&plain)).await.status, 200, "none of them has burned it");
    assert_eq!(server.counters.values().granted, 2);
    server.stop().await;
}
