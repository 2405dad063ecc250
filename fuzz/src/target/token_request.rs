//! The body of a token request, as a server reads it. Input: the body; `@@` stands for what is secret in it.

use crate::input::{CANARY, planted};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use jeton_proto::wire::scope::Scope;
use jeton_proto::wire::token_request::{
    BodyCredential, CLIENT_CREDENTIALS, MAX_PARAMETERS, TokenRequest, TokenRequestError, TokenRequestForm,
};
use std::borrow::Cow;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(&RightParser, input)
}

/// A parser whose result borrows from its input, which a closure cannot say.
trait Parser {
    fn parse<'a>(&self, body: &'a [u8]) -> Result<TokenRequest<'a>, TokenRequestError>;
}

struct RightParser;

impl Parser for RightParser {
    fn parse<'a>(&self, body: &'a [u8]) -> Result<TokenRequest<'a>, TokenRequestError> {
        TokenRequest::parse(body)
    }
}

fn check_with(parser: &impl Parser, input: &[u8]) -> Verdict {
    let body = planted(input);
    let request = match parser.parse(&body) {
        Ok(request) => request,
        Err(error) => return fit_for_a_log(&error),
    };
    as_the_url_standard_reads_it(&body, &request)?;
    let shown = shown(&request);
    if !shown.iter().flatten().any(|value| value.contains(CANARY)) {
        silent(&format!("{request:?}"))?;
    }
    survives_rendering(parser, &request)
}

/// The members that `Debug` may show.
fn shown<'r>(request: &'r TokenRequest<'_>) -> Vec<Option<&'r str>> {
    let TokenRequest {
        grant_type,
        client_id,
        client_assertion_type,
        scope,
        resources,
        audience,
        client_secret: _,
        client_assertion: _,
    } = request;
    let single = [grant_type, client_id, client_assertion_type, scope, audience];
    single.into_iter().map(Option::as_deref).chain(resources.iter().map(|one| Some(one.as_ref()))).collect()
}

/// What was taken can be read in one way only: the lenient parser of the URL standard reads the same.
fn as_the_url_standard_reads_it(body: &[u8], request: &TokenRequest<'_>) -> Verdict {
    let pairs: Vec<_> = form_urlencoded::parse(body).collect();
    holds(pairs.len() <= MAX_PARAMETERS, || format!("{} parameters were taken", pairs.len()))?;
    let values = |name: &str| -> Vec<&str> {
        let named = pairs.iter().filter(|(held, value)| held == name && !value.is_empty());
        named.map(|(_, value)| value.as_ref()).collect()
    };
    let single = |name, value: Option<&str>| same(name, &Vec::from_iter(value), &values(name));
    single("grant_type", request.grant_type.as_deref())?;
    single("client_id", request.client_id.as_deref())?;
    single("client_secret", request.client_secret.as_ref().map(|secret| secret.expose().as_str()))?;
    single("client_assertion_type", request.client_assertion_type.as_deref())?;
    single("client_assertion", request.client_assertion.as_ref().map(|secret| secret.expose().as_str()))?;
    single("scope", request.scope.as_deref())?;
    single("audience", request.audience.as_deref())?;
    same("resource", &request.resources.iter().map(Cow::as_ref).collect(), &values("resource"))
}

/// What a client writes with the same parameters is read as the same.
fn survives_rendering(parser: &impl Parser, request: &TokenRequest<'_>) -> Verdict {
    let scope: Option<Scope> = request.scope.as_deref().and_then(|scope| scope.parse().ok());
    let resources: Vec<String> = request.resources.iter().map(ToString::to_string).collect();
    let credential = request.client_id.as_deref().zip(request.client_secret.as_ref());
    let form = TokenRequestForm {
        scope: scope.as_ref(),
        resources: &resources,
        audience: request.audience.as_deref(),
        credential: credential
            .map(|(client_id, client_secret)| BodyCredential::Secret { client_id, client_secret }),
        extra: &[],
    };
    let Ok(rendered) = form.render() else {
        return holds(false, || "a request without extra parameters was not written".to_owned());
    };
    let again = match parser.parse(rendered.expose().as_bytes()) {
        Ok(again) => again,
        // What was written with `+` may be longer in escapes.
        Err(TokenRequestError::BodyTooLong { .. } | TokenRequestError::ParameterTooLong) => return Ok(()),
        Err(error) => return holds(false, || format!("rendered anew, it was refused: {error}")),
    };
    same("the grant type rendered anew", &again.grant_type.as_deref(), &Some(CLIENT_CREDENTIALS))?;
    same("the resources rendered anew", &again.resources, &request.resources)?;
    same("the audience rendered anew", &again.audience, &request.audience)?;
    let scope = scope.filter(|scope| !scope.is_empty()).map(|scope| scope.to_string());
    same("the scope rendered anew", &again.scope.as_deref(), &scope.as_deref())?;
    let again = again.client_id.as_deref().zip(again.client_secret.as_ref());
    same("the credential rendered anew", &again, &credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the last of two equal names, as many servers do.
    struct LastWins;

    impl Parser for LastWins {
        fn parse<'a>(&self, body: &'a [u8]) -> Result<TokenRequest<'a>, TokenRequestError> {
            let at = body.iter().rposition(|byte| *byte == b'&').map_or(0, |at| at + 1);
            TokenRequest::parse(body).or_else(|_| TokenRequest::parse(&body[at..]))
        }
    }

    /// Leaves `+` as it is.
    struct PlusIsPlus;

    impl Parser for PlusIsPlus {
        fn parse<'a>(&self, body: &'a [u8]) -> Result<TokenRequest<'a>, TokenRequestError> {
            let mut request = TokenRequest::parse(body)?;
            request.scope = request.scope.map(|scope| scope.replace(' ', "+").into());
            Ok(request)
        }
    }

    /// Takes a secret for an audience that `Debug` would show, but says that it is none.
    struct Talkative;

    impl Parser for Talkative {
        fn parse<'a>(&self, body: &'a [u8]) -> Result<TokenRequest<'a>, TokenRequestError> {
            TokenRequest::parse(body)?;
            Err(TokenRequestError::Repeated { name: Some(CANARY) })
        }
    }

    #[test]
    fn a_parser_that_reads_twice_meant_bodies_or_tells_secrets_is_caught() {
        let good =
            b"grant_type=client_credentials&client_id=a&client_secret=@@&scope=b+a&resource=x&resource=y";
        let twice = b"scope=read&scope=admin";
        assert_eq!((check(good), check(twice)), (Ok(()), Ok(())));
        assert!(check_with(&LastWins, twice).is_err());
        assert!(check_with(&PlusIsPlus, good).is_err());
        assert!(check_with(&Talkative, good).is_err());
    }
}
