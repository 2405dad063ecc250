//! What the guard answers to those who should not get in (R6.2).

use super::super::api::{READ_SCOPE, WRITE_SCOPE};
use super::{Proof, Step};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{Method, Response};
use jeton_proto::wire::challenge::parse_challenges;
use serde_json::{Value, json};

/// Calls without a token, with a forged one, and with one that lacks the scope.
pub(super) async fn guard(proof: &Proof<'_>) -> Result<Step, Failure> {
    let token = proof.handle.token().await.map_err(|error| Failure::from(&error))?;
    let token = token.access_token();
    let forged = format!("Bearer {}", forged(token)?);
    let genuine = format!("Bearer {token}");
    let bare = |method, authorization| proof.caller.call_bare(method, authorization);
    let verdicts = [
        Verdict::new("no token", &bare(Method::GET, None).await?, 401, None),
        Verdict::new("forged token", &bare(Method::GET, Some(&forged)).await?, 401, Some("invalid_token")),
        Verdict::new(
            "scope missing",
            &bare(Method::POST, Some(&genuine)).await?,
            403,
            Some("insufficient_scope"),
        ),
        Verdict::new("good token", &bare(Method::GET, Some(&genuine)).await?, 200, None),
    ];
    let told: Vec<_> = verdicts.iter().map(Verdict::text).collect();
    Ok(Step {
        name: "guard",
        ok: verdicts.iter().all(|verdict| verdict.ok),
        text: told.join("; "),
        facts: json!({ "answers": verdicts.iter().map(Verdict::facts).collect::<Vec<_>>() }),
    })
}

/// What one request was answered.
#[derive(Debug)]
struct Verdict {
    request: &'static str,
    status: u16,
    error: Option<String>,
    ok: bool,
}

impl Verdict {
    /// Holds an answer against the status and the error code (RFC 6750 §3.1) that it must have.
    fn new(request: &'static str, answer: &Response<Bytes>, status: u16, error: Option<&str>) -> Self {
        let fields = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = parse_challenges(fields.map(http::HeaderValue::as_bytes));
        let bearer = challenges.iter().find(|challenge| challenge.is_scheme("bearer"));
        let found = bearer.and_then(|challenge| challenge.parameter("error"));
        let fits = bearer.is_some() == matches!(status, 401 | 403);
        Self {
            request,
            status: answer.status().as_u16(),
            error: found.map(str::to_owned),
            ok: answer.status().as_u16() == status && found == error && fits,
        }
    }

    fn text(&self) -> String {
        let error = self.error.as_ref().map(|error| format!(" {error}")).unwrap_or_default();
        format!("{} -> {}{error}", self.request, self.status)
    }

    fn facts(&self) -> Value {
        json!({ "request": self.request, "status": self.status, "error": self.error })
    }
}

/// The token with more scope written into it, under the old signature.
fn forged(token: &str) -> Result<String, Failure> {
    let unexpected = || Failure::new(ExitCode::Other, "the server gave out a token that is no jwt");
    let (header, rest) = token.split_once('.').ok_or_else(unexpected)?;
    let (payload, signature) = rest.split_once('.').ok_or_else(unexpected)?;
    let claims = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|claims| String::from_utf8(claims).ok());
    let claims = claims.ok_or_else(unexpected)?;
    let raised = claims.replace(READ_SCOPE, &format!("{READ_SCOPE} {WRITE_SCOPE}"));
    if raised == claims {
        return Err(unexpected());
    }
    Ok(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(raised)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, challenge: Option<&str>) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        if let Some(challenge) = challenge {
            answer = answer.header(WWW_AUTHENTICATE, challenge);
        }
        answer.body(Bytes::new()).unwrap()
    }

    #[test]
    fn a_verdict_wants_the_status_and_the_error() {
        let invalid = Some("Bearer error=\"invalid_token\"");
        let ok = |answer: &Response<Bytes>| Verdict::new("x", answer, 401, Some("invalid_token")).ok;
        assert!(ok(&answer(401, invalid)));
        assert!(!ok(&answer(403, invalid)) && !ok(&answer(401, Some("Bearer"))) && !ok(&answer(401, None)));
        let bare = |answer: &Response<Bytes>| Verdict::new("x", answer, 401, None).ok;
        assert!(bare(&answer(401, Some("Bearer realm=\"x\""))));
        assert!(!bare(&answer(401, invalid)) && !bare(&answer(401, None)));
    }

    #[test]
    fn a_forged_token_differs_in_its_scope_alone() {
        let claims = URL_SAFE_NO_PAD.encode("{\"scope\":\"orders:read\"}");
        let forged = forged(&format!("h.{claims}.s")).unwrap();
        let parts: Vec<_> = forged.split('.').collect();
        assert_eq!((parts[0], parts[2]), ("h", "s"));
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[1]).unwrap(), b"{\"scope\":\"orders:read orders:write\"}");
    }
}
