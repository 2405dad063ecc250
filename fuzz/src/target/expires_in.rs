//! The `expires_in` of a token answer in every form. Input: its JSON value.

use crate::input::text;
use crate::verdict::{Broken, Verdict, holds, same};
use jeton_proto::wire::token_response::{ExpiresIn, MalformedAnswer, TokenAnswer, parse};
use serde_json::{Value, json};

/// Above this an `f64` does not hold every whole number.
const EXACT_SECONDS: u64 = 1 << 53;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(|body| parse(200, body), input)
}

fn check_with(parser: impl Fn(&[u8]) -> Result<TokenAnswer, MalformedAnswer>, input: &[u8]) -> Verdict {
    let input = text(input);
    // A text that is no JSON value is taken as one in quotes, so that no input is without use.
    let value: Value = serde_json::from_str(&input).unwrap_or(Value::String(input));
    let body = json!({ "access_token": "t", "token_type": "Bearer", "expires_in": value }).to_string();
    let life = life(parser(body.as_bytes()))?;
    match &value {
        Value::Null => same("the life of null", &life, &Some(ExpiresIn::NotStated))?,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => same("the life of no number", &life, &None)?,
        Value::Number(number) => is_of(number.as_u64(), number.as_f64(), life)?,
        Value::String(text) => {
            let plain = text.trim();
            let digits = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
            let whole = if digits { plain.parse().ok() } else { None };
            is_of(whole, plain.parse().ok(), life)?;
            as_form(&parser, text, life)?;
        }
    }
    Ok(())
}

/// The life of an answer; `None` when the answer was refused for its `expires_in`.
fn life(parsed: Result<TokenAnswer, MalformedAnswer>) -> Result<Option<ExpiresIn>, Broken> {
    match parsed {
        Ok(TokenAnswer::Granted(response)) => Ok(Some(response.expires_in)),
        Err(MalformedAnswer::ExpiresIn) => Ok(None),
        other => Err(Broken::new(format!("an answer with a token was read as {other:?}"))),
    }
}

/// Holds a life to the number that it was made of.
fn is_of(whole: Option<u64>, number: Option<f64>, life: Option<ExpiresIn>) -> Verdict {
    let seconds = match life {
        None => {
            // The words that a float may be spelled with are no life.
            return holds(whole.is_none() && number.is_none_or(|number| !number.is_finite()), || {
                format!("the number {number:?} was refused")
            });
        }
        Some(ExpiresIn::NotStated) => 0,
        Some(ExpiresIn::Stated(life)) => life.as_secs(),
    };
    if let Some(whole) = whole.filter(|whole| *whole <= EXACT_SECONDS) {
        return same("the life in whole seconds", &seconds, &whole);
    }
    let Some(number) = number.filter(|number| !number.is_nan()) else {
        return holds(false, || format!("a life of {seconds} s was made of no number"));
    };
    #[allow(clippy::cast_precision_loss, reason = "the bound is as coarse as the number is")]
    let told = seconds as f64;
    // serde_json reads a number with a fraction to within the last digit that an `f64` has.
    let last_digit = number.abs() * f64::EPSILON;
    let not_longer = seconds == 0 || told <= number + last_digit;
    let not_shorter = number < 1.0 || number - told < 1.0 + last_digit || seconds > EXACT_SECONDS;
    let honest = not_longer && not_shorter;
    holds(honest, || format!("the number {number} became a life of {seconds} s"))
}

/// A form has nothing but texts: the same text says the same there.
fn as_form(
    parser: &impl Fn(&[u8]) -> Result<TokenAnswer, MalformedAnswer>,
    text: &str,
    expected: Option<ExpiresIn>,
) -> Verdict {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("access_token", "t"), ("token_type", "Bearer"), ("expires_in", text)])
        .finish();
    same("the life in a form", &life(parser(form.as_bytes()))?, &expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_parser_that_rounds_up_wraps_or_lives_for_ever_is_caught() {
        for good in ["3600", "3599.9", "-1", "0", "1e400", "\"60\"", " 7 ", "null", "{}", "soon", "1e300"] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let changed = |change: fn(u64) -> u64| {
            move |body: &[u8]| {
                let mut parsed = parse(200, body)?;
                if let TokenAnswer::Granted(response) = &mut parsed
                    && let ExpiresIn::Stated(life) = response.expires_in
                {
                    response.expires_in = ExpiresIn::Stated(Duration::from_secs(change(life.as_secs())));
                }
                Ok(parsed)
            }
        };
        assert!(check_with(changed(|seconds| seconds + 1), b"3599.9").is_err());
        assert!(check_with(changed(|seconds| seconds % (1 << 32)), b"4294967297").is_err());
        let for_ever =
            |body: &[u8]| parse(200, String::from_utf8_lossy(body).replace(":0", ":1e18").as_bytes());
        assert!(check_with(for_ever, b"0").is_err());
    }
}
