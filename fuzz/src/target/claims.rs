//! Access tokens as they are written. Input: issuer, audience, second audience, subject, scope and the rest as the
//! token id, one a line.

use crate::input::{lines, text};
use crate::target::verification::{AUDIENCE, ISSUER, decided, token};
use crate::verdict::{Verdict, holds, same};
use jeton_proto::jose::access_token::AccessTokenClaims;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::scope::Scope;
use serde_json::{Value, json};

const ISSUED_AT: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);
const EXPIRES_AT: Timestamp = Timestamp::from_unix_seconds(1_700_003_600);

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(written, input)
}

fn written(claims: &AccessTokenClaims<'_>) -> String {
    claims.to_json()
}

fn check_with(writer: impl Fn(&AccessTokenClaims<'_>) -> String, input: &[u8]) -> Verdict {
    let [issuer, first, second, subject, scope, jwt_id] = lines(input).map(text);
    let both = [first.as_str(), second.as_str()];
    let (one, _) = both.split_at(1);
    let scope: Option<Scope> = scope.parse().ok();
    let claims = AccessTokenClaims {
        issuer: &issuer,
        audience: if second.is_empty() { one } else { &both },
        subject: &subject,
        client_id: &subject,
        scope: scope.as_ref(),
        issued_at: ISSUED_AT,
        expires_at: EXPIRES_AT,
        jwt_id: &jwt_id,
        confirmation: None,
    };
    as_serde_json_writes_it(&writer(&claims), &claims)?;
    // With the issuer and an audience that are expected, the token is taken and says the same.
    let audience = [AUDIENCE, first.as_str()];
    let expected = AccessTokenClaims { issuer: ISSUER, audience: &audience, ..claims };
    let json = writer(&expected);
    let Some(Ok(verified)) = token(b"", json.as_bytes()).map(|token| decided(&token)) else {
        let usable = !subject.is_empty() && !jwt_id.is_empty() && json.len() < 8192;
        return holds(!usable, || format!("a token with the claims {json} is refused"));
    };
    same("the subject", &verified.subject(), &subject.as_str())?;
    same("the token id", &verified.jwt_id(), &jwt_id.as_str())?;
    same("the scope", &verified.scope(), &scope.as_ref().filter(|scope| !scope.is_empty()))?;
    same("the audiences", &verified.audience().iter().map(String::as_str).collect(), &audience.to_vec())
}

fn as_serde_json_writes_it(written: &str, claims: &AccessTokenClaims<'_>) -> Verdict {
    let audience = match claims.audience {
        [one] => json!(one),
        several => json!(several),
    };
    let mut expected = json!({
        "iss": claims.issuer, "aud": audience, "sub": claims.subject, "client_id": claims.client_id,
        "iat": claims.issued_at.as_unix_seconds(), "exp": claims.expires_at.as_unix_seconds(),
        "jti": claims.jwt_id,
    });
    let scope = claims.scope.filter(|scope| !scope.is_empty()).map(|scope| json!(scope.to_string()));
    if let (Some(scope), Some(members)) = (scope, expected.as_object_mut()) {
        members.insert("scope".to_owned(), scope);
    }
    same("the claims", &serde_json::from_str::<Value>(written).ok(), &Some(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_does_not_escape_is_caught() {
        let input = b"https://a\nurn:\"b\"\nc\ns\\\nread write\nid\n\x01";
        assert_eq!(check(input), Ok(()));
        let careless = |claims: &AccessTokenClaims<'_>| {
            format!("{{\"iss\":\"{}\",\"aud\":\"{}\"}}", claims.issuer, claims.audience.join(","))
        };
        assert!(check_with(careless, input).is_err());
        assert!(check_with(|claims| claims.to_json().replace("read", "admin"), input).is_err());
    }
}
