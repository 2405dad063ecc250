//! Answers of the introspection endpoint: JSON (RFC 7662 §2.2), or a JWT of the server (RFC 9701).

use crate::jose::access_token::VerifiedClaims;
use crate::jose::jwk::{KeyError, SigningKey};
use crate::jose::jws;
use crate::time::Timestamp;
use serde_json::{Map, Value, json};

/// The `typ` of an answer that is a JWT (RFC 9701 §5).
pub const JWT_MEDIA_TYPE: &str = "token-introspection+jwt";
/// The content type of such an answer, which a request asks for in `Accept` (RFC 9701 §4).
pub const JWT_CONTENT_TYPE: &str = "application/token-introspection+jwt";

/// What is told of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IntrospectionAnswer<'a> {
    /// It is good, and these are its claims.
    Active(&'a VerifiedClaims),
    /// It is not, or it is no concern of the caller: `active` is `false`, and nothing else is told (RFC 7662 §2.2).
    Inactive,
}

impl IntrospectionAnswer<'_> {
    /// The answer as JSON (RFC 7662 §2.2).
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Active(claims) => Value::Object(active(claims)),
            Self::Inactive => json!({ "active": false }),
        }
    }

    /// The answer as a JWT (RFC 9701 §5): it says who asked, and has neither `sub` nor `exp` beside the answer, so that
    /// nobody takes it for an access token.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the cryptographic library fails.
    pub fn sign(
        &self,
        key: &SigningKey,
        issuer: &str,
        caller: &str,
        issued_at: Timestamp,
    ) -> Result<String, KeyError> {
        let claims = json!({
            "iss": issuer,
            "aud": caller,
            "iat": issued_at.as_unix_seconds(),
            "token_introspection": self.to_json(),
        });
        jws::sign(key, JWT_MEDIA_TYPE, claims.to_string().as_bytes())
    }
}

/// What may be told of a token: RFC 7662 §2.2, and `cnf` (RFC 8705 §3.2). A claim that is none of these was meant for
/// the API alone.
fn active(claims: &VerifiedClaims) -> Map<String, Value> {
    const TOLD: [&str; 10] = ["scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "cnf"];
    let told = TOLD.iter().filter_map(|name| claims.all().get_key_value(*name));
    let of_answer = [("active", json!(true)), ("token_type", json!("Bearer"))];
    let of_answer = of_answer.map(|(name, value)| (name.to_owned(), value));
    of_answer.into_iter().chain(told.map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// The form in which a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// `application/json`.
    Json,
    /// [`JWT_CONTENT_TYPE`].
    Jwt,
}

impl AnswerForm {
    /// What the `Accept` fields of a request ask for (RFC 9110 §12.5.1): the JWT where it is named and nothing says that
    /// JSON is liked better. What cannot be read counts for nothing.
    pub fn accepted<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut jwt = 0.0_f32;
        let mut json = 0.0_f32;
        for range in fields.into_iter().flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let liked = if name.eq_ignore_ascii_case(JWT_CONTENT_TYPE) {
                &mut jwt
            } else if name.eq_ignore_ascii_case("application/json") {
                &mut json
            } else {
                continue;
            };
            *liked = liked.max(weight(parts));
        }
        if jwt > 0.0 && jwt >= json { Self::Jwt } else { Self::Json }
    }
}

fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f32 {
    let named = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q").then_some(value)
    });
    match named.map(str::parse::<f32>) {
        None => 1.0,
        Some(Ok(weight)) if (0.0..=1.0).contains(&weight) => weight,
        Some(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::jwk::JwkSet;
    use crate::jose::jws::{Algorithm, UnverifiedJws};

    fn claims(more: &Value) -> VerifiedClaims {
        let mut claims = json!({
            "iss": "https://as.example", "aud": "https://api.example", "sub": "worker", "client_id": "worker",
            "scope": "a b", "iat": 1, "exp": 2, "jti": "id",
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        VerifiedClaims::parse(claims.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_members_are_those_of_rfc_7662_and_no_other_claim() {
        let claims = claims(&json!({ "nbf": 1, "cnf": { "x5t#S256": "x" }, "internal": "canary" }));
        let expected = json!({
            "active": true, "token_type": "Bearer", "iss": "https://as.example", "aud": "https://api.example",
            "sub": "worker", "client_id": "worker", "scope": "a b", "iat": 1, "exp": 2, "nbf": 1, "jti": "id",
            "cnf": { "x5t#S256": "x" },
        });
        assert_eq!(IntrospectionAnswer::Active(&claims).to_json(), expected);
    }

    #[test]
    fn t40_of_an_inactive_token_nothing_is_told() {
        assert_eq!(IntrospectionAnswer::Inactive.to_json().to_string(), r#"{"active":false}"#);
    }

    #[test]
    fn a_jwt_answer_is_as_rfc_9701_section_5_wants_it() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = JwkSet::from_keys([key.public_jwk()]).unwrap();
        for (answer, told) in [
            (IntrospectionAnswer::Inactive, json!({ "active": false })),
            (
                IntrospectionAnswer::Active(&claims(&json!({}))),
                IntrospectionAnswer::Active(&claims(&json!({}))).to_json(),
            ),
        ] {
            let at = Timestamp::from_unix_seconds(7);
            let jwt = answer.sign(&key, "https://as.example", "api", at).unwrap();
            let jws = UnverifiedJws::parse(&jwt).unwrap();
            assert_eq!(jws.media_type(), Some("token-introspection+jwt"));
            let payload = jws.verify(keys.candidates(jws.key_id(), jws.algorithm()).next().unwrap()).unwrap();
            let expected =
                json!({ "iss": "https://as.example", "aud": "api", "iat": 7, "token_introspection": told });
            assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
        }
    }

    #[test]
    fn a_jwt_is_given_to_who_asks_for_it() {
        for (fields, form) in [
            (&["application/token-introspection+jwt"][..], AnswerForm::Jwt),
            (&["Application/Token-Introspection+JWT"], AnswerForm::Jwt),
            (&["text/html, application/token-introspection+jwt;q=0.5"], AnswerForm::Jwt),
            (&["application/json", "application/token-introspection+jwt"], AnswerForm::Jwt),
            (&["application/json, application/token-introspection+jwt; q=0.5"], AnswerForm::Json),
            (&["application/json;q=0.2, application/token-introspection+jwt; q=0.5"], AnswerForm::Jwt),
            (&["application/token-introspection+jwt;q=0"], AnswerForm::Json),
            (&["application/token-introspection+jwt;q=NaN"], AnswerForm::Json),
            (&["application/token-introspection+jwt;q=2"], AnswerForm::Json),
            (&["application/json"], AnswerForm::Json),
            (&["*/*"], AnswerForm::Json),
            (&["application/*"], AnswerForm::Json),
            (&["", ",;,=;q"], AnswerForm::Json),
            (&[], AnswerForm::Json),
        ] {
            assert_eq!(AnswerForm::accepted(fields.iter().copied()), form, "{fields:?}");
        }
    }
}
