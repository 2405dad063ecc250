use super::*;
use crate::jose::jwk::SigningKey;
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    Algorithm::ALL.into_iter().map(|algorithm| SigningKey::generate(algorithm).unwrap()).collect()
});

fn with_header(header: &str) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode("{}"),
        URL_SAFE_NO_PAD.encode([1; 64])
    )
}

fn refusal_of_header(header: &str) -> InvalidJws {
    UnverifiedJws::parse(&with_header(header)).unwrap_err()
}

#[test]
fn t43_alg_none_in_every_spelling_is_refused() {
    for name in ["none", "None", "NONE", "nOnE", "", " none", "none ", "n\\u006fne"] {
        assert_eq!(refusal_of_header(&format!(r#"{{"alg":"{name}"}}"#)), InvalidJws::Algorithm, "{name:?}");
    }
    for header in [r#"{"typ":"at+jwt"}"#, r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#, r#"{"alg":1}"#, "{}"] {
        assert_eq!(refusal_of_header(header), InvalidJws::Algorithm, "{header}");
    }
}

#[test]
fn t43_an_algorithm_outside_the_closed_list_is_refused() {
    for name in [
        "HS256",
        "HS384",
        "HS512",
        "PS256",
        "ES256K",
        "ES384",
        "RS384",
        "es256",
        "ES256 ",
        "EdDSA\\u0000",
        "RS1",
    ] {
        assert_eq!(refusal_of_header(&format!(r#"{{"alg":"{name}"}}"#)), InvalidJws::Algorithm, "{name:?}");
    }
}

#[test]
fn t43_extensions_are_refused_known_or_not() {
    assert_eq!(refusal_of_header(r#"{"alg":"ES256","crit":["exp"],"exp":1}"#), InvalidJws::Extension("crit"));
    assert_eq!(refusal_of_header(r#"{"alg":"ES256","crit":[]}"#), InvalidJws::Extension("crit"));
    assert_eq!(
        refusal_of_header(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#),
        InvalidJws::Extension("crit")
    );
    assert_eq!(refusal_of_header(r#"{"alg":"ES256","b64":false}"#), InvalidJws::Extension("b64"));
}

#[test]
fn t43_keys_in_the_header_choose_nothing() {
    let trusted = &KEYS[0];
    let attacker = SigningKey::generate(Algorithm::Es256).unwrap();
    let embedded = attacker.public_jwk().to_json();
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let value = if member == "jwk" { embedded.clone() } else { json!("https://attacker.example/keys") };
        let header = json!({ "alg": "ES256", "kid": trusted.key_id(), member: value });
        let mut token = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        append_payload_and_signature(&mut token, &attacker, b"{}").unwrap();
        let jws = UnverifiedJws::parse(&token).unwrap();
        assert_eq!(jws.key_id(), Some(trusted.key_id()));
        let key = trusted.public_jwk().verification_key().unwrap();
        assert_eq!(jws.verify(&key), Err(InvalidJws::Signature), "{member}");
    }
}

#[test]
fn t43_a_repeated_header_parameter_is_refused() {
    for header in [r#"{"alg":"none","alg":"ES256"}"#, r#"{"alg":"ES256","kid":"a","kid":"b"}"#] {
        let refused = refusal_of_header(header);
        assert!(matches!(refused, InvalidJws::Header(InvalidJson::RepeatedMember { .. })), "{refused}");
    }
}

#[test]
fn header_parameters_of_the_wrong_type_or_length_are_refused() {
    let long = "k".repeat(MAX_KEY_ID_BYTES + 1);
    for (header, name) in [
        (r#"{"alg":"ES256","kid":1}"#.to_owned(), "kid"),
        (r#"{"alg":"ES256","typ":["at+jwt"]}"#.to_owned(), "typ"),
        (format!(r#"{{"alg":"ES256","kid":"{long}"}}"#), "kid"),
    ] {
        assert_eq!(refusal_of_header(&header), InvalidJws::HeaderParameter(name));
    }
}

#[test]
fn t43_other_serializations_are_refused() {
    let parse = |token: &str| UnverifiedJws::parse(token).unwrap_err();
    assert_eq!(parse("a.b.c.d.e"), InvalidJws::Encrypted);
    assert_eq!(parse(r#"{"payload":"e30","signatures":[]}"#), InvalidJws::JsonSerialization);
    assert_eq!(parse(" {}"), InvalidJws::JsonSerialization);
    for (token, dots) in [("", 0), ("a", 0), ("a.b", 1), ("a.b.c.d", 3), ("a.b.c.d.e.f", 5), (".....", 5)] {
        assert_eq!(parse(token), InvalidJws::NotThreeParts { dots }, "{token}");
    }
}

#[test]
fn t43_base64url_must_be_canonical() {
    let key = &KEYS[0];
    let verification_key = key.public_jwk().verification_key().unwrap();
    let token = sign(key, "at+jwt", b"{}").unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts[1], "e30", "the payload leaves two bits unused");
    for bad in [
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}==", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}\n", parts[0], parts[1], parts[2]),
        format!(" {}.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0].replace('e', "+"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], with_unused_bits_set(parts[2])),
    ] {
        assert!(matches!(UnverifiedJws::parse(&bad), Err(InvalidJws::Base64(_))), "{bad}");
    }
    // A payload that is not canonical changes what was signed; even signed as it stands it is refused.
    for payload in ["e31", "e30=", "e3 0", "e3"] {
        let mut signed = format!("{}.{payload}", parts[0]);
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
        signed = format!("{signed}.{signature}");
        let expected = InvalidJws::Base64(Part::Payload);
        let refused = UnverifiedJws::parse(&signed).unwrap().verify(&verification_key);
        assert!(refused == Err(expected) || payload == "e3" && refused == Ok(b"{".to_vec()), "{payload}");
    }
}

#[test]
fn t43_long_tokens_are_refused_by_their_length() {
    let megabyte = "A".repeat(1 << 20);
    assert_eq!(UnverifiedJws::parse(&megabyte).unwrap_err(), InvalidJws::TooLong { bytes: 1 << 20 });
    let header = format!("{}.e30.AA", "A".repeat(MAX_HEADER_BYTES + 1));
    assert_eq!(
        UnverifiedJws::parse(&header).unwrap_err(),
        InvalidJws::HeaderTooLong { bytes: MAX_HEADER_BYTES + 1 }
    );
}

#[test]
fn a_key_of_another_algorithm_is_refused_before_it_is_used() {
    let token = sign(&KEYS[0], "at+jwt", b"{}").unwrap();
    let key = KEYS[1].public_jwk().verification_key().unwrap();
    let refused = UnverifiedJws::parse(&token).unwrap().verify(&key);
    assert_eq!(
        refused,
        Err(InvalidJws::KeyOfOtherAlgorithm { key: Algorithm::EdDsa, header: Algorithm::Es256 })
    );
}

#[test]
fn an_ecdsa_signature_in_der_or_of_zeros_is_refused() {
    let key = &KEYS[0];
    let verification_key = key.public_jwk().verification_key().unwrap();
    let token = sign(key, "at+jwt", b"{}").unwrap();
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let fixed = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |bytes: &[u8]| [&[0x02, 33, 0], bytes].concat();
    let body = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    let der = [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    for bad in [der, vec![0; 64], vec![], fixed[..63].to_vec(), [fixed.as_slice(), &[0]].concat()] {
        assert!(!verification_key.verifies(signing_input.as_bytes(), &bad));
    }
    assert!(verification_key.verifies(signing_input.as_bytes(), &fixed));
}

#[test]
fn t34_debug_shows_neither_payload_nor_signature() {
    let token = sign(&KEYS[0], "at+jwt", b"{\"canary\":1}").unwrap();
    let shown = format!("{:?}", UnverifiedJws::parse(&token).unwrap());
    for part in token.split('.').skip(1) {
        assert!(!shown.contains(part), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_signed_verifies_and_gives_the_payload_back(
        which in 0_usize..3,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let key = &KEYS[which];
        let token = sign(key, "at+jwt", &payload).unwrap();
        let jws = UnverifiedJws::parse(&token).unwrap();
        prop_assert_eq!(jws.algorithm(), key.algorithm());
        prop_assert_eq!(jws.key_id(), Some(key.key_id()));
        prop_assert_eq!(jws.media_type(), Some("at+jwt"));
        prop_assert_eq!(jws.verify(&key.public_jwk().verification_key().unwrap()).unwrap(), payload);
    }

    #[test]
    fn any_flipped_bit_is_refused(
        which in 0_usize..3,
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..7,
    ) {
        let key = &KEYS[which];
        let token = sign(key, "at+jwt", &payload).unwrap();
        let mut bytes = token.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let forged = String::from_utf8(bytes).unwrap();
        let verification_key = key.public_jwk().verification_key().unwrap();
        let accepted = UnverifiedJws::parse(&forged).and_then(|jws| jws.verify(&verification_key));
        prop_assert!(accepted.is_err(), "{}", forged);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}", header in "\\PC{0,60}") {
        let _ = UnverifiedJws::parse(&text);
        let _ = UnverifiedJws::parse(&with_header(&header));
    }
}

/// The same bytes with a bit set that decoding throws away.
fn with_unused_bits_set(part: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (kept, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|letter| last.as_bytes() == [*letter]).unwrap();
    format!("{kept}{}", char::from(ALPHABET[value + 1]))
}
