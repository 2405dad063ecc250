//! The crate `jsonwebtoken` verifies the client assertions made here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use base64::Engine;
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion, InvalidAssertionLifetime};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::{Value, json};
use std::time::Duration;

const SECRET: &str = "sëcret of the client, long enough";
/// The oracle reads the clock of the machine, so the assertions are of the year 2099.
const ISSUED_AT: Timestamp = Timestamp::from_unix_millis(4_102_444_000_999);

#[test]
fn assertions_of_every_algorithm_verify_there() {
    for algorithm in AssertionAlgorithm::ALL {
        let key = generated(algorithm).with_key_id(Some("key 1".to_owned())).unwrap();
        let assertion = signed(&key, AssertionLifetime::default());
        let oracle = oracle_key(&key);
        let mut validation = Validation::new(oracle_algorithm(algorithm));
        validation.set_audience(&["https://as.example/\"é"]);
        validation.set_issuer(&["reporting"]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let read = decode::<Value>(assertion.expose(), &oracle, &validation).unwrap();
        assert_eq!((read.header.typ.as_deref(), read.header.kid.as_deref()), (Some("JWT"), Some("key 1")));
        let expected = json!({
            "iss": "reporting", "sub": "reporting", "aud": "https://as.example/\"é", "jti": "id-1",
            "iat": 4_102_444_000_u64, "exp": 4_102_444_060_u64,
        });
        assert_eq!(read.claims, expected, "{algorithm}");

        let (kept, _) = assertion.expose().split_at(assertion.expose().len() - 4);
        assert!(decode::<Value>(format!("{kept}AAAA"), &oracle, &validation).is_err(), "{algorithm}");
    }
}

#[test]
fn t38_an_assertion_lives_from_one_second_to_five_minutes() {
    let key = AssertionKey::from_client_secret(&Secret::from(SECRET));
    for (millis, expected) in [
        (0, None),
        (999, None),
        (1000, Some(1)),
        (1001, Some(2)),
        (300_000, Some(300)),
        (300_001, None),
        (u64::MAX, None),
    ] {
        let lifetime = AssertionLifetime::new(Duration::from_millis(millis));
        assert_eq!(lifetime.is_ok(), expected.is_some(), "{millis}");
        match lifetime {
            Err(error) => assert_eq!(error, InvalidAssertionLifetime),
            Ok(lifetime) => {
                let claims = claims(signed(&key, lifetime).expose());
                let lived = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
                assert_eq!(Some(lived), expected, "{millis}");
            }
        }
    }
    assert_eq!(AssertionLifetime::default().as_duration(), Duration::from_secs(60));
}

#[test]
fn t34_an_assertion_is_a_secret() {
    let key = AssertionKey::from_client_secret(&Secret::from(SECRET));
    assert_eq!(format!("{:?}", signed(&key, AssertionLifetime::default())), "Secret(…)");
}

fn signed(key: &AssertionKey, lifetime: AssertionLifetime) -> Secret<String> {
    ClientAssertion {
        client_id: "reporting",
        audience: "https://as.example/\"é",
        issued_at: ISSUED_AT,
        lifetime,
        jwt_id: "id-1",
    }
    .sign(key)
    .unwrap()
}

fn claims(assertion: &str) -> Value {
    let payload = assertion.split('.').nth(1).unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(payload).unwrap()).unwrap()
}

/// A new key of this algorithm, by way of PEM.
fn generated(algorithm: AssertionAlgorithm) -> AssertionKey {
    let kind = match algorithm {
        AssertionAlgorithm::Hs256 => return AssertionKey::from_client_secret(&Secret::from(SECRET)),
        AssertionAlgorithm::Es256 => Algorithm::Es256,
        AssertionAlgorithm::EdDsa => Algorithm::EdDsa,
        AssertionAlgorithm::Rs256 | AssertionAlgorithm::Ps256 => Algorithm::Rs256,
    };
    let pkcs8 = SigningKey::generate(kind).unwrap().to_pkcs8().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(pkcs8.expose());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    AssertionKey::from_text(&Secret::new(pem), Some(algorithm)).unwrap()
}

/// By way of the JWK that is to be registered.
fn oracle_key(key: &AssertionKey) -> DecodingKey {
    match key.public_jwk() {
        None => DecodingKey::from_secret(SECRET.as_bytes()),
        Some(jwk) => DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap(),
    }
}

fn oracle_algorithm(algorithm: AssertionAlgorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        AssertionAlgorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        AssertionAlgorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        AssertionAlgorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        AssertionAlgorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        AssertionAlgorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
    }
}
