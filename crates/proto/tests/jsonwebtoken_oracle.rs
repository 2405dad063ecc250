//! The crate `jsonwebtoken` reads the tokens made here, and its tokens are read here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_proto::verification::{Expectations, Rejection, decide};
use jsonwebtoken::jwk::JwkSet as OracleKeys;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);
/// The end of 2099: the oracle reads the clock of the machine.
const LATER: Timestamp = Timestamp::from_unix_seconds(4_102_444_799);

#[test]
fn tokens_made_here_verify_there() {
    for algorithm in Algorithm::ALL {
        let signer = AccessTokenSigner::new(SigningKey::generate(algorithm).unwrap());
        let scope = "orders:read orders:write".parse().unwrap();
        let token = signer
            .sign(&AccessTokenClaims {
                issuer: "https://as.example",
                audience: &["https://api.example", "urn:\"quoted\\\u{1}é"],
                subject: "reporting",
                client_id: "reporting",
                scope: Some(&scope),
                issued_at: NOW,
                expires_at: LATER,
                jwt_id: "id-1",
                confirmation: None,
            })
            .unwrap();

        let published = JwkSet::from_keys([signer.key().public_jwk()]).unwrap().to_json();
        let keys: OracleKeys = serde_json::from_value(published).unwrap();
        let key = DecodingKey::from_jwk(keys.find(signer.key().key_id()).unwrap()).unwrap();
        let mut validation = Validation::new(oracle_algorithm(algorithm));
        validation.set_audience(&["https://api.example"]);
        validation.set_issuer(&["https://as.example"]);
        let read = decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(read.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(read.claims["scope"], "orders:read orders:write");
        assert_eq!(read.claims["aud"][1], "urn:\"quoted\\\u{1}é");
        assert_eq!(read.claims["exp"], 4_102_444_799_u64);

        let (kept, _) = token.split_at(token.len() - 4);
        assert!(decode::<Value>(format!("{kept}AAAA"), &key, &validation).is_err());
    }
}

#[test]
fn tokens_made_there_verify_here() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let keys = JwkSet::from_keys([key.public_jwk()]).unwrap();
        let mut header = Header::new(oracle_algorithm(algorithm));
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.key_id().to_owned());
        let claims = json!({
            "iss": "https://as.example", "aud": ["https://api.example"], "sub": "s", "client_id": "c",
            "iat": 1_700_000_000, "exp": 1_700_000_060, "jti": "j", "scope": "b a", "extra": {"nested": [1]},
        });
        let token = encode(&header, &claims, &oracle_key(&key)).unwrap();
        let expectations = Expectations::new("https://as.example", ["https://api.example"]).unwrap();
        let verified = decide(&token, &keys, &expectations, NOW).unwrap();
        assert_eq!(verified.scope().unwrap().to_string(), "a b");
        assert_eq!(Value::Object(verified.all().clone()), claims);

        let forged = format!("{}.AAAA", token.rsplit_once('.').unwrap().0);
        assert_eq!(decide(&forged, &keys, &expectations, NOW), Err(Rejection::BadSignature));
    }
}

fn oracle_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

fn oracle_key(key: &SigningKey) -> EncodingKey {
    use base64::Engine;
    let pkcs8 = key.to_pkcs8().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(pkcs8.expose());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    match key.algorithm() {
        Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
        Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
    }
    .unwrap()
}
