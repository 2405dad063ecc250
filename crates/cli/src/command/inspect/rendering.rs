//! A token, for people and for programs.

use super::decoded::{Decoded, Jwt, timestamp};
use crate::moment;
use crate::output::harmless;
use jeton::{Timestamp, TokenId};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The claims that are times.
const TIME_CLAIMS: [&str; 5] = ["exp", "iat", "nbf", "auth_time", "updated_at"];

/// Whether the token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    NotAsked,
    /// With the keys of this issuer; `audience` is the one that was asked for.
    Passed {
        issuer: String,
        audience: Option<String>,
    },
}

/// The form for people.
pub(super) fn text(token: &str, decoded: &Decoded, verification: &Verification, now: Timestamp) -> String {
    let id = TokenId::of(token);
    match decoded {
        Decoded::Opaque => format!(
            "opaque token of {} characters, fingerprint {id}\n\
             it is not a jwt: only the server that gave it out can say what it is (introspection, RFC 7662)\n",
            token.len()
        ),
        Decoded::Encrypted { header } => {
            let header = members(header, now);
            format!("encrypted jwt, fingerprint {id}\nonly its audience can read it\n\nheader\n{header}")
        }
        Decoded::Jwt(jwt) => format!(
            "signed jwt, fingerprint {id}\n{}\n{}\n\nheader\n{}\nclaims\n{}",
            verification_line(verification),
            expiry_line(jwt, now),
            members(&jwt.header, now),
            members(&jwt.claims, now),
        ),
    }
}

fn verification_line(verification: &Verification) -> String {
    match verification {
        Verification::NotAsked => {
            "not verified: anybody can have written this (verify it by --issuer URL)".to_owned()
        }
        Verification::Passed { issuer, audience: Some(audience) } => {
            format!("verified with the keys of {}, for the audience {}", harmless(issuer), harmless(audience))
        }
        Verification::Passed { issuer, audience: None } => {
            format!("verified with the keys of {}; its audience was not held against any", harmless(issuer))
        }
    }
}

fn expiry_line(jwt: &Jwt, now: Timestamp) -> String {
    match jwt.time("exp") {
        Some(at) if at > now => format!("good until {} ({})", moment::second(at), moment::distance(at, now)),
        Some(at) => format!("EXPIRED at {} ({})", moment::second(at), moment::distance(at, now)),
        None => "it does not say when it expires".to_owned(),
    }
}

/// One line for each member; values as JSON, and times also as people read them.
fn members(object: &Map<String, Value>, now: Timestamp) -> String {
    let width = object.keys().map(|name| harmless(name).chars().count()).max().unwrap_or(0);
    let mut lines = String::new();
    for (name, value) in object {
        let written = match value {
            Value::String(text) => harmless(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                harmless(&value.to_string())
            }
        };
        let _infallible = write!(lines, "  {:<width$}  {written}", harmless(name));
        if TIME_CLAIMS.contains(&name.as_str())
            && let Some(at) = timestamp(value)
        {
            let _infallible = write!(lines, "  {} ({})", moment::second(at), moment::distance(at, now));
        }
        lines.push('\n');
    }
    lines
}

/// The form for programs.
pub(super) fn document(token: &str, decoded: &Decoded, verification: &Verification, now: Timestamp) -> Value {
    let fingerprint = TokenId::of(token).to_string();
    match decoded {
        Decoded::Opaque => json!({
            "format": "opaque", "fingerprint": fingerprint, "verified": false, "length_bytes": token.len(),
        }),
        Decoded::Encrypted { header } => json!({
            "format": "jwe", "fingerprint": fingerprint, "verified": false, "header": header,
        }),
        Decoded::Jwt(jwt) => {
            let expires_at = jwt.time("exp");
            json!({
                "format": "jwt",
                "fingerprint": fingerprint,
                "verified": matches!(verification, Verification::Passed { .. }),
                "header": jwt.header,
                "claims": jwt.claims,
                "expires_at": expires_at.map(Timestamp::as_unix_seconds),
                "expired": expires_at.map(|at| at <= now),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: Value) -> Decoded {
        let object = |value: Value| value.as_object().cloned().unwrap();
        Decoded::Jwt(Jwt { header: object(json!({ "alg": "ES256" })), claims: object(claims) })
    }

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    #[test]
    fn times_are_told_as_people_read_them() {
        let shown = text("t", &jwt(json!({ "exp": 1_700_003_600 })), &Verification::NotAsked, NOW);
        assert!(shown.contains("not verified"));
        assert!(shown.contains("good until 2023-11-14 23:13:20 UTC (in 1h)"), "{shown}");
        let expired = text("t", &jwt(json!({ "exp": 1_699_999_990 })), &Verification::NotAsked, NOW);
        assert!(expired.contains("EXPIRED") && expired.contains("10s ago"), "{expired}");
        assert!(text("t", &jwt(json!({})), &Verification::NotAsked, NOW).contains("does not say"));
    }

    #[test]
    fn what_a_stranger_wrote_does_not_steer_the_terminal() {
        let claims = json!({ "sub": "a\u{1b}[2J", "n\u{9b}": ["\u{1b}"], "exp": 1 });
        let shown = text("t", &jwt(claims), &Verification::NotAsked, NOW);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }

    #[test]
    fn a_document_says_whether_it_was_verified_and_has_expired() {
        let claims = || jwt(json!({ "exp": 1_700_000_000 }));
        let passed = Verification::Passed { issuer: "https://id".to_owned(), audience: None };
        let shown = |verification, now| document("t", &claims(), verification, now);
        let plain = shown(&Verification::NotAsked, NOW);
        assert_eq!((&plain["verified"], &plain["expired"]), (&json!(false), &json!(true)));
        assert_eq!(plain["expires_at"], 1_700_000_000);
        assert_eq!(shown(&passed, Timestamp::EPOCH)["expired"], false);
        assert_eq!(shown(&passed, NOW)["verified"], true);
    }
}
