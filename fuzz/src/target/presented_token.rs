//! The body of an introspection or revocation request, as a server reads it. Input: the body; `@@` stands for what is secret in it.

use crate::input::{CANARY, planted};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use jeton_proto::wire::presented_token::PresentedToken;
use jeton_proto::wire::token_request::{MAX_PARAMETERS, TokenRequest, TokenRequestError};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(&RightParser, input)
}

/// A parser whose result borrows from its input, which a closure cannot say.
trait Parser {
    fn parse<'a>(&self, body: &'a [u8]) -> Result<PresentedToken<'a>, TokenRequestError>;
}

struct RightParser;

impl Parser for RightParser {
    fn parse<'a>(&self, body: &'a [u8]) -> Result<PresentedToken<'a>, TokenRequestError> {
        PresentedToken::parse(body)
    }
}

fn check_with(parser: &impl Parser, input: &[u8]) -> Verdict {
    let body = planted(input);
    let presented = match parser.parse(&body) {
        Ok(presented) => presented,
        Err(error) => return fit_for_a_log(&error),
    };
    as_the_url_standard_reads_it(&body, &presented)?;
    let PresentedToken { token: _, token_type_hint, client } = &presented;
    let shown = [token_type_hint, &client.client_id, &client.client_assertion_type];
    if !shown.into_iter().flatten().any(|value| value.contains(CANARY)) {
        silent(&format!("{presented:?}"))?;
    }
    survives_rendering(parser, &presented)
}

/// What was taken can be read in one way only: the lenient parser of the URL standard reads the same.
fn as_the_url_standard_reads_it(body: &[u8], presented: &PresentedToken<'_>) -> Verdict {
    let pairs: Vec<_> = form_urlencoded::parse(body).collect();
    holds(pairs.len() <= MAX_PARAMETERS, || format!("{} parameters were taken", pairs.len()))?;
    let single = |name, value: Option<&str>| {
        let named = pairs.iter().filter(|(held, value)| held == name && !value.is_empty());
        same(name, &Vec::from_iter(value), &named.map(|(_, value)| value.as_ref()).collect())
    };
    let PresentedToken { token, token_type_hint, client } = presented;
    single("token", Some(token.expose()))?;
    single("token_type_hint", token_type_hint.as_deref())?;
    single("client_id", client.client_id.as_deref())?;
    single("client_secret", client.client_secret.as_ref().map(|secret| secret.expose().as_str()))?;
    single("client_assertion_type", client.client_assertion_type.as_deref())?;
    single("client_assertion", client.client_assertion.as_ref().map(|secret| secret.expose().as_str()))?;
    let TokenRequest { grant_type, scope, resources, audience, .. } = client;
    let beyond = grant_type.is_some() || scope.is_some() || audience.is_some() || !resources.is_empty();
    holds(!beyond, || "what is of a token request alone was taken".to_owned())
}

/// The token and its hint, written by another hand, are read as the same.
fn survives_rendering(parser: &impl Parser, presented: &PresentedToken<'_>) -> Verdict {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", presented.token.expose());
    form.extend_pairs(presented.token_type_hint.iter().map(|hint| ("token_type_hint", hint)));
    let body = form.finish();
    match parser.parse(body.as_bytes()) {
        Ok(again) => {
            same("the token rendered anew", again.token.expose(), presented.token.expose())?;
            same("the hint rendered anew", &again.token_type_hint, &presented.token_type_hint)
        }
        // What was written with `+` may be longer in escapes.
        Err(TokenRequestError::BodyTooLong { .. } | TokenRequestError::ParameterTooLong) => Ok(()),
        Err(error) => holds(false, || format!("rendered anew, it was refused: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the last of two tokens, as many servers do.
    struct LastWins;

    impl Parser for LastWins {
        fn parse<'a>(&self, body: &'a [u8]) -> Result<PresentedToken<'a>, TokenRequestError> {
            let at = body.iter().rposition(|byte| *byte == b'&').map_or(0, |at| at + 1);
            PresentedToken::parse(body).or_else(|_| PresentedToken::parse(&body[at..]))
        }
    }

    /// Believes in the hint alone.
    struct HintForToken;

    impl Parser for HintForToken {
        fn parse<'a>(&self, body: &'a [u8]) -> Result<PresentedToken<'a>, TokenRequestError> {
            let presented = PresentedToken::parse(body)?;
            Ok(PresentedToken { token_type_hint: Some("access_token".into()), ..presented })
        }
    }

    /// Says what it has seen.
    struct Talkative;

    impl Parser for Talkative {
        fn parse<'a>(&self, _body: &'a [u8]) -> Result<PresentedToken<'a>, TokenRequestError> {
            Err(TokenRequestError::Repeated { name: Some(CANARY) })
        }
    }

    #[test]
    fn a_parser_that_reads_twice_meant_bodies_or_tells_tokens_is_caught() {
        let (good, twice) = (b"token=@@&client_id=a&client_secret=@@", b"token=a&token=b");
        assert_eq!((check(good), check(twice)), (Ok(()), Ok(())));
        assert!(check_with(&LastWins, twice).is_err());
        assert!(check_with(&HintForToken, good).is_err());
        assert!(check_with(&Talkative, good).is_err());
    }
}
