use super::*;
use crate::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use crate::jose::jwk::SigningKey;
use crate::jose::jws;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const ISSUER: &str = "https://as.example";
const API: &str = "https://api.example";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

static SIGNER: LazyLock<AccessTokenSigner> =
    LazyLock::new(|| AccessTokenSigner::new(SigningKey::generate(Algorithm::Es256).unwrap()));

fn keys() -> JwkSet {
    JwkSet::from_keys([SIGNER.key().public_jwk()]).unwrap()
}

fn expectations() -> Expectations {
    Expectations::new(ISSUER, [API]).unwrap()
}

fn claims<'a>() -> AccessTokenClaims<'a> {
    AccessTokenClaims {
        issuer: ISSUER,
        audience: &[API],
        subject: "reporting",
        client_id: "reporting",
        scope: None,
        issued_at: NOW,
        expires_at: NOW.saturating_add(Duration::from_mins(1)),
        jwt_id: "id-1",
        confirmation: None,
    }
}

fn outcome(token: &str, now: Timestamp) -> Result<VerifiedClaims, Rejection> {
    decide(token, &keys(), &expectations(), now)
}

/// A token with these claims changed, signed by the trusted key.
fn signed_with(changes: &Value) -> String {
    let mut payload: Value = serde_json::from_str(&claims().to_json()).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        payload[name] = value.clone();
    }
    jws::sign(SIGNER.key(), "at+jwt", payload.to_string().as_bytes()).unwrap()
}

#[test]
fn a_good_token_gives_its_claims() {
    let verified = outcome(&SIGNER.sign(&claims()).unwrap(), NOW).unwrap();
    assert_eq!(verified.issuer(), ISSUER);
    assert_eq!(verified.client_id(), "reporting");
    assert_eq!(verified.jwt_id(), "id-1");
    assert_eq!(verified.issued_at(), NOW);
    assert_eq!(verified.all()["sub"], "reporting");
}

#[test]
fn t43_the_type_must_be_that_of_an_access_token() {
    let payload = claims().to_json();
    for good in ["at+jwt", "application/at+jwt", "AT+JWT", "Application/At+Jwt"] {
        let token = jws::sign(SIGNER.key(), good, payload.as_bytes()).unwrap();
        assert!(outcome(&token, NOW).is_ok(), "{good}");
    }
    for bad in ["JWT", "jwt", "", "at+jwt ", "text/at+jwt", "application/at+jwt; x=1", "logout+jwt", "at"] {
        let token = jws::sign(SIGNER.key(), bad, payload.as_bytes()).unwrap();
        assert_eq!(outcome(&token, NOW), Err(Rejection::WrongType), "{bad:?}");
    }
}

#[test]
fn expiry_counts_from_exp_plus_the_skew_to_the_millisecond() {
    let token = SIGNER.sign(&claims()).unwrap();
    let expires_at = NOW.saturating_add(Duration::from_mins(1));
    let last = expires_at.saturating_add(Duration::from_millis(4_999));
    assert!(outcome(&token, last).is_ok());
    let late = expires_at.saturating_add(DEFAULT_CLOCK_SKEW);
    let refused = outcome(&token, late).unwrap_err();
    assert_eq!(refused, Rejection::Expired { at: expires_at });
    assert_eq!(refused.description(), "the token expired");

    let exact = expectations().with_clock_skew(Duration::ZERO).unwrap();
    assert!(matches!(decide(&token, &keys(), &exact, expires_at), Err(Rejection::Expired { .. })));
}

#[test]
fn not_before_counts_less_the_skew() {
    let token = signed_with(&json!({ "nbf": 1_700_000_010 }));
    let at = Timestamp::from_unix_seconds(1_700_000_010);
    assert_eq!(outcome(&token, NOW), Err(Rejection::NotYetValid { at }));
    assert!(outcome(&token, NOW.saturating_add(Duration::from_secs(5))).is_ok());
}

#[test]
fn t5_a_clock_that_stepped_back_does_not_make_an_expired_token_fresh() {
    let token = SIGNER.sign(&claims()).unwrap();
    let stepped_back = |span| outcome(&token, NOW.saturating_sub(span));
    assert!(stepped_back(MAX_CLOCK_SKEW).is_ok(), "an issuer whose clock is ahead");
    let refused = stepped_back(MAX_CLOCK_SKEW + Duration::from_millis(1)).unwrap_err();
    assert_eq!(refused, Rejection::IssuedInFuture { at: NOW });
    assert_eq!(refused.description(), "the token was issued in the future");
    assert_eq!(outcome(&token, Timestamp::EPOCH), Err(refused), "a machine without a set clock");
}

#[test]
fn issuer_and_audience_are_compared_byte_by_byte() {
    for issuer in ["https://as.example/", "HTTPS://as.example", "https://as.example.attacker", "x"] {
        assert_eq!(
            outcome(&signed_with(&json!({ "iss": issuer })), NOW),
            Err(Rejection::WrongIssuer),
            "{issuer}"
        );
    }
    for audience in [json!("https://api.example/"), json!(["a", "b"]), json!("https://api.exampl")] {
        assert_eq!(outcome(&signed_with(&json!({ "aud": audience })), NOW), Err(Rejection::WrongAudience));
    }
    assert!(outcome(&signed_with(&json!({ "aud": ["other", API] })), NOW).is_ok());
    let two = Expectations::new(ISSUER, ["urn:one", "urn:two"]).unwrap();
    assert!(decide(&signed_with(&json!({ "aud": "urn:two" })), &keys(), &two, NOW).is_ok());
}

#[test]
fn t43_hmac_with_the_public_key_in_any_text_form_is_refused() {
    let jwk = SIGNER.key().public_jwk().to_json();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let y = URL_SAFE_NO_PAD.decode(jwk["y"].as_str().unwrap()).unwrap();
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&point));
    for secret in
        [jwk.to_string().into_bytes(), keys().to_json().to_string().into_bytes(), point, x, pem.into_bytes()]
    {
        for name in ["HS256", "HS384", "hs256"] {
            let header = json!({ "alg": name, "typ": "at+jwt", "kid": SIGNER.key().key_id() }).to_string();
            let input =
                format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_json()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
            let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(outcome(&token, NOW), Err(Rejection::Malformed(InvalidJws::Algorithm)));
        }
    }
}

#[test]
fn t43_a_token_over_the_limit_is_refused_by_its_length() {
    let token = signed_with(&json!({ "padding": "x".repeat(DEFAULT_MAX_TOKEN_BYTES) }));
    assert_eq!(outcome(&token, NOW), Err(Rejection::Malformed(InvalidJws::TooLong { bytes: token.len() })));
    let roomy = expectations().with_max_token_bytes(MAX_JWS_BYTES).unwrap();
    assert!(decide(&token, &keys(), &roomy, NOW).is_ok());
}

#[test]
fn t44_a_kid_that_no_key_has_is_told_apart_from_a_bad_signature() {
    let other = AccessTokenSigner::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let token = other.sign(&claims()).unwrap();
    let key_id = Some(other.key().key_id().to_owned());
    assert_eq!(outcome(&token, NOW), Err(Rejection::UnknownKey { key_id }));

    let (input, _) =
        SIGNER.sign(&claims()).unwrap().rsplit_once('.').map(|(i, s)| (i.to_owned(), s.to_owned())).unwrap();
    let (_, foreign) = token.rsplit_once('.').unwrap();
    assert_eq!(outcome(&format!("{input}.{foreign}"), NOW), Err(Rejection::BadSignature));
}

#[test]
fn t34_a_kid_in_a_rejection_is_cleaned() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "a\r\nb" }).to_string();
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_json()));
    let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()));
    let refused = outcome(&token, NOW).unwrap_err();
    assert_eq!(refused.to_string(), "no key of the issuer fits the token, which names \"a??b\"");
}

#[test]
fn a_token_without_kid_is_tried_with_a_bounded_number_of_keys() {
    let signers: Vec<_> = (0..6).map(|_| SigningKey::generate(Algorithm::Es256).unwrap()).collect();
    let set = JwkSet::from_keys(signers.iter().map(SigningKey::public_jwk)).unwrap();
    let by = |key: &SigningKey| {
        let header = json!({ "alg": "ES256", "typ": "at+jwt" }).to_string();
        let input =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_json()));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()))
    };
    for (position, signer) in signers.iter().enumerate() {
        let accepted = decide(&by(signer), &set, &expectations(), NOW);
        if position < MAX_KEYS_TRIED {
            assert!(accepted.is_ok());
        } else {
            assert_eq!(accepted, Err(Rejection::UnknownKey { key_id: None }));
        }
    }
}

#[test]
fn t45_a_token_verifies_with_the_key_of_its_algorithm_among_keys_with_one_kid() {
    let keys = Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let shared: Vec<Value> = keys
        .iter()
        .map(|key| {
            let mut jwk = key.public_jwk().to_json();
            jwk["kid"] = json!("same");
            jwk
        })
        .collect();
    let set = JwkSet::parse(json!({ "keys": shared }).to_string().as_bytes()).unwrap();
    for key in &keys {
        let header = json!({ "alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": "same" }).to_string();
        let input =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_json()));
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()));
        assert!(decide(&token, &set, &expectations(), NOW).is_ok(), "{}", key.algorithm());
        let only_rs256 = expectations().with_algorithms(&[Algorithm::Rs256]).unwrap();
        let accepted = decide(&token, &set, &only_rs256, NOW);
        assert_eq!(accepted.is_ok(), key.algorithm() == Algorithm::Rs256);
    }
}

#[test]
fn expectations_that_make_no_sense_are_refused() {
    let refusal = |audiences: Vec<String>| Expectations::new(ISSUER, audiences).unwrap_err();
    assert_eq!(refusal(vec![]), InvalidExpectations::Audiences);
    assert_eq!(refusal(vec!["a".to_owned(), String::new()]), InvalidExpectations::Audiences);
    assert_eq!(refusal(vec!["a".to_owned(); MAX_AUDIENCES + 1]), InvalidExpectations::Audiences);
    assert_eq!(Expectations::new("", [API]).unwrap_err(), InvalidExpectations::Issuer);
    let skew = expectations().with_clock_skew(Duration::from_millis(60_001));
    assert_eq!(skew.unwrap_err(), InvalidExpectations::ClockSkew);
    assert_eq!(expectations().with_algorithms(&[]).unwrap_err(), InvalidExpectations::Algorithms);
    for bytes in [0, MAX_JWS_BYTES + 1] {
        assert_eq!(
            expectations().with_max_token_bytes(bytes).unwrap_err(),
            InvalidExpectations::MaxTokenBytes
        );
    }
}

#[test]
fn an_issuer_recognizes_its_tokens_whatever_their_audience_and_age() {
    let token = SIGNER.sign(&claims()).unwrap();
    let claims = recognize(&token, &keys(), ISSUER).unwrap();
    assert_eq!(claims.audience(), [API]);
    let expires_at = claims.expires_at();
    assert_eq!(check_times(&claims, Duration::ZERO, NOW), Ok(()));
    assert_eq!(check_times(&claims, Duration::ZERO, expires_at), Err(Rejection::Expired { at: expires_at }));
    assert_eq!(recognize(&token, &keys(), "https://other.example"), Err(Rejection::WrongIssuer));
    assert!(recognize(&token, &JwkSet::default(), ISSUER).is_err());
    let other_type = jws::sign(SIGNER.key(), "jeton-revocations+jwt", self::claims().to_json().as_bytes());
    assert_eq!(recognize(&other_type.unwrap(), &keys(), ISSUER), Err(Rejection::WrongType));
}

proptest! {
    #[test]
    fn a_token_is_taken_exactly_while_it_lives(life in 1_u64..3_000_000, skew in 0_u64..=60, at in 0_u64..4_000_000) {
        let claims = AccessTokenClaims { expires_at: NOW.saturating_add(Duration::from_secs(life)), ..claims() };
        let token = SIGNER.sign(&claims).unwrap();
        let expectations = expectations().with_clock_skew(Duration::from_secs(skew)).unwrap();
        let now = NOW.saturating_add(Duration::from_secs(at));
        prop_assert_eq!(decide(&token, &keys(), &expectations, now).is_ok(), at < life + skew);
    }
}
