//! Compact JSON Web Signatures under keys of the three algorithms. Input: the compact serialization.

use crate::input::text;
use crate::target::verification::{KEYS, OTHER_KEYS, other_algorithm};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::jwk::VerificationKey;
use jeton_proto::jose::jws::{InvalidJws, MAX_HEADER_BYTES, MAX_KEY_ID_BYTES, UnverifiedJws};
use serde_json::{Map, Value};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(verified, input)
}

fn verified(jws: &UnverifiedJws<'_>, key: &VerificationKey) -> Verified {
    jws.verify(key)
}

type Verified = Result<Vec<u8>, InvalidJws>;

fn check_with(verify: impl Fn(&UnverifiedJws<'_>, &VerificationKey) -> Verified, input: &[u8]) -> Verdict {
    let compact = text(input);
    let jws = match UnverifiedJws::parse(&compact) {
        Ok(jws) => jws,
        Err(error) => return fit_for_a_log(&error),
    };
    let parts: Vec<&str> = compact.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return holds(false, || format!("{} parts were taken", parts.len()));
    };
    header_is_read_right(&jws, header)?;
    let message = format!("{header}.{payload}");
    for key in KEYS.candidates(None, jws.algorithm()) {
        let other = OTHER_KEYS.get(&jws.algorithm()).is_some_and(|other| {
            let algorithm = other_algorithm(jws.algorithm());
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), other, algorithm).unwrap_or(false)
        });
        match verify(&jws, key) {
            Ok(taken) => {
                holds(other, || format!("{compact} was taken, jsonwebtoken refuses it"))?;
                same("the payload in base64url", &URL_SAFE_NO_PAD.encode(taken).as_str(), payload)?;
            }
            Err(InvalidJws::Signature) => {
                holds(!other, || format!("{compact} was refused, jsonwebtoken takes it"))?;
            }
            Err(error) => fit_for_a_log(&error)?,
        }
    }
    let foreign = KEYS.keys().filter(|key| key.algorithm() != jws.algorithm());
    for key in foreign.filter_map(|key| key.verification_key().ok()) {
        holds(verify(&jws, &key).is_err(), || format!("a key for {} was used", key.algorithm()))?;
    }
    Ok(())
}

fn header_is_read_right(jws: &UnverifiedJws<'_>, header: &str) -> Verdict {
    holds(header.len() <= MAX_HEADER_BYTES, || format!("a header of {} bytes", header.len()))?;
    let decoded = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let Ok(members) = serde_json::from_slice::<Map<String, Value>>(&decoded) else {
        return holds(false, || format!("{} was taken for a header", decoded.escape_ascii()));
    };
    let member = |name: &str| members.get(name).and_then(Value::as_str);
    same("alg", &Some(jws.algorithm().as_str()), &member("alg"))?;
    same("kid", &jws.key_id(), &member("kid"))?;
    same("typ", &jws.media_type(), &member("typ"))?;
    holds(!members.contains_key("crit") && !members.contains_key("b64"), || "an extension".to_owned())?;
    holds(jws.key_id().is_none_or(|id| id.len() <= MAX_KEY_ID_BYTES), || "a long key id".to_owned())?;
    same("the header in base64url", &URL_SAFE_NO_PAD.encode(&decoded).as_str(), &header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_that_takes_or_refuses_everything_is_caught() {
        let example: Value =
            serde_json::from_str(include_str!("../../../testdata/rfc/rfc8037-appendix-a.json")).unwrap();
        let good = example["jws"].as_str().unwrap();
        let forged = good.replacen("hgy", "hgz", 1);
        assert_eq!((check(good.as_bytes()), check(forged.as_bytes())), (Ok(()), Ok(())));
        let payload = b"Example of Ed25519 signing".to_vec();
        assert!(check_with(|_, _| Ok(payload.clone()), forged.as_bytes()).is_err());
        assert!(check_with(|_, _| Err(InvalidJws::Signature), good.as_bytes()).is_err());
        assert!(check_with(|jws, key| jws.verify(key).map(|_| b"{}".to_vec()), good.as_bytes()).is_err());
    }
}
