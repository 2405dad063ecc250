//! Test vectors of Project Wycheproof, from `testdata/wycheproof`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::jwk::{Jwk, JwkSet, KeyError, VerificationKey};
use jeton_proto::jose::jws::{Algorithm, UnverifiedJws};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const KIND: &str = "the key is not of a supported kind: EC with P-256, OKP with Ed25519, RSA";
const RESERVED_ALG: &str =
    "the member \"alg\" reserves the key for another use than verifying its signatures";
const RESERVED_USE: &str =
    "the member \"use\" reserves the key for another use than verifying its signatures";
const ALGORITHM: &str = "the signature algorithm is not one of ES256, EdDSA, RS256";
const SIGNATURE: &str = "the signature does not verify";
const NO_HEADER: &str = "the header is not valid JSON, at line 1 column 0";

/// The valid vectors of `json_web_signature_test.json` on ES256 and RS256; there are none on `EdDSA`.
const VALID_AND_TAKEN: [u64; 10] = [18, 33, 259, 260, 261, 262, 263, 345, 349, 378];

#[test]
fn json_web_signatures_are_taken_or_refused_as_marked() {
    let file = parsed(include_str!("../../../testdata/wycheproof/json_web_signature_test.json"));
    let (mut taken, mut refused) = (Vec::new(), Tally::default());
    for_each_vector(&file, |group, vector| {
        let key = verification_key(group.get("public").unwrap_or(&group["private"]));
        let outcome = key.and_then(|key| {
            UnverifiedJws::parse(text(&vector["jws"]))
                .and_then(|jws| jws.verify(&key))
                .map_err(|reason| reason.to_string())
        });
        match (text(&vector["result"]), outcome) {
            ("valid", Ok(_)) => taken.push(vector["tcId"].as_u64().unwrap()),
            (result @ ("valid" | "invalid"), Err(reason)) => {
                // The file spells ES512 wrongly where it is the `alg` of a key.
                let algorithm = group["private"]["alg"].as_str().unwrap_or("not named");
                refused.add(format!("{result}, {algorithm}: {reason}"));
            }
            (result, outcome) => panic!("{vector} is {result}, the outcome is {outcome:?}"),
        }
    });
    assert_eq!(taken, VALID_AND_TAKEN);
    let of = |result: &str, algorithm: &str, reason: &str| format!("{result}, {algorithm}: {reason}");
    refused.assert_is([
        // The algorithms outside the closed list are known by their keys.
        (2, of("valid", "ES521", KIND)),
        (10, of("valid", "HS256", KIND)),
        (8, of("valid", "PS256", RESERVED_ALG)),
        (4, of("valid", "PS384", RESERVED_ALG)),
        (4, of("valid", "PS512", RESERVED_ALG)),
        (4, of("valid", "RS384", RESERVED_ALG)),
        (4, of("valid", "RS512", RESERVED_ALG)),
        (30, of("invalid", "HS256", KIND)),
        (42, of("invalid", "PS256", RESERVED_ALG)),
        (1, of("invalid", "PS384", RESERVED_ALG)),
        (16, of("invalid", "PS512", RESERVED_ALG)),
        // Keys for encryption, of the right kind but without `alg`.
        (2, of("invalid", "not named", RESERVED_USE)),
        (2, of("invalid", "not named", &RESERVED_USE.replace("use\"", "key_ops\""))),
        (29, of("invalid", "ES256", SIGNATURE)),
        (1, of("invalid", "ES256", ALGORITHM)),
        (2, of("invalid", "ES256", NO_HEADER)),
        (2, of("invalid", "ES256", &dots(0))),
        (3, of("invalid", "ES256", &dots(1))),
        (218, of("invalid", "RS256", SIGNATURE)),
        (2, of("invalid", "RS256", NO_HEADER)),
        (2, of("invalid", "RS256", &dots(0))),
        (3, of("invalid", "RS256", &dots(1))),
    ]);
    assert_eq!(taken.len() + refused.total(), 401);
}

#[test]
fn json_web_signatures_of_other_algorithms_are_refused_whatever_the_key() {
    let file = parsed(include_str!("../../../testdata/wycheproof/json_web_signature_test.json"));
    let (mut of_the_list, mut refused) = (0, Tally::default());
    for_each_vector(&file, |_, vector| match UnverifiedJws::parse(text(&vector["jws"])) {
        Ok(jws) => {
            assert!(matches!(jws.algorithm(), Algorithm::Es256 | Algorithm::Rs256), "{vector}");
            of_the_list += 1;
        }
        Err(reason) => refused.add(format!("{}: {reason}", text(&vector["result"]))),
    });
    let of = |result: &str, reason: &str| format!("{result}: {reason}");
    refused.assert_is([
        (35, of("valid", ALGORITHM)),
        // 372: a stray character, which the file lets a decoder pass over.
        (1, of("valid", "the header is not base64url without padding")),
        (77, of("invalid", ALGORITHM)),
        (2, of("invalid", "the header is not base64url without padding")),
        (6, of("invalid", NO_HEADER)),
        (6, of("invalid", &dots(0))),
        (9, of("invalid", &dots(1))),
        (2, of("invalid", &dots(3))),
        (1, of("invalid", "the token is in JSON serialization, only compact serialization is taken")),
    ]);
    assert_eq!(of_the_list, 262);
    assert_eq!(of_the_list + refused.total(), 401);
}

#[test]
fn json_web_keys_with_a_private_part_are_refused() {
    let file = parsed(include_str!("../../../testdata/wycheproof/json_web_signature_test.json"));
    let mut refused = Tally::default();
    for group in file["testGroups"].as_array().unwrap() {
        refused.add(verification_key(&group["private"]).unwrap_err());
    }
    refused.assert_is([(4, KIND.to_owned()), (19, "the key is published with its private part".to_owned())]);
}

/// The valid vectors of `json_web_key_test.json` on RS256; the other valid ones are on HMAC.
const VALID_KEY_SETS_TAKEN: [u64; 1] = [5];

#[test]
fn json_web_key_sets_are_taken_or_refused_as_marked() {
    let file = parsed(include_str!("../../../testdata/wycheproof/json_web_key_test.json"));
    let (mut taken, mut refused) = (Vec::new(), Tally::default());
    for_each_vector(&file, |group, vector| {
        let set = group.get("public").unwrap_or(&group["private"]).to_string();
        let set = JwkSet::parse(set.as_bytes()).unwrap();
        let outcome =
            UnverifiedJws::parse(text(&vector["jws"])).map_err(|reason| reason.to_string()).and_then(|jws| {
                let mut candidates = set.candidates(jws.key_id(), jws.algorithm());
                let key = candidates.next().ok_or_else(|| format!("{}", set.skipped()[0].reason))?;
                jws.verify(key).map_err(|reason| reason.to_string())
            });
        match (text(&vector["result"]), outcome) {
            ("valid", Ok(_)) => taken.push(vector["tcId"].as_u64().unwrap()),
            (result @ ("valid" | "invalid"), Err(reason)) => refused.add(format!("{result}: {reason}")),
            (result, outcome) => panic!("{vector} is {result}, the outcome is {outcome:?}"),
        }
    });
    assert_eq!(taken, VALID_KEY_SETS_TAKEN);
    let of = |result: &str, reason: &str| format!("{result}: {reason}");
    refused.assert_is([
        (4, of("valid", ALGORITHM)),
        (11, of("invalid", ALGORITHM)),
        (3, of("invalid", RESERVED_ALG)),
        (1, of("invalid", RESERVED_USE)),
        (1, of("invalid", KIND)),
        (1, of("invalid", "the RSA modulus has 1024 bits, at least 2048 and at most 8192 are allowed")),
        (1, of("invalid", &KeyError::Factorable.to_string())),
        (1, of("invalid", "the member \"e\" is missing or has no valid value")),
        (1, of("invalid", "the member \"n\" is missing or has no valid value")),
        (1, of("invalid", "the numbers are not a valid public key")),
    ]);
    assert_eq!(taken.len() + refused.total(), 26);
}

/// The one vector of `rsa_signature_2048_sha256_test.json` that is marked `acceptable`: its padding leaves the NULL of
/// the algorithm identifier out. RFC 8017 §9.2 lets nobody sign so, hence it is refused.
const WITHOUT_NULL: u64 = 8;

#[test]
fn rsa_signatures_with_any_other_padding_are_refused() {
    let file = parsed(include_str!("../../../testdata/wycheproof/rsa_signature_2048_sha256_test.json"));
    let acceptable = check_signatures(&file, |group| {
        let key = &group["publicKey"];
        let number = |name: &str| URL_SAFE_NO_PAD.encode(unhex(&key[name]));
        json!({ "kty": "RSA", "n": number("modulus"), "e": number("publicExponent") })
    });
    assert_eq!(acceptable, [WITHOUT_NULL]);
}

#[test]
fn ecdsa_signatures_at_every_edge() {
    let file = parsed(include_str!("../../../testdata/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json"));
    let acceptable = check_signatures(&file, |group| {
        let point = unhex(&group["publicKey"]["uncompressed"]);
        let (x, y) = point[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    });
    assert!(acceptable.is_empty(), "{acceptable:?}");
}

#[test]
fn ed25519_signatures_at_every_edge() {
    let file = parsed(include_str!("../../../testdata/wycheproof/ed25519_test.json"));
    let acceptable = check_signatures(&file, |group| {
        let x = URL_SAFE_NO_PAD.encode(unhex(&group["publicKey"]["pk"]));
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
    });
    assert!(acceptable.is_empty(), "{acceptable:?}");
}

/// Checks every vector of a file of signatures, of which exactly the valid ones must verify. Gives the numbers of those
/// that are marked `acceptable`.
fn check_signatures(file: &Value, jwk_of: impl Fn(&Value) -> Value) -> Vec<u64> {
    let mut acceptable = Vec::new();
    for_each_vector(file, |group, vector| {
        let key = verification_key(&jwk_of(group)).unwrap();
        let verifies = key.verifies(&unhex(&vector["msg"]), &unhex(&vector["sig"]));
        let result = text(&vector["result"]);
        assert_eq!(verifies, result == "valid", "{vector}");
        if result == "acceptable" {
            acceptable.push(vector["tcId"].as_u64().unwrap());
        }
    });
    acceptable
}

fn verification_key(jwk: &Value) -> Result<VerificationKey, String> {
    let parsed = Jwk::from_json(jwk.as_object().unwrap()).and_then(|jwk| jwk.verification_key());
    parsed.map_err(|refused| refused.to_string())
}

/// How often something was said.
#[derive(Debug, Default, PartialEq)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn add(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }

    #[track_caller]
    fn assert_is<const N: usize>(&self, expected: [(usize, String); N]) {
        let expected = BTreeMap::from(expected.map(|(count, what)| (what, count)));
        assert_eq!(self.0, expected, "{self:#?}");
    }
}

fn dots(count: usize) -> String {
    format!("the token has {count} dots, a signed token in compact serialization has 2")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Hands every vector of the file out, with its group.
fn for_each_vector(file: &Value, mut check: impl FnMut(&Value, &Value)) {
    let mut vectors = 0_u64;
    for group in file["testGroups"].as_array().unwrap() {
        for vector in group["tests"].as_array().unwrap() {
            vectors += 1;
            check(group, vector);
        }
    }
    assert_eq!(Some(vectors), file["numberOfTests"].as_u64());
    assert!(vectors >= 26, "{vectors}");
}

fn unhex(hex: &Value) -> Vec<u8> {
    let digits = text(hex).as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
