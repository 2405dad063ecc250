use super::*;

fn generated(algorithm: Algorithm) -> Map<String, Value> {
    match SigningKey::generate(algorithm).unwrap().public_jwk().to_json() {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn set_of(keys: &[Value]) -> JwkSet {
    JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_signing_key_survives_pkcs8_with_its_key_id() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let pkcs8 = key.to_pkcs8().unwrap();
        let loaded = SigningKey::from_pkcs8(algorithm, pkcs8.expose()).unwrap();
        assert_eq!(loaded.algorithm(), algorithm);
        assert_eq!(loaded.key_id(), key.key_id());
        assert_eq!(loaded.key_id().len(), 43);
        let signature = loaded.sign(b"message").unwrap();
        assert!(key.public_jwk().verification_key().unwrap().verifies(b"message", &signature), "{algorithm}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let refused = SigningKey::from_pkcs8(other, pkcs8.expose()).unwrap_err();
            assert_eq!(refused, KeyError::Pkcs8(other));
        }
    }
    assert_eq!(SigningKey::from_pkcs8(Algorithm::Es256, b"").unwrap_err(), KeyError::Pkcs8(Algorithm::Es256));
}

#[test]
fn t34_debug_of_a_signing_key_shows_no_private_byte() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains(key.key_id()) && shown.contains("Es256") && shown.len() < 120, "{shown}");
}

#[test]
fn a_public_jwk_reads_back_and_has_no_private_member() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let written = key.public_jwk().to_json();
        let members = written.as_object().unwrap();
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(!members.contains_key(private), "{algorithm}");
        }
        assert_eq!(members["use"], "sig");
        assert_eq!(members["alg"], algorithm.as_str());
        assert_eq!(Jwk::from_json(members).unwrap(), key.public_jwk());
        assert_eq!(key.public_jwk().thumbprint(), key.key_id());
    }
}

#[test]
fn a_key_reserved_for_something_else_is_refused() {
    let with = |name: &str, value: Value| {
        let mut key = generated(Algorithm::Rs256);
        key.insert(name.to_owned(), value);
        Jwk::from_json(&key).map(|_| ())
    };
    assert_eq!(with("use", json!("enc")), Err(KeyError::Reserved("use")));
    assert_eq!(with("alg", json!("PS256")), Err(KeyError::Reserved("alg")));
    assert_eq!(with("alg", json!("RSA-OAEP")), Err(KeyError::Reserved("alg")));
    assert_eq!(with("key_ops", json!(["encrypt"])), Err(KeyError::Reserved("key_ops")));
    assert_eq!(with("key_ops", json!("verify")), Err(KeyError::Member("key_ops")));
    assert_eq!(with("key_ops", json!(["sign", "verify"])), Ok(()));
    assert_eq!(with("alg", json!(1)), Err(KeyError::Member("alg")));
    assert_eq!(with("kid", json!(1)), Err(KeyError::Member("kid")));
    assert_eq!(with("kid", json!("k".repeat(300))), Err(KeyError::Member("kid")));
    assert_eq!(with("d", json!("AQAB")), Err(KeyError::Private));
    assert_eq!(with("x5c", json!(["MII"])), Ok(()));
}

#[test]
fn numbers_that_are_no_key_are_refused() {
    let check = |key: Value| {
        let members = key.as_object().unwrap().clone();
        Jwk::from_json(&members).and_then(|jwk| jwk.verification_key()).map(|_| ()).unwrap_err()
    };
    let bytes = |length: usize, first: u8| {
        let mut bytes = vec![0xc7; length];
        bytes[0] = first;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let ec = |x: &str, y: &str| json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    assert_eq!(check(ec(&bytes(32, 1), &bytes(32, 1))), KeyError::Numbers, "off the curve");
    assert_eq!(check(ec(&bytes(31, 1), &bytes(32, 1))), KeyError::Member("x"));
    assert_eq!(check(ec(&bytes(32, 1), "")), KeyError::Member("y"));
    assert_eq!(check(ec("=", "=")), KeyError::Member("x"));
    assert_eq!(check(json!({ "kty": "EC", "crv": "P-384", "x": "", "y": "" })), KeyError::Kind);
    assert_eq!(check(json!({ "kty": "OKP", "crv": "X25519", "x": bytes(32, 1) })), KeyError::Kind);
    assert_eq!(check(json!({ "kty": "OKP", "crv": "Ed25519", "x": bytes(33, 1) })), KeyError::Member("x"));
    assert_eq!(check(json!({ "kty": "oct", "k": "AyM1" })), KeyError::Kind);
    assert_eq!(check(json!({ "kty": "ec", "crv": "P-256" })), KeyError::Kind);
    assert_eq!(check(json!({ "crv": "P-256" })), KeyError::Member("kty"));

    let rsa = |n: &str, e: &str| check(json!({ "kty": "RSA", "n": n, "e": e }));
    assert_eq!(rsa(&bytes(128, 0xc1), "AQAB"), KeyError::ModulusLength { bits: 1024 });
    assert_eq!(rsa(&bytes(256, 0x7f), "AQAB"), KeyError::ModulusLength { bits: 2048 }, "2047 bits");
    assert_eq!(rsa(&bytes(2048, 0xc1), "AQAB"), KeyError::ModulusLength { bits: 16384 });
    for exponent in ["AQ", "Ag", "", "AA", "AQAAAAAB"] {
        assert_eq!(rsa(&bytes(256, 0xc1), exponent), KeyError::Member("e"), "{exponent}");
    }
}

#[test]
fn an_rsa_modulus_with_a_leading_zero_is_the_same_key() {
    let key = generated(Algorithm::Rs256);
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    let mut padded = key.clone();
    padded.insert("n".to_owned(), json!(URL_SAFE_NO_PAD.encode([&[0], modulus.as_slice()].concat())));
    assert_eq!(Jwk::from_json(&padded), Jwk::from_json(&key));
}

#[test]
fn t45_one_bad_key_does_not_drop_the_good_ones() {
    let (good_ec, good_okp) = (generated(Algorithm::Es256), generated(Algorithm::EdDsa));
    let mut off_the_curve = good_ec.clone();
    off_the_curve.insert("x".to_owned(), off_the_curve["y"].clone());
    off_the_curve.insert("kid".to_owned(), json!("bad\n"));
    let set = set_of(&[
        Value::Object(off_the_curve),
        Value::Object(good_ec.clone()),
        json!("not a key"),
        json!(null),
        json!({}),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        Value::Object(good_okp.clone()),
    ]);
    let kept: Vec<_> = set.keys().map(|jwk| jwk.key_id().unwrap()).collect();
    assert_eq!(kept, [good_ec["kid"].as_str().unwrap(), good_okp["kid"].as_str().unwrap()]);
    let skipped: Vec<_> = set.skipped().iter().map(|skipped| (skipped.index, skipped.reason)).collect();
    let no_kind = KeyError::Member("kty");
    assert_eq!(
        skipped,
        [(0, KeyError::Numbers), (2, no_kind), (3, no_kind), (4, no_kind), (5, KeyError::Kind)]
    );
    assert_eq!(set.skipped()[0].key_id.as_deref(), Some("bad?"));
}

#[test]
fn t45_keys_with_one_kid_and_different_algorithms_are_told_apart() {
    let mut keys = Vec::new();
    for algorithm in Algorithm::ALL {
        let mut key = generated(algorithm);
        key.insert("kid".to_owned(), json!("same"));
        keys.push(Value::Object(key));
    }
    let set = set_of(&keys);
    for algorithm in Algorithm::ALL {
        let found: Vec<_> = set.candidates(Some("same"), algorithm).map(VerificationKey::algorithm).collect();
        assert_eq!(found, [algorithm]);
    }
    assert_eq!(set.candidates(Some("other"), Algorithm::Es256).count(), 0);
    assert_eq!(set.candidates(None, Algorithm::Es256).count(), 1);
}

#[test]
fn a_set_is_bounded_in_size_and_count() {
    let key = Value::Object(generated(Algorithm::EdDsa));
    let set = set_of(&vec![key; MAX_JWK_SET_KEYS + 50]);
    assert_eq!(set.keys().len(), MAX_JWK_SET_KEYS);
    assert_eq!(set.skipped().len(), 1);
    assert_eq!(set.skipped()[0].reason, KeyError::Surplus);
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(MAX_JWK_SET_BYTES));
    assert_eq!(JwkSet::parse(long.as_bytes()).unwrap_err(), InvalidJwkSet::TooLong { bytes: long.len() });
}

#[test]
fn what_is_no_key_set_is_refused() {
    for bad in ["{}", "[]", "null", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        assert_eq!(JwkSet::parse(bad.as_bytes()).unwrap_err(), InvalidJwkSet::NoKeys, "{bad}");
    }
    for bad in ["", "<html>", "{\"keys\":["] {
        assert!(matches!(JwkSet::parse(bad.as_bytes()), Err(InvalidJwkSet::Json { .. })), "{bad}");
    }
    assert!(JwkSet::parse(br#"{"keys":[]}"#).unwrap().is_empty());
    assert!(JwkSet::parse(b"\xef\xbb\xbf{\"keys\":[]}").unwrap().is_empty(), "with a byte order mark");
}

#[test]
fn a_set_reads_back_what_it_writes() {
    let keys = Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap().public_jwk());
    let set = JwkSet::from_keys(keys.clone()).unwrap();
    let read = JwkSet::parse(set.to_json().to_string().as_bytes()).unwrap();
    assert_eq!(read.keys().cloned().collect::<Vec<_>>(), keys);
    assert!(read.skipped().is_empty());
}
