//! An error answer of a token endpoint. Input: the code, a line break, the description.

use crate::input::{first_line, text};
use crate::verdict::{Verdict, holds, printable, same};
use jeton_proto::wire::error_response::{ErrorCode, MAX_ERROR_TEXT_BYTES};
use jeton_proto::wire::token_response::{ErrorResponse, MalformedAnswer, TokenAnswer, parse};
use serde_json::json;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(|body| parse(400, body), input)
}

fn check_with(parser: impl Fn(&[u8]) -> Result<TokenAnswer, MalformedAnswer>, input: &[u8]) -> Verdict {
    let (code, description) = first_line(input);
    let (code, description) = (text(code), text(description));
    let body = json!({ "error": code, "error_description": description }).to_string();
    let from_json = refused(parser(body.as_bytes()))?;
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("error", &code)
        .append_pair("error_description", &description)
        .finish();
    same("the same error as JSON and as a form", &from_json, &refused(parser(form.as_bytes()))?)?;
    let Some(refused) = from_json else {
        return holds(code.is_empty(), || format!("the code {code:?} was not seen"));
    };
    cut_and_clean(&refused)?;
    let is_plain = code.len() <= MAX_ERROR_TEXT_BYTES && printable(&code).is_ok();
    holds(!is_plain || refused.error.as_str() == code, || {
        format!("the code {code:?} became {:?}", refused.error)
    })
}

fn refused(
    parsed: Result<TokenAnswer, MalformedAnswer>,
) -> Result<Option<ErrorResponse>, crate::verdict::Broken> {
    match parsed {
        Ok(TokenAnswer::Refused(refused)) => Ok(Some(refused)),
        Err(MalformedAnswer::NoAccessToken { .. }) => Ok(None),
        other => Err(crate::verdict::Broken::new(format!("an error answer was read as {other:?}"))),
    }
}

/// What is kept of a foreign error is short and fit for a log line.
pub(crate) fn cut_and_clean(refused: &ErrorResponse) -> Verdict {
    for kept in [Some(refused.error.as_str()), refused.error_description.as_deref()].into_iter().flatten() {
        holds(kept.len() <= MAX_ERROR_TEXT_BYTES, || format!("{} bytes were kept", kept.len()))?;
        printable(kept)?;
    }
    same("the code read again", &ErrorCode::parse(refused.error.as_str()), &refused.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_lets_control_characters_through_is_caught() {
        assert_eq!(check(b"invalid_client\nno \x1b[2J such client"), Ok(()));
        let unclean = ErrorResponse {
            error: ErrorCode::InvalidClient,
            error_description: Some("\u{1b}[2J".to_owned()),
        };
        assert!(check_with(|_| Ok(TokenAnswer::Refused(unclean.clone())), b"invalid_client\nx").is_err());
        let json_alone = |body: &[u8]| parse(400, if body.starts_with(b"{") { body } else { b"error=x" });
        assert!(check_with(json_alone, b"invalid_client\nx").is_err());
    }
}
