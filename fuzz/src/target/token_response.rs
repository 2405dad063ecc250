//! The answer of a token endpoint. Input: one byte for the status, then the body; `@@` stands for the token.

use crate::input::{first_byte, planted, status};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use jeton_proto::wire::token_response::{
    ExpiresIn, MAX_ACCESS_TOKEN_BYTES, MalformedAnswer, TokenAnswer, TokenResponse, parse,
};
use serde_json::{Value, json};

type Parsed = Result<TokenAnswer, MalformedAnswer>;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(parse, input)
}

fn check_with(parser: impl Fn(u16, &[u8]) -> Parsed, input: &[u8]) -> Verdict {
    let (first, body) = first_byte(input);
    let (status, body) = (status(first), planted(body));
    match parser(status, &body) {
        Err(malformed) => fit_for_a_log(&malformed),
        Ok(TokenAnswer::Refused(refused)) => super::error_response::cut_and_clean(&refused),
        Ok(TokenAnswer::Granted(response)) => {
            holds((200..300).contains(&status), || format!("a token was taken under the status {status}"))?;
            usable(&response)?;
            as_serde_json_reads_it(&body, &response)?;
            survives_rendering(&parser, &response)
        }
    }
}

fn usable(response: &TokenResponse) -> Verdict {
    let token = response.access_token.expose();
    holds((1..=MAX_ACCESS_TOKEN_BYTES).contains(&token.len()), || {
        format!("a token of {} bytes", token.len())
    })?;
    holds(token.bytes().all(|byte| byte.is_ascii_graphic()), || format!("no header can carry {token:?}"))?;
    match response.expires_in {
        ExpiresIn::Stated(life) => {
            holds(life.as_secs() >= 1 && life.subsec_nanos() == 0, || format!("a life of {life:?}"))
        }
        ExpiresIn::NotStated => Ok(()),
    }
}

/// A parser that repairs or mixes up members would show here. What `serde_json` refuses as a whole may still have
/// been read, since members that do not matter are passed over.
fn as_serde_json_reads_it(body: &[u8], response: &TokenResponse) -> Verdict {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(members)) => same(
            "the access token as serde_json reads it",
            &members.get("access_token").and_then(Value::as_str),
            &Some(response.access_token.expose().as_str()),
        ),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The same answer written anew is read as the same, and its `Debug` does not depend on the token.
fn survives_rendering(parser: &impl Fn(u16, &[u8]) -> Parsed, response: &TokenResponse) -> Verdict {
    let rendered = |token: &str| {
        let expires_in = match response.expires_in {
            ExpiresIn::Stated(life) => json!(life.as_secs()),
            ExpiresIn::NotStated => Value::Null,
        };
        let scope = response.scope.as_ref().map(ToString::to_string);
        json!({ "access_token": token, "token_type": "bEARER", "expires_in": expires_in, "scope": scope })
            .to_string()
    };
    let token = response.access_token.expose();
    let again = parser(200, rendered(token).as_bytes());
    let Ok(TokenAnswer::Granted(again)) = again else {
        return holds(false, || format!("rendered anew, it was read as {again:?}"));
    };
    same("the token rendered anew", again.access_token.expose(), token)?;
    same("the life rendered anew", &again.expires_in, &response.expires_in)?;
    // An empty scope is left out by servers that mean the requested one.
    same("the scope rendered anew", &again.scope, &response.scope)?;
    let other = parser(200, rendered("another-token").as_bytes());
    same("what Debug shows of two tokens", &format!("{again:?}"), &shown(&other))
}

fn shown(parsed: &Parsed) -> String {
    match parsed {
        Ok(TokenAnswer::Granted(response)) => format!("{response:?}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = br#"0{"access_token":"t","token_type":"Bearer","expires_in":60,"scope":"b a"}"#;

    #[test]
    fn a_parser_that_looks_past_the_status_or_cuts_the_token_is_caught() {
        assert_eq!(check(GOOD), Ok(()));
        let refused: Vec<u8> = [b"3", &GOOD[1..]].concat();
        assert_eq!(check(&refused), Ok(()));
        assert!(check_with(|_, body| parse(200, body), &refused).is_err());
        let cutting = |status, body: &[u8]| {
            let cut = String::from_utf8_lossy(body).replace("long-token", "long");
            parse(status, cut.as_bytes())
        };
        let long = br#"0{"access_token":"long-token","token_type":"Bearer"}"#;
        assert!(check_with(cutting, long).is_err());
    }
}
