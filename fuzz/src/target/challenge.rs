//! `WWW-Authenticate`. Input: one byte that says how often the rest is repeated, then one field a line.

use crate::input::{first_byte, repeated, text};
use crate::verdict::{Verdict, holds, printable, same};
use jeton_proto::wire::challenge::{
    BearerChallenge, BearerError, Challenge, MAX_CHALLENGE_BYTES, MAX_CHALLENGES, parse_challenges,
};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(|fields| parse_challenges(fields.iter().copied()), input)
}

fn check_with(parser: impl Fn(&[&[u8]]) -> Vec<Challenge>, input: &[u8]) -> Verdict {
    let (times, fields) = first_byte(input);
    let fields = repeated(times, fields);
    let fields: Vec<&[u8]> = fields.split(|byte| *byte == b'\n').collect();
    let challenges = parser(&fields);
    holds(challenges.len() <= MAX_CHALLENGES, || format!("{} challenges", challenges.len()))?;
    nothing_behind_the_limit_counts(&parser, &fields, &challenges)?;
    fields_do_not_run_into_each_other(&parser, &fields, &challenges)?;
    names_have_any_case(&challenges)?;
    what_is_rendered_is_read(&parser, fields.first().copied().unwrap_or_default())
}

fn nothing_behind_the_limit_counts(
    parser: &impl Fn(&[&[u8]]) -> Vec<Challenge>,
    fields: &[&[u8]],
    challenges: &Vec<Challenge>,
) -> Verdict {
    let mut left = MAX_CHALLENGE_BYTES;
    let cut: Vec<&[u8]> = fields
        .iter()
        .map(|field| {
            let (kept, _) = field.split_at(field.len().min(left));
            left -= kept.len();
            kept
        })
        .collect();
    same("the challenges within the limit", &parser(&cut), challenges)
}

/// Each field is a list of its own: read one by one, they give the same challenges.
fn fields_do_not_run_into_each_other(
    parser: &impl Fn(&[&[u8]]) -> Vec<Challenge>,
    fields: &[&[u8]],
    challenges: &Vec<Challenge>,
) -> Verdict {
    let bytes = fields.iter().map(|field| field.len()).sum::<usize>();
    if bytes > MAX_CHALLENGE_BYTES {
        return Ok(());
    }
    let apart = fields.iter().flat_map(|field| parser(&[field])).take(MAX_CHALLENGES).collect();
    same("the challenges field by field", &apart, challenges)?;
    let asked: &[u8] = b"Bearer error=\"invalid_token\"";
    if challenges.len() < MAX_CHALLENGES && bytes + asked.len() <= MAX_CHALLENGE_BYTES {
        let with_ours = parser(&[&[asked], fields].concat());
        let ours = with_ours.first().and_then(|challenge| challenge.parameter("error"));
        same("the challenge before all the others", &ours, &Some("invalid_token"))?;
        same("how many challenges there are then", &with_ours.len(), &(challenges.len() + 1))?;
    }
    Ok(())
}

fn names_have_any_case(challenges: &[Challenge]) -> Verdict {
    for challenge in challenges {
        same("the scheme in two cases", &challenge.is_scheme("bearer"), &challenge.is_scheme("BEARER"))?;
        for (lower, upper) in [("error", "ERROR"), ("scope", "Scope"), ("realm", "REALM")] {
            same("a parameter in two cases", &challenge.parameter(lower), &challenge.parameter(upper))?;
        }
    }
    Ok(())
}

fn what_is_rendered_is_read(parser: &impl Fn(&[&[u8]]) -> Vec<Challenge>, field: &[u8]) -> Verdict {
    let (scope, realm) = field.split_at(field.len() / 2);
    let (scope, realm) = (text(scope), text(realm));
    let mut challenge = BearerChallenge::new(&*realm).error(BearerError::InsufficientScope, &*scope);
    let scope = scope.parse().ok();
    if let Some(scope) = &scope {
        challenge = challenge.scope(Clone::clone(scope));
    }
    let rendered = challenge.to_string();
    printable(&rendered)?;
    if rendered.len() > MAX_CHALLENGE_BYTES {
        return Ok(());
    }
    let read = parser(&[rendered.as_bytes()]);
    let [read] = read.as_slice() else {
        return holds(false, || format!("{rendered:?} was read as {} challenges", read.len()));
    };
    let told: String = realm
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' })
        .collect();
    same("the realm that was rendered", &read.parameter("realm"), &Some(told.as_str()))?;
    same("the error that was rendered", &read.parameter("error"), &Some("insufficient_scope"))?;
    let read_scope = read.parameter("scope").map(str::parse);
    same("the scope that was rendered", &read_scope, &scope.map(Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_joins_fields_or_reads_without_end_is_caught() {
        let two: &[u8] = b"\0Basic realm=\"open\nBearer error=\"invalid_token\"";
        assert_eq!(check(two), Ok(()));
        let joining = |fields: &[&[u8]]| parse_challenges([fields.join(&b", "[..]).as_slice()]);
        assert!(check_with(joining, two).is_err());
        let endless =
            |fields: &[&[u8]]| fields.iter().flat_map(|field| parse_challenges([*field])).collect::<Vec<_>>();
        assert!(check_with(endless, b"\x3fA,B,C,\n").is_err());
    }
}
