//! Scopes. Input: one byte that says how often the rest is repeated, then the text.

use crate::input::{first_byte, repeated, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use jeton_proto::wire::scope::{InvalidScope, MAX_SCOPE_BYTES, Scope};
use std::collections::BTreeSet;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(str::parse, input)
}

fn check_with(parser: impl Fn(&str) -> Result<Scope, InvalidScope>, input: &[u8]) -> Verdict {
    let (times, input) = first_byte(input);
    let input = text(&repeated(times, input));
    let parsed = parser(&input);
    let expected = expected(&input);
    let scope = match (parsed, expected) {
        (Ok(scope), Some(expected)) => {
            same("the tokens", &scope.tokens().collect::<Vec<_>>(), &expected.into_iter().collect())?;
            scope
        }
        (Err(error), None) => return fit_for_a_log(&error),
        (parsed, expected) => {
            return holds(false, || format!("{parsed:?} where RFC 6749 has {expected:?}"));
        }
    };
    let rendered = scope.to_string();
    holds(rendered.len() <= input.len(), || format!("{rendered:?} is longer than {input:?}"))?;
    same("what was rendered", &parser(&rendered), &Ok(scope.clone()))?;
    same("how many tokens there are", &scope.tokens().len(), &scope.len())?;
    holds(scope.tokens().all(|token| scope.contains(token)), || format!("{scope} lacks a token of its own"))?;
    holds(scope.is_subset_of(&scope) && Scope::empty().is_subset_of(&scope), || {
        format!("{scope} is no part of itself")
    })
}

/// RFC 6749 §3.3, written in another way.
pub(crate) fn expected(text: &str) -> Option<BTreeSet<&str>> {
    let allowed = |byte: u8| byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
    let tokens: BTreeSet<&str> = text.split(' ').filter(|token| !token.is_empty()).collect();
    let fits = text.len() <= MAX_SCOPE_BYTES && tokens.iter().all(|token| token.bytes().all(allowed));
    fits.then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_splits_at_tabs_or_forgets_a_token_is_caught() {
        for good in ["\0write read read", "\0", "\0a\"b", "\x3f0123456789012345678901234567890123456789 "] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let at_tabs = |text: &str| Scope::from_tokens(text.split_whitespace());
        assert!(check_with(at_tabs, b"\0a\tb").is_err());
        assert!(check_with(|text| text.replace("admin", "").parse(), b"\0admin read").is_err());
    }
}
