//! JWK Sets. Input: the document.

use crate::verdict::{Verdict, fit_for_a_log, holds, printable, same};
use jeton_proto::jose::jwk::{InvalidJwkSet, Jwk, JwkSet, MAX_JWK_SET_KEYS};
use jeton_proto::jose::jws::{Algorithm, MAX_KEY_ID_BYTES};
use jeton_proto::wire::error_response::MAX_ERROR_TEXT_BYTES;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk as OtherJwk, ThumbprintHash};
use serde_json::Value;

/// The members that make a key a private one, or a secret.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(JwkSet::parse, input)
}

fn check_with(parser: impl Fn(&[u8]) -> Result<JwkSet, InvalidJwkSet>, document: &[u8]) -> Verdict {
    let set = match parser(document) {
        Ok(set) => set,
        Err(error) => return fit_for_a_log(&error),
    };
    let keys: Vec<&Jwk> = set.keys().collect();
    holds(keys.len() <= MAX_JWK_SET_KEYS, || format!("{} keys are held", keys.len()))?;
    for skipped in set.skipped() {
        fit_for_a_log(&skipped.reason)?;
        let key_id = skipped.key_id.as_deref().unwrap_or_default();
        holds(key_id.len() <= MAX_ERROR_TEXT_BYTES, || format!("a key id of {} bytes", key_id.len()))?;
        printable(key_id)?;
    }
    every_key_is_accounted_for(document, &set)?;
    keys.iter().try_for_each(|key| usable_elsewhere(key))?;
    let again = parser(set.to_json().to_string().as_bytes());
    let Ok(again) = again else {
        return holds(false, || format!("the set written anew was refused: {again:?}"));
    };
    same("the keys written anew", &again.keys().collect(), &keys)?;
    same("the keys skipped of the set written anew", &again.skipped().len(), &0)
}

/// No key is lost: each is either held or skipped, up to the limit. None with a private part is held.
fn every_key_is_accounted_for(document: &[u8], set: &JwkSet) -> Verdict {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let Ok(document) = serde_json::from_slice::<Value>(document) else {
        return holds(false, || "what is no JSON was taken".to_owned());
    };
    let Some(keys) = document.get("keys").and_then(Value::as_array) else {
        return holds(false, || "a set without keys was taken".to_owned());
    };
    // The first surplus key stands for all of them.
    let told = keys.len().min(MAX_JWK_SET_KEYS + 1);
    same("the keys held and skipped", &(set.keys().len() + set.skipped().len()), &told)?;
    let private = |key: &Value| PRIVATE.iter().any(|member| key.get(member).is_some());
    let public = keys.iter().filter(|key| !private(key)).count();
    holds(set.keys().len() <= public, || "a key with a private part was taken".to_owned())
}

/// A key that is taken is one for others too, with the same thumbprint, and shows nothing private.
fn usable_elsewhere(key: &Jwk) -> Verdict {
    let json = key.to_json();
    let shown = json.as_object().map(|members| members.keys().any(|name| PRIVATE.contains(&name.as_str())));
    same("whether the key written anew has private members", &shown, &Some(false))?;
    holds(key.key_id().is_none_or(|id| id.len() <= MAX_KEY_ID_BYTES), || "a long key id".to_owned())?;
    let other: OtherJwk = match serde_json::from_value(json) {
        Ok(other) => other,
        Err(error) => return holds(false, || format!("jsonwebtoken does not read {key:?}: {error}")),
    };
    let verifier = DecodingKey::from_jwk(&other);
    holds(verifier.is_ok(), || format!("jsonwebtoken cannot use {key:?}: {:?}", verifier.err()))?;
    match key.algorithm() {
        // Its thumbprints are of these two kinds alone; that of RFC 8037 is a test of the vector of the RFC.
        Algorithm::Es256 | Algorithm::Rs256 => {
            same("the thumbprint", &other.thumbprint(ThumbprintHash::SHA256).ok(), &Some(key.thumbprint()))
        }
        Algorithm::EdDsa => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn a_parser_that_loses_keys_or_takes_private_ones_is_caught() {
        let one = format!(r#"{{"keys":[{ED25519},{{"kty":"oct","k":"AA","kid":"\u0007"}}]}}"#);
        let private = one.replace("\"crv\"", "\"d\":\"AA\",\"crv\"");
        assert_eq!((check(one.as_bytes()), check(private.as_bytes())), (Ok(()), Ok(())));
        let losing = |bytes: &[u8]| JwkSet::parse(bytes).map(|_| JwkSet::default());
        assert!(check_with(losing, one.as_bytes()).is_err());
        let careless = |bytes: &[u8]| {
            JwkSet::parse(String::from_utf8_lossy(bytes).replace("\"d\":\"AA\",", "").as_bytes())
        };
        assert!(check_with(careless, private.as_bytes()).is_err());
    }
}
