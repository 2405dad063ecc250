//! Tokens of other issuers that stand for a client (RFC 7523 §2.2, RFC 7521 §4.2).

use super::rejection::AssertionRejection;
use super::signature::{self, AssertionKeys};
use super::{AssertionClaims, UnverifiedAssertion};
use crate::jose::assertion_algorithm::AssertionAlgorithm;
use crate::jose::jwk::ClientKeySet;
use crate::time::Timestamp;
use crate::wire::error_response::printable;
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest that a token of a platform may live: 24 h, the most that Kubernetes and the CI services hand out.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// How many names the path of a claim may have.
const MAX_PATH_NAMES: usize = 8;

/// What a token of another issuer must say to stand for a client.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadExpectations<'a> {
    /// `iss`, byte by byte.
    pub issuer: &'a str,
    /// What must be among `aud`.
    pub audience: &'a str,
    /// `sub`, where each `*` stands for any text without `/` and `:`; `None`: any.
    pub subject: Option<&'a str>,
    /// What other claims must be: the name of the claim, or else a path of names with `/` between, and the text, in which
    /// `*` is as above. A number or truth value is compared as JSON writes it; of a list one element must fit.
    pub claims: &'a [(String, String)],
}

/// Verifies a workload assertion at `now` with the keys of its issuer.
///
/// It is taken again and again while it lives: a platform gives a process one for minutes or hours, and does not make
/// another for each request. So nothing is spent, a `jti` is not asked for, and it may live for 24 h.
///
/// # Errors
/// An [`AssertionRejection`], which is for the log. [`AssertionRejection::UnknownKey`] may be cured by fetching the keys
/// of the issuer again.
pub fn verify_workload(
    assertion: &UnverifiedAssertion<'_>,
    expectations: &WorkloadExpectations<'_>,
    keys: Option<&ClientKeySet>,
    now: Timestamp,
) -> Result<(), AssertionRejection> {
    // A symmetric key of somebody else is no proof of anything, and none is in the set.
    if assertion.algorithm() == AssertionAlgorithm::Hs256 {
        return Err(AssertionRejection::Algorithm);
    }
    check_claims(assertion.claims(), expectations)?;
    assertion.claims().check_times(LONGEST_LIFE, now)?;
    signature::check(assertion, &AssertionKeys { public: keys, secrets: &[] }).map(|_by_public_key| ())
}

fn check_claims(
    claims: &AssertionClaims,
    expectations: &WorkloadExpectations<'_>,
) -> Result<(), AssertionRejection> {
    if claims.issuer() != expectations.issuer {
        return Err(AssertionRejection::UntrustedIssuer);
    }
    if !claims.audience().iter().any(|audience| audience == expectations.audience) {
        return Err(AssertionRejection::WrongAudience);
    }
    if !expectations.subject.is_none_or(|pattern| matches_pattern(pattern, claims.subject())) {
        return Err(AssertionRejection::UntrustedSubject);
    }
    let wrong = expectations.claims.iter().find(|(name, pattern)| {
        !claim(claims.all(), name).is_some_and(|value| value_matches(pattern, value))
    });
    wrong.map_or(Ok(()), |(name, _)| Err(AssertionRejection::UntrustedClaim(printable(name))))
}

/// The claim with this name, or what the path leads to. A name may have a slash in it, so the whole is looked for first,
/// at each step.
fn claim<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    let mut members = claims;
    let mut rest = path;
    for _name in 0..MAX_PATH_NAMES {
        if let Some(found) = members.get(rest) {
            return Some(found);
        }
        let (name, after) = rest.split_once('/')?;
        members = members.get(name)?.as_object()?;
        rest = after;
    }
    None
}

fn value_matches(pattern: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => matches_pattern(pattern, text),
        Value::Bool(_) | Value::Number(_) => matches_pattern(pattern, &value.to_string()),
        Value::Array(elements) => elements.iter().any(|element| match element {
            Value::String(text) => matches_pattern(pattern, text),
            Value::Bool(_) | Value::Number(_) => matches_pattern(pattern, &element.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }),
        Value::Null | Value::Object(_) => false,
    }
}

/// Whether `text` is as `pattern` has it, where each `*` stands for any text without `/` and `:`. Those two divide the
/// subjects of all platforms, so a `*` for a branch cannot take in another repository.
///
/// On a mismatch the last `*` takes one byte more. It cannot take a divider, so the dividers of both agree one by one, and
/// no `*` before the last need be tried again.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at + 1, from));
                at += 1;
            }
            (Some(expected), _) if expected == byte => {
                at += 1;
                from += 1;
            }
            (_, Some((after_star, taken))) if !matches!(text.get(taken), Some(b'/' | b':') | None) => {
                star = Some((after_star, taken + 1));
                at = after_star;
                from = taken + 1;
            }
            (_, Some(_) | None) => return false,
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_for_text_without_dividers() {
        for (pattern, text, matches) in [
            ("a", "a", true),
            ("a", "A", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a**", "a", true),
            ("a*b*c", "aXbYbZc", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/site:ref:refs/heads/main", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/x/y:ref:refs/heads/main", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:environment:y:ref:refs/heads/main", false),
            ("repo:acme/*", "repo:acme/x:ref:refs/heads/main", false),
            ("repo:*/site", "repo:acme/site", true),
            ("repo:*", "repo:acme/", false),
            ("*/", "a/", true),
            ("a*/", "a", false),
            ("", "", true),
            ("", "a", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(matches_pattern(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_its_path() {
        let claims = json!({
            "a": { "b": { "c": 1 } },
            "kubernetes.io": { "namespace": "prod", "serviceaccount": { "name": "x" } },
            "https://x.example/role": "admin",
            "list": ["one", 2, true, null, ["three"]],
        });
        let claims = claims.as_object().unwrap();
        let holds = |path: &str, pattern: &str| {
            claim(claims, path).is_some_and(|value| value_matches(pattern, value))
        };
        assert!(holds("a/b/c", "1"));
        assert!(holds("kubernetes.io/namespace", "prod"));
        assert!(holds("kubernetes.io/serviceaccount/name", "*"));
        assert!(holds("https://x.example/role", "admin"));
        assert!(holds("list", "one") && holds("list", "2") && holds("list", "true"));
        for (path, pattern) in [
            ("a/b", "*"),
            ("a/b/d", "*"),
            ("absent", "*"),
            ("list", "three"),
            ("list", "null"),
            ("kubernetes.io/namespace", "pro"),
            ("a/b/c/d", "*"),
        ] {
            assert!(!holds(path, pattern), "{path} {pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_a_star_in_place_of_any_piece_of_it(
            text in "[a-c/:]{0,20}", piece in 0_usize..20, length in 0_usize..20,
        ) {
            prop_assert!(matches_pattern(&text, &text));
            let from = piece.min(text.len());
            let to = (from + length).min(text.len());
            let (rest, after) = text.split_at(to);
            let (before, taken) = rest.split_at(from);
            let pattern = format!("{before}*{after}");
            let plain = !taken.contains(['/', ':']);
            prop_assert!(!plain || matches_pattern(&pattern, &text));
        }

        #[test]
        fn dividers_agree_in_number(pattern in "[a*/:]{0,12}", text in "[a/:]{0,12}") {
            let dividers = |text: &str| text.matches(['/', ':']).map(str::to_owned).collect::<Vec<_>>();
            if matches_pattern(&pattern, &text) {
                prop_assert_eq!(dividers(&pattern), dividers(&text));
            }
        }
    }
}
