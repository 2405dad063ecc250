use super::*;
use crate::jose::jws::{Algorithm, UnverifiedJws};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json as json_value;

fn claims<'a>(audience: &'a [&'a str], scope: Option<&'a Scope>) -> AccessTokenClaims<'a> {
    AccessTokenClaims {
        issuer: "https://as.example",
        audience,
        subject: "reporting",
        client_id: "reporting",
        scope,
        issued_at: Timestamp::from_unix_millis(1_700_000_000_999),
        expires_at: Timestamp::from_unix_seconds(1_700_003_600),
        jwt_id: "id-1",
        confirmation: None,
    }
}

#[test]
fn claims_are_written_as_rfc_9068_has_them() {
    let scope: Scope = "write read".parse().unwrap();
    let written = claims(&["https://api.example"], Some(&scope)).to_json();
    assert_eq!(
        written,
        r#"{"iss":"https://as.example","aud":"https://api.example","sub":"reporting","client_id":"reporting","scope":"read write","iat":1700000000,"exp":1700003600,"jti":"id-1"}"#
    );
}

#[test]
fn the_certificate_that_a_token_is_bound_to_is_written_as_rfc_8705_has_it() {
    // The example of RFC 8705 §3.1, whose last character has bits that base64url does not allow, with those cleared.
    let text = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";
    let thumbprint: [u8; 32] = URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap();
    let bound = AccessTokenClaims {
        confirmation: Some(CertificateThumbprint(thumbprint)),
        ..claims(&["https://api.example"], None)
    };
    let written: Value = serde_json::from_str(&bound.to_json()).unwrap();
    assert_eq!(written["cnf"], json_value!({ "x5t#S256": text }));
}

#[test]
fn several_audiences_are_an_array_and_an_empty_scope_is_left_out() {
    let empty = Scope::empty();
    for scope in [None, Some(&empty)] {
        let written: Value = serde_json::from_str(&claims(&["a", "b"], scope).to_json()).unwrap();
        assert_eq!(written["aud"], json_value!(["a", "b"]));
        assert_eq!(written.get("scope"), None);
    }
}

#[test]
fn a_token_has_the_type_and_the_key_of_its_signer() {
    let signer = AccessTokenSigner::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let token = signer.sign(&claims(&["a"], None)).unwrap();
    let jws = UnverifiedJws::parse(&token).unwrap();
    assert_eq!(jws.media_type(), Some("at+jwt"));
    assert_eq!(jws.key_id(), Some(signer.key().key_id()));
    let payload = jws.verify(&signer.key().public_jwk().verification_key().unwrap()).unwrap();
    let verified = VerifiedClaims::parse(&payload).unwrap();
    assert_eq!(verified.audience(), ["a"]);
    assert_eq!(verified.expires_at(), Timestamp::from_unix_seconds(1_700_003_600));
    assert_eq!(verified.not_before(), None);
}

#[test]
fn t43_times_must_be_whole_seconds_within_bounds() {
    for name in ["iat", "exp", "nbf"] {
        for bad in [
            "\"1700000000\"",
            "1700000000.5",
            "1700000000.0",
            "1.7e9",
            "-1",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "null",
            "true",
            "[1]",
            "{}",
        ] {
            let mut value: Value = serde_json::from_str(&claims(&["a"], None).to_json()).unwrap();
            value[name] = serde_json::from_str(bad).unwrap();
            let refused = VerifiedClaims::parse(value.to_string().as_bytes());
            assert_eq!(refused, Err(InvalidClaims::Value(name)), "{name} {bad}");
        }
    }
    for bad in ["NaN", "Infinity", "1e999"] {
        let text = claims(&["a"], None).to_json().replace("1700003600", bad);
        assert!(matches!(VerifiedClaims::parse(text.as_bytes()), Err(InvalidClaims::Json(_))), "{bad}");
    }
}

#[test]
fn t43_every_required_claim_must_be_there_and_of_its_type() {
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        let mut value: Value = serde_json::from_str(&claims(&["a"], None).to_json()).unwrap();
        value.as_object_mut().unwrap().remove(name);
        let parse = |value: &Value| VerifiedClaims::parse(value.to_string().as_bytes());
        assert_eq!(parse(&value), Err(InvalidClaims::Missing(name)));
        for bad in [json_value!(""), json_value!(null), json_value!([]), json_value!([1]), json_value!({})] {
            value[name] = bad.clone();
            assert_eq!(parse(&value), Err(InvalidClaims::Value(name)), "{name} {bad}");
        }
    }
    for bad in [json_value!(["read"]), json_value!("a\"b"), json_value!(1)] {
        let mut value: Value = serde_json::from_str(&claims(&["a"], None).to_json()).unwrap();
        value["scope"] = bad;
        assert_eq!(VerifiedClaims::parse(value.to_string().as_bytes()), Err(InvalidClaims::Value("scope")));
    }
}

#[test]
fn t43_a_repeated_claim_is_refused() {
    let text = claims(&["a"], None).to_json().replacen('{', r#"{"exp":9999999999,"#, 1);
    let refused = VerifiedClaims::parse(text.as_bytes());
    assert!(matches!(refused, Err(InvalidClaims::Json(InvalidJson::RepeatedMember { .. }))), "{refused:?}");
}

proptest! {
    #[test]
    fn any_text_in_a_claim_reads_back_as_it_was(
        issuer in "[\\x00-\\x7f]{1,40}",
        subject in "\\PC{1,20}|[\"\\\\/\u{8}\u{2028}\u{ffff}]{1,8}",
        audience in proptest::collection::vec("(?s).{1,20}", 1..4),
        seconds in 0..=MAX_NUMERIC_DATE_SECONDS,
    ) {
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        let written = AccessTokenClaims {
            issuer: &issuer,
            subject: &subject,
            client_id: &subject,
            issued_at: Timestamp::from_unix_seconds(seconds),
            ..claims(&audience, None)
        };
        let text = written.to_json();
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        let read = VerifiedClaims::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(read.issuer(), issuer);
        prop_assert_eq!(read.subject(), subject);
        prop_assert_eq!(read.audience(), audience);
        prop_assert_eq!(read.issued_at(), Timestamp::from_unix_seconds(seconds));
    }

    #[test]
    fn any_payload_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = VerifiedClaims::parse(&bytes);
    }
}

proptest! {
    /// Wherever the claims that tokens have in common end within a group of three bytes, and whatever characters they have.
    #[test]
    fn a_token_carries_what_its_claims_are_written_as(
        issuer in "\\PC{0,12}", audience in prop::collection::vec("\\PC{0,9}", 1..3), client_id in "[ -~\\x00é😀]{0,7}",
        scope in prop::option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"), jwt_id in "\\PC{0,5}", room_bytes in 0_usize..300,
    ) {
        static SIGNER: std::sync::LazyLock<AccessTokenSigner> =
            std::sync::LazyLock::new(|| AccessTokenSigner::new(SigningKey::generate(Algorithm::EdDsa).unwrap()));
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        let scope: Option<Scope> = scope.map(|scope| scope.parse().unwrap());
        let claims = AccessTokenClaims {
            issuer: &issuer, subject: &client_id, client_id: &client_id, jwt_id: &jwt_id, ..claims(&audience, scope.as_ref())
        };
        let common = CommonClaims::new(&issuer, &audience, &client_id, scope.as_ref());
        let token = SIGNER.sign_behind(&common, &claims.own(), room_bytes).unwrap();
        prop_assert!(token.capacity() - token.len() >= room_bytes);
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        prop_assert_eq!(String::from_utf8(payload.clone()).unwrap(), claims.to_json());
        let read: Value = serde_json::from_slice(&payload).unwrap();
        prop_assert_eq!((read["iss"].as_str(), read["client_id"].as_str()), (Some(&*issuer), Some(&*client_id)));
        let keys = SIGNER.key().public_jwk().verification_key().unwrap();
        prop_assert_eq!(UnverifiedJws::parse(&token).unwrap().verify(&keys).unwrap(), payload);
        prop_assert_eq!(token, SIGNER.sign(&claims).unwrap());
    }
}
