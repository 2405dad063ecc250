//! The examples of the RFCs, from `testdata/rfc`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use jeton_proto::jose::jwk::{Jwk, SigningKey};
use jeton_proto::jose::jws::{Algorithm, InvalidJws, UnverifiedJws};
use serde_json::{Value, json};

#[test]
fn rfc7515_appendix_a_signatures_of_the_closed_list_verify() {
    for section in ["A.2", "A.3"] {
        let example = rfc7515(section);
        let jws = UnverifiedJws::parse(example["jws"].as_str().unwrap()).unwrap();
        assert_eq!(jws.algorithm().as_str(), example["algorithm"], "{section}");
        let key = jwk(&example["key"]).verification_key().unwrap();
        assert_eq!(jws.verify(&key).unwrap(), example["payload"].as_str().unwrap().as_bytes(), "{section}");
    }
}

#[test]
fn rfc7515_appendix_a_1_hmac_and_a_5_unsecured_are_refused() {
    for section in ["A.1", "A.5"] {
        let example = rfc7515(section);
        let refused = UnverifiedJws::parse(example["jws"].as_str().unwrap()).unwrap_err();
        assert_eq!(refused, InvalidJws::Algorithm, "{section}");
    }
    assert!(Jwk::from_json(rfc7515("A.1")["key"].as_object().unwrap()).is_err());
}

#[test]
fn rfc7515_appendix_a_4_a_larger_curve_is_refused() {
    // {"alg":"ES512"} and "Payload"; the signature is not looked at.
    let refused =
        UnverifiedJws::parse("eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZ").unwrap_err();
    assert_eq!(refused, InvalidJws::Algorithm);
}

#[test]
fn rfc7515_appendix_a_6_and_a_7_json_serializations_are_refused() {
    let example = rfc7515("A.3");
    let parts: Vec<&str> = example["jws"].as_str().unwrap().split('.').collect();
    let signature = json!({ "protected": parts[0], "header": { "kid": "e9bc097a" }, "signature": parts[2] });
    let general = json!({ "payload": parts[1], "signatures": [signature] });
    let mut flattened = signature;
    flattened["payload"] = json!(parts[1]);
    for serialized in [general, flattened] {
        assert!(UnverifiedJws::parse(&serialized.to_string()).is_err(), "{serialized}");
    }
}

#[test]
fn rfc7638_thumbprint_leaves_out_what_is_not_required() {
    let example: Value =
        serde_json::from_str(include_str!("../../../testdata/rfc/rfc7638-section-3.1.json")).unwrap();
    assert_eq!(jwk(&example["key"]).thumbprint(), example["thumbprint"].as_str().unwrap());
}

#[test]
fn rfc8037_ed25519_key_signs_and_verifies_as_printed() {
    let example: Value =
        serde_json::from_str(include_str!("../../../testdata/rfc/rfc8037-appendix-a.json")).unwrap();
    let printed = example["jws"].as_str().unwrap();
    let key = jwk(&example["key"]);
    assert_eq!(key.thumbprint(), example["thumbprint"].as_str().unwrap());

    let jws = UnverifiedJws::parse(printed).unwrap();
    assert_eq!(jws.algorithm(), Algorithm::EdDsa);
    let payload = jws.verify(&key.verification_key().unwrap()).unwrap();
    assert_eq!(payload, example["payload"].as_str().unwrap().as_bytes());

    // RFC 8410 §7: the PKCS#8 form of an Ed25519 seed is this prefix and the 32 bytes.
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    pkcs8.extend(base64url(example["private_member_d"].as_str().unwrap()));
    let signing_key = SigningKey::from_pkcs8(Algorithm::EdDsa, &pkcs8).unwrap();
    assert_eq!(signing_key.key_id(), example["thumbprint"].as_str().unwrap());
    let (signing_input, signature) = printed.rsplit_once('.').unwrap();
    assert_eq!(signing_key.sign(signing_input.as_bytes()).unwrap(), base64url(signature));
}

fn rfc7515(section: &str) -> Value {
    let file: Value =
        serde_json::from_str(include_str!("../../../testdata/rfc/rfc7515-appendix-a.json")).unwrap();
    let examples = file["examples"].as_array().unwrap();
    examples.iter().find(|example| example["section"] == section).unwrap().clone()
}

fn jwk(key: &Value) -> Jwk {
    Jwk::from_json(key.as_object().unwrap()).unwrap()
}

fn base64url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}
