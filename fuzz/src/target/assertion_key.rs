//! Private keys for client assertions, as PEM or JWK. Input: the text of the key; `@@` stands for what is secret in it.

use crate::input::{planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey, InvalidAssertionKey};
use jeton_proto::jose::client_assertion::{AssertionLifetime, ClientAssertion};
use jeton_proto::jose::jws::MAX_KEY_ID_BYTES;
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jsonwebtoken::jwk::Jwk as OtherJwk;
use jsonwebtoken::{Algorithm as OtherAlgorithm, DecodingKey};

/// The members that make a key a private one, or a secret.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(|text| AssertionKey::from_text(text, None), input)
}

fn check_with(
    parser: impl Fn(&Secret<String>) -> Result<AssertionKey, InvalidAssertionKey>,
    input: &[u8],
) -> Verdict {
    let text = Secret::new(text(&planted(input)));
    let key = match parser(&text) {
        Ok(key) => key,
        Err(error) => return fit_for_a_log(&error),
    };
    holds(key.key_id().is_none_or(|id| id.len() <= MAX_KEY_ID_BYTES), || "a long key id".to_owned())?;
    // The key id is no secret, and may be any text.
    silent(&format!("{:?}", key.clone().with_key_id(None)))?;
    for algorithm in AssertionAlgorithm::ALL {
        let possible = key.possible_algorithms().contains(&algorithm);
        match key.clone().with_algorithm(algorithm) {
            Ok(key) => {
                holds(possible, || format!("{algorithm} was taken"))?;
                verifies_elsewhere(&key)?;
            }
            Err(error) => {
                holds(!possible, || format!("{algorithm} was refused"))?;
                fit_for_a_log(&error)?;
            }
        }
    }
    Ok(())
}

/// What the key signs is of the public key that it tells, which shows nothing private.
fn verifies_elsewhere(key: &AssertionKey) -> Verdict {
    let Some(public) = key.public_jwk() else {
        return holds(false, || "a private key has no public one".to_owned());
    };
    let private = public.as_object().map(|public| public.keys().any(|name| PRIVATE.contains(&name.as_str())));
    same("whether the public key has private members", &private, &Some(false))?;
    let other = serde_json::from_value::<OtherJwk>(public.clone()).ok();
    let Some(public_key) = other.and_then(|other| DecodingKey::from_jwk(&other).ok()) else {
        return holds(false, || format!("jsonwebtoken cannot use {public}"));
    };
    let assertion = ClientAssertion {
        client_id: "c",
        audience: "a",
        issued_at: Timestamp::EPOCH,
        lifetime: AssertionLifetime::default(),
        jwt_id: "j",
    };
    let signed = assertion.sign(key).map(|signed| signed.expose().clone()).unwrap_or_default();
    let (message, signature) = signed.rsplit_once('.').unwrap_or_default();
    let algorithm = match key.algorithm() {
        AssertionAlgorithm::Es256 => OtherAlgorithm::ES256,
        AssertionAlgorithm::Rs256 => OtherAlgorithm::RS256,
        AssertionAlgorithm::Ps256 => OtherAlgorithm::PS256,
        AssertionAlgorithm::EdDsa => OtherAlgorithm::EdDSA,
        AssertionAlgorithm::Hs256 => OtherAlgorithm::HS256,
    };
    let verified = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &public_key, algorithm);
    holds(verified.unwrap_or(false), || format!("jsonwebtoken refuses what {public} signed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &[u8] = include_bytes!("../../seeds/assertion_key/ec_jwk");

    #[test]
    fn a_parser_that_takes_a_secret_for_a_private_key_is_caught() {
        assert_eq!(check(EC), Ok(()));
        assert!(check_with(|text| Ok(AssertionKey::from_client_secret(text)), EC).is_err());
    }
}
