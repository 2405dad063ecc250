//! May a refused call be sent again, and with which token (RFC 6750 §3.1)?

use crate::lifecycle::TokenId;
use crate::wire::challenge::parse_challenges;

/// What a response of the API says about the token it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The API took the token: 2xx, or 403, which is about what the token allows.
    TokenAccepted,
    /// The API refused the token as expired, revoked or malformed: 401 with `Bearer error="invalid_token"`.
    TokenRefused,
    /// Anything else: nothing that a new token of the same kind would change, and no sign that this one was looked at.
    /// A gateway answers 5xx, 429 or a redirect without asking the API.
    NotAboutTheToken,
}

/// What a 401 without `error="invalid_token"` means. RFC 6750 §3.1 wants the code whenever a token was sent, yet
/// some APIs leave it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareUnauthorized {
    /// It is handed back: a new token would not help. The default.
    #[default]
    HandBack,
    /// A 401 with no challenge at all, or with a Bearer challenge that names no error, refuses the token.
    RefusesToken,
}

/// Reads a response: its status and its `WWW-Authenticate` fields.
///
/// ```
/// use jeton_proto::replay::{BareUnauthorized, Judgement, judge};
///
/// let field: &[u8] = br#"Bearer error="invalid_token""#;
/// assert_eq!(judge(401, [field], BareUnauthorized::HandBack), Judgement::TokenRefused);
/// assert_eq!(judge(401, [], BareUnauthorized::HandBack), Judgement::NotAboutTheToken);
/// ```
pub fn judge<'a>(
    status: u16,
    www_authenticate: impl IntoIterator<Item = &'a [u8]>,
    bare: BareUnauthorized,
) -> Judgement {
    match status {
        401 => {}
        200..=299 | 403 => return Judgement::TokenAccepted,
        _ => return Judgement::NotAboutTheToken,
    }
    let challenges = parse_challenges(www_authenticate);
    let mut bearer = challenges.iter().filter(|challenge| challenge.is_scheme("bearer")).peekable();
    let names_no_error = challenges.is_empty() || bearer.peek().is_some();
    let mut errors = bearer.filter_map(|challenge| challenge.parameter("error")).peekable();
    match (errors.peek().is_some(), bare) {
        (true, _) if errors.any(|error| error == "invalid_token") => Judgement::TokenRefused,
        (false, BareUnauthorized::RefusesToken) if names_no_error => Judgement::TokenRefused,
        (true | false, BareUnauthorized::HandBack | BareUnauthorized::RefusesToken) => {
            Judgement::NotAboutTheToken
        }
    }
}

/// Whether the request can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayability {
    /// Its body was kept.
    Replayable,
    /// Its body was consumed.
    Consumed,
}

/// What to do with a call whose token was refused, once the slot has been asked for a token again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Send it once more with the new token; the answer to that is final.
    Once,
    /// Hand the first answer back unchanged.
    HandBack,
}

/// Decides on the one replay: only with another token than the refused one, and only when the body was kept.
pub fn decide(refused: &TokenId, now_held: Option<&TokenId>, replayability: Replayability) -> Replay {
    match (now_held, replayability) {
        (Some(held), Replayability::Replayable) if held != refused => Replay::Once,
        (Some(_) | None, Replayability::Replayable | Replayability::Consumed) => Replay::HandBack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, fields: &[&str], bare: BareUnauthorized) -> Judgement {
        judge(status, fields.iter().map(|field| field.as_bytes()), bare)
    }

    #[test]
    fn r3_1_only_a_401_that_names_invalid_token_refuses_it() {
        use Judgement::{NotAboutTheToken, TokenAccepted, TokenRefused};
        let invalid = &["Bearer error=\"invalid_token\""][..];
        for (status, fields, expected) in [
            (401, invalid, TokenRefused),
            (401, &["Basic realm=\"x\"", "Bearer realm=\"y\"", "Bearer error=invalid_token"], TokenRefused),
            (401, &["Bearer error=\"insufficient_scope\""], NotAboutTheToken),
            (401, &["Bearer realm=\"x\""], NotAboutTheToken),
            (401, &[], NotAboutTheToken),
            (401, &["Basic realm=\"x\""], NotAboutTheToken),
            (403, &["Bearer error=\"insufficient_scope\""], TokenAccepted),
            (403, invalid, TokenAccepted),
            (200, &[], TokenAccepted),
            (204, &[], TokenAccepted),
            (302, &[], NotAboutTheToken),
            (407, &[], NotAboutTheToken),
            (429, &[], NotAboutTheToken),
            (503, invalid, NotAboutTheToken),
        ] {
            assert_eq!(judged(status, fields, BareUnauthorized::HandBack), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn a_bare_401_refuses_the_token_only_where_that_was_chosen() {
        let bare = |fields: &[&str]| judged(401, fields, BareUnauthorized::RefusesToken);
        assert_eq!(bare(&[]), Judgement::TokenRefused);
        assert_eq!(bare(&["Bearer realm=\"x\""]), Judgement::TokenRefused);
        assert_eq!(bare(&["Basic realm=\"x\""]), Judgement::NotAboutTheToken);
        assert_eq!(bare(&["Bearer error=\"insufficient_scope\""]), Judgement::NotAboutTheToken);
    }

    #[test]
    fn t22_one_replay_with_another_token_and_a_kept_body() {
        let (old, new) = (TokenId::of("old"), TokenId::of("new"));
        assert_eq!(decide(&old, Some(&new), Replayability::Replayable), Replay::Once);
        assert_eq!(decide(&old, Some(&old), Replayability::Replayable), Replay::HandBack);
        assert_eq!(decide(&old, None, Replayability::Replayable), Replay::HandBack);
        assert_eq!(decide(&old, Some(&new), Replayability::Consumed), Replay::HandBack);
    }
}
