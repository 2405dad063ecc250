//! Access tokens before a resource server. Input: one byte for the way, then
//! - `r`: a token as it is;
//! - `s`: a header, a line break and a payload, which the harness signs with the key of RFC 8037 appendix A; an empty
//!   header stands for the usual one;
//! - `t`: two bytes that say which byte of the token is changed and how, then as for `s`.
//!
//! A fuzzer cannot forge a signature; signing for it is what lets it come to the claims at all.

use crate::input::{first_byte, first_line, planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::access_token::{MAX_NUMERIC_DATE_SECONDS, VerifiedClaims};
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_proto::verification::{DEFAULT_MAX_TOKEN_BYTES, Expectations, Rejection, decide};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const AUDIENCE: &str = "https://api.example";
const NOW_SECONDS: u64 = 1_700_000_000;
const SKEW_SECONDS: u64 = 5;
const MOST_AHEAD_SECONDS: u64 = 60;

/// The private key of RFC 8037 appendix A.1, behind the head that makes it PKCS#8 (RFC 8410 §7).
const PRIVATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v_VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

/// The key that the harness signs with; `None` only when the cryptographic library is broken, which every test shows.
pub(crate) static SIGNER: LazyLock<Option<SigningKey>> = LazyLock::new(|| {
    let der = URL_SAFE_NO_PAD.decode(PRIVATE_KEY).ok()?;
    SigningKey::from_pkcs8(Algorithm::EdDsa, &der).ok()
});

/// That key with its key id, and the keys of RFC 7515 appendix A.2 and A.3.
pub(crate) static KEYS: LazyLock<JwkSet> = LazyLock::new(|| {
    let examples: Value = serde_json::from_str(include_str!("../../../testdata/rfc/rfc7515-appendix-a.json"))
        .unwrap_or_default();
    let of_rfc_7515 = ["/examples/1/key", "/examples/2/key"].map(|at| examples.pointer(at).cloned());
    let signer = SIGNER.as_ref().map(|signer| signer.public_jwk().to_json());
    let keys: Vec<Value> = of_rfc_7515.into_iter().chain([signer]).flatten().collect();
    JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap_or_default()
});

/// The same keys as `jsonwebtoken` has them.
pub(crate) static OTHER_KEYS: LazyLock<BTreeMap<Algorithm, DecodingKey>> = LazyLock::new(|| {
    let other = |key: &Value| DecodingKey::from_jwk(&serde_json::from_value(key.clone()).ok()?).ok();
    KEYS.keys().filter_map(|key| Some((key.algorithm(), other(&key.to_json())?))).collect()
});

static EXPECTATIONS: LazyLock<Option<Expectations>> =
    LazyLock::new(|| Expectations::new(ISSUER, [AUDIENCE]).ok());

type Decision = Result<VerifiedClaims, Rejection>;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(decided, input)
}

/// What a resource server decides of a token.
pub(crate) fn decided(token: &str) -> Decision {
    let wrong = Rejection::UnknownKey { key_id: None };
    let expectations = EXPECTATIONS.as_ref().ok_or(wrong)?;
    decide(token, &KEYS, expectations, Timestamp::from_unix_seconds(NOW_SECONDS))
}

fn check_with(decide: impl Fn(&str) -> Decision, input: &[u8]) -> Verdict {
    let (way, rest) = first_byte(input);
    match way {
        b'r' => raw(&decide, &text(rest)),
        b't' => {
            let (at, rest) = first_byte(rest);
            let (change, rest) = first_byte(rest);
            tampered(&decide, at, change, rest)
        }
        _ => signed(&decide, rest),
    }
}

/// A token that is taken is one for `jsonwebtoken` too, byte by byte.
fn raw(decide: &impl Fn(&str) -> Decision, token: &str) -> Verdict {
    let claims = match decide(token) {
        Ok(claims) => claims,
        Err(rejection) => return fit_for_a_log(&rejection),
    };
    let (message, signature) = token.rsplit_once('.').unwrap_or_default();
    let payload = message.split_once('.').map(|(_, payload)| payload).unwrap_or_default();
    let verified = OTHER_KEYS.iter().any(|(algorithm, key)| {
        let algorithm = other_algorithm(*algorithm);
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
    });
    holds(verified, || format!("{token} was taken, jsonwebtoken refuses it"))?;
    let payload = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    same("the claims", &serde_json::from_slice(&payload).ok().as_ref(), &Some(claims.all()))
}

/// The decision on a payload as it is, and on the same payload written anew by `serde_json`, which has no repeated
/// members: there the model of RFC 9068 says exactly what must come out.
fn signed(decide: &impl Fn(&str) -> Decision, input: &[u8]) -> Verdict {
    let (header, payload) = first_line(input);
    let payload = planted(payload);
    if let Some(token) = token(header, &payload) {
        raw(decide, &token)?;
        let usual = header.is_empty();
        let decision = decide(&token);
        holds(!usual || decision != Err(Rejection::BadSignature), || format!("refused: {token}"))?;
    }
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(&payload) else {
        return Ok(());
    };
    let Some(token) = token(b"", Value::Object(claims.clone()).to_string().as_bytes()) else {
        return Ok(());
    };
    let decision = decide(&token);
    let expected = acceptable(&claims) && token.len() <= DEFAULT_MAX_TOKEN_BYTES;
    holds(decision.is_ok() == expected, || format!("{decision:?} of the claims {claims:?}"))
}

/// No byte of a token can be changed and the token be taken.
fn tampered(decide: &impl Fn(&str) -> Decision, at: u8, change: u8, input: &[u8]) -> Verdict {
    let (header, payload) = first_line(input);
    let Some(token) = token(header, payload) else {
        return Ok(());
    };
    // Both ends are within reach of one byte: the header, and the signature with the unused bits of its last character.
    let at = if at < 128 { usize::from(at) } else { token.len().saturating_sub(usize::from(at) - 127) };
    let mut bytes = token.clone().into_bytes();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= change & 0x7f;
    }
    let changed = text(&bytes);
    holds(changed == token || decide(&changed).is_err(), || format!("{token} was taken as {changed}"))
}

/// The token of this header and payload; `None` when the cryptographic library does not sign.
pub(crate) fn token(header: &[u8], payload: &[u8]) -> Option<String> {
    let signer = SIGNER.as_ref()?;
    let usual =
        || json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": signer.key_id() }).to_string().into_bytes();
    let header = if header.is_empty() { usual() } else { header.to_vec() };
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).ok()?);
    Some(format!("{message}.{signature}"))
}

/// RFC 9068 §4 and the bounds that jeton documents, written in another way.
fn acceptable(claims: &Map<String, Value>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let date =
        |name: &str| claims.get(name).and_then(Value::as_u64).filter(|at| *at <= MAX_NUMERIC_DATE_SECONDS);
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => one == AUDIENCE,
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string) && several.contains(&Value::from(AUDIENCE))
        }
        _ => false,
    };
    let scope = match claims.get("scope") {
        None => true,
        Some(Value::String(scope)) => super::scope::expected(scope).is_some(),
        Some(_) => false,
    };
    let begun = match claims.get("nbf") {
        None => true,
        Some(_) => date("nbf").is_some_and(|at| at <= NOW_SECONDS + SKEW_SECONDS),
    };
    text("iss") == Some(ISSUER)
        && ["sub", "client_id", "jti"].iter().all(|name| text(name).is_some())
        && audience
        && scope
        && begun
        && date("exp").is_some_and(|at| NOW_SECONDS < at + SKEW_SECONDS)
        && date("iat").is_some_and(|at| at <= NOW_SECONDS + MOST_AHEAD_SECONDS)
}

pub(crate) fn other_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"iss":"https://as.example","aud":["https://api.example"],"sub":"s","client_id":"c",
        "iat":1700000000,"exp":1700000060,"jti":"j","scope":"b a"}"#;

    #[test]
    fn the_keys_are_those_of_the_rfcs() {
        assert_eq!(SIGNER.as_ref().unwrap().key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!((KEYS.keys().len(), OTHER_KEYS.len()), (3, 3));
        assert!(decided(&token(b"", CLAIMS.as_bytes()).unwrap()).is_ok());
    }

    #[test]
    fn a_guard_that_is_lenient_in_any_of_these_ways_is_caught() {
        let signed = format!("s\n{CLAIMS}").into_bytes();
        let expired = format!("s\n{}", CLAIMS.replace("1700000060", "1699999990")).into_bytes();
        let tampered = format!("t\u{7f}\u{1}\n{CLAIMS}").into_bytes();
        for input in [&signed, &expired, &tampered] {
            assert_eq!(check(input), Ok(()));
        }
        let good = decided(&token(b"", CLAIMS.as_bytes()).unwrap());
        assert!(check_with(|_| good.clone(), &tampered).is_err(), "no signature is checked");
        assert!(check_with(|_| good.clone(), &expired).is_err(), "no time is checked");
        assert!(check_with(|_| Err(Rejection::BadSignature), &signed).is_err(), "nothing is taken");
        let padded = format!("r{}==", token(b"", CLAIMS.as_bytes()).unwrap()).into_bytes();
        assert_eq!(check(&padded), Ok(()));
        let lenient = |token: &str| decided(token.trim_end_matches('='));
        assert!(check_with(lenient, &padded).is_err(), "padding is passed over");
    }
}
